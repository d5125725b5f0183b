"""
How much may a client of HTTP/2 make us do for nothing?

Only the heads of frames are looked at (RFC 9113, 4.1), before anything is done for them, so what is judged
here costs the least: a frame that is too long is refused before it is there, and a head in too many pieces
before it is complete (CVE-2024-27316).  Frames that bring nothing use up a budget that grows with time: the
cancelled requests of CVE-2023-44487, and the PING, SETTINGS, PRIORITY and empty DATA of CVE-2019-9512 to
9518.  Nghttp2 has such budgets too.
"""

from __future__ import annotations

from proxyd.errors import Malformed

LONGEST = 16 * 1024  # bytes of a frame: SETTINGS_MAX_FRAME_SIZE, which we leave as it is
PIECES = 8  # frames in which a head may come
BUDGET = 1000.0  # of frames that bring nothing
PER_SECOND = 100.0  # more of them
RESET_COSTS = 5.0  # for a request was begun; so 200 at once, and 20 a second
CHEAP_UPDATE = 0.1  # a WINDOW_UPDATE: clients send some for each DATA frame of ours

DATA, HEADERS, RST_STREAM, WINDOW_UPDATE, CONTINUATION = 0x0, 0x1, 0x3, 0x8, 0x9
END_STREAM, END_HEADERS = 0x1, 0x4

FRAME_SIZE_ERROR, ENHANCE_YOUR_CALM = 0x6, 0xB  # RFC 9113, 7


class Flood(Malformed):
    """The client is to go; ``code`` is for its GOAWAY."""

    def __init__(self, text: str, code: int = ENHANCE_YOUR_CALM) -> None:
        super().__init__(text)
        self.code = code


class Frames:
    """
    The frames that a client sends, behind so many bytes of a preface.

    ``most`` is how many bytes of a head are taken, ``now`` in seconds.
    """

    __slots__ = ("_budget", "_held", "_head_bytes", "_left", "_most", "_pieces", "_since")

    def __init__(self, preface: int, most: int, now: float) -> None:
        self._most = most
        self._left = preface  # bytes of this frame
        self._held = b""  # of the head of the next one
        self._pieces = self._head_bytes = 0  # of this head
        self._budget = BUDGET
        self._since = now

    def feed(self, data: bytes, now: float) -> None:
        """Judge the frames that begin in these bytes.  Raises `Flood`."""
        if now > self._since:
            self._budget = min(BUDGET, self._budget + (now - self._since) * PER_SECOND)
            self._since = now
        place, size = min(self._left, len(data)), len(data)
        self._left -= place
        while place < size:
            if self._held:
                missing = 9 - len(self._held)
                head = self._held + data[place : place + missing]
                place += missing
            else:
                head = data[place : place + 9]
                place += 9
            if len(head) < 9:
                self._held = head
                return
            self._held = b""
            length = head[0] << 16 | head[1] << 8 | head[2]
            if length > LONGEST:
                raise Flood(f"a frame of {length} bytes (RFC 9113 4.2)", FRAME_SIZE_ERROR)
            self._judge(length, head[3], head[4])
            taken = min(length, size - place)
            place += taken
            self._left = length - taken

    def _judge(self, length: int, kind: int, flags: int) -> None:
        if kind == DATA:
            cost = 0.0 if length or flags & END_STREAM else 1.0
        elif kind == HEADERS or kind == CONTINUATION:
            self._pieces += 1
            self._head_bytes += length
            if self._pieces > PIECES or self._head_bytes > self._most:
                raise Flood(f"a head of {self._head_bytes} bytes in {self._pieces} frames")
            if flags & END_HEADERS:
                self._pieces = self._head_bytes = 0
            cost = 0.0
        elif kind == WINDOW_UPDATE:
            cost = CHEAP_UPDATE
        else:
            cost = RESET_COSTS if kind == RST_STREAM else 1.0
        if cost:
            self._budget -= cost
            if self._budget < 0:
                raise Flood("too many frames that bring nothing")
