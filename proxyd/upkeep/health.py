"""
Do the servers still answer?

Each server of a pool with a check is probed by itself, every ``interval`` give or take 20 %, and what comes
of it is told to its pool.  A probe has three outcomes: it passes, the server fails it, or nothing is learnt
about the server since the fault is ours (no descriptor left, no local port) or the name service's.  Then the
server keeps its standing: an error in checking must never take down what works.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Callable, Coroutine, Optional, Sequence

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.config.address import Address
from proxyd.config.health import CheckSpec
from proxyd.policy.health import RiseFall, Standing
from proxyd.policy.pool import Pool, Server
from proxyd.relay.dial import client_endpoint
from proxyd.relay.introduction import own_header
from proxyd.upkeep.periodic import Periodic

CLOSING_SECONDS = 1.0  # a healthy transport with nothing to send closes at once

# Connects, sees to it that nothing stays behind, and raises what went wrong.
Probe = Callable[[Any, Address, bytes], Coroutine[Any, Any, None]]  # the bytes are what it begins with

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
        self._greeting = own_header(pool.spec.proxy_protocol) if pool.spec.proxy_protocol is not None else b""
        self._rise_fall = RiseFall(spec)
        self._trouble = ""

    async def _run(self) -> None:
        passed, what = await self._look()
        if not self.periodic.running:
            return  # cut short by our own stop, which is no news of the server
        if passed is None:
            self._learnt_nothing(what)
        else:
            self._note(passed, what)

    async def _look(self) -> tuple[Optional[bool], str]:
        """Whether the server passed, or None when nothing was learnt about it; and why."""
        try:
            probe = Deferred.fromCoroutine(self._probe(self._reactor, self._server.address, self._greeting))
            await probe.addTimeout(self._spec.timeout, self._reactor, _timed_out)
        except (CancelledError, error.ConnectingCancelledError):
            return None, "the check was cancelled"
        except error.DNSLookupError as failed:
            return None, f"its name did not resolve ({failed})"
        except TimeoutError:
            return False, f"no answer within {self._spec.timeout:g}s"
        except (error.ConnectError, error.ConnectionClosed, OSError) as failed:
            ours = _errno(failed) in _OURS or isinstance(failed, error.ConnectBindError)
            return None if ours else False, _say(failed)
        return True, "check passed"

    def _note(self, passed: bool, what: str) -> None:
        self._trouble = ""
        before = self._rise_fall.standing
        now = self._rise_fall.note(passed)
        if now is None:
            return
        needed = self._spec.rise if passed else self._spec.fall
        if before is Standing.CHECKING:
            why = f"{what} (first check)"
        else:
            why = f"{what} ({needed} checks in a row)" if needed > 1 else f"{what} (1 check)"
        self._pool.turned(self._server, now, why)
        tell = self._log.info if passed else self._log.warn
        tell("[pool {pool}] server {server} ({address}) is {standing}: {why}", **self._about(), why=why)

    def _learnt_nothing(self, trouble: str) -> None:
        """Say that a check could not be made, once for as long as the trouble is the same."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._log.warn(
                "[pool {pool}] server {server} ({address}) cannot be checked, and stays {standing}: {why}",
                **self._about(),
                why=trouble,
            )

    def _about(self) -> dict[str, str]:
        return {
            "pool": self._pool.name,
            "server": self._server.name,
            "address": str(self._server.address),
            "standing": self._server.standing.value,
        }


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


class _Farewell(Protocol):
    """A connection that was only opened to see that it can be, and tells when it is closed."""

    closed = False
    _waiting: Optional[Deferred[None]] = None

    def when_closed(self) -> Deferred[None]:
        self._waiting = Deferred()
        return self._waiting

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


class _FarewellFactory(Factory):
    """Makes the connections of the probes, without a log line for each."""

    protocol = _Farewell
    noisy = False


async def tcp_probe(reactor: Any, address: Address, greeting: bytes = b"") -> None:
    """
    Pass when the server accepts a connection, which is then closed without a word but the greeting.

    The server sees an ordinary FIN.  Once accepted, nothing that happens makes the probe fail; whoever
    cancels it hastens the end, and it ends when the socket is closed.
    """
    protocol: Any = await client_endpoint(reactor, address, None).connect(_FarewellFactory())
    if greeting:
        protocol.transport.write(greeting)
    protocol.transport.loseConnection()
    while not protocol.closed:
        try:
            await protocol.when_closed().addTimeout(CLOSING_SECONDS, reactor)
        except (CancelledError, TimeoutError):
            protocol.transport.abortConnection()


PROBES: dict[str, Probe] = {"tcp": tcp_probe}
