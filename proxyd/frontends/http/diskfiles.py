"""
What is in the files of a cache, and how are they read and written?

One for each answer (`proxyd.wire.cachefile`), called by a number, in one of 256 folders.  All of this is
done in threads (`proxyd.frontends.http.disk`), but `length_of`, `key_of` and `size_of`.  A file is written
beside, and renamed when it is whole, be its body in memory (`write_file`) or still to come (`NewFile`).

All times in the files are wall time; ``offset`` makes that of those of this process.
"""

from __future__ import annotations

import fcntl
import os
from typing import Any, Iterator, Optional, Union

from attrs import frozen

from proxyd.errors import Malformed
from proxyd.frontends.http.filebody import FileBody, beginning_of, read
from proxyd.policy.cachestore import Elsewhere, Stored
from proxyd.policy.diskindex import Key
from proxyd.policy.freshness import Terms
from proxyd.wire.cachefile import Digest, digest_of, pack_head, packed_length, unpack_head
from proxyd.wire.httpfields import END_TO_END, parse_field

BLOCK = 4096  # bytes that a file takes at least, on the disk and beside it

NEW = "new"  # the folder of files that are being written

LONGEST = 10**18  # bytes of a body, for whose number there is room


@frozen
class Head:
    """What a file says of its answer: ``number`` is its name, ``written`` when it was, ``size`` its bytes."""

    number: int
    key: Key
    tags: frozenset[bytes]
    written: float
    size: int

    @property
    def url(self) -> bytes:
        """Where it is from."""
        return self.key[0]


def key_of(stored: Stored) -> Key:
    """What it is an answer to."""
    return stored.url, stored.way, stored.names, stored.chosen


def size_of(length: int) -> int:
    """What a file of so many bytes counts for."""
    return (length + BLOCK - 1) // BLOCK * BLOCK + BLOCK


def length_of(stored: Stored, wall: float, offset: float) -> int:
    """How long the file of an answer is that is written at that time."""
    return packed_length(_values_of(stored, wall, offset), len(stored.body))


def _values_of(stored: Stored, wall: float, offset: float) -> dict[str, Any]:
    """What the head of its file says."""
    terms = stored.terms
    return {
        "url": _text(stored.url),
        "way": _text(stored.way),
        "names": [_text(each) for each in stored.names],
        "chosen": [_text(each) for each in stored.chosen],
        "tags": [_text(each) for each in stored.tags],
        "written": wall,
        "status": stored.status,
        "reason": _text(stored.reason),
        "fields": [_text(field[2][:-2]) for field in stored.fields],
        "terms": [
            terms.lifetime,
            terms.since + offset,
            terms.always_validate,
            terms.never_stale,
            terms.while_revalidate,
            terms.if_error,
        ],
    }


def _stored_of(values: dict[str, Any], body: Union[bytes, Elsewhere], now: float, offset: float) -> Stored:
    """The answer that a file is of."""
    lifetime, since, *rest = values["terms"]
    # A clock that was set back must not make it younger than it is, as far as that can be known.
    terms = Terms(lifetime, min(since - offset, now), *rest)
    parsed = [parse_field(_bytes(line)) for line in values["fields"]]
    return Stored(
        _bytes(values["url"]),
        _bytes(values["way"]),
        tuple(_bytes(each) for each in values["names"]),
        tuple(_bytes(each) for each in values["chosen"]),
        values["status"],
        _bytes(values["reason"]),
        [(name, value, line, END_TO_END) for name, value, line, _ in parsed],
        body,
        terms,
    )


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def lock(folder: str) -> int:
    """
    Have a folder for this process alone, until the descriptor is closed, if only by its end.

    Raises `BlockingIOError` if another one has it, or `OSError`.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def nothing() -> None:
    """There and back, so that others have their turn."""


def write_file(beside: str, path: str, stored: Stored, wall: float, offset: float) -> None:
    """Have the file of an answer that is in memory there whole, or not at all."""
    body = stored.body
    assert isinstance(body, bytes)
    try:
        with open(_create(beside), "wb") as file:
            file.write(pack_head(_values_of(stored, wall, offset), len(body), digest_of(body)))
            file.write(body)
        _rename(beside, path)
    except OSError:
        unlink(beside)
        raise


def _rename(beside: str, path: str) -> None:
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    os.rename(beside, path)


class NewFile:
    """
    The file of an answer whose body is still to come; all that is done to it is for threads.

    ``place`` is its in the index, ``length`` what of the disk was set aside for it, and ``body`` what can be
    read of it once it is there.
    """

    def __init__(
        self, number: int, beside: str, path: str, stored: Stored, wall: float, offset: float
    ) -> None:
        self.number = number
        self.beside = beside
        self.path = path
        self.place = 0
        self.length = 0
        self.body: Optional[FileBody] = None
        self._values = _values_of(stored, wall, offset)
        self.room = packed_length(self._values, LONGEST) - LONGEST  # for its head, which comes last
        self._digest = Digest()
        self._size = 0

    def begin(self) -> FileBody:
        """Have a file.  Raises `OSError`."""
        self.body = FileBody(_create(self.beside), self.room, 0)
        return self.body

    def add(self, data: bytes) -> None:
        """Write some more of the body.  Raises `OSError`."""
        assert self.body is not None
        self._digest.add(data)
        view = memoryview(data)
        while view:
            count = os.pwrite(self.body.fd, view, self.room + self._size)
            self._size += count
            view = view[count:]

    def finish(self) -> FileBody:
        """That was all of it: write the head, and give it its name.  Raises `OSError`."""
        body = self.body
        assert body is not None
        body.length, body.digest = self._size, self._digest.text()
        os.pwrite(body.fd, pack_head(self._values, body.length, body.digest, self.room), 0)
        _rename(self.beside, self.path)
        return body


def _create(path: str) -> int:
    """The descriptor of a new file that only we may read, as in nginx."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:  # somebody has emptied our folder meanwhile
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


def read_file(path: str, now: float, offset: float) -> Stored:
    """
    The answer in a file; whether a large body is whole is not known yet.

    Raises `proxyd.errors.Malformed` or `OSError`.
    """
    return _stored_of(*read(path), now, offset)


def unlink(*paths: str) -> None:
    """Throw these away, as far as they are there."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


def make_empty(folder: str) -> None:
    """Have a folder without files."""
    os.makedirs(folder, 0o700, exist_ok=True)
    unlink(*files(folder))


def folders(folder: str) -> list[str]:
    """The names of those in it that have files of ours."""
    return sorted(name for name in os.listdir(folder) if len(name) == 2)


def files(folder: str) -> list[str]:
    """The paths of the files in it."""
    return [entry.path for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]


def heads(paths: list[str]) -> list[Head]:
    """What can be read of these files; the others are thrown away, if they are ours."""
    return list(_whole_heads(paths))


def _whole_heads(paths: list[str]) -> Iterator[Head]:
    for path in paths:
        try:
            with open(path, "rb") as file:
                data = beginning_of(file)
                length = os.fstat(file.fileno()).st_size
            head = _head(unpack_head(data), path, length)
        except (Malformed, KeyError, TypeError, ValueError):
            unlink(path)
        except OSError:
            continue
        else:
            yield head


def _head(values: dict[str, Any], path: str, length: int) -> Head:
    """Raises `ValueError` where it is not called as a file of ours."""
    folder, name = path.split(os.sep)[-2:]
    number = int(name, 16)
    if len(name) != 16 or f"{number:016x}" != name or name[:2] != folder:
        raise ValueError(name)
    key = (
        _bytes(values["url"]),
        _bytes(values["way"]),
        tuple(_bytes(each) for each in values["names"]),
        tuple(_bytes(each) for each in values["chosen"]),
    )
    tags = frozenset(_bytes(each) for each in values["tags"])
    return Head(number, key, tags, float(values["written"]), size_of(length))
