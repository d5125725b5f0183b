"""
How does a connection of HTTP begin, wait and end?

What a session has while requests come and go, and all that is not the life of one of them (`session` has
that): who the client is, its deadlines, how the two sides end, and what is told of a request when it is
over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Sequence

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from proxyd.config.servertls import CLIENT
from proxyd.errors import Reason, Refused
from proxyd.frontends.http.affinity import Brought
from proxyd.frontends.http.answer import Delivery
from proxyd.frontends.http.http2 import Http2
from proxyd.frontends.http.request import Introduction
from proxyd.frontends.http.sender import spoken_for
from proxyd.frontends.http.sides import HttpServer, HttpTLSServer
from proxyd.policy.minrate import MinRate
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.records import Record
from proxyd.relay.admission import client_of
from proxyd.relay.bandwidth import Paced, Pacing
from proxyd.relay.opening import Opening
from proxyd.relay.pair import LOOKS, QUIET_LOOKS, ProxyClient, ProxyServer, Side
from proxyd.relay.session import Session
from proxyd.relay.streams import address_text, ssl_connection, taken, unsent
from proxyd.wire.chunked import Chunks
from proxyd.wire.http1 import Answer, Memory, Request
from proxyd.wire.http2 import FIRST_LINE, H2
from proxyd.wire.http2frames import PREFACE
from proxyd.wire.httpfields import Field

if TYPE_CHECKING:
    from proxyd.frontends.http.factory import HttpFactory
    from proxyd.frontends.http.hedge import Hedge
    from proxyd.frontends.http.recoding import Recoding
    from proxyd.frontends.http.stream import Stream
    from proxyd.wire.httpfields import Unacceptable

HEAD_RATE = 500  # bytes a second that a head may take longer for (Apache's RequestReadTimeout MinRate)

# What a connection is about.
OPENING = 0  # it is not known yet who the client is
IDLE = 1  # it has asked for nothing, or has its answer
HEAD = 2  # a head has begun
ASKED = 3  # a request is under way
FULL = 4  # it has not taken its last answer yet
STREAMS = 5  # it speaks HTTP/2, and each request has a session of its own
SENDING = 6  # a file is on its way to it

log = Logger(__name__)


class HttpConnection(Session):
    """One client's connection; a subclass knows what to do with requests."""

    __slots__ = (
        "_answer",
        "_began",
        "_came_from",
        "_delivery",
        "_down",
        "_down_left",
        "_first",
        "_hedge",
        "_itself",
        "_let_come",
        "_forwarding",
        "_memory",
        "_may_reuse",
        "_nobody",
        "_out",
        "_phase",
        "_coded",
        "_recoding",
        "_request",
        "_sender",
        "_since",
        "_slot",
        "_status",
        "_streaming",
        "_tried",
        "_up",
        "_up_left",
        "_uploading",
        "brought",
        "cached",
        "http",
        "http2",
        "outer",
        "paced",
        "page_id",
        "requests",
        "route",
        "stays",
        "total_in",
        "total_out",
        "user",
    )

    def __init__(self, factory: HttpFactory, address: IAddress) -> None:
        self.http = factory
        Session.__init__(self, factory, address)  # `super` in each class takes 3 % of a connection
        self.http2: Optional[Http2] = None  # if it speaks that
        self.outer: Optional[HttpConnection] = None  # which speaks that, if this is of one stream of it
        self.paced: Optional[Paced] = None  # by what, if its listener has a bandwidth
        self._nobody = self.server  # who is the server while there is none
        self._phase = OPENING
        self._since = 0.0  # when the phase began
        self._memory: Optional[Memory] = None  # until it has asked what is not known of its client
        self._forwarding: Optional[Introduction] = None
        self._sender: Optional[Opening] = None  # what is known of it, if what it tells of others is believed
        self._came_from = ""  # the client's address, as records have it
        self._delivery: Optional[Delivery] = None
        self.requests = 0
        self.total_in = 0
        self.total_out = 0
        self._request: Optional[Request] = None
        self._began = 0.0  # when its head was there
        self._up: Optional[Chunks] = None  # its body, if that is chunked
        self._up_left = 0  # bytes of its body that are still to come; CHUNKED until it has ended
        self._out = b""  # what is to be sent to the server, or may have to be sent again
        self._tried: list[Server] = []  # in vain
        self._slot = False  # the picked server counts us
        self._may_reuse = True  # a connection that was kept
        self._answer: Optional[Answer] = None
        self._first: Optional[float] = None  # when it began
        self._down: Optional[Chunks] = None  # the same of the answer
        self._down_left = 0
        self._recoding: Optional[Recoding] = None  # of it, if it is another one when it leaves
        self._coded = ""  # the coding that it was put in
        self._itself: Optional[object] = None  # for whom connections are kept that are for it alone
        self._hedge: Optional[Hedge] = None  # who may be asked beside the server
        self._let_come = False  # the server has said 100
        self._uploading = False  # the client is the server's producer
        self._streaming = False  # and the server the client's
        self._status = 0  # what the client was told
        self.brought: Optional[Brought] = None  # with a request, if its pool goes by cookies
        self.stays = False  # whether the browser has the right one
        self.cached = ""  # what the request had of a cache, if there is one
        self.page_id = ""  # of what the client was told, if that names one
        self.route = ""  # which one the request has taken, if there are some
        self.user = ""  # who asks, if that is known

    def sides(self) -> tuple[ProxyServer, ProxyClient]:
        return HttpTLSServer(self) if self.http.may_end_tls else HttpServer(self), ProxyClient(self)

    # 0. A client has connected.

    def client_connected(self) -> None:
        if self.http.may_end_tls or self.http.reads_opening:
            super().client_connected()
        else:
            self.http.entered(self)
            self.pool = self.http.pool
            self._listen()

    async def serve(self) -> None:
        """Learn who the client is, and listen to it; or end with the reason."""
        try:
            await self._open()
            self._listen()
            self.hear_next()
        except Refused as refused:
            await self._refuse(refused.reason, refused.detail)
        except CancelledError:
            pass  # whoever cancelled has given the reason
        except Exception:  # noqa: BLE001 - the session's last line
            log.failure("A session failed.")
            self.cut(Reason.INTERNAL)

    def _listen(self) -> None:
        """It is known who the client is: its requests may come."""
        secure = self.http.may_end_tls and ssl_connection(self.client.transport) is not None
        address = self.address if self.opening is None else self.opening.address
        spec = self.http.spec
        self._came_from = address_text(address)
        self._forwarding = self.http.introduction(address, secure)
        if self._forwarding.trusted:
            self._sender = self.opening or Opening(address)
        self._delivery = Delivery(spec.http, self.http.wall, secure)
        self._phase = IDLE
        self._since = self.http.seconds()
        if spec.max_lifetime:
            self.ends_at = self.started + spec.max_lifetime
        if spec.min_rate is not None:
            self.min_rate = MinRate(spec.min_rate)
        if self.http.pacing is not None and self.outer is None:
            self._pace(self.http.pacing, client_of(address))
        self.wheel.arm(self, self._no_later(min(self.http.look, spec.http.header_timeout)))

    def heed(self, sender: Opening, fields: Sequence[Field]) -> None:
        """Who asks is whom a proxy that is trusted tells of; that may be another one each time."""
        opening = self.opening = spoken_for(sender, fields, self.http.spec.http)
        self._came_from = address_text(opening.address)

    def _pace(self, pacing: Pacing, client: bytes) -> None:
        """From now on move no more than the listener's bandwidth."""
        side = self.client
        assert isinstance(side, HttpServer)
        self.paced = pacing.begin(client)
        side.meter = self.paced.of_client(side)

    # The same of HTTP/2.

    def begins_http2(self, data: bytes) -> bool:
        """Whether its first bytes, which were no request, are those of HTTP/2: then it speaks that."""
        forwarding, opening = self._forwarding, self.opening
        if self.requests or self.outer is not None or not data.startswith(PREFACE[:FIRST_LINE]):
            return False
        assert forwarding is not None
        if forwarding.secure and (opening is None or H2 not in opening.alpn):
            return False  # RFC 9113, 3.3
        self._phase = STREAMS
        address = self.address if opening is None else opening.address
        self._forwarding = self.http.introduction(address, forwarding.secure, b"2.0")
        self.http2 = Http2(self)
        self.wheel.hasten(self, self._no_later(self.http.look))
        self.http2.begin(data)
        if self.http.draining:
            self.http2.retire()
        return True

    def serve_stream(self, stream: Stream, outer: HttpConnection) -> None:
        """Be of a connection that speaks HTTP/2, and of one of its streams at a time."""
        self.outer = outer
        self.client.transport = stream
        self.client.connected = True
        self.opening, self.pool = outer.opening, outer.pool
        self._memory = outer._memory
        self._listen()
        self._forwarding, self.ends_at = outer._forwarding, outer.ends_at
        self.paced = outer.paced  # of all streams together
        self.hear_next()

    def host(self) -> str:
        """The client's IP address, "" if it has none."""
        return getattr(self.address if self.opening is None else self.opening.address, "host", "")

    def whom(self, pool: Pool, server: Server) -> Any:
        """
        For whom a connection to this server is that is dialed now: None for everybody.

        It is the same for those of whom the server is told the same.
        """
        if pool.spec.proxy_protocol is not None:
            sender = self._sender
            if sender is not None:
                own, before = self.client.transport.getHost(), sender.header
                told = before and (before.destination, before.alpn, before.authority, before.ssl)
                return self._came_from, own, sender.sni, sender.alpn, sender.tls, sender.client_cn, told
            owner = self.outer or self
            if owner._itself is None:
                owner._itself = object()
            return owner._itself
        if server.tls is not None and server.tls.sni == CLIENT:
            return self.opening.sni if self.opening is not None else ""
        return None

    # What a subclass does.

    def hear_next(self) -> None:
        """Go on with what the client has said meanwhile."""
        raise NotImplementedError

    def server_gone(self, detail: str) -> None:
        """The server has closed its side, or is lost, while its answer is awaited, or in the midst of it."""
        raise NotImplementedError

    def fail(self, reason: Reason, detail: str) -> None:
        """There will be no answer from a server: the client gets a page."""
        raise NotImplementedError

    def say(self, status: int, reason: Reason, detail: str, closes: bool) -> None:
        """Answer the request ourselves."""
        raise NotImplementedError

    def reject(self, wrong: Unacceptable) -> None:
        """The client has sent what nobody should read."""
        raise NotImplementedError

    def conclude(self, reason: Reason, detail: str) -> None:
        """The request is over: tell of it, and be ready for another."""
        raise NotImplementedError

    def close_client(self, complete: bool) -> None:
        """Close in order, without a reset that would destroy the answer."""
        raise NotImplementedError

    def hears(self) -> bool:
        """Whether what the client says now is waited for."""
        phase = self._phase
        if phase == ASKED:
            return self._up_left != 0 and self.server.connected
        return phase != FULL

    # How the connection ends.

    def retire(self) -> None:
        """The listener is closing: go at once if nothing is under way, else behind the answer."""
        if self.http2 is not None:
            self.http2.retire()
        elif self._phase in (IDLE, FULL) and not (self.parting or self.client.held):
            self.close_client(True)
        elif self._answer is not None and self._delivery is not None and not self.client.held:
            self._delivery.closes = True  # its head is gone, and says nothing of that

    def side_finished(self, side: Side) -> None:
        if side.peer is not None or self._phase == OPENING or self.parting:
            super().side_finished(side)
        elif side is not self.client:
            self.server_gone("")
        elif self._phase == HEAD or (self._phase == ASKED and self._up_left):
            self.cut(Reason.CLIENT_GONE, "it closed its side in the midst of a request")
        elif self.http2 is not None:
            self.http2.left()
        elif self._phase == IDLE:
            side.transport.unregisterProducer()
            side.transport.loseConnection()
        elif self._phase == ASKED and self.http.spec.abort_on_close is not False and not side.held:
            self.cut(Reason.CLIENT_GONE, "it closed its side before it had its answer")

    def side_lost(self, side: Side, orderly: bool, detail: str = "") -> None:
        if side.peer is not None or self._phase == OPENING:
            self._slot = self._slot and side is not self.server  # a `Session` frees that
            super().side_lost(side, orderly, detail)
            return
        if self.http.notes_tcp:
            self._note_tcp()
        if side is self.client:
            if self.reason is None and self._request is not None:
                self.reason, self.detail = Reason.CLIENT_GONE if orderly else Reason.CLIENT_RESET, detail
            if self.http2 is not None:
                self.http2.lost()
                self.http2 = None  # each knows the other, and the garbage collector comes late
            self._give_up_dialing()
            if self.server.connected:
                self.server.transport.unregisterProducer()
                self.server.transport.abortConnection()
        elif not self.parting and self.client.connected:
            self.server_gone(detail or "" if orderly else detail or "it was lost")
        self._end_if_over()

    def start_pumping(self) -> None:
        if self.client.peer is not None:
            super().start_pumping()

    def ended(self, reason: Reason, detail: str) -> None:
        self._nobody.pair = None  # as `Pair` does with those who were somebody
        if self._request is not None:
            self.conclude(reason, detail)
        if self._slot and self.picked is not None and self.pool is not None:
            self._slot = False
            if self.pool.closed(self.picked):
                self.pool.admit(self.http.seconds())
        self.picked = None
        if self._itself is not None:
            self.http.kept.part_with(self._itself)
        if self.outer is None:
            Session.ended(self, reason, detail)
        else:
            self.http.streams.discard(self)
            self.outer.total_out += self.total_out

    def record(self, reason: Reason, detail: str) -> Record:
        record = Session.record(self, reason, detail)
        record.requests, record.bytes_in, record.bytes_out = self.requests, self.total_in, self.total_out
        return record

    # Time passes.

    def overdue(self) -> None:
        if (
            self._phase == OPENING
            or self._waiting is not None
            or self.parting
            or self.client.peer is not None
        ):
            super().overdue()
            return
        now = self.http.seconds()
        if 0 < self.ends_at <= now:
            self.cut(Reason.LIFETIME)
            return
        if self.http2 is not None:
            left = self.http2.overdue()
            if left:
                self.wheel.arm(self, self._no_later(left))
            return
        if self.min_rate is not None and self._cut_for_rate(self.min_rate, now):
            return
        spec, passed = self.http.spec, now - self._since
        patience = self.wheel.patience
        if self._phase == IDLE:
            limit = spec.http.keepalive_timeout if self.requests else spec.http.header_timeout
            left = limit * patience - passed
            if left <= 0:
                more = "nothing more" if self.requests else "nothing within header_timeout"
                self.reason, self.detail = Reason.IDLE_TIMEOUT, f"it has asked for {more}"
                self.close_client(True)
                return
        elif self._phase == HEAD:
            left = spec.http.header_timeout + self.client.received / HEAD_RATE - passed
            if left <= 0:
                self._too_slow()
                return
        elif self._phase == ASKED and self._answer is None and not self._up_left:
            assert self.pool is not None
            left = self.response_timeout(self.pool) - passed
            if self.server.held_back():
                self._since, left = (
                    now,
                    self.http.look,
                )  # it has its turn later: it is not the server's silence
            elif left <= 0:
                self.wheel.arm(self, self._no_later(self.http.look))  # it may go on behind what it is told
                self._blame_silence()
                return
        else:
            silent, limit = self._silent_for(), spec.idle_timeout * patience
            if silent >= limit and self.looks >= QUIET_LOOKS:
                self._end_silence(f"nothing moved for {silent:.1f} s")
                return
            left = min(limit / LOOKS, max(0.0, limit - silent))
        self.wheel.arm(self, self._no_later(min(self.http.look, left)))

    def _cut_for_rate(self, min_rate: MinRate, now: float) -> bool:
        """Whether the client or the server was slower than it may be; then the request is over."""
        client, server = self.client, self.server
        if not client.connected:
            return False
        took, uploading = taken(client.transport), self._uploading and server.connected
        to_client: Optional[tuple[int, int]] = None
        to_server: Optional[tuple[int, int]] = None
        if took is not None:
            to_client = took, unsent(client.transport)
        owed: Optional[int] = None
        if uploading:
            left, took = unsent(server.transport), taken(server.transport)
            if took is not None:
                to_server = took, left
            if not left and self._may_send():
                owed = self.total_in + client.received
        found = min_rate.look_at_request(now, (self.requests, self.retries), to_client, to_server, owed)
        if found is None:
            return False
        reason, rate = found
        detail = f"{rate:.0f}/s, and min_rate = {min_rate.spec}"
        if not uploading or self._answer is not None:
            self.cut(reason, detail)
        elif reason is Reason.SERVER_TOO_SLOW:
            self.fail(reason, detail)
        else:
            self.reason, self.detail = reason, detail
            self.say(408, reason, detail, closes=True)
        return True

    def _may_send(self) -> bool:
        """Whether the client may send the rest of its body, and has nothing to wait for."""
        request, client = self._request, self.client
        assert request is not None
        if client.held_back() or (self.outer is not None and not client.transport.may_come()):
            return False
        return not request.said.expects or client.received > request.took  # RFC 9110, 10.1.1

    def _watch_progress(self) -> None:
        """A body is under way: see to it that it moves."""
        self.seen = None
        self.wheel.hasten(self, self.http.spec.idle_timeout * self.wheel.patience / LOOKS)

    def _too_slow(self) -> None:
        """The head of a request does not come to its end."""
        self.reason, self.detail = Reason.REQUEST_TIMEOUT, "header_timeout"
        self._began = self._since
        self.client.held = b""  # what there is of it counts as received
        self._asks_nothing()
        self.say(408, Reason.REQUEST_TIMEOUT, "header_timeout", closes=True)

    def _asks_nothing(self) -> None:
        """It has sent a request that nobody can read; whom that is for is not known either."""
        self.requests += 1
        if self._sender is not None:
            self.heed(self._sender, ())

    def _blame_silence(self) -> None:
        """The server does not begin its answer."""
        raise NotImplementedError

    def response_timeout(self, pool: Pool) -> float:
        """So long the server may take until its answer begins, seconds."""
        return pool.spec.response_timeout

    def _end_silence(self, detail: str) -> None:
        """Nothing moves any more: to blame is who does not take what it was sent, or sends no more."""
        unsent_to_client = unsent(self.client.transport)
        if self._answer is None and self._up_left and not unsent_to_client:
            stalled = self.server.connected and unsent(self.server.transport) > 0
            if not stalled:
                self.reason, self.detail = Reason.REQUEST_TIMEOUT, detail
                self.say(408, Reason.REQUEST_TIMEOUT, detail, closes=True)
                return
        if self._answer is not None and not unsent_to_client:
            self.cut(Reason.ANSWER_TIMEOUT, detail)  # it owes the rest of it
            return
        self.cut(self._who_is_silent(), detail)
