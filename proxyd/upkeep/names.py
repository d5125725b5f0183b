"""
Where are the servers now that are given by a name?

Each name is looked up when the daemon starts and then whenever its TTL is over, never when a client waits.  A
name service that fails, or has no answer, changes nothing: servers keep the addresses that they had, and that
is said once.  An address that has gone gets no new connections, and its server is gone when the last one has
ended.
"""

from __future__ import annotations

from typing import Any, Optional, Protocol, Sequence

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from proxyd.config.address import SrvAddress, TcpAddress, named
from proxyd.config.pool import ServerSpec
from proxyd.config.resolvers import ResolversSpec
from proxyd.policy.names import Answer, Service, Services, Target, clamp, kept, servers_of, targets_of
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.state import OUT, State
from proxyd.snapshots import NameSnapshot
from proxyd.upkeep.periodic import Periodic
from proxyd.upkeep.resolver import all_of

MOST_AT_ONCE = 32  # look-ups, each of which takes two descriptors

FAREWELL_SECONDS = 1.0  # between two looks whether those whose address has gone have ended

log = Logger()


class Asks(Protocol):
    """Who says where names lead, a `proxyd.upkeep.resolver.Resolver`."""

    async def host(self, name: str) -> Answer: ...

    async def services(self, name: str) -> Services: ...


class Names:
    """All names of all pools, as one thing to start and stop."""

    def __init__(self, clock: Any, resolver: Asks, spec: ResolversSpec, pools: Sequence[Pool]) -> None:
        self._names: dict[str, _Name] = {}
        self._clock = clock
        few = DeferredSemaphore(MOST_AT_ONCE)
        for pool in pools:
            for line in pool.spec.servers:
                if named(line.address):
                    subject = _subject(line)
                    if subject not in self._names:
                        kind = _Services if isinstance(line.address, SrvAddress) else _Host
                        self._names[subject] = kind(subject, clock, resolver, spec, few)
                    self._names[subject].lines.append(_Line(clock, pool, line))
        self._farewell = LoopingCall(self._let_go)
        self._farewell.clock = clock

    def start(self) -> None:
        """Look up every name at once, and again when its TTL is over."""
        for name in self._names.values():
            name.periodic.start()
        if self._names:
            self._farewell.start(FAREWELL_SECONDS, now=False)

    def stop(self) -> Deferred[Any]:
        """End all look-ups, those under way too."""
        if self._farewell.running:
            self._farewell.stop()
        return gatherResults([name.periodic.stop() for name in self._names.values()], consumeErrors=True)

    def looked_up(self, pools: Sequence[str]) -> Deferred[Any]:
        """Fires when every name of these pools has been looked up once, in vain or not."""
        names = [name for name in self._names.values() if any(line.pool.name in pools for line in name.lines)]
        return gatherResults([name.when_looked_up() for name in names], consumeErrors=True)

    def snapshots(self) -> tuple[NameSnapshot, ...]:
        """What is known of each name at this moment."""
        return tuple(name.snapshot() for name in self._names.values())

    def _let_go(self) -> None:
        for name in self._names.values():
            for line in name.lines:
                line.let_go()


def _subject(line: ServerSpec) -> str:
    """What is looked up for a line, the same for lines that differ in the port alone."""
    address = line.address
    return address.host.lower() if isinstance(address, TcpAddress) else str(address)


class _Name:
    """A name that is looked up, for all lines that have it."""

    def __init__(
        self, subject: str, clock: Any, resolver: Asks, spec: ResolversSpec, few: DeferredSemaphore
    ) -> None:
        self.subject = subject
        self.lines: list[_Line] = []
        # No jitter: names differ in their TTL, and how many are looked up at once is bounded.
        self.periodic = Periodic(clock, float, spec.min_ttl, self._run, jitter=0.0)
        self._clock = clock
        self._resolver = resolver
        self._spec = spec
        self._few = few
        self._trouble = ""
        self._targets: tuple[Target, ...] = ()
        self._due = 0.0
        self._lookups = 0
        self._failures = 0
        self._looked_up = False
        self._waiting: list[Deferred[None]] = []

    async def _look(self) -> tuple[tuple[Target, ...], float, str]:
        """The targets that are known now, their TTL, and what could not be learnt."""
        raise NotImplementedError

    async def host(self, name: str) -> Answer:
        """The addresses of a host, when others are not being looked up."""
        answer: Answer = await self._few.run(lambda: Deferred.fromCoroutine(self._resolver.host(name)))
        return answer

    async def services(self, name: str) -> Services:
        """The SRV records of a name, when others are not being looked up."""
        found: Services = await self._few.run(lambda: Deferred.fromCoroutine(self._resolver.services(name)))
        return found

    async def _run(self) -> None:
        try:
            targets, ttl, trouble = await self._look()
            if self.periodic.running:
                self._note(targets, ttl, trouble)
        finally:
            self._looked_up = True
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(None)

    def _note(self, targets: tuple[Target, ...], ttl: float, trouble: str) -> None:
        self._lookups += 1
        self._failures += bool(trouble)
        seconds = self._spec.min_ttl if trouble else clamp(ttl, self._spec.min_ttl, self._spec.max_ttl)
        self._due = self._clock.seconds() + seconds
        self.periodic.pace(seconds)
        if targets and targets != self._targets:
            self._targets = targets
            for line in self.lines:
                line.become(targets)
        self._tell(trouble)

    def _tell(self, trouble: str) -> None:
        """Say that there is trouble, and when it is over; not again what it is each time."""
        if trouble and not self._trouble:
            pools = ", ".join(dict.fromkeys(line.pool.name for line in self.lines))
            log.warn(
                "{name} (pool {pools}) did not resolve, {what}: {trouble}",
                name=self.subject,
                pools=pools,
                what="and keeps what it had" if self._targets else "and has never done so",
                trouble=trouble,
            )
        elif self._trouble and not trouble:
            log.info("{name} resolves again", name=self.subject)
        self._trouble = trouble

    def when_looked_up(self) -> Deferred[None]:
        """Fires when it has been looked up once."""
        looked_up: Deferred[None] = Deferred()
        if self._looked_up:
            looked_up.callback(None)
        else:
            self._waiting.append(looked_up)
        return looked_up

    def snapshot(self) -> NameSnapshot:
        """What is known of it at this moment."""
        return NameSnapshot(
            name=self.subject,
            servers=tuple((line.pool.name, name) for line in self.lines for name in line.servers),
            addresses=tuple(dict.fromkeys(each for target in self._targets for each in target.addresses)),
            ttl_seconds=max(0.0, self._due - self._clock.seconds()),
            trouble=self._trouble,
            lookups=self._lookups,
            failures=self._failures,
        )


class _Host(_Name):
    """The name of a host."""

    _known: Optional[Answer] = None

    async def _look(self) -> tuple[tuple[Target, ...], float, str]:
        answer = await self.host(self.subject)
        self._known = known = kept(self._known, answer)
        targets = (Target(self.subject.rstrip("."), known.addresses),) if known is not None else ()
        return targets, answer.ttl, answer.trouble


class _Services(_Name):
    """The name of a service: its SRV records, and the hosts that they name."""

    _known: Sequence[Service] = ()
    _hosts: dict[str, Optional[Answer]] = {}

    async def _look(self) -> tuple[tuple[Target, ...], float, str]:
        services = await self.services(self.subject[len("srv:") :])
        self._known = services.each or self._known
        hosts = list(dict.fromkeys(service.host for service in self._known))
        answers = await all_of(self.host(host) for host in hosts)
        self._hosts = {host: kept(self._hosts.get(host), answer) for host, answer in zip(hosts, answers)}
        troubles = [f"{host}: {answer.trouble}" for host, answer in zip(hosts, answers) if answer.trouble]
        ttl = min([services.ttl, *(answer.ttl for answer in answers)])
        return targets_of(self._known, self._hosts), ttl, services.trouble or "; ".join(troubles)


class _Line:
    """A server's line of the configuration, and the servers of the pool that it stands for at the moment."""

    def __init__(self, clock: Any, pool: Pool, spec: ServerSpec) -> None:
        self.pool = pool
        self.servers = {server.name: server for server in pool.servers if server.name == spec.name}
        self._clock = clock
        self._spec = spec
        self._gone = f"{spec.address} no longer leads there"
        self._leaving: dict[str, Server] = {}
        self._taken: set[str] = set()  # names of ours that others have

    def become(self, targets: Sequence[Target]) -> None:
        """Have the servers that these targets are, and no others."""
        pool, now = self.pool, self._clock.seconds()
        wanted = {spec.name: spec for spec in servers_of(self._spec, targets)}
        back = {name: self._leaving.pop(name) for name in wanted if name in self._leaving}
        here = {**self.servers, **back}
        why = f"{self._spec.address} leads there"
        pool.revise([(here[name], spec) for name, spec in wanted.items() if name in here], why, now)
        for server in back.values():
            server.leaving = False
            if server.state is State.DRAINING and server.why == self._gone:  # and nobody else keeps it out
                pool.enable(server, f"{self._spec.address} leads there again", now)
        new = [spec for name, spec in wanted.items() if name not in here and not self._is_taken(name)]
        # What is there at the first answer has not come back from anywhere.
        cold = not any(named(server.address) for server in here.values())
        here.update({server.name: server for server in pool.add(new, why, now, cold)})
        self.servers = {name: here[name] for name in wanted if name in here}
        for name, server in here.items():
            if name not in wanted:
                server.leaving = True
                if server.open > 0 and server.state not in OUT:
                    pool.drain(server, self._gone, now)
                self._leaving[name] = server
        self.let_go()

    def let_go(self) -> None:
        """Remove those that have left, and whose last connection has ended."""
        over = [name for name, server in self._leaving.items() if not server.open]
        if over:
            gone = [self._leaving.pop(name) for name in over]
            self.pool.remove(gone, self._gone, self._clock.seconds())

    def _is_taken(self, name: str) -> bool:
        """Whether another line of the pool has this name; told once for each name."""
        others = [server for server in self.pool.servers if server.name == name]
        if others and name not in self._taken:
            self._taken.add(name)
            log.warn(
                "[pool {pool}] server {name} is there twice; the first stays", pool=self.pool.name, name=name
            )
        return bool(others)
