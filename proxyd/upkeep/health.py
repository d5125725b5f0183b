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
from typing import Any, Callable, Coroutine, Optional, Sequence

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.config.health import CheckSpec
from proxyd.errors import Malformed
from proxyd.policy.health import RiseFall
from proxyd.policy.pool import Pool, Server
from proxyd.policy.state import State
from proxyd.relay.introduction import own_header
from proxyd.upkeep.periodic import Periodic
from proxyd.upkeep.probes import ftp, http, ldap, mysql, pgsql, redis, script, smtp, tcp, tls
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
    """All checks of all pools, as one thing to start and stop."""

    def __init__(self, reactor: Any, random: Callable[[], float], pools: Sequence[Pool]) -> None:
        self._checks = [
            _Check(reactor, random, pool, server, pool.spec.check)
            for pool in pools
            if pool.spec.check is not None
            for server in pool.servers
        ]

    def start(self) -> None:
        """Begin to check; every server is looked at once within a fifth of the interval."""
        for check in self._checks:
            check.periodic.start()

    def stop(self) -> Deferred[Any]:
        """End all checks, those under way too; fires when the last connection is closed."""
        return gatherResults([check.periodic.stop() for check in self._checks], consumeErrors=True)


class _Check:
    """The check of one server."""

    _log = Logger()

    def __init__(
        self, reactor: Any, random: Callable[[], float], pool: Pool, server: Server, spec: CheckSpec
    ) -> None:
        self.periodic = Periodic(reactor, random, spec.interval, self._run)
        self._reactor = reactor
        self._pool = pool
        self._server = server
        self._spec = spec
        self._probe = PROBES[spec.kind]
        self._address = spec.target(server.address)
        self._greeting = _greeting(pool, spec)
        self._rise_fall = RiseFall(spec)
        self._trouble = ""
        self._remark = ""

    async def _run(self) -> None:
        if self._server.state is State.MAINTENANCE:
            return
        if self._server.state is State.CHECKING:
            self._rise_fall.forget()  # it has been away
        passed, what = await self._look()
        if not self.periodic.running:
            return  # cut short by our own stop, which is no news of the server
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
        return (spec.slow if self._server.health is State.DOWN else None) or spec.interval

    async def _look(self) -> tuple[Optional[bool], str]:
        """Whether the server passed, or None when nothing was learnt about it; and why."""
        call = Call(self._reactor, self._address, self._greeting)
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
            self._log.warn(
                "[pool {pool}] server {server} ({address}) passes its check, but {remark}",
                **self._about(),
                remark=remark,
            )
        self._remark = remark

    def _note(self, passed: bool, what: str) -> None:
        self._trouble = ""
        before = self._rise_fall.state
        now = self._rise_fall.note(passed)
        if now is None:
            return
        needed = self._spec.rise if passed else self._spec.fall
        if before is State.CHECKING:
            why = f"{what} (first check)"
        else:
            why = f"{what} ({needed} checks in a row)" if needed > 1 else f"{what} (1 check)"
        self._pool.turned(self._server, now, why, self._reactor.seconds())

    def _learnt_nothing(self, trouble: str) -> None:
        """Say that a check could not be made, once for as long as the trouble is the same."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._log.warn(
                "[pool {pool}] server {server} ({address}) cannot be checked, and stays {state}: {why}",
                **self._about(),
                why=trouble,
            )

    def _about(self) -> dict[str, str]:
        return {
            "pool": self._pool.name,
            "server": self._server.name,
            "address": str(self._server.address),
            "state": self._server.state.value,
        }


def _greeting(pool: Pool, spec: CheckSpec) -> bytes:
    """The header that a check begins with; elsewhere than where clients go only if asked for (HAProxy)."""
    header = pool.spec.proxy_protocol
    if header is None or (spec.elsewhere and not spec.send_proxy):
        return b""
    return own_header(header)


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
}
