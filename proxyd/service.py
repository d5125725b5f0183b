"""
How do the rooms become one daemon?

Assembly, start and stop; no other behaviour lives here.  `ProxyService.bind` takes every port and opens
every log while the process is still in the foreground and has its privileges; what fails there fails the
start.  `startService` begins to serve.  `stopService` goes in this order:

1. The listeners close: new clients are refused by the kernel, and go elsewhere.
2. Connections end by themselves, for up to ``drain_timeout``.
3. The rest are cut, with the reason ``drained``.
4. The checks end, and no name is looked up any more; until now sessions that were still dialing were told
   which servers were up, and where.  What the next process should know is written.
5. The admin socket and the metrics close; until now the drain could be watched.
6. The access log is written out, with the last record in it.
7. The demo servers close; until now sessions may have been talking to them.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from time import thread_time
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence, Union

from OpenSSL.SSL import Context
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from proxyd.config.address import Bind
from proxyd.config.bind import own_tls
from proxyd.config.compression import CompressionSpec
from proxyd.config.document import Config
from proxyd.config.http import HTTP
from proxyd.config.listener import ListenerSpec
from proxyd.config.lists import MAINTENANCE_ALLOW
from proxyd.config.tcp import UNTOUCHED, TcpSpec
from proxyd.config.tls import FETCH, TlsSpec
from proxyd.demo import demo_site
from proxyd.errors import Reason, StartError
from proxyd.frontends.acme import Bounded, Challenges
from proxyd.frontends.http.cache import Cache
from proxyd.frontends.http.factory import HttpFactory
from proxyd.frontends.http.recoding import Compressor
from proxyd.frontends.http.routing import Routing
from proxyd.frontends.http.underway import count_requests, open_requests
from proxyd.interfaces import IDatapath, IObserver
from proxyd.native import version
from proxyd.ops.accesslog import AccessLog
from proxyd.ops.admin import AdminFactory
from proxyd.ops.changes import Changes
from proxyd.ops.command import Steered
from proxyd.ops.lag import Lag
from proxyd.ops.metrics import Metrics, metrics_site
from proxyd.ops.pages import QuietSite
from proxyd.ops.state import StateLog
from proxyd.policy.admission import Admission
from proxyd.policy.balance import make_balancer
from proxyd.policy.bans import Ban, Bans
from proxyd.policy.counters import Counters
from proxyd.policy.limits import Limits
from proxyd.policy.lists import Lists
from proxyd.policy.pool import Pool
from proxyd.policy.routelimits import RouteLimits
from proxyd.relay.admission import cut_banned
from proxyd.relay.capacity import Capacity, connections_for, raise_limit
from proxyd.relay.connections import open_connections
from proxyd.relay.deadlines import Wheel
from proxyd.relay.factory import ProxyFactory
from proxyd.relay.failover import Failover
from proxyd.relay.lane.datapath import Lane, can_run_on
from proxyd.relay.listener import EndpointListener, Listener, bound_listener
from proxyd.relay.stock import Stock
from proxyd.relay.tally import Tally
from proxyd.relay.tcp import degraded_towards
from proxyd.relay.tls.server import ServerTls
from proxyd.snapshots import BudgetSnapshot, ListenerSnapshot, Snapshot
from proxyd.upkeep.acme.renewal import AcmeCertificates
from proxyd.upkeep.affinity import carry_tables_over, give_secrets
from proxyd.upkeep.bans import BanSweep, carry_over_bans
from proxyd.upkeep.certificates import CertificateFiles
from proxyd.upkeep.counters import CountersSweep
from proxyd.upkeep.health import HealthChecks
from proxyd.upkeep.lists import ListFiles
from proxyd.upkeep.maintenance import carry_maintenance_over
from proxyd.upkeep.names import Names
from proxyd.upkeep.ocsp import OcspResponses
from proxyd.upkeep.resolver import Resolver
from proxyd.upkeep.servertls import ServerTlsFiles
from proxyd.upkeep.shedding import LoadShedding, measure
from proxyd.upkeep.state import Turns, carry_over
from proxyd.upkeep.statefile import StateFolder
from proxyd.upkeep.walltime import WallTimeLook
from proxyd.walltime import WallTime

NAMES_SECONDS = 5.0  # that a start waits for the names of servers; clients wait in the kernel meanwhile

LAST_SECONDS = 2.0  # for connections that were cut to be gone

AnyListener = Union[Listener, EndpointListener]


class ProxyService(Service):
    """
    The daemon.

    ``random`` gives numbers from 0 up to 1, and ``time`` what the clock on the wall shows; the seconds of the
    reactor should be monotonic.  ``draining`` is called when a stop has begun.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: Config,
        environ: Mapping[str, str],
        random: Callable[[], float],
        time: Callable[[], float],
        draining: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._environ = environ
        self._draining = draining
        self._drain: Deferred[Any] = Deferred()
        self._wall = WallTime(reactor.seconds, time)
        self._wall_look = WallTimeLook(reactor, self._wall)
        stock = Stock(reactor)
        self._datapaths: dict[str, IDatapath] = {"stock": stock, "lane": stock}
        if can_run_on(reactor):
            self._datapaths["lane"] = Lane(reactor)
        elif any(spec.datapath == "lane" for spec in config.listeners):
            self.log.warn("this host or reactor has no lane (datapath = lane): Twisted's transports serve")
        descriptors = raise_limit()
        self.capacity = Capacity(reactor, config.daemon.max_connections or connections_for(descriptors))
        if self.capacity.most > connections_for(descriptors):
            self.log.warn(
                "max_connections = {most} may not be reached: each connection takes two descriptors, and "
                "the limit is {descriptors} (LimitNOFILE= or ulimit -n raises it)",
                most=self.capacity.most,
                descriptors=descriptors,
            )
        self.pools = {
            spec.name: Pool(spec, make_balancer(spec.balance, random, reactor.seconds))
            for spec in config.pools
        }
        state_log, self._changes = StateLog(), Changes(reactor.seconds)
        for pool in self.pools.values():
            pool.watch(state_log.changed)
            self._changes.watch(pool)
        self._state = StateFolder(config.daemon.state, reactor, self._in_thread, self._wall)
        self._turns = Turns(reactor, list(self.pools.values()))
        self._server_tls = ServerTls(config.pools, reactor.seconds)
        self._checks = HealthChecks(
            reactor,
            self._wall,
            random,
            self._datapaths["lane"],
            list(self.pools.values()),
            self._server_tls,
        )
        self._lists = Lists(config.lists)
        for pool in self.pools.values():
            pool.maintenance.allowed = self._lists.members(pool.spec.maintenance_allow, MAINTENANCE_ALLOW)
        self.bans = Bans(config.daemon.max_bans)
        self._sweep = BanSweep(reactor, random, self.bans, self._wall)
        resolvers = config.daemon.resolvers
        self._acme = AcmeCertificates(
            reactor, random, config.acme, config.daemon.state, self._state, self._in_thread, self._wall
        )
        self._names = Names(reactor, Resolver(reactor, resolvers), resolvers, list(self.pools.values()))
        self._lag = Lag(reactor)
        self._metrics = Metrics(self.snapshot)
        self._access_log = None
        if config.daemon.access_log is not None:
            self._access_log = AccessLog(config.daemon.access_log, reactor)
        self.counters = tuple(Counters(spec) for spec in config.counters)
        self._counters_sweep = CountersSweep(reactor, random, self.counters)
        self._wheel = Wheel(reactor)
        self.caches = {spec.name: Cache(spec, reactor, self._wall, self._in_thread) for spec in config.caches}
        self.frontends = self._make_frontends()
        self._certificates = CertificateFiles(
            reactor, random, self._in_thread, self._wall, self._acme.answers
        )
        stapled = partial(self._certificates.with_ocsp, FETCH)
        self._ocsp = OcspResponses(reactor, random, stapled, self._state, self._wall)
        self._list_files = ListFiles(reactor, random, self._lists.files)
        self._server_tls_files = ServerTlsFiles(reactor, random, self._in_thread, self._server_tls)
        self._failover = Failover(reactor, self.frontends)
        for pool in self.pools.values():
            pool.watch(self._failover.changed)
        self.listeners: list[AnyListener] = []
        self._shedding = self._make_shedding(random)
        self._admin_listeners: list[AnyListener] = []
        self._metrics_listeners: list[AnyListener] = []
        self._demo_listeners: list[AnyListener] = []
        self._acme_listeners: list[AnyListener] = []

    def _make_frontends(self) -> tuple[ProxyFactory, ...]:
        counters = {one.spec.name: one for one in self.counters}
        observers: list[IObserver] = [self._metrics.passed]
        if self._access_log is not None:
            observers.append(self._access_log)
        frontends: list[ProxyFactory] = []
        limits = {route.name: RouteLimits(route) for spec in self._config.listeners for route in spec.routes}
        for spec in self._config.listeners:
            given = (
                spec,
                self.pools,
                self._datapaths[spec.datapath],
                self._wheel,
                self._reactor.seconds,
                self._wall,
                self.capacity,
                observers,
                Admission(spec.access, self._lists, self.bans),
                self._tally(spec, [counters[name] for name in spec.track]),
                self._server_tls,
            )
            if spec.protocol != HTTP:
                frontends.append(ProxyFactory(*given))
                continue
            routing = None
            if spec.routes or spec.http.root is not None:
                routing = Routing(
                    spec, self.pools, self._lists, limits, self._reactor, self._in_thread,
                    self.caches, self._compressor,
                )  # fmt: skip
            cache, compressor = self.caches.get(spec.http.cache), self._compressor(spec.http.compression)
            frontends.append(HttpFactory(*given, routing, cache, compressor))
        return tuple(frontends)

    def _compressor(self, spec: Optional[CompressionSpec]) -> Optional[Compressor]:
        return (
            None if spec is None else Compressor(spec, self._reactor.seconds, thread_time, self._lag.latest)
        )

    def _tally(self, spec: ListenerSpec, counters: Sequence[Counters]) -> Optional[Tally]:
        tally = Tally(spec.name, Limits(spec), counters, self.bans, self._reactor.seconds, self._wall)
        return None if tally.none else tally

    def _make_shedding(self, random: Callable[[], float]) -> Optional[LoadShedding]:
        spec = self._config.daemon.shed
        if spec is None:
            return None
        return LoadShedding(
            self._reactor,
            random,
            spec,
            self.frontends,
            self.listeners,
            self._wheel,
            self.capacity,
            lambda: measure(self._lag.latest()),
        )

    def _in_thread(self, work: Callable[[], Any]) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)

    def _make_admin(self) -> AdminFactory:
        steered = Steered(
            pools=self.pools,
            seconds=self._reactor.seconds,
            wall=self._wall,
            started=self._reactor.seconds(),
            listeners=lambda: ((frontend.spec, len(frontend.sessions)) for frontend in self.frontends),
            max_connections=self.capacity.most,
            connections=lambda listener, tcp: open_connections(self.frontends, listener, tcp),
            requests=lambda listener, older: open_requests(self.frontends, listener, older),
            checks=self._checks.snapshots,
            changes=self._changes,
            names=self._names.snapshots,
            bans=self.bans,
            cut=self._cut_banned,
            counters=self.counters,
            acme=self._acme.snapshots,
            ocsp=self._ocsp.snapshots,
            certificates=self._certificates.certificates,
            caches=self.caches,
        )
        return AdminFactory(steered, self._reactor)

    def _cut_banned(self, ban: Ban) -> int:
        sessions = [session for frontend in self.frontends for session in frontend.sessions]
        return cut_banned(sessions, ban, self._wall.now())

    def bind(self) -> None:
        """Take every port and open every log, or take none and raise `StartError` with all that failed."""
        wrong = self._checks.faults()
        wrong += self._server_tls_files.load()
        wrong += give_secrets(list(self.pools.values()))
        lane = self._datapaths["lane"]
        try:
            self._state.check()
            wrong += self._acme.prepare()
        except StartError as error:
            wrong += error.lines
        if self._access_log is not None:
            try:
                self._access_log.open()
            except StartError as error:
                wrong += error.lines
        wrong += self._list_files.load()
        for cache in self.caches.values():
            wrong += cache.faults()
        for frontend in self.frontends:
            if isinstance(frontend, HttpFactory):
                wrong += frontend.load()
            self._bind_listener(frontend, wrong)
        if self._config.daemon.admin is not None:
            self._bind(self._config.daemon.admin, lane, self._make_admin(), self._admin_listeners, wrong)
        if self._config.daemon.metrics is not None:
            site = metrics_site(self._metrics, self._reactor)
            self._bind(self._config.daemon.metrics, lane, site, self._metrics_listeners, wrong)
        for spec in self._config.acme:
            for bind in spec.binds:
                challenges = Bounded(QuietSite(Challenges(self._acme.answers), self._reactor))
                self._bind(bind, lane, challenges, self._acme_listeners, wrong)
        for server in self._config.demo.servers if self._config.demo is not None else ():
            site = demo_site(server.name, self._reactor)
            self._bind(server.bind, lane, site, self._demo_listeners, wrong)
        if wrong:
            self._release()
            raise StartError(tuple(wrong))

    def _bind_listener(self, frontend: ProxyFactory, wrong: list[str]) -> None:
        spec = frontend.spec
        for bind in spec.binds:
            front = self._front(f"listener {spec.name}", spec.tls_at(bind), wrong)
            if spec.header_before_tls or spec.offers_tls:
                frontend.front, front = front, None
            datapath = self._datapaths[spec.datapath]
            self._bind(bind, datapath, frontend, self.listeners, wrong, self.capacity, spec.tcp, front)

    def _front(self, section: str, tls: Optional[TlsSpec], wrong: list[str]) -> Optional[Context]:
        """What connections begin with where TLS ends, once the certificates are loaded."""
        try:
            return self._certificates.load(section, tls).front if tls is not None else None
        except StartError as error:
            wrong += [line for line in error.lines if line not in wrong]
            return None

    def _bind(
        self,
        bind: Bind,
        datapath: IDatapath,
        factory: IProtocolFactory,
        bound: list[AnyListener],
        wrong: list[str],
        capacity: Union[Capacity, None] = None,
        tcp: TcpSpec = UNTOUCHED,
        front: Optional[Context] = None,
    ) -> None:
        front = front or self._front("proxyd", own_tls(bind) if capacity is None else None, wrong)
        try:
            listener = bound_listener(
                self._reactor, datapath, bind, self._environ, factory, capacity, tcp, front
            )
            bound.append(listener)
        except StartError as error:
            wrong += error.lines

    def _release(self) -> None:
        for listener in self._all_listeners():
            listener.stopListening()
        if self._access_log is not None:
            self._access_log.close()
        self._close()

    def _close(self) -> None:
        self.capacity.stop()
        for datapath in set(self._datapaths.values()):
            datapath.close()

    def _all_listeners(self) -> list[AnyListener]:
        return self.listeners + self._own_listeners()

    def _own_listeners(self) -> list[AnyListener]:
        """Those whose clients are not led to a pool."""
        return self._admin_listeners + self._metrics_listeners + self._demo_listeners + self._acme_listeners

    def startService(self) -> None:
        super().startService()
        self.log.info(
            "proxyd {version}: {listeners}, {pools}, up to {connections}",
            version=version(),
            listeners=_counted(len(self.frontends), "listener"),
            pools=_counted(len(self.pools), "pool"),
            connections=_counted(self.capacity.most, "connection"),
        )
        for frontend in self.frontends:
            self.log.info(
                "[listener {name}] on {binds} leads to {pools}",
                name=frontend.spec.name,
                binds=", ".join(bind.text for bind in frontend.spec.binds),
                pools=", ".join(str(self.pools[name]) for name in frontend.spec.pools),
            )
        for line in self._degraded():
            self.log.warn("degraded: {line}", line=line)
        self._wall_look.start()
        carry_over(self._state, list(self.pools.values()), self._reactor.seconds(), self._wall)
        carry_maintenance_over(self._state, list(self.pools.values()))
        carry_tables_over(self._state, list(self.pools.values()), self._reactor.seconds, self._wall)
        carry_over_bans(self._state, self.bans, self._wall.now())
        for listener in self._own_listeners():
            listener.startListening()
        for cache in self.caches.values():
            cache.begin()
        self._acme.start()
        self._state.start()
        self._names.start()
        for frontend in self.frontends:
            looked_up = self._names.looked_up(frontend.spec.pools)
            looked_up.addTimeout(NAMES_SECONDS, self._reactor).addBoth(self._open, frontend)
        self._checks.start()
        self._turns.start()
        self._list_files.start()
        self._certificates.start()
        self._ocsp.start()
        self._server_tls_files.start()
        self._sweep.start()
        self._counters_sweep.start()
        self._lag.start()
        if self._shedding is not None:
            self._shedding.start()

    def _open(self, looked_up: Any, frontend: ProxyFactory) -> None:
        """Let clients in: it is known where their servers are, or that this will not be known soon."""
        if self.running:
            for listener in self.listeners:
                if listener.factory is frontend:
                    listener.startListening()

    def _degraded(self) -> Iterator[str]:
        """What of TCP is asked for and this host does not let us do, now that privileges are dropped."""
        for frontend in self.frontends:
            own = [listener for listener in self.listeners if listener.factory is frontend]
            for line in dict.fromkeys(line for listener in own for line in listener.degraded):
                yield f"[listener {frontend.spec.name}] {line}"
        for pool in self.pools.values():
            for line in degraded_towards(pool.servers):
                yield f"[pool {pool.name}] {line}"

    def stopService(self) -> Deferred[None]:
        """Stop in the order that this module's docstring gives; fires when all is still."""
        super().stopService()
        self._draining()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for listener in self.listeners:
            await maybeDeferred(listener.stopListening)
        await self._drain_sessions()
        await self._acme.stop()
        await self._names.stop()
        await self._checks.stop()
        self._turns.stop()
        await self._list_files.stop()
        await self._certificates.stop()
        await self._ocsp.stop()
        await self._server_tls_files.stop()
        await self._sweep.stop()
        await self._counters_sweep.stop()
        if self._shedding is not None:
            await self._shedding.stop()
        self._failover.stop()
        await self._state.stop()
        self._lag.stop()
        self._wall_look.stop()
        for listener in self._admin_listeners + self._metrics_listeners + self._acme_listeners:
            await maybeDeferred(listener.stopListening)
        if self._access_log is not None:
            self._access_log.close()
        for listener in self._demo_listeners:
            await maybeDeferred(listener.stopListening)
        self._close()

    def hurry(self) -> None:
        """Cut the drain short."""
        self._drain.cancel()

    async def _drain_sessions(self) -> None:
        timeout = self._config.daemon.drain_timeout
        if self.capacity.open:
            self.log.info(
                "stopping: up to {timeout:g} s for {connections} to end",
                connections=_counted(self.capacity.open, "open connection"),
                timeout=timeout,
            )
        await self._empty_within(timeout)
        left = [session for frontend in self.frontends for session in frontend.sessions]
        if left:
            self.log.warn("stopping: {left} cut short", left=_counted(len(left), "connection"))
        for session in left:
            session.cut(Reason.DRAINED)
        for cache in self.caches.values():
            cache.close()
        await self._empty_within(LAST_SECONDS)

    async def _empty_within(self, seconds: float) -> None:
        self._drain = self.capacity.when_empty()
        self._drain.addTimeout(seconds, self._reactor)
        try:
            await self._drain
        except (TimeoutError, CancelledError):
            pass

    def snapshot(self) -> Snapshot:
        """What the daemon is doing at this moment."""
        return Snapshot(
            listeners=tuple(_look_at(frontend) for frontend in self.frontends),
            servers=tuple(
                server.snapshot(self._wall.offset) for pool in self.pools.values() for server in pool.servers
            ),
            lag_seconds=self._lag.seconds(),
            counters=tuple(one.snapshot() for one in self.counters),
            queues=tuple(
                pool.queue.snapshot(pool.name) for pool in self.pools.values() if pool.queue is not None
            ),
            affinities=tuple(
                pool.affinity.snapshot(pool.name) for pool in self.pools.values() if pool.affinity is not None
            ),
            maintenances=tuple(pool.maintenance.snapshot() for pool in self.pools.values()),
            checks=tuple(self._checks.snapshots()),
            names=self._names.snapshots(),
            bans=len(self.bans),
            shedding=self._shedding.snapshot() if self._shedding is not None else None,
            acme=self._acme.snapshots(),
            ocsp=self._ocsp.snapshots(),
            certificates=self._certificates.certificates(),
            reloads=self._certificates.reloads(),
            budgets=tuple(self._budgets()),
            caches=tuple(cache.snapshot() for cache in self.caches.values()),
            compression=tuple(
                one
                for frontend in self.frontends
                if isinstance(frontend, HttpFactory)
                for one in frontend.compression()
            ),
        )

    def _budgets(self) -> Iterator[BudgetSnapshot]:
        """Of the pools that are asked by HTTP."""
        asked = {
            name
            for frontend in self.frontends
            if frontend.spec.protocol == HTTP
            for name in frontend.spec.pools
        }
        for name, pool in self.pools.items():
            budget = pool.budget
            if name in asked and budget is not None:
                yield budget.snapshot(name, self._reactor.seconds())


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _look_at(frontend: ProxyFactory) -> ListenerSnapshot:
    return ListenerSnapshot(
        name=frontend.spec.name,
        open=len(frontend.sessions),
        held=len(frontend.exit),
        requests=count_requests(frontend),
        live=tuple(
            (session.picked.pool, session.picked.name, session.client.received, session.server.received)
            for session in chain(frontend.sessions, frontend.streams)
            if session.picked is not None and session.connect_seconds is not None
        ),
    )
