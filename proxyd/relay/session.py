"""
What is the whole life of one connection, in the order it happens?

`Session.serve` is that life, read top to bottom, up to the point where the two streams are joined.  Most
connections need nothing but one server dialed: `Session._dials_at_once` does that part of it without a
coroutine, and `serve` goes on with whatever fails.  Once the streams are joined no coroutine is kept (it
would cost 2 KB a connection): the session goes on as the slim `Pair` that it is, and writes its record when
both sides are gone.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Coroutine, Optional, Union

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.config.address import Address
from proxyd.config.refusal import CLOSE
from proxyd.errors import DialFailed, Reason, Refused
from proxyd.policy.ejection import came_to_nothing
from proxyd.policy.minrate import MinRate
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.records import Record
from proxyd.relay import starttls
from proxyd.relay.admission import client_of
from proxyd.relay.opening import (
    Early,
    HeaderAlone,
    Opening,
    note_tls,
    read_header,
    read_opening,
)
from proxyd.relay.pair import ProxyClient, Side
from proxyd.relay.reaching import Reaching
from proxyd.relay.record import record_of
from proxyd.relay.refusal import hear_out, words
from proxyd.relay.starttls import Talk
from proxyd.relay.streams import CHUNK, ssl_connection, tcp_info
from proxyd.relay.tally import Counted
from proxyd.relay.tls.server import Handshake
from proxyd.relay.tls.words import CUT_SHORT
from proxyd.wire.acme import ACME_TLS
from proxyd.wire.tcpinfo import Info

if TYPE_CHECKING:
    from proxyd.relay.factory import ProxyFactory

REFUSING_SECONDS = 2.0  # for a client to say what must be heard before it understands that it is refused

TLS_SAYS = "TLS: "  # what the detail of a loss begins with if it has to do with TLS

_NOTHING_NOTED: tuple[Optional[Info], Optional[Info]] = (None, None)

log = Logger(__name__)


class Session(Reaching):
    """One client's connection, from accept to record."""

    __slots__ = (
        "_handshake",
        "_missed",
        "_story",
        "_waiting",
        "counted",
        "early",
        "mute",
        "packet",
        "tcp",
    )

    def __init__(self, factory: ProxyFactory, address: IAddress) -> None:
        Reaching.__init__(self, factory, address)
        self._story: Optional[Coroutine[Any, Any, None]] = None
        self._waiting: Any = None  # what can be cancelled: a Deferred, or an attempt to dial
        self._missed: Optional[Deferred[Any]] = None  # the dial that was begun at once, if it has failed
        self.early: Optional[Union[Early, Talk]] = None
        self.mute = False  # TLS with the client has begun late, and did not come to stand
        self.packet = 0  # the number of the next one to a client of MySQL that logs in
        self._handshake: Optional[Deferred[None]] = None
        self.tcp = _NOTHING_NOTED
        self.counted: Optional[Counted] = None  # in what, if the listener counts

    def client_connected(self) -> None:
        self.factory.entered(self)
        if not self._dials_at_once():
            self._story = self.serve()
            self._go_on(None)

    def _dials_at_once(self) -> bool:
        """
        Begin to reach a server without a coroutine, as most connections come to nothing else to wait for.

        False if there is.  What has failed `serve` goes on with.
        """
        factory = self.factory
        if factory.may_end_tls or factory.reads_opening or factory.agrees:
            return False
        pool = factory.pool
        if pool is None or pool.queue is not None or pool.maintenance.on:
            return False
        server = self.pick(pool, ())
        if server is None:
            return False
        if server.tls is not None or server.tcp is not None:
            self.picked = server
            return False
        self.pool = pool
        self._count_on(pool, server, 0)
        try:
            attempt = factory.datapath.reach(server.address, self.server, self)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told as that of any other dial
            self.unreached(error)
        else:
            if attempt is not None:
                self._waiting = attempt
        return True

    def reached(self, address: Optional[Address]) -> None:
        """The server that was dialed at once is connected."""
        self._waiting = None
        pool, server = self.pool, self.picked
        assert pool is not None and server is not None
        try:
            self._reached(pool, server, address, self.started)
            self._begin_to_relay()
        except Exception:  # noqa: BLE001 - as of `serve`
            log.failure("A session failed.")
            self.cut(Reason.INTERNAL)

    def unreached(self, error: Union[Exception, Failure]) -> None:
        """It was not, or somebody has cancelled it."""
        # Failed only when it is waited for: before that it would keep its error, and us, in a cycle.
        missed = self._missed = Deferred()
        self._story = self.serve()
        self._go_on(None)
        missed.errback(error)

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
            # It may have ended by beginning another, as that which hears a request does.
            if self._story is story:
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
            missed, self._missed = self._missed, None
            if self.pool is not None and self.pool.maintenance.on and missed is None:
                self._ask_to_be_let_in(self.pool)
            await self._reach_a_server(self.picked, (), missed)
            if self.factory.agrees and not await starttls.behind(self):
                return
            self._begin_to_relay()
        except (Refused, DialFailed) as failed:
            await self._refuse(failed.reason, failed.detail)
        except CancelledError:
            pass  # the client left, or we were told to cut: whoever cancelled has given the reason
        except Exception:  # noqa: BLE001 - the session's last line
            log.failure("A session failed.")
            self.cut(Reason.INTERNAL)

    def _ask_to_be_let_in(self, pool: Pool) -> None:
        """See whether the client is served though its pool is in maintenance.  Raises `Refused`."""
        if not self.let_in(pool):
            raise Refused(Reason.MAINTENANCE, str(pool.maintenance))

    def _begin_to_relay(self) -> None:
        """Join the two streams, by the rules of the listener."""
        factory = self.factory
        spec = factory.spec
        if spec.max_lifetime:
            self.ends_at = self.started + spec.max_lifetime
        if spec.min_rate is not None:
            self.min_rate = MinRate(spec.min_rate)
        if factory.pacing is not None:
            client = self.address if self.opening is None else self.opening.address
            factory.pacing.pace(self.client, self.server, client_of(client))
        self.join()

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

    def _dial(self, server: Server) -> Awaitable[Any]:
        """Begin to connect to the server; fires as `IDatapath.dial` does."""
        if server.tls is None or not server.tls.starttls:
            return self.dial(server, self.server)
        dial: Callable[..., Deferred[Any]] = self.factory.datapath.dial
        source = self.arrival().source if server.tcp is not None else ""
        plain = partial(dial, server.address, tcp=server.tcp, client=source)
        return starttls.reach(self, server.tls.starttls, plain, self._handshake_with(server))

    def dial(self, server: Server, side: ProxyClient) -> Deferred[Any]:
        """The same for this side, with a server with which TLS, if there is any, begins at once."""
        dial: Callable[..., Deferred[Any]] = self.factory.datapath.dial
        if server.tls is None and server.tcp is None:
            return dial(server.address, side)
        source = self.arrival().source if server.tcp is not None else ""
        if server.tls is None:
            return dial(server.address, side, server.tcp, source)
        return dial(server.address, side, server.tcp, source, self._handshake_with(server))

    def _handshake_with(self, server: Server) -> Handshake:
        assert self.factory.server_tls is not None
        asked = self.opening.sni if self.opening is not None else ""
        tls = self.server_tls = self.factory.server_tls.towards(server).handshake(asked)
        tls.preface = self.introduction()
        return tls

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
