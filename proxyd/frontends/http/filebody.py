"""
How is a body given that is in a file, and not in memory?

A `FileBody` is a part of an open file, which is closed when nobody holds on to it any more: so whoever sends
it need not care what becomes of the file's name meanwhile, and many who send it share one descriptor.  The
kernel sends it (`proxyd.relay.sendfile`), or it is read in pieces (`FromFile`), which waits for the disk
where the page cache has it no more.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any, BinaryIO, Callable, Optional, Union

from twisted.internet.defer import Deferred

from proxyd.errors import Malformed
from proxyd.frontends.http.bodies import PIECE, Body, Whole
from proxyd.policy.cachestore import Elsewhere
from proxyd.relay.sendfile import ReadAhead
from proxyd.wire.cachefile import Digest, head_length, unpack, unpack_head

InThread = Callable[[Callable[[], Any]], "Deferred[Any]"]

LARGE = 256 * 1024  # bytes of a body that is not read into memory

STEP = 4 * 1024 * 1024  # bytes whose digest is taken at once
MOST_CHECKED = 10_000  # files that are remembered to be whole

FIRST_READ = 8192  # bytes of a file, in which its head mostly is


class FileBody(Elsewhere):
    """
    So much of an open file, from ``offset`` on; ``fd`` is its descriptor, which is closed with this.

    ``digest`` is what that of these bytes should be, if that is known.
    """

    __slots__ = ("digest", "fd", "offset")

    def __init__(self, fd: int, offset: int, length: int, digest: Optional[str] = None) -> None:
        super().__init__(length)
        self.digest = digest
        self.fd = fd
        self.offset = offset

    def __del__(self) -> None:
        os.close(self.fd)

    @property
    def is_gone(self) -> bool:
        """Whether no folder has it any more, so that it takes room only for us."""
        return not os.fstat(self.fd).st_nlink

    def ahead(self, in_thread: InThread) -> ReadAhead:
        """Who has parts of the file read into the page cache."""

        def read(offset: int, count: int, fetched: Callable[[], None]) -> None:
            in_thread(partial(self._read_ahead, offset, count)).addBoth(lambda _: fetched())

        return read

    def _read_ahead(self, offset: int, count: int) -> None:
        for place in range(offset, offset + count, PIECE):
            os.pread(self.fd, PIECE, place)

    def part(self, first: int, count: int) -> bytes:
        """So many bytes of it; fewer if the file has become shorter, or cannot be read."""
        try:
            return os.pread(self.fd, count, self.offset + first)
        except OSError:
            return b""


def beginning_of(file: BinaryIO) -> bytes:
    """The head of a file of a cache, and what was read with it.  Raises `Malformed`, or `OSError`."""
    data = file.read(FIRST_READ)
    missing = head_length(data) - len(data)
    return data + file.read(missing) if missing > 0 else data


def read(path: str) -> tuple[dict[str, Any], Union[bytes, FileBody]]:
    """
    The values and the body in a file of a cache; whether a large one is whole is for `Checked` to say.

    For a thread.  Raises `Malformed`, or `OSError`.
    """
    with open(path, "rb") as file:
        data = beginning_of(file)
        values, first = unpack_head(data), head_length(data)
        length = os.fstat(file.fileno()).st_size - first
        if length != values.get("length"):
            raise Malformed("the body of a stored answer is torn")  # be it longer than the memory
        if length < LARGE:
            return unpack(data + file.read())
        return values, FileBody(os.dup(file.fileno()), first, length, values.get("body"))


class Checked:
    """The files that are known to be whole."""

    def __init__(self, in_thread: InThread) -> None:
        self._in_thread = in_thread
        self._known: dict[tuple[int, ...], None] = {}

    async def judge(self, body: FileBody) -> None:
        """Read it in threads, in steps, unless that was done before.  Raises `Malformed` if it is torn."""
        found = os.fstat(body.fd)
        mark = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
        if mark in self._known:
            return
        digest, place = Digest(), 0
        while place < body.length:
            count: int = await self._in_thread(partial(_take, digest, body, place))
            if not count:
                break
            place += count
        if digest.text() != body.digest:
            raise Malformed("the body of a stored answer is torn")
        self._known[mark] = None
        if len(self._known) > MOST_CHECKED:
            del self._known[next(iter(self._known))]


def _take(digest: Digest, body: FileBody, place: int) -> int:
    """Go on with the digest; how many bytes there were."""
    data = body.part(place, STEP)
    digest.add(data)
    return len(data)


class FromFile(Body):
    """A part of such a body, read in pieces when they are asked for."""

    __slots__ = ("_count", "_file", "_first")

    def __init__(self, file: FileBody, first: int, count: int) -> None:
        super().__init__()
        self.done = True
        self._file = file
        self._first = first
        self._count = count

    def has(self, place: int) -> bool:
        return not self.broken and place < self._count

    def piece(self, place: int) -> Optional[bytes]:
        if not self.has(place):
            return None
        wanted = min(PIECE, self._count - place)
        piece = self._file.part(self._first + place, wanted)
        if len(piece) < wanted:
            self.broken = True
            return None
        return piece


def body_of(body: Union[bytes, Elsewhere], first: int, count: int) -> Body:
    """A part of what is stored, to be read."""
    if isinstance(body, bytes):
        return Whole(memoryview(body)[first : first + count])
    assert isinstance(body, FileBody)
    return FromFile(body, first, count)
