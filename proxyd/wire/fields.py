"""
How are the fields of a TLS handshake message read, so that nothing runs over its end?

Sources: RFC 8446 3.4 (vectors), 4.2 (extensions).
"""

from __future__ import annotations

from proxyd.errors import Malformed

# Extensions, and names in ALPN: clients have some 20 of the first and 3 of the second.  Thousands would
# fit, and take milliseconds to read in which nobody else is served.
MAX_LISTED = 128


class Fields:
    """Fields that are read one after the other; one that runs over the end is malformed."""

    __slots__ = ("_data", "_message", "_name", "_place")

    def __init__(self, data: bytes, name: str, message: str) -> None:
        """``name`` is what is read, of a ``message``; errors say both."""
        self._data = data
        self._message = message
        self._name = name
        self._place = 0

    def more(self) -> bool:
        """Whether anything is left to read."""
        return self._place < len(self._data)

    def take(self, length: int) -> bytes:
        """The next bytes."""
        start, self._place = self._place, self._place + length
        if self._place > len(self._data):
            raise Malformed(f"{self._message}: {self._name} cut short")
        return self._data[start : self._place]

    def number(self, width: int) -> int:
        """The next number of so many bytes."""
        return int.from_bytes(self.take(width), "big")

    def vector(self, width: int, name: str, least: int = 0, most: int = 2**16 - 1, unit: int = 1) -> bytes:
        """The next vector (RFC 8446 3.4), whose length in bytes is a number of so many bytes before it."""
        length = self.number(width)
        if not least <= length <= most or length % unit:
            raise Malformed(f"{self._message}: {name} of {length} bytes")
        return self.take(length)

    def finish(self) -> None:
        """Nothing may be left."""
        if self.more():
            raise Malformed(f"{self._message}: more bytes than {self._name} may have")


def extensions_of(data: bytes, message: str) -> dict[int, bytes]:
    """What each extension holds, by its type.  Not read by `Fields`: every hello has a score of them."""
    found: dict[int, bytes] = {}
    place = 0
    while place < len(data):
        start = place + 4
        kind = int.from_bytes(data[place : place + 2], "big")
        place = start + int.from_bytes(data[place + 2 : start], "big")
        if place > len(data):
            raise Malformed(f"{message}: an extension cut short")
        if kind in found:
            raise Malformed(f"{message}: extension {kind} comes twice")
        if len(found) == MAX_LISTED:
            raise Malformed(f"{message}: more than {MAX_LISTED} extensions")
        found[kind] = data[start:place]
    return found
