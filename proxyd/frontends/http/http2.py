"""
What does a client's connection that speaks HTTP/2 carry?  Streams, each of which is one request.

A connection becomes one when it begins with the preface, so nobody else pays for it; over TLS it must have
been agreed upon by ALPN.  What the frames mean is for `proxyd.wire.http2connection`.  Each stream has a
session of its own (`stream`), which knows nothing of the others: who is slow to read or to be read from holds
up itself, as long as the windows of the connection last.  When a request is over, its session is there for
another one, as on a connection of HTTP/1.1 that is kept.

What a client can make us hold is bounded: `STREAMS` at once, each with its window for what it sends and
`CHUNK` twice for what it gets; while it does not take what was sent, nothing more is read of it.  What it
can make us do is bounded by `proxyd.wire.http2frames`.
"""

from __future__ import annotations

from base64 import b64encode
from functools import partial
from secrets import token_bytes
from typing import TYPE_CHECKING, Any, Callable, Optional

from twisted.internet.interfaces import IPushProducer
from zope.interface import classImplements

from proxyd.errors import Reason
from proxyd.frontends.http.stream import Stream
from proxyd.relay.streams import CHUNK, buffered, unsent
from proxyd.wire.http1 import Answer, Memory
from proxyd.wire.http2 import Head, request_head, trailer_fields
from proxyd.wire.http2connection import Asked, Came, Cancelled, Connection, Event
from proxyd.wire.http2frames import NO_ERROR, REFUSED_STREAM, Broken
from proxyd.wire.http2heads import Header, Headers
from proxyd.wire.httpfields import Unacceptable

if TYPE_CHECKING:
    from proxyd.frontends.http.connection import HttpConnection

WAITING = 16  # sessions that wait for another request; there were as many at once before


class Http2:
    """
    The streams of a connection, which was a session that is no request's.

    It is the producer of the client's transport: while that is full, no stream sends, and nothing is read.
    """

    def __init__(self, outer: HttpConnection) -> None:
        self.outer = outer
        self.http = outer.http
        self.transport: Any = outer.client.transport
        spec = self.http.spec.http
        # A head that is a little longer is answered, as in HTTP/1.1; a bomb ends the connection.
        unpacked = 2 * spec.max_header + 32 * spec.max_fields
        self._wire = Connection(spec.max_header, unpacked, self.http.seconds())
        self._streams: dict[int, Stream] = {}
        self._waiting: list[Stream] = []  # those that have no request, and some that are over
        # Who asks again says mostly the same, and is told the same.
        self._asked: Headers = ()
        self._asked_head: Optional[Head] = None
        self._known: dict[Header, bytes] = {}
        self.memory = Memory(self.http.lines)  # of answers
        self.told: Optional[Answer] = None
        self.headers_told: Headers = ()
        self._since = self.http.seconds()  # when the last one ended
        self._hearing = False
        self._full = False
        self._soon = False  # what is staged will be sent
        self._staged = 0  # bytes of bodies
        self._leaving = False
        self._gone = False

    def begin(self, data: bytes) -> None:
        """The connection's first bytes."""
        self.transport.registerProducer(self, True)
        self.feed(data)

    # What comes from the client.

    def feed(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._gone:
            return
        wire = self._wire
        try:
            events = wire.receive(data, self.http.seconds())
        except Broken as broken:
            self._refuse(broken)
            return
        self._hearing = True
        for event in events:
            self._hear(event)
        self._hearing = False
        if wire.goaway is not None:
            self._heed_goaway(wire.goaway)
        if wire.room:
            wire.room = False
            self._flush()
        self.send()

    def _hear(self, event: Event) -> None:
        if self._gone:
            return
        if isinstance(event, Asked):
            self._request(event)
            return
        stream = self._streams.get(event.stream)
        if isinstance(event, Came):
            if stream is None:
                self._wire.taken(event.stream, event.taken)  # its answer was complete before
            else:
                stream.came(event.data, event.taken, event.ended)
        elif stream is None:
            pass  # and so here
        elif isinstance(event, Cancelled):
            stream.cancelled(f"RST_STREAM {event.code}")
        else:
            self._end_with(stream, event.headers)

    def _request(self, asked: Asked) -> None:
        if self._leaving:
            self._wire.reset(asked.stream, REFUSED_STREAM)
            return
        wrong = None
        try:
            head = self._head(asked.headers, asked.ended)
        except Unacceptable as found:
            head, wrong = Head(b"GET", b"", 0), found
        stream = self._stream()
        self._streams[asked.stream] = stream
        self.http.streams.add(stream.session)
        if wrong is not None:
            stream.refuse(asked.stream, asked.ended, wrong)
        else:
            stream.begin(asked.stream, asked.ended, head)
        self.outer.requests += 1
        if self.outer.requests >= self.http.spec.http.max_requests:
            self.retire()

    def _stream(self) -> Stream:
        """One with a session that waits, or with a new one."""
        while self._waiting:
            stream = self._waiting.pop()
            if stream.free:
                return stream
        session = self.http.session(self.outer.address)
        stream = Stream(self, session)
        session.serve_stream(stream, self.outer)
        return stream

    def _head(self, headers: Headers, ended: bool) -> Head:
        """`request_head`, which is not asked again for what it was asked last."""
        if not ended:
            return request_head(headers, False, self._known, _websocket_key)
        if self._asked_head is None or headers != self._asked:
            self._asked_head = None
            self._asked_head = request_head(headers, True, self._known)
            self._asked = headers
        return self._asked_head

    def _end_with(self, stream: Stream, headers: Headers) -> None:
        try:
            stream.ended(trailer_fields(headers))
        except Unacceptable as wrong:
            stream.complete = True
            stream.reject(wrong)

    def _heed_goaway(self, code: int) -> None:
        """The client asks for nothing more; if all is well it still wants its answers (RFC 9113, 6.8)."""
        if code == NO_ERROR:
            self.retire()
        else:
            self._goodbye()

    # What streams need.

    def taken(self, number: int, count: int) -> None:
        """So many bytes of a stream are no longer ours."""
        if count and not self._gone:
            self._wire.taken(number, count)

    def room(self, number: int) -> int:
        """How many bytes may be sent on a stream now, in one frame."""
        return 0 if self._full or self._gone else self._wire.windows(number)

    def may_come(self, number: int) -> bool:
        """Whether the client may send something on a stream now."""
        return self._wire.may_come(number)

    def headers(self, number: int, headers: Headers, ends: bool) -> None:
        """Send a head, or trailers."""
        if not self._gone:
            self._wire.headers(number, headers, ends)

    def data(self, number: int, data: bytes, ends: bool) -> None:
        """Send some of a body, for which there is room."""
        if self._gone:
            return
        self._wire.data(number, data, ends)
        self._staged += len(data)
        if self._staged >= CHUNK:
            self._write()  # which tells whether there is more room

    def reset(self, number: int, code: int) -> None:
        """End a stream."""
        if not self._gone:
            self._wire.reset(number, code)
            self.send()

    def offended(self) -> None:
        """A request has turned out to be wrong that a server may have: that costs as if it were cancelled."""
        try:
            self._wire.offended(self.http.seconds())
        except Broken as broken:
            self.later(partial(self._refuse, broken))

    def send(self) -> None:
        """Send what is staged; where there are several streams, with what they have to say in this turn."""
        if self._hearing or self._gone or self._soon:
            return
        if len(self._streams) > 1:
            self._soon = True
            self.later(self._write)
        else:
            self._write()

    def _write(self) -> None:
        self._soon = False
        self._staged = 0
        data = b"" if self._gone else self._wire.take()
        if data:
            self.transport.write(data)

    def later(self, what: Callable[[], None]) -> None:
        """Call it, but not from here."""
        self.outer.wheel.clock.callLater(0, what)

    def done(self, stream: Stream) -> None:
        """The request of a stream, and its answer, are complete."""
        self._left(stream)
        if stream.session.parting:
            pass  # it is about to close
        elif len(self._waiting) < WAITING:
            self._waiting.append(stream)
        else:
            self.later(stream.loseConnection)

    def closed(self, stream: Stream) -> None:
        """A stream is over, and its session with it."""
        if self._streams.get(stream.number) is stream:
            self._left(stream)

    def _left(self, stream: Stream) -> None:
        del self._streams[stream.number]
        self.http.streams.discard(stream.session)
        self._since = self.http.seconds()
        if self._leaving and not self._streams and not self._gone:
            self.later(self._goodbye)

    # What the transport tells its producer.

    def pauseProducing(self) -> None:
        self._full = True
        self.outer.client.pauseProducing()

    def resumeProducing(self) -> None:
        self._full = False
        self._flush()
        if not (self._full or self._gone):
            self.outer.client.resumeProducing()

    def stopProducing(self) -> None:
        """The client is lost, which its side is told too."""

    def _flush(self) -> None:
        """There may be room: all streams have their turns, and who has had one is the last next time."""
        for number, stream in list(self._streams.items()):
            if self._full or self._gone:
                return
            if number in self._streams:
                self._streams[number] = self._streams.pop(number)
                stream.flush()
                stream.drained()
        self.send()

    # How it ends.

    def overdue(self) -> float:
        """In how many seconds to look again; 0 if it has ended."""
        spec, outer = self.http.spec, self.outer
        if self._gone:
            return self._see_off()
        if self._streams:
            return self.http.look  # each has deadlines of its own
        limit = spec.http.keepalive_timeout if self._wire.last else spec.http.header_timeout
        left = limit * outer.wheel.patience - (self.http.seconds() - self._since)
        if left > 0:
            return min(left, self.http.look)
        more = "nothing more" if self._wire.last else "nothing within header_timeout"
        outer.reason, outer.detail = Reason.IDLE_TIMEOUT, f"it has asked for {more}"
        if buffered(self.transport):
            outer.cut(Reason.IDLE_TIMEOUT)
        else:
            self._goodbye()
        return 0.0

    def retire(self) -> None:
        """Take no more requests, and end behind the answers to those that are under way."""
        if self._leaving or self._gone:
            return
        self._leaving = True
        self._wire.say_goaway(NO_ERROR)
        self._write()
        if not self._streams:
            self.later(self._goodbye)

    def left(self) -> None:
        """The client has closed its side: it gets what was sent, if it takes that in time."""
        if not self._gone:
            self._write()
            self._let_go("it closed its side")
        if buffered(self.transport):
            self.outer.wheel.hasten(self.outer, self.outer.wheel.tick)
        else:
            self.transport.loseConnection()

    def _goodbye(self) -> None:
        """End in order."""
        if self._gone:
            return
        if not self._leaving:
            self._wire.say_goaway(NO_ERROR)
        self._write()
        self._let_go("it has said GOAWAY")
        left = self._see_off()
        if left:
            self.outer.wheel.hasten(self.outer, left)

    def _let_go(self, why: str) -> None:
        """From now on nothing is heard or sent; requests that are under way have no answer."""
        self._gone = True
        self._cancel(why)
        self._since = self.http.seconds()
        self.transport.unregisterProducer()

    def _see_off(self) -> float:
        """
        Close when all has arrived; 0 if that is done, else in how many seconds to look again.

        Closed before, with windows of the client's unread, the socket would be reset, and the rest be lost.
        """
        outer = self.outer
        if not unsent(self.transport):
            outer.part(b"")
        elif self.http.seconds() - self._since > self.http.spec.idle_timeout * outer.wheel.patience:
            outer.cut(Reason.CLIENT_STALLED)
        else:
            return outer.wheel.tick
        return 0.0

    def _refuse(self, broken: Broken) -> None:
        """The client has broken the protocol: tell it, and end."""
        if self._gone:
            return
        outer, detail = self.outer, str(broken)
        self._wire.say_goaway(broken.code)
        words = self._wire.take()
        self._gone = True
        outer.reason, outer.detail = Reason.REQUEST_MALFORMED, detail
        self._cancel(detail)
        self.transport.unregisterProducer()
        outer.part(words)

    def lost(self) -> None:
        """The connection is lost, or cut."""
        self._gone = True
        outer = self.outer
        self._cancel(outer.detail)
        outer.total_in += outer.client.received
        outer.client.received = 0

    def _cancel(self, detail: str) -> None:
        reason = self.outer.reason
        for stream in list(self._streams.values()):
            if reason is not None and not stream.session.parting:
                stream.session.cut(reason, detail)
            stream.cancelled(detail)
        for stream in self._waiting:
            stream.cancelled(detail)
        self._waiting.clear()


classImplements(Http2, IPushProducer)


def _websocket_key() -> bytes:
    """What nobody could have foreseen (RFC 6455, 4.1)."""
    return b64encode(token_bytes(16))
