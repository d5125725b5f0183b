"""
How are heads packed and unpacked, where the same ones come again and again?

HPACK (RFC 7541) by the library hpack.  What a block of bytes says depends on these and on the table alone;
so as long as the table stays as it is, a block that was read need not be read again, and a head that was
packed, without a change of the table, need not be packed again.  Who asks again for the same mostly says it
in the same few bytes.
"""

from __future__ import annotations

from typing import Optional, Sequence

from hpack import Decoder, Encoder, HeaderTuple, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from proxyd.wire.http2frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, Broken

REMEMBERED = 64  # blocks of a connection; they are no longer than what the table and a few literals can say
LONGEST_REMEMBERED = 512  # bytes of one

Headers = Sequence[Sequence[bytes]]


class _Table(HeaderTable):
    """A table that counts its changes."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.fset(self, newmax)  # type: ignore[attr-defined]


class Unpacker:
    """
    Reads the heads of one connection.

    ``most`` is how long a head may be once it is unpacked, in bytes as RFC 7541, 4.1 counts them.
    """

    def __init__(self, most: int) -> None:
        self._decoder = Decoder(max_header_list_size=most)
        self._table = self._decoder.header_table = _Table()
        self._read: dict[bytes, Headers] = {}
        self._changes = 0  # of the table, when these were read

    def unpack(self, block: bytes) -> Headers:
        """The fields in a block.  Raises `Broken`."""
        found = self._read.get(block)
        if found is not None:
            return found
        try:
            headers: Headers = list(self._decoder.decode(block, raw=True))
        except OversizedHeaderListError as wrong:
            raise Broken(str(wrong), ENHANCE_YOUR_CALM) from None
        except (HPACKError, IndexError) as wrong:
            raise Broken(f"{wrong} (RFC 9113 4.3)", COMPRESSION_ERROR) from None
        if self._table.changes != self._changes:
            self._changes = self._table.changes
            self._read.clear()
        elif len(block) <= LONGEST_REMEMBERED:
            if len(self._read) >= REMEMBERED:
                self._read.clear()
            self._read[block] = headers
        return headers


class Packer:
    """Writes the heads of one connection."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._table = self._encoder.header_table = _Table()
        self._last: Optional[Sequence[HeaderTuple]] = None
        self._block = b""  # which says that

    def table_size(self, size: int) -> None:
        """The client has told how large its table may be, in bytes; ours is never larger than 4096."""
        self._encoder.header_table_size = min(size, HeaderTable.DEFAULT_SIZE)
        self._last = None

    def pack(self, headers: Sequence[HeaderTuple]) -> bytes:
        """A block that says this; the same sequence, given again, is taken to be unchanged."""
        if headers is self._last:
            return self._block
        before = self._table.changes
        block = self._encoder.encode(headers)
        self._last = headers if self._table.changes == before else None
        self._block = block
        return block
