"""
How is a server reached for a client?

`Reaching` is what a session is until its two streams are joined: a client that is to have one of its pool's
servers.  They are dialed one after another, the pool is told how each has done, and what comes first from the
one that was reached is timed, or learned from, where the pool goes by that.
"""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Any, Awaitable, Optional, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress

from proxyd.config.address import Address
from proxyd.config.balance import CONNECT, FIRST_BYTE
from proxyd.config.tcp import KEEPALIVE
from proxyd.errors import DialFailed, Reason, Refused
from proxyd.policy.adaptive import Adaptive
from proxyd.policy.arrival import Arrival
from proxyd.policy.chosen import AFFINITY, RETRY
from proxyd.policy.ejection import UNREACHED, came_to_nothing
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.relay.admission import client_of
from proxyd.relay.affinity import LearningClient, Lesson
from proxyd.relay.bandwidth import PacedClient, PacedServer, PacedTLSServer
from proxyd.relay.firstbyte import FirstByte, TimedClient, TimedServer, TimedTLSServer
from proxyd.relay.introduction import introduction
from proxyd.relay.opening import Opening, arrival_of, what_was_said
from proxyd.relay.pair import Pair, ProxyClient, ProxyServer, TLSProxyServer
from proxyd.relay.queue import pick_in_turn
from proxyd.relay.streams import round_trip
from proxyd.relay.tls.server import Handshake
from proxyd.wire.sniff import Speaks

if TYPE_CHECKING:
    from proxyd.relay.factory import ProxyFactory

UNIQUE_ID_BYTES = 16  # random; written in hexadecimal digits, as people will look for it in logs


class Reaching(Pair):
    """A client, and what is known of it, on the way to a server."""

    __slots__ = (
        "_first_byte",
        "_lesson",
        "address",
        "chosen",
        "connect_seconds",
        "factory",
        "most_retries",
        "opening",
        "picked",
        "pool",
        "queue_seconds",
        "retries",
        "server_address",
        "server_tls",
        "started",
        "unique_id",
    )

    def __init__(self, factory: ProxyFactory, address: IAddress) -> None:
        spec = factory.spec
        self.factory = factory
        Pair.__init__(self, factory.wheel, spec.idle_timeout, spec.half_closed_timeout)
        self.address = address  # where it has come from; the opening may tell of another
        self.opening: Optional[Opening] = None
        self.pool: Optional[Pool] = None  # until it is decided
        self.unique_id = ""
        self.picked: Optional[Server] = None
        self.chosen = ""  # by what it was (`proxyd.policy.chosen`); of no meaning while there is none
        self.server_address: Optional[Address] = None  # the picked one's when it was dialed
        self.connect_seconds: Optional[float] = None
        self.queue_seconds: Optional[float] = None  # until a server had room, if it had to wait
        self.retries, self.most_retries = 0, -1  # which is as many as the pool says
        self.started = factory.seconds()
        self._first_byte: Optional[FirstByte] = None
        self._lesson: Optional[Lesson] = None
        self.server_tls: Optional[Handshake] = None  # with which TLS to the server has begun, if it has

    def sides(self) -> tuple[ProxyServer, ProxyClient]:
        factory = self.factory
        if factory.pacing is not None:
            return PacedTLSServer(self) if factory.may_end_tls else PacedServer(self), PacedClient(self)
        client: ProxyServer
        if factory.times_first_byte:
            client = TimedTLSServer(self) if factory.may_end_tls else TimedServer(self)
        else:
            client = TLSProxyServer(self) if factory.may_end_tls else ProxyServer(self)
        if factory.learns:
            return client, LearningClient(self)
        return client, TimedClient(self) if factory.times_first_byte else ProxyClient(self)

    def _dial(self, server: Server) -> Awaitable[Any]:
        """Begin to connect to the server; fires as `IDatapath.dial` does."""
        raise NotImplementedError

    async def _reach_a_server(
        self,
        first: Optional[Server] = None,
        before: Sequence[Server] = (),
        begun: Optional[Deferred[Any]] = None,
    ) -> None:
        """
        Dial the pool's servers one after another, each at most once, until one answers.

        ``first`` was chosen already, and if ``begun`` is given dialed, which that tells the outcome of; those
        that were tried ``before`` are not tried again.
        """
        pool = self.pool
        if pool is None:
            raise Refused(Reason.NO_ROUTE, what_was_said(self.opening))
        tried, began = list(before), self.started
        failed: Optional[DialFailed] = None
        server: Optional[Server]
        while self.may_try(pool, tried):
            server, first = first, None
            if server is None:
                server = (
                    self.pick(pool, tried) if pool.queue is None else await pick_in_turn(self, pool, tried)
                )
            if server is None:
                break
            dialing, begun = begun, None
            if dialing is None:
                began = self.factory.seconds()
                self._count_on(pool, server, len(tried))
            try:
                reached = await (self._dial(server) if dialing is None else dialing)
                self._reached(pool, server, reached, began)
                return
            except DialFailed as this:
                failed = self.told(this)
            except CancelledError:
                if self.reason is not None:
                    raise
                failed = self._late(pool.spec.connect_timeout)
            finally:
                # While it is connected, the slot is the server's until it has closed its side.
                if not self.server.connected and pool.closed(server):
                    pool.admit(self.factory.seconds())
            if failed.reason is Reason.DESCRIPTORS:
                self.factory.capacity.exhausted()
                break  # no fault of the server's, and no other could be reached either
            self.blame(pool, server, failed, began)
            tried.append(server)
        raise failed or DialFailed(Reason.NO_SERVER, f"no server of pool {pool.name} is up")

    def _count_on(self, pool: Pool, server: Server, retries: int) -> None:
        """Count on this server, which is dialed next."""
        self.picked = server
        self.server_address = server.address
        self.retries = retries
        self.server_tls = None
        pool.opened(server)
        self.wheel.arm(self, pool.spec.connect_timeout)

    def _reached(self, pool: Pool, server: Server, reached: Optional[Address], began: float) -> None:
        """It is connected; where it has several addresses, to the one that was reached."""
        if reached is not None:
            self.server_address = reached
        if server.tls is None and pool.spec.proxy_protocol is not None:
            self.server.transport.write(self.introduction())
        self.connect_seconds = self.factory.seconds() - began
        if pool.timed is not None or server.adaptive is not None:
            self._time(pool, server, self.connect_seconds)
        if self.factory.learns:
            self._learn(pool)

    def let_in(self, pool: Pool) -> bool:
        """Whether the client is served though its pool is in maintenance."""
        client = self.address if self.opening is None else self.opening.address
        return pool.maintenance.lets_in(client_of(client))

    def may_try(self, pool: Pool, tried: Sequence[Server]) -> bool:
        """Whether one more server may be tried, where these have failed."""
        return len(tried) <= (pool.spec.retries if self.most_retries < 0 else self.most_retries)

    def told(self, failed: DialFailed) -> DialFailed:
        """The same failure; of TLS with the server, with what is wrong with its certificate."""
        return failed if self.server_tls is None else self.server_tls.told(failed)

    def _late(self, timeout: float) -> DialFailed:
        """A server that took longer than it may."""
        if self.server_tls is not None and self.server_tls.begun:
            return DialFailed(Reason.CONNECT_TLS, f"no end of the handshake within {timeout:g} s")
        return DialFailed(Reason.CONNECT_TIMEOUT, f"no answer within {timeout:g} s")

    def blame(self, pool: Pool, server: Server, failed: DialFailed, began: float) -> None:
        """Tell the pool that a server could not be reached, if it is the server's fault."""
        if failed.reason not in UNREACHED:
            return
        pool.failed(server, f"{failed.reason.code}, {failed.detail}", self.factory.seconds())
        if failed.reason is Reason.CONNECT_TLS:
            server.tls_failures += 1
        if pool.timed is not None:
            pool.timed(server, pool.spec.connect_timeout)
        if server.adaptive is not None:
            server.adaptive.failed(began)

    def pick(self, pool: Pool, tried: Sequence[Server]) -> Optional[Server]:
        """The server that is to be dialed, if any has room and is up."""
        if pool.by_client:
            server = pool.pick(tried, self.arrival(), self.factory.seconds())
        else:
            server = pool.pick(tried)
        if server is not None:
            self.chosen = RETRY if tried else AFFINITY if pool.came_back else server.standing
        return server

    def arrival(self) -> Arrival:
        """The client, for a pool that goes by it."""
        return arrival_of(self.opening or Opening(self.address))

    def _learn(self, pool: Pool) -> None:
        """Listen to the server for the id of its TLS session with the client, if the pool goes by that."""
        learns = pool.affinity is not None and pool.affinity.learns
        opening = self.opening
        if learns and opening is not None and opening.speaks == Speaks.TLS.value and not opening.ended:
            assert isinstance(self.server, LearningClient)
            self._lesson = self.server.lesson = Lesson(self._learned)

    def _learned(self, session_id: bytes) -> None:
        self._lesson = None
        if self.pool is not None and self.pool.affinity is not None and self.picked is not None:
            self.pool.affinity.learn(session_id, self.picked.name, self.factory.seconds())
        if self.client.connected and self.server.connected:
            self.start_pumping()

    def _time(self, pool: Pool, server: Server, connect_seconds: float) -> None:
        """Tell who goes by it how long the server takes, now or when it has spoken."""
        measure = pool.spec.balance.measure
        if pool.timed is not None and measure != FIRST_BYTE:
            seconds = connect_seconds if measure == CONNECT else round_trip(self.server.transport)
            if seconds is not None:
                pool.timed(server, seconds)
        if measure == FIRST_BYTE or server.adaptive is not None:
            self._watch_first_byte(server)

    def _watch_first_byte(self, server: Server) -> None:
        asked = bool(self.client.held)
        watch = FirstByte(self.factory.seconds, asked, self._first_byte_came, server.adaptive)
        assert isinstance(self.client, TimedServer) and isinstance(self.server, TimedClient)
        self._first_byte = self.client.watch = self.server.watch = watch

    def _first_byte_came(self, seconds: float) -> None:
        self._first_byte = None
        pool, picked = self.pool, self.picked
        if pool is not None and picked is not None:
            if pool.timed is not None and pool.spec.balance.measure == FIRST_BYTE:
                pool.timed(picked, seconds)
            if picked.adaptive is not None:
                self._responded(picked, picked.adaptive, seconds)
        if self.client.connected and self.server.connected:
            self.start_pumping()

    def _responded(self, server: Server, adaptive: Adaptive, seconds: float) -> None:
        """Tell what adapts the server's limit how long it has taken; not of one that gave nothing."""
        if not self.server.received and self.reason is not None:
            if came_to_nothing(self.reason, self.client.received > 0):
                adaptive.failed(self.factory.seconds() - seconds)
                return
        seconds += self.connect_seconds or 0.0
        adaptive.sampled(seconds, server.open, self.factory.seconds() - seconds)

    def start_pumping(self) -> None:
        if self.client.peer is None:
            return  # a byte that came before the sides were joined
        if self._first_byte is None and self._lesson is None and self.factory.pacing is None:
            super().start_pumping()

    def introduction(self) -> bytes:
        """What tells the server who the client is; nothing unless its pool says so."""
        assert self.pool is not None
        wanted = self.pool.spec.proxy_protocol
        if wanted is None:
            return b""
        opening = self.opening or Opening(self.address)
        before = opening.header
        unique_id = before.unique_id if before is not None else b""
        if wanted.unique_id:
            unique_id = unique_id or self.unique_id.encode() or token_hex(UNIQUE_ID_BYTES).encode()
            self.unique_id = unique_id.decode("utf-8", "backslashreplace")
        return introduction(wanted, opening, self.client.transport, unique_id)

    def server_lasted(self) -> None:
        picked = self.picked
        if picked is None or picked.tcp is None or picked.tcp.keepalive == KEEPALIVE:
            super().server_lasted()
        if picked is not None and picked.failures and self.server.received and self.pool is not None:
            self.pool.worked(picked, self.started)
