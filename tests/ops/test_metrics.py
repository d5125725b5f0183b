"""Does Prometheus see what has passed and how it is?"""

from __future__ import annotations

from collections import Counter

import attrs
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

import proxyd
from proxyd.errors import Reason
from proxyd.ops.metrics import PIECE, Metrics, in_pieces, metrics_site
from proxyd.snapshots import (
    AcmeSnapshot,
    AffinitySnapshot,
    ListenerSnapshot,
    MaintenanceSnapshot,
    NameSnapshot,
    ServerSnapshot,
    SheddingSnapshot,
    Snapshot,
)
from tests.ops.exchange import Answer, connect, exchange
from tests.ops.records import record, refused
from tests.support.case import Case

A = ServerSnapshot("web", "a", "10.0.0.1:80", "up", 2, False, 3)
B = ServerSnapshot("web", "b", "10.0.0.2:80", "down", 1, False, 0, "refused")
WEB = ListenerSnapshot("web", 3, requests=2)
NOW = Snapshot((WEB,), (A, B), 0.25)

LABELS = (
    "listener",
    "pool",
    "server",
    "reason",
    "fault",
    "direction",
    "state",
    "version",
    "le",
    "name",
    "step",
    "authority",
    "certificate",
    "result",
    "status",
    "route",
)


class MetricsCase(Case):
    """Metrics that are scraped over HTTP, and the snapshot they see."""

    def setUp(self) -> None:
        self.now = NOW
        self.metrics = Metrics(lambda: self.now)
        self.clock = Clock()
        self.site = metrics_site(self.metrics, self.clock)

    def scrape(self) -> Answer:
        return exchange(self.site, "/metrics")

    def samples(self) -> dict[str, dict[tuple[str, ...], float]]:
        """The value of each sample by its name and its labels' values, in the order of LABELS."""
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in parse_text(self.scrape().body):
            for sample in family.samples:
                self.assertLessEqual(set(sample.labels), set(LABELS))
                labels = tuple(sample.labels[name] for name in LABELS if name in sample.labels)
                self.assertNotIn(labels, found.get(sample.name, {}), "a series is there twice")
                found.setdefault(sample.name, {})[labels] = sample.value
        return found

    def let_flow(self, bytes_in: int, bytes_out: int, open: int = 1) -> None:
        """Let this much have passed on each of so many open connections."""
        live = (("web", "a", bytes_in, bytes_out),) * open
        self.now = attrs.evolve(NOW, listeners=(attrs.evolve(WEB, live=live),))


class WhatPassed(MetricsCase):
    """Counters and histograms."""

    def test_connections(self) -> None:
        """Connections are counted by where they led, why they ended, and whose fault it was."""
        self.metrics.passed.closed(record())
        self.metrics.passed.closed(record())
        self.metrics.passed.closed(record(server="b", reason=Reason.SERVER_RESET))
        self.metrics.passed.closed(refused())
        self.assertEqual(
            self.samples()["proxyd_connections_total"],
            {
                ("web", "web", "a", "client_finished", "nobody"): 2,
                ("web", "web", "b", "server_reset", "server"): 1,
                ("web", "web", "", "no_server", "server"): 1,
            },
        )

    def test_every_reason(self) -> None:
        """Each reason is a series with its fault."""
        for reason in Reason:
            self.metrics.passed.closed(record(reason=reason))
        self.assertEqual(
            {labels[3:]: count for labels, count in self.samples()["proxyd_connections_total"].items()},
            {(reason.code, reason.fault.value): 1 for reason in Reason},
        )

    def test_refused(self) -> None:
        """What never reached a server is counted apart, though a server was tried."""
        self.metrics.passed.closed(record())
        self.metrics.passed.closed(refused())
        self.metrics.passed.closed(refused(server="b", reason=Reason.CONNECT_REFUSED, retries=2))
        self.assertEqual(
            self.samples()["proxyd_refused_total"],
            {("web", "no_server"): 1, ("web", "connect_refused"): 1},
        )

    def test_retries(self) -> None:
        """Servers tried in vain are counted, by pool; a pool without any is zero from the start."""
        self.assertEqual(self.samples()["proxyd_connect_retries_total"], {("web",): 0})
        self.metrics.passed.closed(record(retries=2))
        self.metrics.passed.closed(refused(retries=1))
        self.assertEqual(self.samples()["proxyd_connect_retries_total"], {("web",): 3})

    def test_connect_seconds(self) -> None:
        """Connects fall into buckets by server; failed ones are not among them."""
        self.metrics.passed.closed(record(connect_seconds=0.0003))
        self.metrics.passed.closed(record(connect_seconds=3.0))
        self.metrics.passed.closed(refused(server="a"))
        samples = self.samples()
        self.assertEqual(samples["proxyd_connect_seconds_count"], {("web", "a"): 2, ("web", "b"): 0})
        self.assertEqual(samples["proxyd_connect_seconds_sum"]["web", "a"], 3.0003)
        buckets = samples["proxyd_connect_seconds_bucket"]
        self.assertEqual(
            [buckets["web", "a", le] for le in ("0.00025", "0.0005", "2.5", "5.0", "+Inf")], [0, 1, 1, 2, 2]
        )

    def test_connection_seconds(self) -> None:
        """Every connection's time is counted by listener, refused ones too."""
        self.metrics.passed.closed(record(total_seconds=2.0))
        self.metrics.passed.closed(refused(total_seconds=0.0))
        samples = self.samples()
        self.assertEqual(samples["proxyd_connection_seconds_count"], {("web",): 2})
        self.assertEqual(samples["proxyd_connection_seconds_sum"], {("web",): 2.0})

    def test_labels_are_bounded(self) -> None:
        """Neither clients nor details nor addresses make series."""
        self.metrics.passed.closed(record())
        before = {name: set(series) for name, series in self.samples().items()}
        for n in range(100):
            self.metrics.passed.closed(
                record(client=f"10.0.0.9:{n}", detail=f"d{n}", server_address=f"10.1.1.{n}:80")
            )
        self.assertEqual({name: set(series) for name, series in self.samples().items()}, before)


class Bytes(MetricsCase):
    """The byte counters."""

    def bytes(self) -> tuple[float, float]:
        found = self.samples().get("proxyd_bytes_total", {})
        return found.get(("web", "web", "a", "in"), 0), found.get(("web", "web", "a", "out"), 0)

    def test_servers_that_are_no_more(self) -> None:
        """What has passed with them is dropped when they have gone, or names would make series for ever."""
        self.metrics.passed.closed(record(bytes_in=5, retries=1))
        self.metrics.passed.closed(record(server="b"))
        self.metrics.passed.closed(refused())
        self.samples()
        self.now = attrs.evolve(NOW, servers=(B,))
        found = self.samples()
        for name in "proxyd_connections_total", "proxyd_bytes_total", "proxyd_connect_seconds_count":
            self.assertEqual({labels for labels in found[name] if "a" in labels}, set(), name)
            self.assertTrue({labels for labels in found[name] if "b" in labels}, name)
        self.assertIn(("web", "web", "", "no_server", "server"), found["proxyd_connections_total"])

    def test_connections_of_servers_that_go(self) -> None:
        """As long as one is open, what passes on it is counted."""
        self.let_flow(7, 9)
        self.now = attrs.evolve(self.now, servers=(B,))
        self.assertEqual(self.samples()["proxyd_bytes_total"]["web", "web", "a", "in"], 7)

    def test_closed(self) -> None:
        """What passed on connections that have ended is counted in both directions."""
        self.metrics.passed.closed(record())
        self.metrics.passed.closed(record())
        self.assertEqual(self.bytes(), (1034, 40960))

    def test_open(self) -> None:
        """What passed on open connections is counted while they are open."""
        self.metrics.passed.closed(record(bytes_in=1, bytes_out=2))
        self.let_flow(10, 20, open=2)
        self.assertEqual(self.bytes(), (21, 42))

    def test_end_of_an_open_one(self) -> None:
        """When an open connection ends, its bytes are counted once and none is lost."""
        self.let_flow(10, 20)
        self.assertEqual(self.bytes(), (10, 20))
        self.now = NOW
        self.metrics.passed.closed(record(bytes_in=12, bytes_out=20))
        self.assertEqual(self.bytes(), (12, 20))

    def test_never_back(self) -> None:
        """A scrape between the end of a connection and its record does not see fewer bytes."""
        for closed_in, closed_out in (0, 0), (25, 25):  # at first there is no record of this server at all
            self.let_flow(10, 20)
            self.assertEqual(self.bytes(), (closed_in + 10, closed_out + 20))
            self.now = NOW
            self.assertEqual(self.bytes(), (closed_in + 10, closed_out + 20))
            self.metrics.passed.closed(record(bytes_in=25, bytes_out=25))
            self.assertEqual(self.bytes(), (closed_in + 25, closed_out + 25))


class WhatIs(MetricsCase):
    """Gauges, from the snapshot."""

    def test_open(self) -> None:
        """Open connections are shown by listener and by server."""
        samples = self.samples()
        self.assertEqual(samples["proxyd_connections_open"], {("web",): 3})
        self.assertEqual(samples["proxyd_requests_open"], {("web",): 2})
        self.assertEqual(samples["proxyd_server_connections_open"], {("web", "a"): 3, ("web", "b"): 0})

    def test_state(self) -> None:
        """Exactly one state of a server is 1."""
        self.now = attrs.evolve(NOW, servers=(A, B, attrs.evolve(A, name="c", state="checking")))
        samples = self.samples()
        self.assertEqual(
            samples["proxyd_server_up"],
            {("web", "a"): 1, ("web", "b"): 0, ("web", "c"): 0},
        )
        state = samples["proxyd_server_state"]
        hot = {labels[1]: labels[2] for labels, value in state.items() if value == 1}
        self.assertEqual(hot, {"a": "up", "b": "down", "c": "checking"})
        self.assertEqual(Counter(state.values())[1], 3)

    def test_weight(self) -> None:
        """Weights are shown."""
        self.assertEqual(self.samples()["proxyd_server_weight"], {("web", "a"): 2, ("web", "b"): 1})

    def test_max_connections(self) -> None:
        """How many a server may have now, where that has a bound."""
        self.now = attrs.evolve(NOW, servers=(attrs.evolve(A, max_connections=17), B))
        self.assertEqual(self.samples()["proxyd_server_max_connections"], {("web", "a"): 17})

    def test_trial(self) -> None:
        """A server that has to show that it is well."""
        self.now = attrs.evolve(NOW, servers=(attrs.evolve(A, trial=True), B))
        self.assertEqual(self.samples()["proxyd_server_trial"], {("web", "a"): 1, ("web", "b"): 0})

    def test_tls_failures(self) -> None:
        """In how many connections TLS did not come about, of the servers that have it."""
        self.now = attrs.evolve(NOW, servers=(attrs.evolve(A, tls_failures=3), B))
        self.assertEqual(self.samples()["proxyd_server_tls_failures_total"], {("web", "a"): 3})

    def test_affinity(self) -> None:
        """What a pool remembers, and what came of it."""
        web = AffinitySnapshot("web", entries=7, hits=6, misses=5, moved=4, spilled=3, evicted=2, expired=1)
        self.now = attrs.evolve(NOW, affinities=(web,))
        samples = self.samples()
        self.assertEqual(samples["proxyd_affinity_entries"], {("web",): 7})
        for value, name in enumerate(("expired", "evicted", "spilled", "moved", "misses", "hits"), 1):
            self.assertEqual(samples[f"proxyd_affinity_{name}_total"], {("web",): value})
        self.now = NOW
        self.assertNotIn("proxyd_affinity_entries", self.samples())

    def test_maintenance(self) -> None:
        """Which pools are in maintenance, and how many were turned away."""
        pools = (MaintenanceSnapshot("web", True, 7), MaintenanceSnapshot("db", False, 0))
        self.now = attrs.evolve(NOW, maintenances=pools)
        samples = self.samples()
        self.assertEqual(samples["proxyd_pool_maintenance"], {("web",): 1, ("db",): 0})
        self.assertEqual(samples["proxyd_maintenance_refused_total"], {("web",): 7, ("db",): 0})

    def test_names(self) -> None:
        """Each name that servers are given by: what it has, and whether it resolves."""
        fine = NameSnapshot("db.example", (("web", "a"),), ("10.0.0.1", "::1"), 40.0, "", 3, 1)
        failing = NameSnapshot("srv:_x._tcp.example", trouble="timeout", lookups=2, failures=2)
        self.now = attrs.evolve(NOW, names=(fine, failing))
        found = self.samples()
        for name, values in (
            ("addresses", (2, 0)),
            ("ttl_seconds", (40, 0)),
            ("failing", (0, 1)),
            ("lookups_total", (3, 2)),
            ("failures_total", (1, 2)),
        ):
            wanted = dict(zip([(fine.name,), (failing.name,)], values))
            self.assertEqual(found[f"proxyd_name_{name}"], wanted)

    def test_acme(self) -> None:
        """Each certificate from an authority: when it expires, when it is renewed, and what came of it."""
        self.assertNotIn("proxyd_acme_failures", self.samples())
        one = AcmeSnapshot(
            "le", "www", "/c/www.pem", ("www.example",), 5000.0, 3000.0, 2, 7, 3, "nobody is there"
        )
        self.now = attrs.evolve(NOW, acme=(one,))
        found = self.samples()
        for name, value in (
            ("expiry_timestamp_seconds", 5000),
            ("next_timestamp_seconds", 3000),
            ("failures", 3),
        ):
            self.assertEqual(found[f"proxyd_acme_{name}"], {("le", "www"): value})
        self.assertEqual(
            found["proxyd_acme_renewals_total"], {("le", "www", "ok"): 2, ("le", "www", "failed"): 7}
        )

    def test_lag(self) -> None:
        """How late the event loop runs is there for an alert."""
        self.assertEqual(self.samples()["proxyd_reactor_lag_seconds"], {(): 0.25})

    def test_bans(self) -> None:
        """So is how many are banned."""
        self.assertEqual(self.samples()["proxyd_bans"], {(): 0})

    def test_shedding(self) -> None:
        """Where load may be shed, how far it has come and what was done; elsewhere no such series."""
        self.assertNotIn("proxyd_shedding_step", self.samples())
        self.now = attrs.evolve(
            NOW, shedding=SheddingSnapshot(2, {"idle": 3, "accepting": 1, "cutting": 0}, 7)
        )
        samples = self.samples()
        self.assertEqual(samples["proxyd_shedding_step"], {(): 2})
        self.assertEqual(
            samples["proxyd_shedding_taken_total"], {("idle",): 3, ("accepting",): 1, ("cutting",): 0}
        )
        self.assertEqual(samples["proxyd_shedding_cut_total"], {(): 7})

    def test_process(self) -> None:
        """The version and the process's own numbers are there."""
        samples = self.samples()
        self.assertEqual(samples["proxyd_info"], {(proxyd.__version__,): 1})
        self.assertGreater(samples["process_start_time_seconds"][()], 0)
        self.assertGreater(samples["process_open_fds"][()], 0)

    def test_own_registry(self) -> None:
        """Two daemons in one process do not meet in a global registry."""
        Metrics(lambda: NOW)
        self.assertEqual([one.name for one in REGISTRY.collect() if one.name.startswith("proxyd")], [])


class Scrape(MetricsCase):
    """The page."""

    def test_formats(self) -> None:
        """Prometheus gets OpenMetrics if it asks for it, with the families of the text format."""
        self.metrics.passed.closed(record())
        names = {family.name for family in parse_text(self.scrape().body)}
        for accept in (
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
        ):
            answer = exchange(self.site, "/metrics", headers=(f"Accept: {accept}",))
            self.assertTrue(answer.headers["content-type"].startswith("application/openmetrics-text;"))
            # OpenMetrics names a counter and an info without their suffix.
            open_names = {family.name for family in parse_openmetrics(answer.body)}
            suffixes = {name + "_info" for name in open_names} | open_names
            self.assertEqual(names - suffixes, set())

    def test_strange_accept(self) -> None:
        """A header that makes no sense gets the text format, and the log stays quiet."""
        strange = (
            "",
            "*/*",
            "text/html",
            "application/openmetrics-text;version=x",
            ",;=,;q",
            "\xff",
            "a" * 9000,
        )
        for accept in strange:
            answer = exchange(self.site, "/metrics", headers=(f"Accept: {accept}",))
            self.assertEqual(answer.status, 200, accept)
            self.assertTrue(answer.headers["content-type"].startswith("text/plain; version=0.0.4"), accept)
            self.assertIn("proxyd_info", answer.body)

    def test_in_pieces(self) -> None:
        """Many servers are told in many turns, whose text is that of a single one."""
        many = tuple(attrs.evolve(A, name=f"s{number}") for number in range(500))
        self.now = attrs.evolve(NOW, servers=many)
        families = list(self.metrics.registry.collect())
        whole = CollectorRegistry()
        whole.collect = lambda: iter(families)  # type: ignore[method-assign]
        for encode in (generate_latest, generate_openmetrics):
            pieces = list(in_pieces(whole, encode))
            self.assertEqual(b"".join(pieces), encode(whole))
            self.assertLessEqual(max(piece.count(b"\n") for piece in pieces), PIECE + len(("HELP", "TYPE")))
            self.assertGreater(len(pieces), len(families) + 1)

    def test_turns(self) -> None:
        """A scrape leaves turns to others, and ends with its client."""
        protocol, transport = connect(self.site)
        protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(transport.value(), b"")
        protocol.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(0)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_head(self) -> None:
        """HEAD is answered without a body."""
        answer = exchange(self.site, "/metrics", "HEAD")
        self.assertEqual((answer.status, answer.body), (200, ""))
        self.assertGreater(int(answer.headers["content-length"]), 1000)

    def test_post(self) -> None:
        """Nothing can be posted."""
        self.assertEqual(exchange(self.site, "/metrics", "POST", body=b"x").status, 405)

    def test_first_page(self) -> None:
        """The first page leads to the metrics; there is nothing else."""
        self.assertIn('<a href="/metrics">', exchange(self.site, "/").body)
        self.assertEqual(exchange(self.site, "/metrics/more").status, 404)

    def test_failure(self) -> None:
        """A scrape that fails is a 500 without a traceback; the log has one, until it works again."""

        def broken() -> Snapshot:
            raise ZeroDivisionError("secret")

        healthy, self.metrics._take_snapshot = self.metrics._take_snapshot, broken
        for _ in range(3):
            answer = self.scrape()
            self.assertEqual(
                (answer.status, answer.body), (500, "500: the metrics cannot be collected, see the log\n")
            )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.metrics._take_snapshot = healthy
        self.assertEqual(self.scrape().status, 200)
        self.metrics._take_snapshot = broken
        self.assertEqual(self.scrape().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
