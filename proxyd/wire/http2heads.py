"""
How are heads packed and unpacked on a connection of HTTP/2?

HPACK (RFC 7541), with the tables of the library hpack.  Both sides keep a table of what was said before, and
most fields are a number in it.  What a block of bytes says depends on these and on the table alone; so as
long as the table stays as it is, a block that was read need not be read again, and a head that was packed
need not be packed again.

We say nothing in Huffman's code, as HAProxy does not, and put into the table what may be said again.
"""

from __future__ import annotations

from typing import Optional, Sequence

from hpack import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from proxyd.wire.http2frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, Broken

TABLE_SIZE = 4096  # bytes, as RFC 7541, 4.1 counts them: what each side has if nothing else was said
OVERHEAD = 32  # of each entry

REMEMBERED = 16  # blocks of a connection
LONGEST_REMEMBERED = 128  # bytes of one, of which each may be a field: so 150 KB at worst

LONGEST_SAID_AGAIN = 256  # bytes of a value: what is longer would take the place of too much
NEVER = frozenset({b"set-cookie"})  # in a table, where it could be guessed at (RFC 7541, 7.1)
NOT_AGAIN = frozenset(
    {b"content-length", b"content-range", b"etag", b"last-modified", b"location", b"age", b"expires"}
)

Header = tuple[bytes, bytes]
Headers = Sequence[Header]

_STATIC: tuple[Header, ...] = HeaderTable.STATIC_TABLE
_FIRST = len(_STATIC) + 1  # the number of the newest entry of a table
_KNOWN = {header: number for number, header in enumerate(_STATIC, 1)}
_NAMES = {header[0]: number for number, header in reversed(list(enumerate(_STATIC, 1)))}

# The first bits of a field, and how many of the others are its number (RFC 7541, 6).
INDEXED, ADDED, RESIZED, NEVER_ADDED, NOT_ADDED = 0x80, 0x40, 0x20, 0x10, 0x00

_INDEXED = [bytes([INDEXED | number]) for number in range(0x7F)]


class Unpacker:
    """
    Reads the heads of one connection.

    ``most`` is how long a head may be once it is unpacked, in bytes as RFC 7541, 4.1 counts them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._table: list[Header] = []  # the newest is the last
        self._size = 0
        self._limit = TABLE_SIZE
        self._read: dict[bytes, Headers] = {}
        self._place = 0  # behind what was read last

    def unpack(self, block: bytes) -> Headers:
        """The fields in a block.  Raises `Broken`."""
        found = self._read.get(block)
        if found is not None:
            return found
        try:
            headers, changed = self._unpack(block)
        except (HPACKDecodingError, IndexError) as wrong:
            raise _wrong(str(wrong)) from None
        if changed:
            self._read.clear()
        elif len(block) <= LONGEST_REMEMBERED:
            if len(self._read) >= REMEMBERED:
                self._read.clear()
            self._read[block] = headers
        return headers

    def _unpack(self, block: bytes) -> tuple[list[Header], bool]:
        """The fields, and whether they have changed the table."""
        headers: list[Header] = []
        place, length, total, changed = 0, len(block), 0, False
        while place < length:
            octet = block[place]
            place += 1
            if octet & INDEXED:
                number = octet & 0x7F
                if number == 0x7F:
                    number, place = _number(block, place, number)
                header = self._entry(number)
            elif octet & ADDED:
                header, place = self._literal(block, place, octet & 0x3F, 0x3F)
                self._add(header)
                changed = True
            elif octet & RESIZED:
                if headers:
                    raise _wrong("a size of the table behind fields")
                size, place = _prefixed(block, place, octet & 0x1F, 0x1F)
                self._resize(size)
                changed = True
                continue
            else:
                header, place = self._literal(block, place, octet & 0x0F, 0x0F)
            total += len(header[0]) + len(header[1]) + OVERHEAD
            if total > self._most:
                raise Broken(f"a head of more than {self._most} bytes when it is unpacked", ENHANCE_YOUR_CALM)
            headers.append(header)
        return headers, changed

    def _entry(self, number: int) -> Header:
        if number >= _FIRST:
            if number - _FIRST >= len(self._table):
                raise _wrong(f"field {number}, which is not in the table")
            return self._table[_FIRST - 1 - number]
        if not number:
            raise _wrong("field 0")
        return _STATIC[number - 1]

    def _literal(self, block: bytes, place: int, number: int, most: int) -> tuple[Header, int]:
        number, place = _prefixed(block, place, number, most)
        if number:
            name = self._entry(number)[0]
        else:
            name, place = _string(block, place)
        value, place = _string(block, place)
        return (name, value), place

    def _add(self, header: Header) -> None:
        self._table.append(header)
        self._size += len(header[0]) + len(header[1]) + OVERHEAD
        if self._size > self._limit:
            self._evict()

    def _resize(self, size: int) -> None:
        if size > TABLE_SIZE:
            raise _wrong(f"a table of {size} bytes")
        self._limit = size
        self._evict()

    def _evict(self) -> None:
        count = 0
        while self._size > self._limit:
            name, value = self._table[count]
            self._size -= len(name) + len(value) + OVERHEAD
            count += 1
        del self._table[:count]


class Packer:
    """Writes the heads of one connection."""

    def __init__(self) -> None:
        self._table: list[Header] = []  # the newest is the last
        self._size = 0
        self._limit = TABLE_SIZE
        self._resized: list[int] = []  # what the client is still to be told of
        self._added = 0
        self._known: dict[Header, int] = {}  # the how many-th that was added
        self._last: Optional[Headers] = None
        self._block = b""  # which says that

    def table_size(self, size: int) -> None:
        """The client has told how large its table may be, in bytes; ours is never larger than 4096."""
        self._limit = min(size, TABLE_SIZE)
        self._resized = [min([self._limit, *self._resized]), self._limit]  # RFC 7541, 4.2
        self._evict()
        self._last = None

    def pack(self, headers: Headers) -> bytes:
        """A block that says this; the same sequence, given again, is taken to be unchanged."""
        if headers is self._last:
            return self._block
        before = self._added
        out = [_with_number(RESIZED, size, 0x1F) for size in dict.fromkeys(self._resized)]
        said = bool(out)
        self._resized = []
        for header in headers:
            number = _KNOWN.get(header, 0)
            if not number:
                added = self._known.get(header, -1)
                if added >= 0:
                    number = _FIRST + self._added - 1 - added
            if number:
                out.append(_INDEXED[number] if number < 0x7F else _with_number(INDEXED, number, 0x7F))
            else:
                self._say(out, header)
        block = b"".join(out)
        # With additions it would say something else the next time.
        self._last = headers if before == self._added and not said else None
        self._block = block
        return block

    def _say(self, out: list[bytes], header: Header) -> None:
        name, value = header
        if name in NEVER:
            kind, most = NEVER_ADDED, 0x0F
        elif name in NOT_AGAIN or len(value) > LONGEST_SAID_AGAIN:
            kind, most = NOT_ADDED, 0x0F
        else:
            kind, most = ADDED, 0x3F
        number = _NAMES.get(name, 0)
        out.append(_with_number(kind, number, most))
        if not number:
            out.append(_with_number(0, len(name), 0x7F))
            out.append(name)
        out.append(_with_number(0, len(value), 0x7F))
        out.append(value)
        if kind == ADDED:
            self._table.append(header)
            self._known[header] = self._added
            self._added += 1
            self._size += len(name) + len(value) + OVERHEAD
            if self._size > self._limit:
                self._evict()

    def _evict(self) -> None:
        count = 0
        while self._size > self._limit:
            header = self._table[count]
            del self._known[header]
            self._size -= len(header[0]) + len(header[1]) + OVERHEAD
            count += 1
        del self._table[:count]


def _wrong(text: str) -> Broken:
    return Broken(f"{text} (RFC 7541)", COMPRESSION_ERROR)


def _prefixed(block: bytes, place: int, number: int, most: int) -> tuple[int, int]:
    """A number of which the first bits are these, and the place behind it (RFC 7541, 5.1)."""
    return (number, place) if number < most else _number(block, place, number)


def _number(block: bytes, place: int, number: int) -> tuple[int, int]:
    shift = 0
    while True:
        octet = block[place]
        place += 1
        number += (octet & 0x7F) << shift
        if octet < 0x80:
            return number, place
        shift += 7
        if shift > 21:
            raise _wrong("a number of more than 4 bytes")


def _string(block: bytes, place: int) -> tuple[bytes, int]:
    """A string, and the place behind it (RFC 7541, 5.2)."""
    octet = block[place]
    length, place = _prefixed(block, place + 1, octet & 0x7F, 0x7F)
    end = place + length
    if end > len(block):
        raise _wrong("a string that is longer than its block")
    data = block[place:end]
    return (decode_huffman(data) if octet & 0x80 else data), end


def _with_number(kind: int, number: int, most: int) -> bytes:
    """The first bits, and a number behind them."""
    if number < most:
        return bytes([kind | number])
    out = [kind | most]
    number -= most
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
