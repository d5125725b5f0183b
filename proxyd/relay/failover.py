"""
What becomes of open connections when their server goes down, or when backups are not needed any more?

HAProxy's ``on-marked-down shutdown-sessions`` and ``on-marked-up shutdown-backup-sessions``.  Sessions are
looked for among all that are open, when that happens; so one costs nothing while it lasts.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import Any, Callable, Iterator, Sequence

from proxyd.config.failover import CLOSE_BACKUPS
from proxyd.errors import Reason
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.state import Change, Event, State
from proxyd.relay.factory import ProxyFactory
from proxyd.relay.session import Session

AT_ONCE = 64  # connections cut in a turn of the reactor, which takes a few milliseconds


class Failover:
    """Closes connections as the pools say; `changed` is for `proxyd.policy.pool.Pool.watch`."""

    def __init__(self, reactor: Any, frontends: Sequence[ProxyFactory]) -> None:
        self._reactor = reactor
        self._frontends = frontends
        self._later: dict[Server, Any] = {}  # delayed calls for servers that are down
        self._cutting: set[Any] = set()  # delayed calls for the rest of what is being cut

    def changed(self, change: Change) -> None:
        """A server has changed: close what its pool wants closed."""
        pool, server = change.pool, change.server
        after = pool.spec.on_down
        if after is not None:
            if is_gone(server, change.event):
                if server not in self._later:
                    self._later[server] = self._reactor.callLater(after, self._close_gone, server, change.why)
            elif server in self._later and change.event is not Event.WEIGH:
                self._later.pop(server).cancel()
        is_back = server.state is State.UP and change.before is not State.UP and not server.backup
        if is_back and pool.spec.on_up == CLOSE_BACKUPS:
            self._go_on(iter(self._unneeded(pool)), Reason.FAILBACK, f"server {server.name} is up again")

    def stop(self) -> None:
        """Close nothing more."""
        for call in (*self._later.values(), *self._cutting):
            call.cancel()
        self._later.clear()
        self._cutting.clear()

    def _close_gone(self, server: Server, why: str) -> None:
        del self._later[server]
        sessions = [session for session in self._of(server.pool) if session.picked is server]
        self._go_on(iter(sessions), Reason.SERVER_DOWN, why)

    def _unneeded(self, pool: Pool) -> list[Session]:
        serving = {server for server in pool.servers if pool.serves(server)}
        return [
            session
            for session in self._of(pool.name)
            if session.picked is not None and session.picked.backup and session.picked not in serving
        ]

    def _of(self, pool: str) -> Iterator[Session]:
        """The sessions that have reached a server of the pool; those that still dial go elsewhere anyway."""
        for frontend in self._frontends:
            if pool in frontend.spec.pools:
                for session in chain(frontend.sessions, frontend.streams):
                    if session.connect_seconds is not None and session.picked is not None:
                        if session.picked.pool == pool:
                            yield session

    def _go_on(self, sessions: Iterator[Session], reason: Reason, why: str) -> None:
        some = list(islice(sessions, AT_ONCE))
        for session in some:
            if not session.over:
                session.cut(reason, why)
        if len(some) == AT_ONCE:
            self._call_soon(lambda: self._go_on(sessions, reason, why))

    def _call_soon(self, work: Callable[[], None]) -> None:
        def run() -> None:
            self._cutting.discard(call)
            work()

        call = self._reactor.callLater(0, run)
        self._cutting.add(call)


def is_gone(server: Server, event: Event) -> bool:
    """Whether its connections should not go on, as far as anybody knows."""
    if event is Event.REMOVE or server.state in (State.DOWN, State.MAINTENANCE):
        return True
    return server.state is State.DRAINING and server.health is State.DOWN
