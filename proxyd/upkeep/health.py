"""
Do the servers still answer?

Each server of a pool with a check is probed by itself, every ``interval`` give or take 20 %, and what comes
of it is told to its pool.  A probe has three outcomes: it passes, the server fails it, or nothing is learnt
about the server since the fault is ours (no descriptor left, no local port) or the name service's.  Then the
server keeps its state: an error in checking must never take down what works.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Callable, Coroutine, Iterator, Optional, Sequence

from twisted.internet import error
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    DeferredSemaphore,
    TimeoutError,
    gatherResults,
    succeed,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.config.address import named
from proxyd.config.health import CheckSpec
from proxyd.errors import Malformed
from proxyd.policy.health import RiseFall, combined
from proxyd.policy.pool import Pool, Server
from proxyd.policy.state import Change, Event, State
from proxyd.relay.introduction import own_header
from proxyd.upkeep.periodic import Periodic
from proxyd.upkeep.probes import command, ftp, http, ldap, mysql, pgsql, python, redis, script, smtp, tcp, tls
from proxyd.upkeep.probes.conversation import Call, Failed, Unable

_OURS = frozenset(
    {
        errno.EMFILE,  # no descriptor left, in the process or the system
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,  # no local port left
        errno.EACCES,  # not allowed by our own host
        errno.EPERM,
        errno.EAFNOSUPPORT,  # a host without IPv6
    }
)


class HealthChecks:
    """All checks of all pools, as one thing to start and stop; servers may come and go meanwhile."""

    def __init__(self, reactor: Any, random: Callable[[], float], pools: Sequence[Pool]) -> None:
        self._reactor = reactor
        self._random = random
        self._pools = pools
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

    def watch(self, pool: Pool, server: Server) -> None:
        """Begin to check a server, if its pool has checks and it is not checked yet."""
        if pool.spec.checks and server not in self._watched and not self._stopped:
            watched = self._watched[server] = _Watched(
                self._reactor, self._random, pool, server, self._processes
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
        random: Callable[[], float],
        pool: Pool,
        server: Server,
        processes: DeferredSemaphore,
    ) -> None:
        self.pool = pool
        self.server = server
        self.processes = processes
        self._reactor = reactor
        self._checks = [_Check(reactor, random, self, spec) for spec in pool.spec.checks]
        self._state = State.CHECKING

    @property
    def lost(self) -> bool:
        """Whether nobody knew where it is when this began, and a check would have to look there."""
        return any(check.lost for check in self._checks)

    def start(self) -> None:
        for check in self._checks:
            check.periodic.start()

    def stop(self) -> Deferred[Any]:
        return gatherResults([check.periodic.stop() for check in self._checks], consumeErrors=True)

    @property
    def in_maintenance(self) -> bool:
        """Whether nobody wants to know what checks say."""
        return self.server.state is State.MAINTENANCE

    def begin_anew(self) -> None:
        """The server has been away, so what its checks said once no longer counts."""
        self._state = State.CHECKING
        for check in self._checks:
            check.forget()

    def turned(self, check: _Check, passes: bool, why: str) -> None:
        """A check has changed its mind; the pool is told if that decides, and the log if it does not."""
        states = {one.name: one.state for one in self._checks}
        now = combined(states, self.pool.spec.combination)
        if now in (self._state, State.CHECKING):
            verb = "passes" if passes else "fails"
            self.say(f"{verb} check {check.name}, and stays {{state}}: {{why}}", why=why)
            return
        self._state = now
        named = f"{check.name}: {why}" if check.name else why
        self.pool.turned(self.server, now, named, self._reactor.seconds())

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

    def __init__(self, reactor: Any, random: Callable[[], float], watched: _Watched, spec: CheckSpec) -> None:
        self.periodic = Periodic(reactor, random, spec.interval, self._run)
        self.name = spec.name
        # Nobody knows yet where it is, and a check would have to look there.
        self.lost = spec.address is None and named(watched.server.address)
        self._reactor = reactor
        self._watched = watched
        self._spec = spec
        self._probe = PROBES[spec.kind]
        self._greeting = _greeting(watched.pool, spec)
        self._rise_fall = RiseFall(spec)
        self._trouble = ""
        self._remark = ""

    @property
    def state(self) -> State:
        """What this check alone says."""
        return self._rise_fall.state

    def forget(self) -> None:
        """The next result decides alone, and comes soon."""
        self._rise_fall.forget()
        self.periodic.soon(self._spec.interval)

    async def _run(self) -> None:
        if self._watched.in_maintenance or self.lost:
            return
        passed, what = await self._look()
        if not self.periodic.running or self._watched.in_maintenance:
            return  # cut short by our own stop, which is no news of the server, or nobody asks any more
        if passed is None:
            self._learnt_nothing(what)
        else:
            self._note(passed, what)
        self.periodic.pace(self._interval())

    def _interval(self) -> float:
        """How long to wait for the next check: HAProxy's fastinter, downinter and inter."""
        spec = self._spec
        if self._rise_fall.changing:
            return spec.fast or spec.interval
        return (spec.slow if self.state is State.DOWN else None) or spec.interval

    async def _look(self) -> tuple[Optional[bool], str]:
        """Whether the server passed, or None when nothing was learnt about it; and why."""
        watched, target = self._watched, self._spec.target
        server = watched.server
        call = Call(
            self._reactor,
            target(server.address),
            self._greeting,
            target(server.origin or server.address),
            pool=watched.pool.name,
            server=server.name,
            processes=watched.processes,
        )
        try:
            probe = Deferred.fromCoroutine(self._probe(call, self._spec.ask))
            remark = await probe.addTimeout(self._spec.timeout, self._reactor, _timed_out)
        except (CancelledError, error.ConnectingCancelledError):
            return None, "the check was cancelled"
        except error.DNSLookupError as failed:
            return None, f"its name did not resolve ({failed})"
        except TimeoutError:
            return False, f"no {call.awaited} within {self._spec.timeout:g}s"
        except Unable as trouble:
            return None, str(trouble)
        except Failed as failed:
            return False, str(failed)
        except Malformed as failed:
            return False, f"sent {failed}"
        except (error.ConnectError, error.ConnectionClosed, OSError) as failed:
            ours = _errno(failed) in _OURS or isinstance(failed, error.ConnectBindError)
            return None if ours else False, _say(failed)
        self._tell_remark(remark)
        return True, "check passed"

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


def _timed_out(result: Any, timeout: float) -> Any:
    """
    What a probe says that was cancelled because its time was over.

    Endpoints have an error of their own for that.  One that was still looking up a name reports that the
    name was not found, and is left to say so.
    """
    if isinstance(result, Failure) and result.check(CancelledError, error.ConnectingCancelledError):
        return Failure(TimeoutError(timeout, "Deferred"))
    return result


def _errno(failed: Exception) -> Optional[int]:
    code = failed.osError if isinstance(failed, error.ConnectError) else getattr(failed, "errno", None)
    return code if isinstance(code, int) else None


def _say(failed: Exception) -> str:
    """The system's own word for it, as ``connection refused``."""
    code = _errno(failed)
    text = str(failed).rstrip(".") if code is None else os.strerror(code)
    return text[:1].lower() + text[1:]


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
