"""
What is the whole life of one connection, in the order it happens?

`Session.serve` is that life, read top to bottom, up to the point where the two streams are joined.  From
there on no coroutine is kept (it would cost 2 KB a connection): the session goes on as the slim `Pair`
that it is, and writes its record when both sides are gone.
"""

from __future__ import annotations

from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Coroutine, Optional, Sequence, Union

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.config.address import Address
from proxyd.config.balance import CONNECT, FIRST_BYTE
from proxyd.config.refusal import CLOSE
from proxyd.config.tcp import KEEPALIVE
from proxyd.errors import DialFailed, Reason, Refused
from proxyd.interfaces import Record
from proxyd.policy.adaptive import Adaptive
from proxyd.policy.arrival import Arrival
from proxyd.policy.ejection import UNREACHED, came_to_nothing
from proxyd.policy.minrate import MinRate
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.relay import starttls
from proxyd.relay.admission import client_of
from proxyd.relay.affinity import LearningClient, Lesson
from proxyd.relay.bandwidth import PacedClient, PacedServer, PacedTLSServer
from proxyd.relay.firstbyte import FirstByte, TimedClient, TimedServer, TimedTLSServer
from proxyd.relay.introduction import introduction
from proxyd.relay.opening import (
    Early,
    HeaderAlone,
    Opening,
    arrival_of,
    note_tls,
    read_header,
    read_opening,
    what_was_said,
)
from proxyd.relay.pair import Pair, Side, TLSProxyServer
from proxyd.relay.queue import pick_in_turn
from proxyd.relay.record import record_of
from proxyd.relay.refusal import hear_out, words
from proxyd.relay.starttls import Talk
from proxyd.relay.streams import CHUNK, round_trip, ssl_connection, tcp_info
from proxyd.relay.tally import Counted
from proxyd.relay.tls.server import Handshake
from proxyd.relay.tls.words import CUT_SHORT
from proxyd.wire.acme import ACME_TLS
from proxyd.wire.sniff import Speaks
from proxyd.wire.tcpinfo import Info

if TYPE_CHECKING:
    from proxyd.relay.factory import ProxyFactory

REFUSING_SECONDS = 2.0  # for a client to say what must be heard before it understands that it is refused

UNIQUE_ID_BYTES = 16  # random; written in hexadecimal digits, as people will look for it in logs

TLS_SAYS = "TLS: "  # what the detail of a loss begins with if it has to do with TLS

_NOTHING_NOTED: tuple[Optional[Info], Optional[Info]] = (None, None)

log = Logger(__name__)


class Session(Pair):
    """One client's connection, from accept to record."""

    __slots__ = (
        "_first_byte",
        "_handshake",
        "_lesson",
        "_story",
        "_waiting",
        "address",
        "connect_seconds",
        "counted",
        "early",
        "factory",
        "most_retries",
        "mute",
        "opening",
        "packet",
        "picked",
        "pool",
        "queue_seconds",
        "retries",
        "server_address",
        "server_tls",
        "started",
        "tcp",
        "unique_id",
    )

    def __init__(self, factory: ProxyFactory, address: IAddress) -> None:
        spec = factory.spec
        super().__init__(factory.wheel, spec.idle_timeout, spec.half_closed_timeout)
        if factory.times_first_byte:
            self.client = TimedTLSServer(self) if factory.may_end_tls else TimedServer(self)
            self.server = TimedClient(self)
        elif factory.may_end_tls:
            self.client = TLSProxyServer(self)
        if factory.learns:
            self.server = LearningClient(self)
        if factory.pacing is not None:
            self.client = PacedTLSServer(self) if factory.may_end_tls else PacedServer(self)
            self.server = PacedClient(self)
        self.factory = factory
        self.address = address  # where it has come from; the opening may tell of another
        self.opening: Optional[Opening] = None
        self.pool: Optional[Pool] = None  # until it is decided
        self.unique_id = ""
        self.picked: Optional[Server] = None
        self.server_address: Optional[Address] = None  # the picked one's when it was dialed
        self.connect_seconds: Optional[float] = None
        self.queue_seconds: Optional[float] = None  # until a server had room, if it had to wait
        self.retries, self.most_retries = 0, -1  # which is as many as the pool says
        self.started = factory.seconds()
        self._story: Optional[Coroutine[Any, Any, None]] = None
        self._waiting: Optional[Deferred[None]] = None
        self.early: Optional[Union[Early, Talk]] = None
        self.mute = False  # TLS with the client has begun late, and did not come to stand
        self.packet = 0  # the number of the next one to a client of MySQL that logs in
        self._handshake: Optional[Deferred[None]] = None
        self._first_byte: Optional[FirstByte] = None
        self.tcp = _NOTHING_NOTED
        self._lesson: Optional[Lesson] = None
        self.counted: Optional[Counted] = None  # in what, if the listener counts
        self.server_tls: Optional[Handshake] = None  # with which TLS to the server has begun, if it has

    def client_connected(self) -> None:
        self.factory.entered(self)
        self._story = self.serve()
        self._go_on(None)

    def _go_on(self, result: Any) -> None:
        """
        Tell the story up to its next wait; called with what it has waited for.

        `Deferred.fromCoroutine` does this too, with a context and a status for each coroutine, and takes
        a tenth of all that a short connection costs.
        """
        story = self._story
        assert story is not None
        self._waiting = None
        try:
            if isinstance(result, Failure):
                error: Any = result.value
                try:
                    waiting = story.throw(error)
                finally:
                    error.__traceback__ = None  # by whose frames a compiled session would be kept
            else:
                waiting = story.send(result)
        except StopIteration:
            self._story = None
        else:
            self._waiting = waiting
            waiting.addBoth(self._go_on)

    async def serve(self) -> None:
        """Hear the client, choose a server, reach it, and join the two streams; or end with the reason."""
        try:
            factory = self.factory
            if factory.may_end_tls or factory.reads_opening or factory.agrees:
                await self._open()
            else:
                self.pool = self.factory.pool
            await self._reach_a_server()
            if self.factory.agrees and not await starttls.behind(self):
                return
            if self.factory.spec.max_lifetime:
                self.ends_at = self.started + self.factory.spec.max_lifetime
            if self.factory.spec.min_rate is not None:
                self.min_rate = MinRate(self.factory.spec.min_rate)
            if self.factory.pacing is not None:
                client = self.address if self.opening is None else self.opening.address
                self.factory.pacing.pace(self.client, self.server, client_of(client))
            self.join()
        except (Refused, DialFailed) as failed:
            await self._refuse(failed.reason, failed.detail)
        except CancelledError:
            pass  # the client left, or we were told to cut: whoever cancelled has given the reason
        except Exception:  # noqa: BLE001 - the session's last line
            log.failure("A session failed.")
            self.cut(Reason.INTERNAL)

    async def _refuse(self, reason: Reason, detail: str) -> None:
        """Tell the client that it gets no server, if the listener knows how; and let it go."""
        spec = self.factory.spec
        self.reason, self.detail = reason, detail
        self.factory.complaints.about(reason, detail)
        if self.server.connected:
            self.server.transport.loseConnection()
        mute = self._handshake is not None or self.mute  # with TLS that does not stand nothing can be said
        if not spec.speaks or mute or reason is Reason.STARTTLS_MALFORMED:
            self.cut(reason)
            if spec.refuse.how != CLOSE and self.client.connected:
                self.client.transport.abortConnection()
            return
        self.early = Early(self.client)
        self.wheel.arm(self, REFUSING_SECONDS)
        try:
            heard_out = await hear_out(spec.speaks, self.early)
        except CancelledError:
            return  # it has left, or was cut
        finally:
            self.early = None
        if heard_out:
            self.part(words(spec.speaks, reason, self.packet))
        else:
            self.cut(reason)

    async def _open(self) -> None:
        """Wait for what must be known of the client before it is led to a pool."""
        factory = self.factory
        limits = factory.tally.limits if factory.tally is not None else None
        if limits is not None:
            limits.handshakes += 1
        try:
            if factory.spec.header_before_tls:
                await self._hear_the_header()
            if factory.front is not None and not factory.spec.offers_tls:
                # Without a header, where it is optional, the first bytes were TLS already.
                early = self.opening is not None and self.opening.header is None
                factory.datapath.start_tls(self.client, factory.front, early)
            if factory.may_end_tls and ssl_connection(self.client.transport) is not None:
                await self._shake_hands()
            if factory.agrees:
                await starttls.before(self)
            if factory.may_end_tls:
                self.note_tls()
            if factory.reads_opening:
                await self._hear_the_client()
            else:
                self.pool = factory.pool
        finally:
            if limits is not None:
                limits.handshakes -= 1

    async def _hear_the_header(self) -> None:
        """Read the PROXY header, and no further, where TLS begins behind it."""
        spec, side = self.factory.spec, self.client
        assert spec.proxy_protocol is not None
        opening = self.opening = Opening(self.address)
        self.early = HeaderAlone(side)
        self.wheel.arm(self, spec.opening_timeout)
        try:
            await read_header(spec.proxy_protocol, opening, self.early, self._judge)
        finally:
            self.early = None
        side.transport.bufferSize = CHUNK

    def note_tls(self) -> None:
        """Note what the client has agreed on in TLS that ends here, if it has."""
        ssl = ssl_connection(self.client.transport)
        if ssl is not None:
            opening = self.opening = self.opening or Opening(self.address)
            note_tls(opening, ssl)
            if opening.alpn == (ACME_TLS,):
                self.cut(Reason.ACME_CHALLENGE, opening.sni)
                raise CancelledError
            self._counts_name(opening)

    async def _shake_hands(self) -> None:
        self.wheel.arm(self, self.factory.spec.handshake_timeout)
        self._handshake = Deferred()
        try:
            await self._handshake
        except CancelledError:
            if self.reason is not None:
                raise
            raise Refused(Reason.OPENING_TIMEOUT, "it did not finish the TLS handshake") from None

    async def _hear_the_client(self) -> None:
        """Read the client's first bytes, and take the route that they lead to."""
        spec = self.factory.spec
        opening = self.opening = self.opening or Opening(self.address)
        self.early = Early(self.client)
        self.wheel.arm(self, spec.opening_timeout)
        try:
            await read_opening(spec, opening, self.early, self._judge, self.factory.reads_rdp)
        finally:
            self.early = None
        if not opening.ended:
            self._counts_name(opening)
        route = self.factory.routes.choose(opening.speaks, opening.sni, opening.alpn, opening.ended)
        if route is None:
            self.pool = self.factory.pool
        else:
            self.pool = self.factory.pools[route.pool]
            opening.route = route.name

    def _counts_name(self, opening: Opening) -> None:
        """Count the client by the name that it asks for, where that is done."""
        tally = self.factory.tally
        if tally is not None and self.counted is not None and opening.sni:
            tally.asked_for(self.counted, opening.sni)

    def _judge(self, sender: IAddress, client: IAddress) -> None:
        """Judge the client that a balancer tells of, and count it, before anything else of it is awaited."""
        self.factory.gate.judge(sender, client)
        tally, counted = self.factory.tally, self.counted
        if tally is not None and counted is not None and counted.key is None:
            tally.known(counted, client_of(client))

    async def _reach_a_server(self, first: Optional[Server] = None, before: Sequence[Server] = ()) -> None:
        """
        Dial the pool's servers one after another, each at most once, until one answers.

        ``first`` was chosen already; those that were tried ``before`` are not tried again.
        """
        pool = self.pool
        if pool is None:
            raise Refused(Reason.NO_ROUTE, what_was_said(self.opening))
        tried, timeout = list(before), pool.spec.connect_timeout
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
            self.picked = server
            self.server_address = server.address
            self.retries = len(tried)
            self.server_tls = None
            pool.opened(server)
            began = self.factory.seconds()
            self.wheel.arm(self, timeout)
            try:
                reached = await self._dial(server)
                if reached is not None:
                    self.server_address = reached
                if server.tls is None and pool.spec.proxy_protocol is not None:
                    self.server.transport.write(self._introduction())
                self.connect_seconds = self.factory.seconds() - began
                if pool.timed is not None or server.adaptive is not None:
                    self._time(pool, server, self.connect_seconds)
                if self.factory.learns:
                    self._learn(pool)
                return
            except DialFailed as this:
                failed = self.told(this)
            except CancelledError:
                if self.reason is not None:
                    raise
                failed = self._late(timeout)
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
        if not pool.by_client:
            return pool.pick(tried)
        return pool.pick(tried, self.arrival(), self.factory.seconds())

    def _dial(self, server: Server) -> Awaitable[Any]:
        """Begin to connect to the server; fires as `IDatapath.dial` does."""
        dial: Callable[..., Deferred[Any]] = self.factory.datapath.dial
        if server.tls is None and server.tcp is None:
            return dial(self.server_address, self.server)
        source = self.arrival().source if server.tcp is not None else ""
        if server.tls is None:
            return dial(self.server_address, self.server, server.tcp, source)
        assert self.factory.server_tls is not None
        asked = self.opening.sni if self.opening is not None else ""
        tls = self.server_tls = self.factory.server_tls.towards(server).handshake(asked)
        tls.preface = self._introduction()
        if server.tls.starttls:
            plain = partial(dial, self.server_address, tcp=server.tcp, client=source)
            return starttls.reach(self, server.tls.starttls, plain, tls)
        return dial(self.server_address, self.server, server.tcp, source, tls)

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
        assert isinstance(self.client, (TimedServer, TimedTLSServer)) and isinstance(self.server, TimedClient)
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

    def _introduction(self) -> bytes:
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

    def tcp_info(self) -> tuple[Optional[Info], Optional[Info]]:
        """What the kernel knows of the client's side and of the server's; None of one that is not TCP."""
        client, server = self.client.transport, self.server.transport
        return (
            tcp_info(client) if client is not None else None,
            tcp_info(server) if server is not None else None,
        )

    def _note_tcp(self) -> None:
        """Keep what the kernel knows now, for the record: a side that is lost may not be asked any more."""
        client, server = self.tcp_info()
        before = self.tcp
        self.tcp = (client or before[0], server or before[1])

    def overdue(self) -> None:
        if self.early is not None:
            self.early.expire()
        elif self._waiting is not None:
            self._waiting.cancel()
        else:
            super().overdue()

    def client_shook_hands(self) -> None:
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.callback(None)
        elif isinstance(self.early, Talk):
            self.early.shook_hands()

    def server_shook_hands(self) -> None:
        if isinstance(self.early, Talk):
            self.early.shook_hands()

    def side_spoke(self, side: Side) -> None:
        if self.early is not None:
            self.early.heard()

    def side_finished(self, side: Side) -> None:
        if self.factory.notes_tcp:
            self._note_tcp()
        super().side_finished(side)
        left = side is self.client and side.peer is None
        if left and self.factory.spec.abort_on_close and not self.parting:
            self.cut(Reason.CLIENT_GONE, "it closed its side before a server was reached")
        elif self.early is not None:
            self.early.heard()

    def side_lost(self, side: Side, orderly: bool, detail: str = "") -> None:
        if self.factory.notes_tcp:
            self._note_tcp()
        if side is self.server and self.picked is not None:
            assert self.pool is not None
            if self.pool.closed(self.picked, self.client.received + self.server.received):
                self.pool.admit(self.factory.seconds())
        if side is self.server and isinstance(self.early, Talk):
            super().side_lost(side, orderly, detail)
            self.early.side_lost(side, orderly, detail)
            return
        if side.peer is None and self.reason is None:
            self.reason, self.detail = Reason.CLIENT_GONE, detail
            shaking = self._handshake is not None or isinstance(self.early, Talk)
            if shaking and detail == CUT_SHORT:
                self.detail = "it left before the TLS handshake was over"
            elif shaking and detail.startswith(TLS_SAYS):
                self.reason = Reason.TLS_HANDSHAKE
        if self._waiting is not None:
            self._give_up_dialing()
        super().side_lost(side, orderly, detail)

    def cut(self, reason: Reason, detail: str = "") -> None:
        if self.factory.notes_tcp:
            self._note_tcp()
        super().cut(reason, detail)
        self._give_up_dialing()

    def _give_up_dialing(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def ended(self, reason: Reason, detail: str) -> None:
        factory, picked = self.factory, self.picked
        if self._first_byte is not None:
            self.reason = reason
            self._first_byte.ended()
        if picked is not None and self.connect_seconds is not None:
            if self.server.received:
                if picked.failures and self.pool is not None:
                    self.pool.worked(picked, self.started)
            elif came_to_nothing(reason, self.client.received > 0) and self.pool is not None:
                self.pool.failed(picked, f"{reason.code} without a byte", factory.seconds())
        if self._lesson is not None:
            self._lesson.ended()
        factory.left(self, self.record(reason, detail))

    def record(self, reason: Reason, detail: str) -> Record:
        """All that is known of it, when it has ended."""
        return record_of(self, reason, detail)
