"""
What are the frames of HTTP/2, and how many may a client make us read for nothing?

RFC 9113, section 4.  A frame is judged by its head, before the rest of it is there, so what is judged here
costs the least: a frame that is too long is refused, and a head in too many pieces before it is complete
(CVE-2024-27316).  Frames that bring nothing use up a budget that grows with time: the cancelled requests of
CVE-2023-44487, and the PING, SETTINGS, PRIORITY and empty DATA of CVE-2019-9512 to 9518.  Nghttp2 has such
budgets too.
"""

from __future__ import annotations

from proxyd.errors import Malformed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113, 3.4

LONGEST = 16 * 1024  # bytes of a frame: SETTINGS_MAX_FRAME_SIZE, which we leave as it is
PIECES = 8  # frames in which a head may come
BUDGET = 1000.0  # of frames that bring nothing
PER_SECOND = 100.0  # more of them
RESET_COSTS = 5.0  # for a request was begun; so 200 at once, and 20 a second
SETTINGS_BYTES = 24.0  # of SETTINGS for each 1.0, which are four: one may have to do with all streams
CHEAP_UPDATE = 0.1  # a WINDOW_UPDATE: clients send some for each DATA frame of ours

# RFC 9113, 6
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0x0, 0x1, 0x2, 0x3, 0x4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0x5, 0x6, 0x7, 0x8, 0x9
ACK, END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

# RFC 9113, 7
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0x0, 0x1, 0x2, 0x3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 0x5, 0x6, 0x7, 0x8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x9, 0xB

# What it is, its flags, its stream, and what is in it.
Frame = tuple[int, int, int, bytes]


class Broken(Malformed):
    """The client has broken the protocol, and its connection ends; ``code`` is for the GOAWAY."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
    """A frame."""
    return (len(data) << 48 | kind << 40 | flags << 32 | stream).to_bytes(9, "big") + data


class Frames:
    """
    The frames that a client sends, behind the preface.

    ``most`` is how many bytes of a head are taken, ``now`` in seconds.
    """

    __slots__ = ("_budget", "_head_bytes", "_held", "_judged", "_most", "_pieces", "_preface", "_since")

    def __init__(self, most: int, now: float) -> None:
        self._most = most
        self._preface = True  # is still to come
        self._held = b""  # of the next one
        self._judged = False  # its head was
        self._pieces = self._head_bytes = 0  # of this request's head
        self._budget = BUDGET
        self._since = now

    def feed(self, data: bytes, now: float) -> list[Frame]:
        """The frames that are complete with these bytes.  Raises `Broken`."""
        if self._held:
            data = self._held + data
        place, size = 0, len(data)
        if self._preface:
            if not data.startswith(PREFACE[:size]):
                raise Broken("another preface (RFC 9113 3.4)", PROTOCOL_ERROR)
            if size < len(PREFACE):
                self._held = data
                return []
            place, self._preface = len(PREFACE), False
        found: list[Frame] = []
        while size - place >= 9:
            length = data[place] << 16 | data[place + 1] << 8 | data[place + 2]
            kind, flags, begin = data[place + 3], data[place + 4], place + 9
            if not self._judged:
                self._judge(length, kind, flags, now)
            if size - begin < length:
                self._judged = True
                break
            self._judged = False
            stream = int.from_bytes(data[place + 5 : begin], "big") & 0x7FFFFFFF
            place = begin + length
            found.append((kind, flags, stream, data[begin:place]))
        self._held = data[place:]
        return found

    def _judge(self, length: int, kind: int, flags: int, now: float) -> None:
        if length > LONGEST:
            raise Broken(f"a frame of {length} bytes (RFC 9113 4.2)", FRAME_SIZE_ERROR)
        if kind == DATA:
            if not length and not flags & END_STREAM:
                self.spend(1.0, now)
        elif kind == HEADERS or kind == CONTINUATION:
            self._pieces += 1
            self._head_bytes += length
            if self._pieces > PIECES or self._head_bytes > self._most:
                text = f"a head of {self._head_bytes} bytes in {self._pieces} frames"
                raise Broken(text, ENHANCE_YOUR_CALM)
            if flags & END_HEADERS:
                self._pieces = self._head_bytes = 0
        elif kind == WINDOW_UPDATE:
            self.spend(CHEAP_UPDATE, now)
        elif kind == SETTINGS:
            self.spend(max(1.0, length / SETTINGS_BYTES), now)
        else:
            self.spend(RESET_COSTS if kind == RST_STREAM else 1.0, now)

    def spend(self, cost: float, now: float) -> None:
        """Something that brings nothing has cost so much.  Raises `Broken`."""
        if now > self._since:
            self._budget = min(BUDGET, self._budget + (now - self._since) * PER_SECOND)
            self._since = now
        self._budget -= cost
        if self._budget < 0:
            raise Broken("too many frames that bring nothing", ENHANCE_YOUR_CALM)
