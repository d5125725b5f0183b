"""
Where does a chunked body end, and what is in it?

RFC 9112, section 7.1.  What was chunked is taken apart and put together again: sizes are ours when it
leaves, and extensions, which are for the next hop alone (7.1.1), are judged and left out.  A size is
hexadecimal digits and nothing else, a line ends with CR and LF, and no line is long.
"""

from __future__ import annotations

import re

from proxyd.wire.httpfields import NOT_IN_TRAILERS, TOKEN, Field, Unacceptable, parse_field, show

LONGEST_LINE = 256  # of a size and its extensions, which nobody uses
TRAILER_BYTES = 8 * 1024
TRAILERS = 50

LAST = b"0\r\n"  # behind it come the trailers, and an empty line

_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15})"
    rb"(?:[ \t]*;[ \t]*"
    + TOKEN
    + rb"(?:[ \t]*=[ \t]*(?:"
    + TOKEN
    + rb'|"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]'
    rb'|\\[\t\x20-\x7e\x80-\xff])*"))?)*'
).fullmatch

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


def chunk(data: bytes) -> bytes:
    """Some bytes as a chunk; there must be some, because an empty one is the last."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def last(trailers: list[Field]) -> bytes:
    """The end of a body with these trailers."""
    return LAST + b"".join([field[2] for field in trailers]) + b"\r\n"


class Chunks:
    """
    A chunked body on its way: it is fed, and says what was in it; ``trailers`` are there at its end.

    ``most`` is how long it may be in all, in bytes without the framing; 0 is without a bound.
    """

    __slots__ = ("_held", "_left", "_size", "_state", "_trailer_bytes", "most", "rest", "trailers")

    def __init__(self) -> None:
        self.most = 0
        self._size = 0  # of all chunks that have begun
        self._state = _SIZE
        self._left = 0  # bytes of this chunk
        self._held = b""  # of a line that is not complete
        self._trailer_bytes = 0
        self.rest = b""  # what came behind the end
        self.trailers: list[Field] = []

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._state == _DONE

    def feed(self, data: bytes) -> bytes:
        """What of the body is in these bytes, without the framing.  Raises `Unacceptable`."""
        if self._held:
            data, self._held = self._held + data, b""
        found: list[bytes] = []
        place, size = 0, len(data)
        while place < size and self._state != _DONE:
            if self._state == _DATA:
                taken = min(self._left, size - place)
                found.append(data[place : place + taken])
                place += taken
                self._left -= taken
                if not self._left:
                    self._state = _DATA_END
            elif self._state == _DATA_END:
                if size - place < 2:
                    if data[place:] != b"\r":
                        raise Unacceptable(400, "a chunk that does not end where it says", "9112 7.1")
                    break
                if data[place : place + 2] != b"\r\n":
                    raise Unacceptable(400, "a chunk that does not end where it says", "9112 7.1")
                place += 2
                self._state = _SIZE
            else:
                end = data.find(b"\n", place)
                if end < 0:
                    self._judge_length(size - place - 1)  # its last byte may be the CR
                    break
                self._judge_length(end - place - 1)
                if end == place or data[end - 1 : end] != b"\r":
                    raise Unacceptable(400, "a bare LF in a chunked body", "9112 7.1")
                line = data[place : end - 1]
                place = end + 1
                if self._state == _SIZE:
                    self._begin_chunk(line)
                else:
                    self._read_trailer(line)
        if self._state == _DONE:
            self.rest = data[place:]
        else:
            self._held = data[place:]
        return found[0] if len(found) == 1 else b"".join(found)

    def _judge_length(self, length: int) -> None:
        if self._state == _SIZE:
            if length > LONGEST_LINE:
                raise Unacceptable(
                    400, f"a chunk's first line of more than {LONGEST_LINE} bytes", "9112 7.1.1"
                )
        elif self._trailer_bytes + length > TRAILER_BYTES:
            raise Unacceptable(431, f"trailers of more than {TRAILER_BYTES} bytes", "6585 5")

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE_LINE(line)
        if match is None:
            raise Unacceptable(400, f"chunk size {show(line)}", "9112 7.1")
        self._left = int(match.group(1), 16)
        self._size += self._left
        if 0 < self.most < self._size:
            raise Unacceptable(413, f"a body of more than {self.most} bytes", "9110 15.5.14")
        self._state = _DATA if self._left else _TRAILERS

    def _read_trailer(self, line: bytes) -> None:
        if not line:
            self._state = _DONE
            return
        self._trailer_bytes += len(line)
        field = parse_field(line)
        if field[0] in NOT_IN_TRAILERS or field[0].replace(b"_", b"-") in NOT_IN_TRAILERS:
            raise Unacceptable(400, f"{show(field[0])} in the trailers", "9110 6.5.1")
        if len(self.trailers) >= TRAILERS:
            raise Unacceptable(431, f"more than {TRAILERS} trailers", "6585 5")
        self.trailers.append(field)
