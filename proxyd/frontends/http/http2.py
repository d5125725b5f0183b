"""
What does a client's connection that speaks HTTP/2 carry?  Streams, each of which is one request.

RFC 9113, with the library h2 for frames and HPACK.  A connection becomes one when it begins with the
preface, so nobody else pays for it; over TLS it must have been agreed upon by ALPN.  Each stream has a
session of its own (`stream`), which knows nothing of the others: who is slow to read or to be read from
holds up itself, as long as the windows of the connection last.

What a client can make us hold is bounded: `STREAMS` at once, each with its window for what it sends and
`CHUNK` twice for what it gets; while it does not take what was sent, nothing more is read of it.  What it
can make us do is bounded by `proxyd.wire.http2frames`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import HeaderTuple
from hyperframe.frame import GoAwayFrame
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from proxyd.errors import Reason
from proxyd.frontends.http.stream import Stream
from proxyd.relay.streams import CHUNK, buffered, unsent
from proxyd.wire.http1 import Answer, Memory
from proxyd.wire.http2 import PREFACE, Head, request_head, trailer_fields
from proxyd.wire.http2frames import Flood, Frames
from proxyd.wire.httpfields import Unacceptable

if TYPE_CHECKING:
    from proxyd.frontends.http.connection import HttpConnection

STREAMS = 100  # at once; nginx has 128, HAProxy 100

WINDOW = 1 << 20  # of all streams together; each has 64 KiB of it, so 16 may stand still before all do

REFUSED_STREAM = 0x7  # RFC 9113, 7


@implementer(IPushProducer)
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
        self._frames = Frames(len(PREFACE), spec.max_header, self.http.seconds())
        self._streams: dict[int, Stream] = {}
        # Who asks again says mostly the same, and is told the same.
        self._asked: Sequence[Sequence[bytes]] = ()
        self._asked_head: Optional[Head] = None
        self.memory = Memory(self.http.lines)  # of answers
        self.told: Optional[Answer] = None
        self.headers_told: Sequence[HeaderTuple] = ()
        self._last = 0  # the stream that was begun last
        self._since = self.http.seconds()  # when the last one ended
        self._hearing = False
        self._full = False
        self._soon = False  # what is staged will be sent
        self._staged = 0  # bytes of bodies
        self._leaving = False
        self._gone = False
        # What h2 itself would say of a head would end all streams: `proxyd.wire.http2` judges it.
        self._h2 = H2Connection(
            H2Configuration(
                client_side=False,
                validate_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: spec.max_header,
            },
        )
        # A head that is a little longer is answered, as in HTTP/1.1; a bomb ends the connection.
        self._h2.decoder.max_header_list_size = 2 * spec.max_header + 32 * spec.max_fields
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW - 65_535)

    def begin(self, data: bytes) -> None:
        """The connection's first bytes."""
        self.transport.registerProducer(self, True)
        self.feed(data)

    # What comes from the client.

    def feed(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._gone:
            return
        try:
            self._frames.feed(data, self.http.seconds())
            events = self._h2.receive_data(data)
        except Flood as flood:
            self._h2.close_connection(error_code=flood.code)
            self._break_off(str(flood))
            return
        except ProtocolError as wrong:
            self._break_off(f"{wrong or type(wrong).__name__} (RFC 9113)")
            return
        windows = False
        self._hearing = True
        for event in events:
            if isinstance(event, (WindowUpdated, RemoteSettingsChanged)):
                windows = True
            elif not self._gone:
                self._hear(event)
        self._hearing = False
        if windows:
            self._flush()
        self.send()

    def _hear(self, event: Any) -> None:
        if isinstance(event, RequestReceived):
            self._request(event.stream_id, event.headers, event.stream_ended is not None)
        elif isinstance(event, ConnectionTerminated):
            self._goodbye()
        elif isinstance(event, (DataReceived, TrailersReceived, StreamEnded, StreamReset)):
            stream = self._streams.get(event.stream_id)
            if isinstance(event, DataReceived):
                if stream is None:
                    self.taken(event.stream_id, event.flow_controlled_length)
                else:
                    stream.came(event.data, event.flow_controlled_length)
            elif stream is None:
                pass  # its answer was complete before
            elif isinstance(event, TrailersReceived):
                self._end_with(stream, event.headers)
            elif isinstance(event, StreamReset):
                stream.cancelled(f"RST_STREAM {int(event.error_code)}")
            elif not stream.complete:
                stream.ended()

    def _request(self, number: int, headers: Sequence[Sequence[bytes]], ended: bool) -> None:
        if self._leaving:
            self.reset(number, REFUSED_STREAM)
            return
        self._last = number
        wrong = None
        try:
            head = self._head(headers, ended)
        except Unacceptable as found:
            head, wrong = Head(b"GET", b"", False), found
        session = self.http.session(self.outer.address)
        stream = Stream(self, number, session, head.method)
        stream.complete = ended
        self._streams[number] = stream
        session.serve_stream(stream, self.outer)
        if wrong is not None:
            session.reject(wrong)
        else:
            stream.begin(head.head, head.chunked)
        self.outer.requests += 1
        if self.outer.requests >= self.http.spec.http.max_requests:
            self.retire()

    def _head(self, headers: Sequence[Sequence[bytes]], ended: bool) -> Head:
        """`request_head`, which is not asked again for what it was asked last."""
        if not ended:
            return request_head(headers, False)
        if self._asked_head is None or headers != self._asked:
            self._asked_head = None
            self._asked_head = request_head(headers, True)
            self._asked = headers
        return self._asked_head

    def _end_with(self, stream: Stream, headers: Sequence[Sequence[bytes]]) -> None:
        try:
            stream.ended(trailer_fields(headers))
        except Unacceptable as wrong:
            stream.complete = True
            stream.session.reject(wrong)

    # What streams need.

    def taken(self, number: int, count: int) -> None:
        """So many bytes of a stream are no longer ours."""
        if count and not self._gone:
            self._try(self._h2.acknowledge_received_data, count, number)

    def room(self, number: int) -> int:
        """How many bytes may be sent on a stream now, in one frame."""
        if self._full or self._gone:
            return 0
        try:
            return min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
        except ProtocolError:
            return 0  # its client has cancelled it, and we shall hear of that

    def headers(self, number: int, headers: Sequence[HeaderTuple], ends: bool) -> None:
        """Send a head, or trailers."""
        self._try(self._h2.send_headers, number, headers, ends)

    def data(self, number: int, data: bytes, ends: bool) -> None:
        """Send some of a body, for which there is room."""
        self._try(self._h2.send_data, number, data, ends)
        self._staged += len(data)
        if self._staged >= CHUNK:
            self._write()  # which tells whether there is more room

    def reset(self, number: int, code: int) -> None:
        """End a stream."""
        self._try(self._h2.reset_stream, number, code)
        self.send()

    def _try(self, what: Callable[..., None], *arguments: Any) -> None:
        """Do something to a stream, if it is still there: we hear of its end after h2."""
        if self._gone:
            return
        try:
            what(*arguments)
        except ProtocolError:
            pass

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
        data = b"" if self._gone else self._h2.data_to_send()
        if data:
            self.transport.write(data)

    def later(self, what: Callable[[], None]) -> None:
        """Call it, but not from here."""
        self.outer.wheel.clock.callLater(0, what)

    def left(self, stream: Stream) -> None:
        """A stream is over."""
        del self._streams[stream.number]
        self._since = self.http.seconds()
        if self._leaving and not self._streams and not self._gone:
            self.later(self._goodbye)

    # What the transport tells its producer.

    def pauseProducing(self) -> None:
        self._full = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._full = False
        self._flush()
        if not (self._full or self._gone or self.outer.client.finished):
            self.transport.resumeProducing()

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
        left = spec.http.keepalive_timeout * outer.wheel.patience - (self.http.seconds() - self._since)
        if left > 0:
            return min(left, self.http.look)
        outer.reason, outer.detail = Reason.IDLE_TIMEOUT, "it has asked for nothing more"
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
        # Not by h2: for that a connection has ended with GOAWAY, and its streams with it.
        self.transport.write(self._h2.data_to_send() + GoAwayFrame(0, last_stream_id=self._last).serialize())
        if not self._streams:
            self.later(self._goodbye)

    def _goodbye(self) -> None:
        """End in order."""
        if self._gone:
            return
        self._write()
        if not self._leaving:
            self.transport.write(GoAwayFrame(0, last_stream_id=self._last).serialize())
        self._gone = True
        self._cancel("it has said GOAWAY")
        self._since = self.http.seconds()
        self.transport.unregisterProducer()
        left = self._see_off()
        if left:
            self.outer.wheel.hasten(self.outer, left)

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

    def _break_off(self, detail: str) -> None:
        """The client has broken the protocol: tell it, and end."""
        outer = self.outer
        words = self._h2.data_to_send()
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
