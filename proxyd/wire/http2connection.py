"""
What does HTTP/2 allow on a connection, and what becomes of its streams and windows?

RFC 9113, sections 5 and 6, on the side of the server, without a socket: `Connection.receive` is given bytes
and says what has come of them, and what is to be sent is gathered until it is taken.  What breaks the
protocol is an error of the connection wherever the RFC leaves a choice; heads are judged by
`proxyd.wire.http2`.

It keeps two windows and a few numbers a stream, and none for streams that are over.
"""

from __future__ import annotations

from typing import Optional, Union

from proxyd.wire.http2frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RESET_COSTS,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Broken,
    Frames,
    frame,
)
from proxyd.wire.http2heads import Headers, Packer, Unpacker

STREAMS = 100  # at once; nginx has 128, HAProxy 100

WINDOW = 1 << 20  # of all streams together; each has 64 KiB of it, so 16 may stand still before all do
STREAM_WINDOW = 65_535  # of each: SETTINGS_INITIAL_WINDOW_SIZE, which we leave as it is

LARGEST_WINDOW = (1 << 31) - 1

LONGEST_SENT = 64 * 1024  # bytes of a frame, to clients that take such

LATELY = 256  # streams that we have reset, of which frames may still be on their way

# RFC 9113, 6.5.2
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEAD = range(1, 7)
CONNECT_PROTOCOL = 8  # RFC 8441, 3


class Asked:
    """A request; ``ended`` says that no body follows."""

    __slots__ = ("ended", "headers", "stream")

    def __init__(self, stream: int, headers: Headers, ended: bool) -> None:
        self.stream = stream
        self.headers = headers
        self.ended = ended


class Came:
    """Some of a body, and whether that was its end; ``taken`` is its share of the windows."""

    __slots__ = ("data", "ended", "stream", "taken")

    def __init__(self, stream: int, data: bytes, taken: int, ended: bool) -> None:
        self.stream = stream
        self.data = data
        self.taken = taken
        self.ended = ended


class Trailers:
    """The end of a body, with these."""

    __slots__ = ("headers", "stream")

    def __init__(self, stream: int, headers: Headers) -> None:
        self.stream = stream
        self.headers = headers


class Cancelled:
    """The client wants no answer any more."""

    __slots__ = ("code", "stream")

    def __init__(self, stream: int, code: int) -> None:
        self.stream = stream
        self.code = code


Event = Union[Asked, Came, Trailers, Cancelled]


class _Stream:
    """What is known of a stream that is not over."""

    __slots__ = ("came_all", "sent_all", "taken", "to_come", "to_send")

    def __init__(self, to_send: int, came_all: bool) -> None:
        self.to_send = to_send  # bytes that may be
        self.to_come = STREAM_WINDOW
        self.taken = 0  # of what has come, which the client has not been told of
        self.came_all = came_all
        self.sent_all = False


class Connection:
    """
    One connection.

    ``room`` says that windows of the client have grown, ``goaway`` with which code it has said so, if it has.
    ``most`` is how many bytes of a head are taken as they come, ``unpacked`` how many when it is unpacked.
    """

    def __init__(self, most: int, unpacked: int, now: float) -> None:
        self.room = False
        self.goaway: Optional[int] = None
        self.last = 0  # the stream that was begun last
        self._frames = Frames(most, now)
        self._unpacker, self._packer = Unpacker(unpacked), Packer()
        self._streams: dict[int, _Stream] = {}
        self._lately: dict[int, None] = {}  # those that we have reset
        self._said_nothing = True
        self._head = b""  # in pieces
        self._head_stream = self._head_flags = 0
        self._to_send = 65_535  # bytes that may be, on all streams together
        self._initial = 65_535  # on each, at first
        self._longest = 16_384  # of a frame
        self._to_come = WINDOW
        self._taken = 0
        settings = ((ENABLE_PUSH, 0), (MAX_STREAMS, STREAMS), (MAX_HEAD, most), (CONNECT_PROTOCOL, 1))
        said = b"".join([name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in settings])
        self._out = [frame(SETTINGS, 0, 0, said), _update(0, WINDOW - 65_535)]

    # What comes.

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What has come with these bytes.  Raises `Broken`."""
        events: list[Event] = []
        for kind, flags, stream, body in self._frames.feed(data, now):
            if self._said_nothing:
                if kind != SETTINGS or flags & ACK:
                    raise Broken("no SETTINGS behind the preface (RFC 9113 3.4)", PROTOCOL_ERROR)
                self._said_nothing = False
            if self._head_stream and (kind != CONTINUATION or stream != self._head_stream):
                raise Broken("a head that is not continued (RFC 9113 6.10)", PROTOCOL_ERROR)
            if kind == HEADERS:
                self._headers(events, flags, stream, body, now)
            elif kind == DATA:
                self._data(events, flags, stream, body, now)
            elif kind == WINDOW_UPDATE:
                self._update(stream, body)
            elif kind == SETTINGS:
                self._settings(flags, stream, body)
            elif kind == RST_STREAM:
                self._reset(events, stream, body)
            elif kind == CONTINUATION:
                self._continuation(events, flags, body, now)
            else:
                self._other(kind, flags, stream, body)
        return events

    def _headers(self, events: list[Event], flags: int, stream: int, body: bytes, now: float) -> None:
        if not stream & 1:
            raise Broken(f"HEADERS of stream {stream} (RFC 9113 5.1.1)", PROTOCOL_ERROR)
        if flags & PADDED:
            body = _unpadded(body)
        if flags & WITH_PRIORITY:
            if len(body) < 5:
                raise Broken("HEADERS without their priority (RFC 9113 6.2)", FRAME_SIZE_ERROR)
            if int.from_bytes(body[:4], "big") & LARGEST_WINDOW == stream:
                raise Broken("a stream that depends on itself (RFC 7540 5.3.1)", PROTOCOL_ERROR)
            body = body[5:]
        if flags & END_HEADERS:
            self._whole_head(events, flags, stream, body, now)
        else:
            self._head, self._head_stream, self._head_flags = body, stream, flags

    def _continuation(self, events: list[Event], flags: int, body: bytes, now: float) -> None:
        if not self._head_stream:
            raise Broken("CONTINUATION of nothing (RFC 9113 6.10)", PROTOCOL_ERROR)
        self._head += body
        if flags & END_HEADERS:
            head, stream, self._head, self._head_stream = self._head, self._head_stream, b"", 0
            self._whole_head(events, self._head_flags, stream, head, now)

    def _whole_head(self, events: list[Event], flags: int, stream: int, block: bytes, now: float) -> None:
        headers = self._unpacker.unpack(block)
        ended = bool(flags & END_STREAM)
        if stream > self.last:
            self.last = stream
            if len(self._streams) >= STREAMS:
                self._frames.spend(RESET_COSTS, now)
                self._forget(stream)
                self._out.append(frame(RST_STREAM, 0, stream, REFUSED_STREAM.to_bytes(4, "big")))
                return
            self._streams[stream] = _Stream(self._initial, ended)
            events.append(Asked(stream, headers, ended))
            return
        its = self._streams.get(stream)
        if its is None:
            self._late(stream, "HEADERS")
        elif its.came_all:
            raise Broken("HEADERS behind the end of a stream (RFC 9113 5.1)", STREAM_CLOSED)
        elif not ended:
            raise Broken("trailers that do not end a stream (RFC 9113 8.1)", PROTOCOL_ERROR)
        else:
            self._came_all(stream, its)
            events.append(Trailers(stream, headers))

    def _data(self, events: list[Event], flags: int, stream: int, body: bytes, now: float) -> None:
        taken = len(body)
        if flags & PADDED:
            body = _unpadded(body)
            if not body and not flags & END_STREAM:
                self._frames.spend(1.0, now)
        self._to_come -= taken
        its = self._streams.get(stream)
        if its is None:
            self._late(stream, "DATA")
            self.taken(stream, taken)
            return
        if its.came_all:
            raise Broken("DATA behind the end of a stream (RFC 9113 5.1)", STREAM_CLOSED)
        its.to_come -= taken
        if its.to_come < 0 or self._to_come < 0:
            raise Broken("DATA beyond the window (RFC 9113 6.9.1)", FLOW_CONTROL_ERROR)
        ended = bool(flags & END_STREAM)
        if ended:
            self._came_all(stream, its)
        events.append(Came(stream, body, taken, ended))

    def _late(self, stream: int, what: str) -> None:
        """A frame of a stream that is not there: on its way when we have reset that, or else an error."""
        if not stream & 1 or stream > self.last:
            raise Broken(f"{what} of stream {stream}, which has not begun (RFC 9113 5.1)", PROTOCOL_ERROR)
        if stream not in self._lately:
            raise Broken(f"{what} of stream {stream}, which is over (RFC 9113 5.1)", STREAM_CLOSED)

    def _reset(self, events: list[Event], stream: int, body: bytes) -> None:
        if len(body) != 4:
            raise Broken("a RST_STREAM that is too long or too short (RFC 9113 6.4)", FRAME_SIZE_ERROR)
        if not stream & 1 or stream > self.last:
            raise Broken(f"RST_STREAM of stream {stream}, which has not begun (RFC 9113 5.1)", PROTOCOL_ERROR)
        if self._streams.pop(stream, None) is not None:
            events.append(Cancelled(stream, int.from_bytes(body, "big")))

    def _update(self, stream: int, body: bytes) -> None:
        if len(body) != 4:
            raise Broken("a WINDOW_UPDATE that is too long or too short (RFC 9113 6.9)", FRAME_SIZE_ERROR)
        more = int.from_bytes(body, "big") & LARGEST_WINDOW
        if not more:
            raise Broken("a WINDOW_UPDATE of 0 (RFC 9113 6.9)", PROTOCOL_ERROR)
        if not stream:
            self._to_send += more
            window = self._to_send
        else:
            its = self._streams.get(stream)
            if its is None:
                if not stream & 1 or stream > self.last:
                    text = f"WINDOW_UPDATE of stream {stream}, which has not begun (RFC 9113 5.1)"
                    raise Broken(text, PROTOCOL_ERROR)
                return
            its.to_send += more
            window = its.to_send
        self.room = True
        if window > LARGEST_WINDOW:
            raise Broken("a window beyond 2^31-1 (RFC 9113 6.9.1)", FLOW_CONTROL_ERROR)

    def _settings(self, flags: int, stream: int, body: bytes) -> None:
        if stream:
            raise Broken("SETTINGS of a stream (RFC 9113 6.5)", PROTOCOL_ERROR)
        if len(body) % 6 or (flags & ACK and body):
            raise Broken("SETTINGS that are too long or too short (RFC 9113 6.5)", FRAME_SIZE_ERROR)
        if flags & ACK:
            return
        for place in range(0, len(body), 6):
            name = int.from_bytes(body[place : place + 2], "big")
            value = int.from_bytes(body[place + 2 : place + 6], "big")
            if name == TABLE_SIZE:
                self._packer.table_size(value)
            elif name == ENABLE_PUSH and value > 1:
                raise Broken(f"SETTINGS_ENABLE_PUSH {value} (RFC 9113 6.5.2)", PROTOCOL_ERROR)
            elif name == INITIAL_WINDOW:
                self._initial_window(value)
            elif name == MAX_FRAME:
                if not 16_384 <= value < 1 << 24:
                    raise Broken(f"SETTINGS_MAX_FRAME_SIZE {value} (RFC 9113 6.5.2)", PROTOCOL_ERROR)
                self._longest = min(value, LONGEST_SENT)
        self._out.append(frame(SETTINGS, ACK, 0))

    def _initial_window(self, value: int) -> None:
        if value > LARGEST_WINDOW:
            raise Broken(f"SETTINGS_INITIAL_WINDOW_SIZE {value} (RFC 9113 6.5.2)", FLOW_CONTROL_ERROR)
        for its in self._streams.values():
            its.to_send += value - self._initial
            if its.to_send > LARGEST_WINDOW:
                raise Broken("a window beyond 2^31-1 (RFC 9113 6.9.2)", FLOW_CONTROL_ERROR)
        self._initial = value
        self.room = True

    def _other(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == PING:
            if stream:
                raise Broken("PING of a stream (RFC 9113 6.7)", PROTOCOL_ERROR)
            if len(body) != 8:
                raise Broken("a PING that is too long or too short (RFC 9113 6.7)", FRAME_SIZE_ERROR)
            if not flags & ACK:
                self._out.append(frame(PING, ACK, 0, body))
        elif kind == PRIORITY:
            if not stream:
                raise Broken("PRIORITY of no stream (RFC 9113 6.3)", PROTOCOL_ERROR)
            if len(body) != 5:
                raise Broken("a PRIORITY that is too long or too short (RFC 9113 6.3)", FRAME_SIZE_ERROR)
            if int.from_bytes(body[:4], "big") & LARGEST_WINDOW == stream:
                raise Broken("a stream that depends on itself (RFC 7540 5.3.1)", PROTOCOL_ERROR)
        elif kind == GOAWAY:
            if stream:
                raise Broken("GOAWAY of a stream (RFC 9113 6.8)", PROTOCOL_ERROR)
            if len(body) < 8:
                raise Broken("a GOAWAY that is too short (RFC 9113 6.8)", FRAME_SIZE_ERROR)
            self.goaway = int.from_bytes(body[4:8], "big")
        elif kind == PUSH_PROMISE:
            raise Broken("PUSH_PROMISE of a client (RFC 9113 8.4)", PROTOCOL_ERROR)
        # Others are to be ignored (RFC 9113, 5.5).

    def _came_all(self, stream: int, its: _Stream) -> None:
        its.came_all = True
        if its.sent_all:
            del self._streams[stream]

    def _forget(self, stream: int) -> None:
        self._lately[stream] = None
        if len(self._lately) > LATELY:
            del self._lately[next(iter(self._lately))]

    # What is sent.  Of streams that are not there, nothing is.

    def windows(self, stream: int) -> int:
        """How many bytes may be sent on a stream now, in one frame."""
        its = self._streams.get(stream)
        return min(its.to_send, self._to_send, self._longest) if its is not None else 0

    def may_come(self, stream: int) -> bool:
        """Whether its client may send more of a body now: other streams may have used up the window."""
        its = self._streams.get(stream)
        return its is not None and its.to_come > 0 and self._to_come > 0

    def headers(self, stream: int, headers: Headers, ends: bool) -> None:
        """Send a head, or trailers."""
        its = self._streams.get(stream)
        if its is None or its.sent_all:
            return
        block = self._packer.pack(headers)
        flags, kind = END_STREAM if ends else 0, HEADERS
        while len(block) > self._longest:
            self._out.append(frame(kind, flags, stream, block[: self._longest]))
            block, flags, kind = block[self._longest :], 0, CONTINUATION
        self._out.append(frame(kind, flags | END_HEADERS, stream, block))
        if ends:
            self._sent_all(stream, its)

    def data(self, stream: int, data: bytes, ends: bool) -> None:
        """Send some of a body, not more than `windows` has said."""
        its = self._streams.get(stream)
        if its is None or its.sent_all:
            return
        its.to_send -= len(data)
        self._to_send -= len(data)
        self._out.append(frame(DATA, END_STREAM if ends else 0, stream, data))
        if ends:
            self._sent_all(stream, its)

    def reset(self, stream: int, code: int) -> None:
        """End a stream."""
        if self._streams.pop(stream, None) is not None:
            self._forget(stream)
            self._out.append(frame(RST_STREAM, 0, stream, code.to_bytes(4, "big")))

    def say_goaway(self, code: int) -> None:
        """No stream will be taken behind the last one."""
        self._out.append(frame(GOAWAY, 0, 0, self.last.to_bytes(4, "big") + code.to_bytes(4, "big")))

    def taken(self, stream: int, count: int) -> None:
        """So many bytes of a stream's body are no longer ours; the client is told when there are many."""
        self._taken += count
        if self._taken >= WINDOW // 2:
            self._out.append(_update(0, self._taken))
            self._to_come += self._taken
            self._taken = 0
        its = self._streams.get(stream)
        if its is None or its.came_all:
            return
        its.taken += count
        if its.taken >= STREAM_WINDOW // 2:
            self._out.append(_update(stream, its.taken))
            its.to_come += its.taken
            its.taken = 0

    def offended(self, now: float) -> None:
        """A request was wrong beyond its head.  Raises `Broken` if that is too much."""
        self._frames.spend(RESET_COSTS, now)

    def take(self) -> bytes:
        """What is to be sent."""
        out, self._out = self._out, []
        return b"".join(out)

    def _sent_all(self, stream: int, its: _Stream) -> None:
        its.sent_all = True
        if its.came_all:
            del self._streams[stream]


def _update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))


def _unpadded(body: bytes) -> bytes:
    if not body or body[0] >= len(body):
        raise Broken("more padding than there is frame (RFC 9113 6.1)", PROTOCOL_ERROR)
    return body[1 : len(body) - body[0]]
