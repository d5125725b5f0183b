"""
What has passed, and how is it now, in numbers for Prometheus?

What has passed is counted in `proxyd.ops.passed`; everything else happens at the scrape: what is open now
is read from a snapshot, and the families are built.  Labels are the names of the
configuration, the servers that there are now, and the codes of `proxyd.errors.Reason`, so the number of
series has a bound; an empty ``server`` is a connection that no server was tried for, an empty ``pool`` one
whose pool was never decided.
"""

from __future__ import annotations

from copy import copy
from typing import Callable, Iterator, Union

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.server import NOT_DONE_YET, Request, Site

from proxyd import __version__
from proxyd.ops import cache, certificates, checks, compression, retries
from proxyd.ops.pages import HTML, TEXT, Directory, Page, QuietSite
from proxyd.ops.passed import Passed
from proxyd.ops.requestmetrics import FAULTS, buckets, request_metrics
from proxyd.policy.state import State
from proxyd.snapshots import Snapshot, TakeSnapshot

STATES = tuple(state.value for state in State)

PIECE = 1000  # samples, in some 5 ms

EOF = b"# EOF\n"  # of OpenMetrics

Encode = Callable[[Collector], bytes]


class Metrics(Collector):
    """
    The daemon's metrics, in a ``registry`` of their own; ``passed`` is the observer that they are made of.

    The bytes of open connections are counted as they flow.  They are taken from the snapshot until the
    record arrives; so that a byte counter never goes back, whatever the order in which a connection
    leaves the one and enters the other, what was shown before is a lower limit.
    """

    def __init__(self, take_snapshot: TakeSnapshot) -> None:
        self._take_snapshot = take_snapshot
        self.passed = Passed()
        self._bytes_shown: dict[tuple[str, str, str], list[int]] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        """The families, each as it is when it is asked for; prometheus_client calls this at every scrape."""
        snapshot = self._take_snapshot()
        self._forget_all_but(snapshot)
        for listener in snapshot.listeners:  # a counter that is there from the start misses no increase
            self.passed.connection_of(listener.name)
        for server in snapshot.servers:
            self.passed.connect_of(server.pool, server.name)
            self.passed.retries.setdefault(server.pool, 0)
        for queue in snapshot.queues:
            self.passed.queue_of(queue.pool)
        yield self._bytes_family(snapshot)  # before anything else can pass
        yield InfoMetricFamily("proxyd", "The version that runs.", {"version": __version__})
        yield from self._what_passed()
        yield from _what_is(snapshot)
        yield from checks.families(snapshot)
        yield from _affinity(snapshot)
        yield from _maintenance(snapshot)
        yield from _shedding(snapshot)
        yield from _acme(snapshot)
        yield from cache.families(snapshot)
        yield from compression.metrics(snapshot)

    def _forget_all_but(self, snapshot: Snapshot) -> None:
        there = {(server.pool, server.name) for server in snapshot.servers}
        there |= {(pool, server) for listener in snapshot.listeners for pool, server, *_ in listener.live}
        self.passed.forget_all_but(there)
        for shown in [key for key in self._bytes_shown if key[2] and key[1:] not in there]:
            del self._bytes_shown[shown]

    def _what_passed(self) -> Iterator[Metric]:
        connections = CounterMetricFamily(
            "proxyd_connections",
            "Connections that have ended, by why, and by whose fault it was.",
            labels=("listener", "pool", "server", "reason", "fault"),
        )
        for way_key, way in self.passed.ways.items():
            for code, count in way.ended.items():
                connections.add_metric((*way_key, code, FAULTS[code]), count)
        yield connections
        refused = CounterMetricFamily(
            "proxyd_refused",
            "Connections that never reached a server.",
            labels=("listener", "reason"),
        )
        for key, count in self.passed.refused.items():
            refused.add_metric(key, count)
        yield refused
        retries = CounterMetricFamily(
            "proxyd_connect_retries", "Servers that were tried in vain.", labels=("pool",)
        )
        for pool, count in self.passed.retries.items():
            retries.add_metric((pool,), count)
        yield retries
        connect = HistogramMetricFamily(
            "proxyd_connect_seconds",
            "How long the connects to a server took that succeeded.",
            labels=("pool", "server"),
        )
        for server_key, durations in self.passed.connect.items():
            connect.add_metric(server_key, buckets(durations), durations.total)
        yield connect
        connection = HistogramMetricFamily(
            "proxyd_connection_seconds", "How long connections lasted.", labels=("listener",)
        )
        for listener, durations in self.passed.connection.items():
            connection.add_metric((listener,), buckets(durations), durations.total)
        yield connection
        queue = HistogramMetricFamily(
            "proxyd_queue_seconds",
            "How long clients have waited until a server had room, or until they were refused.",
            labels=("pool",),
        )
        for pool, durations in self.passed.queue.items():
            queue.add_metric((pool,), buckets(durations), durations.total)
        yield queue
        yield from request_metrics(self.passed)

    def _bytes_family(self, snapshot: Snapshot) -> Metric:
        now = {key: [way.bytes_in, way.bytes_out] for key, way in self.passed.ways.items()}
        for listener in snapshot.listeners:
            for pool, server, bytes_in, bytes_out in listener.live:
                passed = now.setdefault((listener.name, pool, server), [0, 0])
                passed[0] += bytes_in
                passed[1] += bytes_out
        family = CounterMetricFamily(
            "proxyd_bytes",
            "Bytes received from clients (in) and from servers (out), open connections included.",
            labels=("listener", "pool", "server", "direction"),
        )
        for key, passed in now.items():
            before = self._bytes_shown.get(key, passed)
            self._bytes_shown[key] = [max(pair) for pair in zip(before, passed)]
        for key, shown in self._bytes_shown.items():
            for direction, count in zip(("in", "out"), shown):
                family.add_metric((*key, direction), count)
        return family


def _what_is(snapshot: Snapshot) -> Iterator[Metric]:
    listeners = GaugeMetricFamily(
        "proxyd_connections_open", "Connections that are open now.", labels=("listener",)
    )
    held = GaugeMetricFamily(
        "proxyd_tarpit_held",
        "Clients that are kept waiting since they may not come in.",
        labels=("listener",),
    )
    requests = GaugeMetricFamily(
        "proxyd_requests_open", "Requests of HTTP that are under way.", labels=("listener",)
    )
    for listener in snapshot.listeners:
        if listener.requests is not None:
            requests.add_metric((listener.name,), listener.requests)
        listeners.add_metric((listener.name,), listener.open)
        held.add_metric((listener.name,), listener.held)
    servers = ("pool", "server")
    opened = GaugeMetricFamily(
        "proxyd_server_connections_open", "Connections to the server that are open now.", labels=servers
    )
    most = GaugeMetricFamily(
        "proxyd_server_max_connections",
        "How many connections the server may have now; of those that have a bound.",
        labels=servers,
    )
    up = GaugeMetricFamily("proxyd_server_up", "1 if the server is up, else 0.", labels=servers)
    state = GaugeMetricFamily(
        "proxyd_server_state", "1 for the state that the server has.", labels=(*servers, "state")
    )
    since = GaugeMetricFamily(
        "proxyd_server_state_since_timestamp_seconds",
        "When the server came into its state; 0 if it has been in it since the start.",
        labels=servers,
    )
    weight = GaugeMetricFamily(
        "proxyd_server_weight", "The server's share of its pool's connections.", labels=servers
    )
    effective = GaugeMetricFamily(
        "proxyd_server_effective_weight",
        "The same as it is now, which is less while the server starts slowly.",
        labels=servers,
    )
    trial = GaugeMetricFamily(
        "proxyd_server_trial",
        "1 while the server was ejected before, and has to show by one request that it is well.",
        labels=servers,
    )
    tls_failures = CounterMetricFamily(
        "proxyd_server_tls_failures",
        "Connections to the server in which TLS did not come about; of those that are spoken with in TLS.",
        labels=servers,
    )
    for server in snapshot.servers:
        key = (server.pool, server.name)
        opened.add_metric(key, server.open)
        if server.max_connections:
            most.add_metric(key, server.max_connections)
        up.add_metric(key, server.state == "up")
        for name in STATES:
            state.add_metric((*key, name), server.state == name)
        since.add_metric(key, server.since)
        weight.add_metric(key, server.weight)
        effective.add_metric(key, server.effective_weight)
        trial.add_metric(key, server.trial)
        if server.tls_failures is not None:
            tls_failures.add_metric(key, server.tls_failures)
    waiting = GaugeMetricFamily(
        "proxyd_queue_waiting", "Clients that wait until a server has room.", labels=("pool",)
    )
    length = GaugeMetricFamily("proxyd_queue_length", "How many may wait.", labels=("pool",))
    evicted = CounterMetricFamily(
        "proxyd_queue_evicted", "Clients that had to make room for others in the queue.", labels=("pool",)
    )
    for queue in snapshot.queues:
        waiting.add_metric((queue.pool,), queue.waiting)
        length.add_metric((queue.pool,), queue.length)
        evicted.add_metric((queue.pool,), queue.evicted)
    yield from _names(snapshot)
    yield from certificates.metrics(snapshot)
    yield from retries.metrics(snapshot)
    counted = GaugeMetricFamily("proxyd_counters_entries", "Entries that are kept.", labels=("counters",))
    forgotten = CounterMetricFamily(
        "proxyd_counters_evicted", "Entries that had to make room for others.", labels=("counters",)
    )
    for counters in snapshot.counters:
        counted.add_metric((counters.name,), counters.entries)
        forgotten.add_metric((counters.name,), counters.evicted)
    lag = GaugeMetricFamily(
        "proxyd_reactor_lag_seconds", "The worst delay of the event loop in the last 15 seconds."
    )
    lag.add_metric((), snapshot.lag_seconds)
    bans = GaugeMetricFamily("proxyd_bans", "Addresses and networks that are banned.")
    bans.add_metric((), snapshot.bans)
    yield from (listeners, requests, held, opened, most, up, state, since, weight, effective, trial)
    yield from (tls_failures, waiting, length, evicted, counted, forgotten, lag, bans)


def _shedding(snapshot: Snapshot) -> Iterator[Metric]:
    shedding = snapshot.shedding
    if shedding is None:
        return
    step = GaugeMetricFamily("proxyd_shedding_step", "How far load is being shed, 0 (not at all) to 3.")
    step.add_metric((), shedding.step)
    taken = CounterMetricFamily(
        "proxyd_shedding_taken", "How often each step to shed load was taken.", labels=("step",)
    )
    for name, count in shedding.taken.items():
        taken.add_metric((name,), count)
    cut = CounterMetricFamily("proxyd_shedding_cut", "Connections cut as those of the worst offenders.")
    cut.add_metric((), shedding.cut)
    yield from (step, taken, cut)


def _acme(snapshot: Snapshot) -> Iterator[Metric]:
    if not snapshot.acme:
        return
    labels = ("authority", "certificate")
    expiry = GaugeMetricFamily(
        "proxyd_acme_expiry_timestamp_seconds",
        "When the certificate expires; 0 while there is only a placeholder.",
        labels=labels,
    )
    following = GaugeMetricFamily(
        "proxyd_acme_next_timestamp_seconds",
        "When the certificate is renewed, or that is tried again.",
        labels=labels,
    )
    failures = GaugeMetricFamily(
        "proxyd_acme_failures", "How often in a row it could not be had.", labels=labels
    )
    renewals = CounterMetricFamily(
        "proxyd_acme_renewals",
        "How often the certificate was had or renewed, and how often that failed.",
        labels=(*labels, "result"),
    )
    for one in snapshot.acme:
        key = (one.authority, one.certificate)
        expiry.add_metric(key, one.not_after)
        following.add_metric(key, one.next_at)
        failures.add_metric(key, one.failures)
        renewals.add_metric((*key, "ok"), one.renewed)
        renewals.add_metric((*key, "failed"), one.failed)
    yield from (expiry, following, failures, renewals)


def _names(snapshot: Snapshot) -> Iterator[Metric]:
    addresses = GaugeMetricFamily(
        "proxyd_name_addresses", "How many addresses the name of servers has.", labels=("name",)
    )
    ttl = GaugeMetricFamily(
        "proxyd_name_ttl_seconds", "In how long the name of servers is looked up again.", labels=("name",)
    )
    failing = GaugeMetricFamily(
        "proxyd_name_failing", "1 if the name did not resolve the last time, else 0.", labels=("name",)
    )
    lookups = CounterMetricFamily(
        "proxyd_name_lookups", "How often the name of servers was looked up.", labels=("name",)
    )
    failures = CounterMetricFamily(
        "proxyd_name_failures", "How often it did not resolve then.", labels=("name",)
    )
    for name in snapshot.names:
        addresses.add_metric((name.name,), len(name.addresses))
        ttl.add_metric((name.name,), name.ttl_seconds)
        failing.add_metric((name.name,), bool(name.trouble))
        lookups.add_metric((name.name,), name.lookups)
        failures.add_metric((name.name,), name.failures)
    yield from (addresses, ttl, failing, lookups, failures)


AFFINITY = {
    "hits": "Connections that got the server that their client had before.",
    "misses": "Connections of clients that were not remembered.",
    "moved": "Entries that got another server, because theirs could not be had.",
    "spilled": "Connections that got another server for once, because theirs was full.",
    "evicted": "Entries that had to make room for others.",
    "expired": "Entries that ran out.",
}


def _maintenance(snapshot: Snapshot) -> Iterator[Metric]:
    on = GaugeMetricFamily(
        "proxyd_pool_maintenance", "Whether the pool is in maintenance: 1 or 0.", labels=("pool",)
    )
    refused = CounterMetricFamily(
        "proxyd_maintenance_refused",
        "Clients and requests that were turned away since the pool was in maintenance.",
        labels=("pool",),
    )
    for one in snapshot.maintenances:
        on.add_metric((one.pool,), int(one.on))
        refused.add_metric((one.pool,), one.turned_away)
    yield from (on, refused)


def _affinity(snapshot: Snapshot) -> Iterator[Metric]:
    entries = GaugeMetricFamily(
        "proxyd_affinity_entries", "Clients that the pool remembers.", labels=("pool",)
    )
    for affinity in snapshot.affinities:
        entries.add_metric((affinity.pool,), affinity.entries)
    yield entries
    for name, text in AFFINITY.items():
        counter = CounterMetricFamily(f"proxyd_affinity_{name}", text, labels=("pool",))
        for affinity in snapshot.affinities:
            counter.add_metric((affinity.pool,), getattr(affinity, name))
        yield counter


class MetricsPage(Page):
    """
    The metrics as Prometheus reads them: OpenMetrics if it accepts that, else its own text format.

    A thousand servers have thirty thousand samples, and those take a fifth of a second: each piece of them
    has a turn of the reactor of its own.
    """

    log = Logger()

    def __init__(self, metrics: Metrics, reactor: IReactorTime) -> None:
        super().__init__("")
        self._registry = metrics.registry
        self._reactor = reactor
        self._failing = False

    def render(self, request: Request) -> Union[bytes, int]:
        if request.method not in (b"GET", b"HEAD"):
            return super().render(request)
        ensureDeferred(self._collect(request))
        return NOT_DONE_YET

    async def _collect(self, request: Request) -> None:
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)
        encode, content_type = _encoder(request)
        try:
            pieces = []
            for piece in in_pieces(self._registry, encode):
                pieces.append(piece)
                await deferLater(self._reactor, 0)
                if gone:
                    return
            answer = http.OK, content_type, b"".join(pieces)
            self._failing = False
        except Exception:  # noqa: BLE001 - the scraper gets an answer, and the log one traceback
            if not self._failing:
                self.log.failure("The metrics cannot be collected")
            self._failing = True
            text = b"500: the metrics cannot be collected, see the log\n"
            answer = http.INTERNAL_SERVER_ERROR, TEXT, text
        request.write(self.begin(request, *answer))
        request.finish()


def in_pieces(registry: CollectorRegistry, encode: Encode) -> Iterator[bytes]:
    """The same text as ``encode`` makes of the whole, a few samples at a time."""
    end = b""
    for family in registry.collect():
        for place in range(0, max(1, len(family.samples)), PIECE):
            piece = copy(family)
            piece.samples = family.samples[place : place + PIECE]
            text = encode(_One(piece))
            if text.endswith(EOF):
                text, end = text[: -len(EOF)], EOF
            if place:  # it says again what the family is
                while text.startswith(b"#"):
                    text = text.partition(b"\n")[2]
            yield text
    yield end


class _One(Collector):
    """A family, or a part of one, as what is asked for families."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _encoder(request: Request) -> tuple[Encode, str]:
    accept = b",".join(request.requestHeaders.getRawHeaders(b"accept", ()))
    try:
        return choose_encoder(accept.decode("ascii", "replace"))
    except (ValueError, TypeError):  # "version=x": prometheus_client compares an unparsed one
        return choose_encoder("")


def metrics_site(metrics: Metrics, reactor: IReactorTime) -> Site:
    """A site with the metrics at ``/metrics`` and a link to them at ``/``."""
    first = '<!DOCTYPE html>\n<title>proxyd</title>\n<p><a href="/metrics">Metrics</a>\n'
    return QuietSite(Directory({"": Page(first, HTML), "metrics": MetricsPage(metrics, reactor)}), reactor)
