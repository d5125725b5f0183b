"""
What is the life of one request, in the order it happens?

`HttpSession` is a client's connection.  It is a `Session`, so it is accepted, counted, admitted, led
through TLS and a PROXY header, and told of like any other; but instead of being joined to one server it
hears request after request:

1. `client_said`: bytes of the client.  A head is parsed (`proxyd.wire.http1`), or a body goes on.
2. `_forward`: the pool chooses.  Where a connection to that server is kept, the request leaves at once, and
   no coroutine is made; else `_reach` waits for room, dials, and tries others, as for any session.
3. `_ask`: the rebuilt head leaves (`request`), and the body follows, no faster than the server takes it.
4. `server_said`: bytes of the server.  The head is parsed and rebuilt, and the body goes the way of
   `answer.Delivery`.
5. `_answered` (of `HttpOutcome`, which has all ends): the record; the server's slot is free, its connection
   is kept (`kept`) or closed; the next request.

What fails before the client has a byte of an answer may be tried again (`_try_again`), or gets a page
(`fail`); what fails later is cut.  One request is under way at a time: what a client sends behind it waits
unread.  Bodies are passed on as they come: 64 KiB in each direction are held at most, and long ones of
known length are moved by the datapath.
"""

from __future__ import annotations

from typing import Any, Awaitable, Optional, Sequence

from attrs import evolve
from twisted.internet.defer import CancelledError, succeed
from twisted.logger import Logger

from proxyd.config.balance import FIRST_BYTE
from proxyd.errors import DialFailed, Reason, Refused
from proxyd.frontends.http.affinity import Brought, giving, learn
from proxyd.frontends.http.connection import ASKED, HEAD, IDLE, OPENING
from proxyd.frontends.http.pages import Edit
from proxyd.frontends.http.recoding import Compressor, Recoding
from proxyd.frontends.http.request import Introduction
from proxyd.frontends.http.retries import HttpRetries
from proxyd.frontends.http.sides import Upstream
from proxyd.policy.affinity import Affinity, SealedAffinity
from proxyd.policy.arrival import Arrival
from proxyd.policy.encoding import Decision
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.relay.firstbyte import FirstByte
from proxyd.relay.pair import HELD
from proxyd.relay.streams import send_portion
from proxyd.wire.chunked import Chunks, chunk, last
from proxyd.wire.http1 import (
    CHUNKED,
    UNTIL_CLOSE,
    Answer,
    Memory,
    Request,
    Said,
    parse_answer,
    parse_request,
)
from proxyd.wire.httpfields import Field, Unacceptable

LONG = 32 * 1024  # bytes of a body, of which it is worth it to have the datapath move what is left

log = Logger(__name__)


class HttpSession(HttpRetries):
    """One client's connection, and one request after another on it."""

    __slots__ = ()

    # 1. The client says something.

    def client_said(self, data: bytes) -> None:
        """Bytes of the client, which are counted."""
        if self.parting:
            return  # a stream that closes in order may bring more meanwhile
        phase = self._phase
        client = self.client
        if phase == IDLE or phase == HEAD:
            if client.held:
                data = client.held + data
                client.held = b""
            self._hear(data)
        elif phase == ASKED and self._up_left:
            self._upload(data)
        elif self.http2 is not None:
            self.http2.feed(data)
        else:
            client.held += data
            if phase != OPENING or len(client.held) >= HELD:
                client.transport.pauseProducing()  # it waits unread until its turn comes
            if phase == OPENING:
                self.side_spoke(client)

    def _hear(self, data: bytes) -> None:
        """These bytes begin a request."""
        forwarding = self._forwarding
        assert forwarding is not None
        try:
            request = forwarding.request if data == forwarding.asked else self._understood(data, forwarding)
        except Unacceptable as wrong:
            if not self.begins_http2(data):
                self.reject(wrong)
            return
        if request is None:
            self.client.held = data
            if self._phase == IDLE:
                self._phase = HEAD
                if self.requests:  # the first one is waited for since the client came
                    self._since = self.http.seconds()
                    self.wheel.hasten(self, self.http.spec.http.header_timeout)
            return
        self.requests += 1
        self._request = request
        self._phase = ASKED
        self._began = self._since = self.http.seconds()
        length = request.said.length
        rest = data[request.took :] if len(data) > request.took else b""
        if length:
            self._up_left = length
            self._up = Chunks() if length == CHUNKED else None
        elif rest:
            self.client.transport.pauseProducing()
        self.client.held = rest
        if self._sender is not None:
            self.heed(self._sender, request.said.fields)
        out = self.lead(request)
        if out is not None:
            self.send_on(out)

    def _understood(self, data: bytes, forwarding: Introduction) -> Optional[Request]:
        """The request that these bytes begin with, or None if more must come.  Raises `Unacceptable`."""
        spec, memory = self.http.spec.http, self._memory
        if memory is None:
            memory = self._memory = Memory(self.http.lines)
        request = parse_request(data, memory, spec.max_header, spec.max_fields)
        if not self.requests and request is not None and memory.is_shared(request):
            forwarding.asked, forwarding.request = data, request
        return request

    def send_on(self, head: bytes) -> None:
        """Send the request to a server of ``pool``, with what of its body has come."""
        pool = self.pool
        if pool is not None and pool.maintenance.on and self.turns_away(pool):
            return
        out = head
        if self._up_left:
            try:
                self.bound_body(self.max_body())
                if self.client.held:
                    rest, self.client.held = self.client.held, b""
                    out += self._taken(rest)
            except Unacceptable as wrong:
                self.reject(wrong)
                return
        self._out = out
        self._forward()

    def lead(self, request: Request) -> Optional[bytes]:
        """The head that a server gets of ``pool``, or None if the client has been answered."""
        assert self._forwarding is not None
        if not self.http.by_cookie:
            return request.rendered or self._forwarding.head(request, self.client.transport)
        return self._forwarding.head(request, self.client.transport, rest=self.own_rest(request.said))

    def own_fields(self, said: Said) -> Sequence[Field]:
        """The fields that ``pool`` gets: without the cookie of ours, which is noted."""
        affinity, brought = self.pool.affinity if self.pool is not None else None, self.brought
        if affinity is None or not affinity.cookie:
            self.brought = None
            return said.fields
        if brought is None or brought.said is not said or brought.affinity is not affinity:
            brought = self.brought = Brought(said, affinity)
        return brought.fields

    def own_rest(self, said: Said) -> Optional[bytes]:
        """The same as lines, or None if they are those of the request."""
        fields, brought = self.own_fields(said), self.brought
        if brought is None or fields is said.fields:
            return None
        if brought.rest is None:
            assert self._forwarding is not None
            brought.rest = self._forwarding.rest(said, fields)
        return brought.rest

    def _taken(self, data: bytes) -> bytes:
        """What of these bytes is the body's, as it is passed on; what is behind its end waits."""
        chunks, rest = self._up, b""
        if chunks is not None:
            found = chunks.feed(data)
            out = chunk(found) if found else b""
            if chunks.done:
                self._up, self._up_left = None, 0
                rest = chunks.rest
                out += last(chunks.trailers)
        else:
            out = data
            if len(data) > self._up_left:
                out, rest = data[: self._up_left], data[self._up_left :]
            self._up_left -= len(out)
        if rest:
            self.client.held = rest
            self.client.transport.pauseProducing()
        return out

    def _upload(self, data: bytes) -> None:
        """The body of the request goes on."""
        try:
            out = self._taken(data)
        except Unacceptable as wrong:
            self.reject(wrong)
            return
        if self.server.connected:
            if out:
                self.server.transport.write(out)
            if not self._up_left:
                self._uploaded()
        else:
            self._out += out  # one chunk at most: it is paused meanwhile

    def upload_sent(self) -> None:
        """The datapath has moved the rest of the body to the server."""
        self._up_left = 0
        self._uploaded()

    def _uploaded(self) -> None:
        self._since = self.http.seconds()  # from now on the answer is waited for
        self._uploading = False
        self.server.transport.unregisterProducer()

    # 2. A server is chosen.

    def _forward(self) -> None:
        """Send the request on a connection that is kept; else wait for a server, or dial."""
        pool = self.pool
        server: Optional[Server] = None
        if pool is not None and pool.budget is not None:
            pool.budget.asked(self._since)
        if pool is not None and (pool.queue is None or not pool.has_to_wait()):
            if pool.by_client:
                server = self.pick(pool, ())
            else:
                server = pool.pick()
                if server is not None:
                    self.chosen = server.standing
            if server is not None:
                whom = self.whom(pool, server) if pool.tells else None
                upstream = self.http.kept.take(server, self._since, whom)
                if upstream is not None:
                    pool.opened(server)
                    self.picked = server
                    self.server_address = server.address
                    self.connect_seconds = 0.0
                    self.server = upstream  # as `_attach` does, and `_ask` of a request that is complete
                    upstream.pair = self
                    upstream.received = 0
                    if self._up_left or pool.watched or server.adaptive is not None or self.paced is not None:
                        self._ask(pool)
                        return
                    self._slot = True
                    upstream.transport.write(self._out)
                    return
        if self._up_left:
            self.client.transport.pauseProducing()
        self.ask_again(server)

    def ask_again(self, server: Optional[Server]) -> None:
        self._story = self._reach(server)
        self._go_on(None)

    def arrival(self) -> Arrival:
        brought = self.brought
        if brought is None:
            arrival = super().arrival()
        else:
            if brought.arrival is None:
                brought.arrival = evolve(super().arrival(), cookie=brought.cookie)
            arrival = brought.arrival
        request, pool = self._request, self.pool
        key_of = self.http.keys.get(pool) if pool is not None else None
        if key_of is None or request is None:
            return arrival
        return evolve(arrival, asked=key_of(request.host, request.target, request.said.fields))

    def pick(self, pool: Pool, tried: Sequence[Server]) -> Optional[Server]:
        server = super().pick(pool, tried)
        brought = self.brought
        if brought is not None and isinstance(brought.affinity, SealedAffinity):
            self.stays = brought.cookie != b"" and brought.affinity.stays
        return server

    async def _reach(self, first: Optional[Server]) -> None:
        """The same where something has to be waited for."""
        try:
            await self._reach_a_server(first, self._tried)
            assert self.pool is not None
            self.wheel.arm(self, self._no_later(self.http.look))
            self._ask(self.pool)
        except (Refused, DialFailed) as failed:
            self.http.complaints.about(failed.reason, failed.detail)
            self.wheel.arm(self, self._no_later(self.http.look))
            if self._tried and failed.reason is Reason.NO_SERVER:
                self.picked = self._tried[-1]  # who has not answered is to blame, and not that none is left
                self.fail(Reason.NO_ANSWER, "and no server is left to ask")
            else:
                self.fail(failed.reason, failed.detail)
        except CancelledError:
            pass  # the client left, or we were told to cut: whoever cancelled has given the reason
        except Exception:  # noqa: BLE001 - the session's last line
            log.failure("A request failed.")
            self.cut(Reason.INTERNAL)

    def _dial(self, server: Server) -> Awaitable[Any]:
        now, pool = self.http.seconds(), self.pool
        whom = self.whom(pool, server) if pool is not None and pool.tells else None
        upstream = self.http.kept.take(server, now, whom) if self._may_reuse else None
        if upstream is not None:
            self._attach(upstream)
            return succeed(None)
        upstream = self.server = Upstream(self, server, self.http.lines, now, whom)
        dialing = super()._dial(server)
        upstream.handshake = self.server_tls
        return dialing

    def _attach(self, upstream: Upstream) -> None:
        self.server = upstream
        upstream.pair = self
        upstream.received = 0

    def _watch_first_byte(self, server: Server) -> None:
        """It is not the connection's first byte that counts, but each answer's: `_ask` sees to it."""

    # 3. The request leaves.

    def _ask(self, pool: Pool) -> None:
        """The server is there: send it what we have, and let the body follow."""
        server, picked, out = self.server, self.picked, self._out
        assert picked is not None and self._request is not None
        self._slot = True
        if self.paced is not None and isinstance(server, Upstream):
            server.pace(self.paced.of_server(server))
        if picked.adaptive is not None or (
            pool.timed is not None and pool.spec.balance.measure == FIRST_BYTE
        ):
            self._first_byte = FirstByte(self.http.seconds, True, self._first_byte_came, picked.adaptive)
        if not self._up_left:
            server.transport.write(out)
            if pool.spec.hedge_after:
                self.hedge_later(pool)
            return
        self._out = b""
        self._watch_progress()
        client, long = self.client, self._request.said.length >= LONG
        self._uploading = True
        server.transport.registerProducer(client, True)
        server.transport.write(out)
        if not client.paused:
            client.resumeProducing()
        if long and self._up_left and self.paced is None:
            send_portion(client.transport, server.transport, self._up_left)

    # 4. The server says something.

    def server_said(self, upstream: Upstream, data: bytes) -> None:
        """Bytes of the server, which are counted."""
        if self._answer is not None:
            if self._recoding is None:
                self._download(data)
            else:
                self._feed(self._recoding, data)
            return
        if upstream.held:
            data = upstream.held + data
            upstream.held = b""
        while data and self._answer is None and self._request is not None:
            spec, method = self.http.spec.http, self._request.method
            try:
                answer = parse_answer(data, upstream.memory, method, spec.max_header, spec.max_fields)
            except Unacceptable as wrong:
                self.fail(Reason.ANSWER_MALFORMED, str(wrong))
                return
            if answer is None:
                upstream.held = data
                return
            if answer.status >= 200:
                self._begin(answer, data)
                return
            data = data[answer.took :]
            if answer.status == 101:
                self._switch(answer, data)
                return
            self._pass_on_interim(answer, upstream.received - len(data))

    def _pass_on_interim(self, answer: Answer, said: int) -> None:
        """An answer before the answer (RFC 9110, 15.2); HTTP/1.0 knows none."""
        assert self._request is not None and self._delivery is not None
        self._out = b""
        self._let_come = self._let_come or answer.status == 100
        if self._hedge is not None:
            self._hedge.end()
        if said > HELD:
            self.fail(Reason.ANSWER_MALFORMED, f"interim answers of more than {HELD} bytes (RFC 9110 15.2)")
        elif self._request.said.minor:
            self.client.transport.write(self._delivery.interim(answer))

    def _begin(self, answer: Answer, data: bytes) -> None:
        """The head of the answer is there; what else has come with it begins its body."""
        request, delivery, picked, pool = self._request, self._delivery, self.picked, self.pool
        assert request is not None and delivery is not None and picked is not None and pool is not None
        if answer.status in pool.minded and self._is_turned_down(answer, data[answer.took :]):
            return
        http = self.http
        self._first = self._since = http.seconds()
        if self._first_byte is not None:
            self._first_byte.answered()
        if self._hedge is not None:
            self._hedge.end()
        self._answer = answer
        self._out = b""
        self._status = answer.status
        edit: Optional[Edit] = None
        compressor: Optional[Compressor] = None
        decision: Optional[Decision] = None
        changes = http.routing is not None or http.cache is not None or http.compressor is not None
        if changes or self.brought is not None:
            edit, compressor = self.edit_passed(answer.said.fields), self.compressor()
            if self.brought is not None:
                edit = self._told_server(self.brought.affinity, answer, picked, edit)
            if compressor is not None:
                decision = compressor.decide(answer, request)
        head = delivery.head(answer, request, self._goes_on(), picked, edit, decision)
        length, took = answer.said.length, answer.took
        if compressor is not None and decision is not None and decision.recodes and length:
            self._recode(answer, data[took:], Recoding(self, compressor, decision, head, delivery))
            return
        client = self.client.transport
        if length >= 0 and len(data) - took >= length:
            client.write(head + data[took : took + length])
            self._answered(len(data) - took == length)  # or it has said more than it was asked
            return
        self._down = Chunks() if length == CHUNKED else None
        self._down_left = length
        self._streaming = True
        self._watch_progress()
        client.registerProducer(self.server, True)
        left = length - len(data) + took
        if length >= LONG and self.paced is None and delivery.verbatim:
            if send_portion(self.server.transport, client, left, (head, memoryview(data)[took:])):
                self._down_left = left
                return
        if len(data) == took:
            client.write(head)
        else:
            self._download(data[took:], head)

    def _told_server(
        self, affinity: Affinity, answer: Answer, picked: Server, edit: Optional[Edit]
    ) -> Optional[Edit]:
        """What is changed so that the browser comes back to its server, or what is learned for that."""
        assert self._forwarding is not None
        if not isinstance(affinity, SealedAffinity):
            learn(affinity, answer, picked, self._since)
        elif not self.stays:
            return giving(affinity, picked, self._forwarding.secure, edit)
        return edit

    def _download(self, data: bytes, head: bytes = b"") -> None:
        """The body of the answer goes on."""
        delivery, chunks = self._delivery, self._down
        assert delivery is not None
        write = self.client.transport.write
        if chunks is not None:
            try:
                found = chunks.feed(data)
            except Unacceptable as wrong:
                self._give_up(Reason.ANSWER_MALFORMED, str(wrong))
                return
            out = delivery.data(found) if found else b""
            if chunks.done:
                write(head + out + delivery.end(chunks.trailers))
                self._answered(not chunks.rest)
            elif head or out:
                write(head + out)
        elif self._down_left == UNTIL_CLOSE:
            write(head + delivery.data(data))
        else:
            more = len(data) > self._down_left
            if more:
                data = data[: self._down_left]
            self._down_left -= len(data)
            write(head + delivery.data(data) if head else delivery.data(data))
            if not self._down_left:
                self._answered(not more)

    def _recode(self, answer: Answer, data: bytes, recoding: Recoding) -> None:
        """The same of a body that is another one when it leaves."""
        self._down = Chunks() if answer.said.length == CHUNKED else None
        self._down_left = answer.said.length
        self._streaming = True
        self._recoding, self._coded = recoding, recoding.name
        self._watch_progress()
        self.client.transport.registerProducer(recoding, True)
        self._feed(recoding, data)

    def _feed(self, recoding: Recoding, data: bytes) -> None:
        """What of the answer has come, without its framing."""
        chunks = self._down
        if chunks is not None:
            try:
                found = chunks.feed(data)
            except Unacceptable as wrong:
                self.not_recoded(wrong)
                return
            recoding.feed(found, chunks.done, chunks.trailers, not chunks.rest)
        elif self._down_left == UNTIL_CLOSE:
            recoding.feed(data)
        else:
            found = data[: self._down_left]
            self._down_left -= len(found)
            recoding.feed(found, not self._down_left, (), len(found) == len(data))

    def download_sent(self, more: bool) -> None:
        """The datapath has moved the rest of the body to the client; ``more`` has come than was asked for."""
        self._down_left = 0
        self._answered(not more)

    def _switch(self, answer: Answer, rest: bytes) -> None:
        """The server goes on with another protocol, if it was asked to: from now on it is a tunnel."""
        request, delivery, picked = self._request, self._delivery, self.picked
        assert request is not None and delivery is not None and picked is not None
        if not (request.said.upgrade and answer.said.upgrade):
            self.fail(Reason.ANSWER_MALFORMED, "it switches protocols, and was not asked to (RFC 9110 7.8)")
            return
        self._first = self.http.seconds()
        self._status = 101
        self._out = b""
        brought, edit = self.brought, None
        if brought is not None:
            edit = self._told_server(brought.affinity, answer, picked, None)
        self.client.transport.write(delivery.interim(answer, edit))
        self.server.held = rest
        self.looks, self.seen = 0, None
        self.join()

    # The server ends.

    def server_gone(self, detail: str) -> None:
        """The server has closed its side, or is lost, while its answer is awaited, or in the midst of it."""
        if self._request is None:
            return
        delivery = self._delivery
        assert delivery is not None
        if self._answer is None:
            self._try_again(detail)
        elif self._recoding is not None and self._recoding.complete:
            pass  # all has come, and is on its way
        elif self._down_left == UNTIL_CLOSE and self._down is None and not detail:
            if self._recoding is not None:
                self._recoding.feed(b"", True)
                return
            end = delivery.end()
            if end:
                self.client.transport.write(end)
            self._answered(False)
        else:
            self.not_all_said(Reason.ANSWER_CUT, detail)
