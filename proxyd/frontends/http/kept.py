"""
Which connections to servers wait for the next request?

The one that was kept last is taken first, so that those not needed grow old together.  A server that says
something, or closes, while nobody has asked it anything loses the connection: what it says could be taken
for the answer to the next request.  That may be known to the kernel alone when the request is there, so it is
asked, too.  One entry on the wheel looks after all of them.

A connection on which the server was told who the client is (PROXY protocol) is for that client alone, as
long as it is there; one for which the client's name in TLS was asked for, for those who ask for the same.
What was dialed before its server went away and came back, or before files of TLS changed, is not used again.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from proxyd.frontends.http.sides import Upstream
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.relay.deadlines import Wheel
from proxyd.relay.streams import unread
from proxyd.relay.tls.server import ServerTls

EARLIER = 1  # seconds before the server would close it: what is under way then would meet a closed door

LOOKS = 4  # in the shortest time that one is kept


class Kept:
    """The idle connections of one listener, by server."""

    def __init__(
        self, wheel: Wheel, seconds: Callable[[], float], server_tls: Optional[ServerTls] = None
    ) -> None:
        self.due = 0  # the wheel's
        self.closed = False
        self._wheel = wheel
        self._seconds = seconds
        self._tls = server_tls
        self._idle: dict[Server, list[Upstream]] = {}
        self._pools: dict[Server, Pool] = {}

    def __len__(self) -> int:
        return sum(map(len, self._idle.values()))

    def take(self, server: Server, now: float, whom: Any = None) -> Optional[Upstream]:
        """A connection to the server for these (`HttpConnection.whom`) that can be used at once, if any."""
        idle = self._idle.get(server)
        while idle:
            upstream = idle.pop() if whom is None else _pop(idle, whom)
            if upstream is None:
                break
            elsewhere = upstream.address is not server.address and upstream.address != server.address
            if elsewhere or now >= upstream.until or upstream.born < server.since:
                self.drop(upstream)
                continue
            if server.tls is not None and self._tls is not None and upstream.born < self._tls.changed:
                self.drop(upstream)  # it is from before files of TLS have changed
                continue
            asked = upstream.unread
            if asked is not None and not asked():
                return upstream
            # What waits unread came before the request, so it would be taken for its answer.
            self.drop(upstream, abort=True)
        return None

    def keep(self, upstream: Upstream, pool: Pool, now: float, patience: Optional[int] = None) -> None:
        """
        Its answer is complete, and it may carry another request.

        ``patience`` is for how many seconds the server says that it will wait for one.
        """
        server = upstream.server
        upstream.pair = self
        idle = self._idle.get(server)
        if idle is None:
            idle = self._idle[server] = []
            self._pools[server] = pool
        most = pool.spec.max_idle_connections
        if self.closed or server.gone or not most:
            self.drop(upstream)
            return
        if len(idle) >= most:
            if upstream.whom is None:
                self.drop(upstream)
                return
            self.drop(idle.pop(0))  # the one that its client has not needed for the longest
        upstream.requests += 1
        limit = pool.spec.idle_connection_timeout
        upstream.until = now + limit
        if upstream.unread is None:
            upstream.unread = unread(upstream.transport)
        if patience is not None and patience - EARLIER < limit:
            upstream.until = now + patience - EARLIER
        idle.append(upstream)
        if not self.due:
            self._wheel.arm(self, limit / LOOKS)

    def part_with(self, whom: Any) -> None:
        """They are gone."""
        for idle in self._idle.values():
            for upstream in [each for each in idle if each.whom is whom]:
                idle.remove(upstream)
                self.drop(upstream)

    def drop(self, upstream: Upstream, abort: bool = False) -> None:
        """It is not to be used any more; with ``abort`` what it still says is not waited for."""
        upstream.pair = self
        if upstream.connected:
            if abort:
                upstream.transport.abortConnection()
            else:
                upstream.transport.loseConnection()

    def overdue(self) -> None:
        """Close those that have waited for as long as they may, and those to servers that are no more."""
        now, shortest = self._seconds(), 0.0
        for server, idle in list(self._idle.items()):
            pool = self._pools[server]
            limit = pool.spec.idle_connection_timeout
            for upstream in [each for each in idle if server.gone or now >= each.until]:
                idle.remove(upstream)
                self.drop(upstream)
            if idle:
                shortest = min(shortest or limit, limit)
            else:
                del self._idle[server]
        if shortest:
            self._wheel.arm(self, shortest / LOOKS)

    def close(self) -> None:
        """Close them all, and keep none any more."""
        self.closed = True
        self._wheel.disarm(self)
        for idle in self._idle.values():
            while idle:
                self.drop(idle.pop())
        self._idle.clear()

    # What an upstream tells that nobody uses

    def server_said(self, upstream: Upstream, data: bytes) -> None:
        """It said something that nobody has asked for."""
        self._forget(upstream)
        self.drop(upstream, abort=True)

    def side_finished(self, side: Upstream) -> None:
        """The server will say nothing more."""
        self._forget(side)
        self.drop(side)

    def side_lost(self, side: Upstream, orderly: bool, detail: str = "") -> None:
        """Its transport is gone; undone by hand, as in `proxyd.relay.pair.Pair`."""
        self._forget(side)
        side.transport = None
        side.pair = None

    def download_sent(self, more: bool) -> None:
        """Nothing is under way on a connection that is kept."""

    def _forget(self, upstream: Any) -> None:
        idle = self._idle.get(upstream.server)
        if idle is not None and upstream in idle:
            idle.remove(upstream)


def _pop(idle: list[Upstream], whom: Any) -> Optional[Upstream]:
    """Take out the last one that is for these."""
    for place in range(len(idle) - 1, -1, -1):
        if idle[place].whom == whom:
            return idle.pop(place)
    return None
