"""
Do the servers still answer?

Each server of a pool with a check is probed by itself, every ``interval`` give or take 20 %, and what comes
of it is told to its pool.  A probe has three outcomes: it passes, the server fails it, or nothing is learnt
about the server since the fault is ours (no descriptor left, no local port) or the name service's.  Then the
server keeps its state: an error in checking must never take down what works.
"""

from __future__ import annotations

from typing import Any, Callable, Coroutine, Iterator, Optional, Sequence, Union

from twisted.internet.defer import (
    Deferred,
    DeferredList,
    DeferredSemaphore,
    gatherResults,
    succeed,
)
from twisted.logger import Logger

from proxyd.config.address import Address, is_host_name, named
from proxyd.config.health import CheckSpec
from proxyd.config.probes import HttpAsk
from proxyd.interfaces import IDatapath
from proxyd.policy.agent import heed
from proxyd.policy.health import Looks, RiseFall, combined
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.state import Change, Event, State
from proxyd.relay.introduction import own_header
from proxyd.relay.tls.server import Handshake, ServerTls
from proxyd.snapshots import CheckSnapshot
from proxyd.upkeep.agent import Agent
from proxyd.upkeep.periodic import Periodic
from proxyd.upkeep.probes import command, ftp, http, ldap, mysql, pgsql, python, redis, script, smtp, tcp, tls
from proxyd.upkeep.probes.asking import Asking
from proxyd.upkeep.probes.conversation import Call, Failed, Unable, shown
from proxyd.upkeep.spaced import Spaced
from proxyd.walltime import WallTime
from proxyd.wire.agent import Report


class HealthChecks:
    """All checks of all pools, as one thing to start and stop; servers may come and go meanwhile."""

    def __init__(
        self,
        reactor: Any,
        wall: WallTime,
        random: Callable[[], float],
        datapath: IDatapath,
        pools: Sequence[Pool],
        server_tls: Optional[ServerTls] = None,
    ) -> None:
        """``datapath`` is the way to the servers, and ``server_tls`` what TLS with them begins with."""
        self._reactor = reactor
        self._wall = wall
        self._clock = Spaced(reactor)
        self._random = random
        self._datapath = datapath
        self._pools = pools
        self._server_tls = server_tls
        self._watched: dict[Server, _Watched] = {}
        self._processes = DeferredSemaphore(command.MOST_PROCESSES)
        self._stopped = False
        self._ending: set[Deferred[Any]] = set()  # of those that are forgotten

    def faults(self) -> list[str]:
        """Why checks could not be made here; a line for each that the daemon should not start with."""
        return [
            f"[pool {pool.name}] {f'check {check.name}'.strip()}: {fault}"
            for pool in self._pools
            for check in pool.spec.checks
            for fault in FAULTS.get(check.kind, _no_faults)(check.ask)
        ]

    def start(self) -> None:
        """Begin to check; every server is looked at once within a fifth of the interval."""
        for pool in self._pools:
            for server in pool.servers:
                self.watch(pool, server)
            pool.watch(self._changed)

    def snapshots(self) -> Iterator[CheckSnapshot]:
        """What every check says now, and every agent, in the order of the pools and their servers."""
        for pool in self._pools:
            for server in pool.servers:
                watched = self._watched.get(server)
                if watched is not None:
                    yield from watched.snapshots()

    def watch(self, pool: Pool, server: Server) -> None:
        """Begin to check a server and to ask its agent, if its pool says so and it is not done yet."""
        if (
            (pool.spec.checks or pool.spec.agent_check is not None)
            and server not in self._watched
            and not self._stopped
        ):
            watched = self._watched[server] = _Watched(
                self._reactor,
                self._wall,
                self._clock,
                self._random,
                self._datapath,
                pool,
                server,
                self._processes,
                self._server_tls,
            )
            watched.start()

    def forget(self, server: Server) -> Deferred[Any]:
        """End the checks of a server, those under way too; fires when its last connection is closed."""
        watched = self._watched.pop(server, None)
        if watched is None:
            return succeed(None)
        ended: Deferred[Any] = watched.stop()
        self._ending.add(ended)
        return ended.addBoth(self._ended, ended)

    def stop(self) -> Deferred[Any]:
        """End all checks, those under way too; fires when the last connection is closed."""
        self._stopped = True
        for server in list(self._watched):
            self.forget(server)
        return DeferredList(list(self._ending))

    def _ended(self, result: Any, ended: Deferred[Any]) -> Any:
        self._ending.discard(ended)
        return result

    def _changed(self, change: Change) -> None:
        if change.event is Event.ADD:
            self.watch(change.pool, change.server)
        elif change.event is Event.REMOVE:
            self.forget(change.server)
        elif change.event is Event.MOVE or (change.event is Event.REVISE and self._is_lost(change.server)):
            self.forget(change.server)
            self.watch(change.pool, change.server)
        elif change.before is not change.server.state and _was_away(change):
            watched = self._watched.get(change.server)
            if watched is not None:
                watched.begin_anew()

    def _is_lost(self, server: Server) -> bool:
        """Whether it has not been checked because nobody knew where it was."""
        watched = self._watched.get(server)
        return watched is not None and watched.lost


class _Watched:
    """One server, and what its checks say together."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        wall: WallTime,
        clock: Spaced,
        random: Callable[[], float],
        datapath: IDatapath,
        pool: Pool,
        server: Server,
        processes: DeferredSemaphore,
        server_tls: Optional[ServerTls],
    ) -> None:
        self.pool = pool
        self.server = server
        self.datapath = datapath
        self.server_tls = server_tls
        self.processes = processes
        self._reactor = reactor
        self._checks = [_Check(reactor, wall, clock, random, self, spec) for spec in pool.spec.checks]
        self._tasks = [check.periodic for check in self._checks]
        self._agent: Optional[Agent] = None
        if pool.spec.agent_check is not None:
            self._agent = Agent(reactor, wall, clock, random, datapath, self, pool.spec.agent_check)
            self._tasks.append(self._agent.periodic)
        self._unchecked = State.CHECKING if self._checks else State.UP
        self._state = self._unchecked
        self._objection = ""  # why the agent says that it is down

    @property
    def lost(self) -> bool:
        """Whether nobody knew where it is when this began, and a check would have to look there."""
        return any(check.lost for check in self._checks)

    def start(self) -> None:
        for task in self._tasks:
            task.start()

    def stop(self) -> Deferred[Any]:
        return gatherResults([task.stop() for task in self._tasks], consumeErrors=True)

    def snapshots(self) -> Iterator[CheckSnapshot]:
        """What each of its checks says now, and its agent."""
        for check in self._checks:
            yield check.snapshot()
        if self._agent is not None:
            yield self._agent.snapshot(State.DOWN if self._objection else State.UP)

    @property
    def in_maintenance(self) -> bool:
        """Whether nobody wants to know what checks say."""
        return self.server.state is State.MAINTENANCE

    def begin_anew(self) -> None:
        """The server has been away, so what its checks said once no longer counts."""
        self._state = self._unchecked
        for check in self._checks:
            check.forget()

    def turned(self, check: _Check, passes: bool, why: str) -> None:
        """A check has changed its mind; the pool is told if that decides, and the log if it does not."""
        if not self._decide(f"{check.name}: {why}" if check.name else why):
            what = f"check {check.name}" if check.name else "its check"
            verb = "passes" if passes else "fails"
            self.say(f"{verb} {what}, and stays {{state}}: {{why}}", why=why)

    def told(self, report: Report) -> str:
        """The agent has told something; what could not be done of it is returned, for people."""
        if report.up is not None:
            said = f"agent: {report.health}"
            if report.text:
                said += f" ({shown(report.text)})"
            self._objection = "" if report.up else said
            self._decide(said)
        return heed(self.pool, self.server, report, self._reactor.seconds())

    def _decide(self, why: str) -> bool:
        """Whether the server is now another than it was, by its checks and its agent."""
        states = {one.name: one.state for one in self._checks}
        now = combined(states, self.pool.spec.combination) if states else State.UP
        if self._objection:
            now = State.DOWN
        # Without a check, one that comes back from maintenance is up before its agent is asked again.
        known = now is self._state and (now is State.UP or self.server.state is not State.UP)
        if known or now is State.CHECKING:
            return False
        self._state = now
        self.pool.turned(self.server, now, why, self._reactor.seconds())
        return True

    def say(self, text: str, warn: bool = False, **values: Any) -> None:
        """Log a line about the server."""
        tell = self._log.warn if warn else self._log.info
        tell(
            "[pool {pool}] server {server} ({address}) " + text,
            pool=self.pool.name,
            server=self.server.name,
            address=str(self.server.address),
            state=self.server.state.value,
            **values,
        )


class _Check:
    """One check of one server."""

    def __init__(
        self,
        reactor: Any,
        wall: WallTime,
        clock: Spaced,
        random: Callable[[], float],
        watched: _Watched,
        spec: CheckSpec,
    ) -> None:
        self.periodic = Periodic(clock, random, spec.interval, self._run)
        self.name = spec.name
        # Nobody knows yet where it is, and a check would have to look there.
        self.lost = spec.address is None and named(watched.server.address)
        self._reactor = reactor
        self._wall = wall
        self._clock = clock
        asked = watched.server.tcp
        self._tcp = asked.for_checks if asked is not None else None
        self._watched = watched
        self._spec = spec
        self._probe = PROBES[spec.kind]
        self._greeting = _greeting(watched.pool, spec)
        self._rise_fall = RiseFall(spec)
        self._call: Optional[Call] = None  # the last one, which serves as long as the server is where it was
        self._looked_at: Optional[Address] = None
        self._trouble = ""
        self._remark = ""
        self._looks = Looks()
        self._began = 0.0  # the last look

    def snapshot(self) -> CheckSnapshot:
        """What it says now."""
        rests = "its name has not resolved yet" if self.lost else ""
        server, rise_fall = self._watched.server, self._rise_fall
        return self._looks.snapshot(
            self._clock.seconds(),
            pool=server.pool,
            server=server.name,
            check=self.name,
            kind=self._spec.kind,
            address=str(self._spec.target(server.address)),
            state=rise_fall.state.value,
            against=rise_fall.against,
            needed=rise_fall.needed,
            next_seconds=self.periodic.next_seconds,
            rests="it is in maintenance" if self._watched.in_maintenance else rests,
        )

    @property
    def state(self) -> State:
        """What this check alone says."""
        return self._rise_fall.state

    def forget(self) -> None:
        """The next result decides alone, and comes soon."""
        self._rise_fall.forget()
        self.periodic.soon(self._spec.interval)

    def _run(self) -> Optional[Asking[str]]:
        server = self._watched.server
        if server.state is State.MAINTENANCE or self.lost:
            return None
        self._began = self._clock.seconds()
        call = self._call
        if call is None or self._looked_at is not server.address:
            call = self._call = self._make_call(server)
            self._looked_at = server.address
        call.awaited = "answer"
        return Asking(self._clock, call, self._probe(call, self._spec.ask), self._spec.timeout, self._learn)

    def _learn(self, found: Union[str, Failed, Unable]) -> None:
        """Make of a look what it says of the server."""
        if not self.periodic.running or self._watched.in_maintenance:
            return  # cut short by our own stop, which is no news of the server, or nobody asks any more
        self._looks.note(str(found) or "check passed", self._began, self._clock.seconds())
        if isinstance(found, Unable):
            self._looks.unable += 1
            self._learnt_nothing(str(found))
        elif isinstance(found, Failed):
            self._looks.failed += 1
            self._note(False, str(found))
        else:
            self._looks.passed += 1
            self._tell_remark(found)
            self._note(True, "check passed")
        self.periodic.pace(self._interval())

    def _interval(self) -> float:
        """How long to wait for the next check: HAProxy's fastinter, downinter and inter."""
        spec = self._spec
        if self._rise_fall.changing:
            return spec.fast or spec.interval
        return (spec.slow if self.state is State.DOWN else None) or spec.interval

    def _make_call(self, server: Server) -> Call:
        watched, target = self._watched, self._spec.target
        return Call(
            self._reactor,
            self._wall,
            watched.datapath,
            target(server.address),
            self._tcp,
            self._greeting,
            target(server.origin) if server.origin is not None else None,
            pool=watched.pool.name,
            server=server.name,
            processes=watched.processes,
            tls=self._tls(),
            starttls=server.tls.starttls if server.tls is not None else "",
        )

    def _tls(self) -> Optional[Callable[[], Handshake]]:
        """What TLS begins with where clients go; elsewhere only if asked for (HAProxy's check-ssl)."""
        server, tls = self._watched.server, self._watched.server_tls
        if server.tls is None or tls is None or (self._spec.elsewhere and not self._spec.over_tls):
            return None
        asked = host_asked(self._spec.ask)
        return lambda: tls.towards(server).handshake(asked, anew=True)

    def _tell_remark(self, remark: str) -> None:
        """Say what is to be known of a server that works, once for as long as it is the same."""
        if remark and remark != self._remark:
            self._watched.say("passes its check, but {remark}", warn=True, remark=remark)
        self._remark = remark

    def _note(self, passed: bool, what: str) -> None:
        self._trouble = ""
        first = self.state is State.CHECKING
        needed = self._rise_fall.needed
        now = self._rise_fall.note(passed)
        if now is None:
            return
        if first:
            why = f"{what} (first check)"
        else:
            why = f"{what} ({needed} checks in a row)" if needed > 1 else f"{what} (1 check)"
        if self._rise_fall.damped:
            why += f"; it keeps changing, and must pass {self._rise_fall.needed} in a row"
        self._watched.turned(self, passed, why)

    def _learnt_nothing(self, trouble: str) -> None:
        """Say that a check could not be made, once for as long as the trouble is the same."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._watched.say("cannot be checked, and stays {state}: {why}", warn=True, why=trouble)


def host_asked(ask: Any) -> str:
    """The name that a check asks for in place of a client, if servers are asked for that."""
    host = ask.host.partition(":")[0] if isinstance(ask, HttpAsk) else ""
    return host.lower() if is_host_name(host) else ""


def _was_away(change: Change) -> bool:
    """Whether what checks have said before this change is of no use."""
    return change.server.state is State.CHECKING or State.MAINTENANCE in (change.before, change.server.state)


def _greeting(pool: Pool, spec: CheckSpec) -> bytes:
    """The header that a check begins with; elsewhere than where clients go only if asked for (HAProxy)."""
    header = pool.spec.proxy_protocol
    if header is None or (spec.elsewhere and not spec.send_proxy):
        return b""
    return own_header(header)


def _no_faults(ask: Any) -> Iterator[str]:
    return iter(())


# Connects, sees to it that nothing stays behind, and raises what went wrong; what it returns is a remark
# about a server that works, for people, and usually empty.
Probe = Callable[[Call, Any], Coroutine[Any, Any, str]]

PROBES: dict[str, Probe] = {
    "tcp": tcp.probe,
    "redis": redis.probe,
    "pgsql": pgsql.probe,
    "mysql": mysql.probe,
    "tls": tls.probe,
    "http": http.probe,
    "https": http.probe,
    "script": script.probe,
    "smtp": smtp.probe,
    "ftp": ftp.probe,
    "ldap": ldap.probe,
    "command": command.probe,
    "python": python.probe,
}

# What is wrong with what a check needs here, before it is made for the first time.
FAULTS: dict[str, Callable[[Any], Iterator[str]]] = {"command": command.faults, "python": python.faults}
