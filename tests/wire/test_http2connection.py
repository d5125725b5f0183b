"""Does a connection of HTTP/2 take what RFC 9113 allows, end for what it forbids, and keep to the windows?"""

from __future__ import annotations

from typing import Optional

from hpack import Decoder, Encoder

from proxyd.wire.http2connection import (
    LATELY,
    STREAM_WINDOW,
    STREAMS,
    WINDOW,
    Asked,
    Came,
    Cancelled,
    Connection,
    Event,
    Trailers,
)
from proxyd.wire.http2frames import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Broken,
    Frame,
    frame,
)
from tests.support.case import Case

MOST = 16 * 1024

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
OK = [(b":status", b"200"), (b"x", b"y")]
BLOCK = Encoder().encode(GET)
BOMB = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000 + b"\xbe" * 9  # of a few bytes, which say 40 KB


def head(stream: int, flags: int = END_HEADERS | END_STREAM, block: bytes = BLOCK) -> bytes:
    """HEADERS, which no table has to know."""
    return frame(HEADERS, flags, stream, block)


def update(stream: int, more: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))


def setting(name: int, value: int) -> bytes:
    """SETTINGS of one."""
    return frame(SETTINGS, 0, 0, name.to_bytes(2, "big") + value.to_bytes(4, "big"))


OPEN = head(1, END_HEADERS)  # a request whose body is to follow
OVER = head(1)


class ConnectionCase(Case):
    """A connection that has begun."""

    def setUp(self) -> None:
        self.wire = Connection(MOST, 2 * MOST, 0.0)
        self.assertEqual(self.wire.receive(PREFACE + frame(SETTINGS, 0, 0), 0.0), [])
        self.sent()

    def receive(self, data: bytes) -> list[Event]:
        return self.wire.receive(data, 0.0)

    def sent(self) -> list[Frame]:
        """The frames that it has sent."""
        data, found = self.wire.take(), []
        while data:
            end = 9 + int.from_bytes(data[:3], "big")
            found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:end]))
            data = data[end:]
        return found

    def breaks(self, data: bytes, code: int, what: Optional[str] = None) -> None:
        """These bytes end the connection."""
        with self.assertRaises(Broken, msg=what or str(data[:40])) as caught:
            self.receive(data)
        self.assertEqual(caught.exception.code, code, f"{what}: {caught.exception}")


class Rules(ConnectionCase):
    """What is an error."""

    def test_preface(self) -> None:
        """3.4: the preface is the preface, and SETTINGS are behind it."""
        for data in (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
            PREFACE + frame(PING, 0, 0, bytes(8)),
            PREFACE + frame(SETTINGS, ACK, 0),
        ):
            self.wire = Connection(MOST, MOST, 0.0)
            self.breaks(data, PROTOCOL_ERROR)
        wire = Connection(MOST, MOST, 0.0)
        for byte in PREFACE + frame(SETTINGS, 0, 0):
            self.assertEqual(wire.receive(bytes([byte]), 0.0), [])
        self.assertTrue(wire.take().endswith(frame(SETTINGS, ACK, 0)))

    def test_errors(self) -> None:
        """What RFC 9113 forbids ends the connection, with the code that it names."""
        end, body = END_STREAM, frame(DATA, 0, 1, b"x")
        for section, data, code in (
            ("4.2", (MOST + 1).to_bytes(3, "big") + bytes(6), FRAME_SIZE_ERROR),
            ("4.3", head(1, block=b"\xff\xff\xff\xff\xff\x0f"), COMPRESSION_ERROR),
            ("4.3", head(1, block=b"\xc0"), COMPRESSION_ERROR),
            ("4.3", head(1, block=b"\x40\x05ab"), COMPRESSION_ERROR),
            ("4.3", head(1, block=b"\x3f\xff\xff\x03"), COMPRESSION_ERROR),
            ("4.3", head(1, block=b"\x00\x81\xff\x01x"), COMPRESSION_ERROR),
            ("5.1 idle", body, PROTOCOL_ERROR),
            ("5.1 idle", frame(RST_STREAM, 0, 1, bytes(4)), PROTOCOL_ERROR),
            ("5.1 idle", update(1, 1), PROTOCOL_ERROR),
            ("5.1 idle", frame(CONTINUATION, END_HEADERS, 1, BLOCK), PROTOCOL_ERROR),
            ("5.1 half-closed", OVER + body, STREAM_CLOSED),
            ("5.1 half-closed", OVER + OVER, STREAM_CLOSED),
            ("5.1 closed", OPEN + frame(RST_STREAM, 0, 1, bytes(4)) + body, STREAM_CLOSED),
            ("5.1 closed", OPEN + frame(RST_STREAM, 0, 1, bytes(4)) + OVER, STREAM_CLOSED),
            ("5.1.1", head(2), PROTOCOL_ERROR),
            ("5.1.1", head(0), PROTOCOL_ERROR),
            ("5.1.1", head(5) + head(3), STREAM_CLOSED),
            ("5.1.1", OPEN + update(2, 1), PROTOCOL_ERROR),
            ("6.1", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
            ("6.1", OPEN + frame(DATA, PADDED, 1, b"\x02x"), PROTOCOL_ERROR),
            ("6.1", OPEN + frame(DATA, PADDED | end, 1), PROTOCOL_ERROR),
            ("6.2", head(1, END_HEADERS | PADDED, b"\xff" + BLOCK), PROTOCOL_ERROR),
            ("6.2", head(1, END_HEADERS | WITH_PRIORITY, b"x"), FRAME_SIZE_ERROR),
            ("5.3.1", head(1, END_HEADERS | WITH_PRIORITY, b"\x80\0\0\x01\0" + BLOCK), PROTOCOL_ERROR),
            ("6.3", frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
            ("6.3", frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE_ERROR),
            ("5.3.1", frame(PRIORITY, 0, 1, b"\0\0\0\x01\0"), PROTOCOL_ERROR),
            ("6.4", frame(RST_STREAM, 0, 0, bytes(4)), PROTOCOL_ERROR),
            ("6.4", OPEN + frame(RST_STREAM, 0, 1, bytes(5)), FRAME_SIZE_ERROR),
            ("6.5", frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
            ("6.5", frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
            ("6.5", frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
            ("6.5.2", setting(2, 2), PROTOCOL_ERROR),
            ("6.5.2", setting(4, 1 << 31), FLOW_CONTROL_ERROR),
            ("6.5.2", setting(5, 16_383), PROTOCOL_ERROR),
            ("6.5.2", setting(5, 1 << 24), PROTOCOL_ERROR),
            ("6.6", frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + BLOCK), PROTOCOL_ERROR),
            ("6.7", frame(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
            ("6.7", frame(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
            ("6.8", frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
            ("6.8", frame(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
            ("6.9", update(0, 0), PROTOCOL_ERROR),
            ("6.9", OPEN + update(1, 0), PROTOCOL_ERROR),
            ("6.9", frame(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE_ERROR),
            ("6.9.1", update(0, (1 << 31) - 1), FLOW_CONTROL_ERROR),
            ("6.9.1", OPEN + update(1, (1 << 31) - 1), FLOW_CONTROL_ERROR),
            ("6.9.2", OPEN + update(1, 1 << 30) + setting(4, (1 << 31) - 1), FLOW_CONTROL_ERROR),
            ("6.9.1", OPEN + frame(DATA, 0, 1, bytes(MOST)) * 4, FLOW_CONTROL_ERROR),
            ("6.10", head(1, 0) + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
            ("6.10", head(1, 0) + frame(CONTINUATION, END_HEADERS, 3), PROTOCOL_ERROR),
            ("6.10", OVER + frame(CONTINUATION, END_HEADERS, 1), PROTOCOL_ERROR),
            ("8.1", OPEN + head(1, END_HEADERS), PROTOCOL_ERROR),
            (
                "10.5.1",
                head(1, block=b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000 + b"\xbe" * 9),
                ENHANCE_YOUR_CALM,
            ),
        ):
            self.setUp()
            self.breaks(data, code, section)

    def test_closed_streams(self) -> None:
        """Of a stream that is over, what may be on its way is passed over; what may not be is an error."""
        self.receive(OVER)
        self.wire.headers(1, OK, True)
        self.assertEqual(self.receive(update(1, 1) + frame(RST_STREAM, 0, 1, bytes(4))), [])
        self.breaks(frame(DATA, 0, 1, b"x"), STREAM_CLOSED)
        self.setUp()
        self.receive(OPEN)
        self.wire.reset(1, NO_ERROR)
        late = frame(DATA, 0, 1, b"x") + head(1, END_HEADERS | END_STREAM) + update(1, 1)
        self.assertEqual(self.receive(late), [])
        for stream in range(3, 5 + 2 * LATELY, 2):
            self.receive(head(stream, END_HEADERS))
            self.wire.reset(stream, NO_ERROR)
        self.breaks(frame(DATA, 0, 1, b"x"), STREAM_CLOSED)

    def test_unknown(self) -> None:
        """5.5: frames and settings that nobody knows are ignored, and so is a reserved bit."""
        self.assertEqual(self.receive(frame(0xEE, 0xFF, 7, b"x") + setting(0xEE, 1)), [])
        self.assertEqual(len(self.receive(head(1 | 1 << 31))), 1)
        self.assertEqual([kind for kind, _, _, _ in self.sent()], [SETTINGS])


class Streams(ConnectionCase):
    """What comes, and what is sent."""

    def test_request(self) -> None:
        """A request with a body and trailers, in frames of all kinds."""
        padded = frame(HEADERS, PADDED | WITH_PRIORITY, 1, b"\x03" + bytes(5) + BLOCK[:4] + bytes(3))
        asked, first, second, end = self.receive(
            padded
            + frame(CONTINUATION, 0, 1, BLOCK[4:6])
            + frame(CONTINUATION, END_HEADERS, 1, BLOCK[6:])
            + frame(DATA, PADDED, 1, b"\x02abc\0\0")
            + frame(DATA, 0, 1, b"def")
            + head(1, block=b"\0\x01x\x01y")
        )
        assert isinstance(asked, Asked) and isinstance(first, Came) and isinstance(second, Came)
        assert isinstance(end, Trailers)
        self.assertEqual((asked.stream, list(asked.headers), asked.ended), (1, GET, False))
        self.assertEqual((first.data, first.taken, first.ended), (b"abc", 6, False))
        self.assertEqual((second.data, second.taken), (b"def", 3))
        self.assertEqual(list(end.headers), [(b"x", b"y")])

    def test_answer(self) -> None:
        """An answer with a body, an end, and nothing behind it."""
        self.receive(OVER)
        self.wire.headers(1, OK, False)
        self.wire.data(1, b"hello", False)
        self.wire.data(1, b"", True)
        self.wire.data(1, b"more", False)
        self.wire.headers(1, OK, True)
        self.wire.reset(1, NO_ERROR)
        answer, *rest = self.sent()
        self.assertEqual(answer[:3], (HEADERS, END_HEADERS, 1))
        self.assertEqual(list(Decoder().decode(answer[3], raw=True)), OK)
        self.assertEqual(rest, [(DATA, 0, 1, b"hello"), (DATA, END_STREAM, 1, b"")])

    def test_long_head(self) -> None:
        """A head that is longer than a frame goes on in others."""
        self.receive(OVER)
        long = [OK[0], (b"x", bytes(range(256)) * 100)]
        self.wire.headers(1, long, True)
        frames = self.sent()
        self.assertGreater(len(frames), 1)
        self.assertEqual({kind for kind, _, _, _ in frames[1:]}, {CONTINUATION})
        self.assertEqual(frames[0][1], END_STREAM)
        self.assertEqual([flags for _, flags, _, _ in frames[1:]], [0] * (len(frames) - 2) + [END_HEADERS])
        block = b"".join(data for _, _, _, data in frames)
        self.assertEqual(list(Decoder(max_header_list_size=100_000).decode(block, raw=True)), long)

    def test_cancelled(self) -> None:
        """RST_STREAM ends it, once."""
        *_, cancelled = self.receive(OPEN + frame(RST_STREAM, 0, 1, b"\0\0\0\x08") * 2)
        assert isinstance(cancelled, Cancelled)
        self.assertEqual((cancelled.stream, cancelled.code), (1, 8))
        self.wire.headers(1, OK, True)
        self.assertEqual(self.sent(), [])

    def test_too_many(self) -> None:
        """5.1.2: more streams at once than we have said are refused, and cost their sender something."""
        events = self.receive(b"".join(head(1 + 2 * number) for number in range(STREAMS + 1)))
        self.assertEqual(len(events), STREAMS)
        refused = REFUSED_STREAM.to_bytes(4, "big")
        self.assertEqual(self.sent(), [(RST_STREAM, 0, 1 + 2 * STREAMS, refused)])
        self.wire.headers(1, OK, True)
        self.assertEqual(len(self.receive(head(3 + 2 * STREAMS))), 1)
        more = b"".join(head(5 + 2 * (STREAMS + number)) for number in range(201))
        self.breaks(more, ENHANCE_YOUR_CALM)

    def test_ping_and_goaway(self) -> None:
        """PING is answered with what was in it; GOAWAY is noticed, and said with the last stream."""
        self.receive(frame(PING, 0, 0, b"12345678") + frame(PING, ACK, 0, bytes(8)) + head(7))
        self.assertEqual(self.sent(), [(PING, ACK, 0, b"12345678")])
        self.receive(frame(GOAWAY, 0, 0, bytes(7) + b"\x05debug"))
        self.assertEqual(self.wire.goaway, 5)
        self.wire.say_goaway(NO_ERROR)
        self.assertEqual(self.sent(), [(GOAWAY, 0, 0, b"\0\0\0\x07\0\0\0\0")])


class Windows(ConnectionCase):
    """How much may be sent, and come."""

    def test_may_come(self) -> None:
        """A client may send where neither the window of the stream nor that of all is used up."""
        self.receive(OVER + head(3, END_HEADERS))
        self.assertEqual((self.wire.may_come(3), self.wire.may_come(9)), (True, False))
        for size in (16_384, 16_384, 16_384, 16_383):
            self.receive(frame(DATA, 0, 3, bytes(size)))
        self.assertFalse(self.wire.may_come(3))
        self.wire.taken(3, 65_535)
        self.assertTrue(self.wire.may_come(3))

    def test_sending(self) -> None:
        """The least of the window of the stream, that of all, and the longest frame."""
        self.receive(OVER + head(3))
        self.assertEqual((self.wire.windows(1), self.wire.windows(9)), (16_384, 0))
        for _ in range(3):
            self.wire.data(1, bytes(16_384), False)
        self.assertEqual((self.wire.windows(1), self.wire.windows(3)), (16_383, 16_383))
        self.wire.data(1, bytes(16_383), False)
        self.receive(update(0, 100))
        self.assertTrue(self.wire.room)
        self.assertEqual((self.wire.windows(1), self.wire.windows(3)), (0, 100))
        self.receive(update(1, 7))
        self.assertEqual(self.wire.windows(1), 7)

    def test_settings(self) -> None:
        """SETTINGS change the windows of all streams, below 0 also, and the longest frame."""
        self.receive(OVER + update(0, 1_000_000))
        self.wire.data(1, bytes(16_384), False)
        self.receive(setting(4, 100))
        self.assertLess(self.wire.windows(1), 0)
        self.receive(setting(4, 16_400))
        self.assertEqual(self.wire.windows(1), 16)
        self.receive(head(3))
        self.assertEqual(self.wire.windows(3), 16_400 - 16)
        self.receive(setting(4, 1_000_000) + setting(5, 32_768))
        self.assertEqual(self.wire.windows(3), 32_768)
        self.receive(setting(5, (1 << 24) - 1))
        self.assertEqual(self.wire.windows(3), 65_536)

    def test_coming(self) -> None:
        """A client may send as much as was taken, and is told of that when it is much."""
        self.receive(OPEN)
        piece = frame(DATA, 0, 1, bytes(16_000))
        self.receive(piece * 4)
        self.assertEqual(self.sent(), [])
        self.wire.taken(1, 16_000)
        self.assertEqual(self.sent(), [])
        self.wire.taken(1, 32_000)
        self.assertEqual(self.sent(), [(WINDOW_UPDATE, 0, 1, (48_000).to_bytes(4, "big"))])
        self.receive(piece * 3)
        self.breaks(piece, FLOW_CONTROL_ERROR)

    def test_all_streams(self) -> None:
        """All together may send no more than `WINDOW`, of which the client is told at the beginning."""
        wire = Connection(MOST, MOST, 0.0)
        self.assertTrue(wire.take().endswith(update(0, WINDOW - 65_535)))
        full = frame(DATA, 0, 1, bytes(MOST - 1)) * 4
        self.assertLessEqual(4 * (MOST - 1), STREAM_WINDOW)
        streams = [1 + 2 * number for number in range(WINDOW // (4 * (MOST - 1)))]
        for stream in streams:
            self.receive(head(stream, END_HEADERS) + full.replace(b"\0\0\0\x01", stream.to_bytes(4, "big")))
        last = streams[-1] + 2
        self.breaks(head(last, END_HEADERS) + frame(DATA, 0, last, bytes(1000)), FLOW_CONTROL_ERROR)
        self.setUp()
        self.receive(OPEN)
        self.wire.reset(1, NO_ERROR)
        self.sent()
        for _ in range(32):
            self.receive(frame(DATA, 0, 1, bytes(MOST)))  # late, so taken at once
        self.assertEqual(self.sent(), [(WINDOW_UPDATE, 0, 0, (WINDOW // 2).to_bytes(4, "big"))])
