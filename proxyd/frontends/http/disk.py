"""
How does what is stored survive a restart?

A `DiskStore` has a file for each answer (`proxyd.wire.cachefile`), and in memory what is needed to find it.
All work on files is done in threads.  A file is written beside, and renamed when it is whole, so that a
process that is killed leaves whole files and remainders, which are thrown away at the start; what a power cut
tears is noticed by its digests when it is read.  So nothing waits for the disk (fsync), and nothing torn is
served.

What is found here goes to the store in memory, and is served from there.
"""

from __future__ import annotations

import json
import os
from functools import partial
from secrets import token_hex
from typing import Any, Callable, Iterator, Optional, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.errors import Malformed
from proxyd.policy.cachestore import Filed, Store, Stored
from proxyd.policy.freshness import Terms
from proxyd.wire.cachefile import MAGIC, head_length, pack, unpack, unpack_head
from proxyd.wire.httpfields import END_TO_END, Field, parse_field

BLOCK = 4096  # bytes that a file takes at least, on the disk and beside it

NEW = "new"  # the folder of files that are being written

MOST_WAITING = 64  # files that wait to be written, beyond which answers are kept in memory alone
MOST_WAITING_BYTES = 32 * 1024 * 1024

FIRST_READ = 8192  # bytes of a file, in which its head mostly is

SLICE = 250  # files whose heads are taken in one turn

MOST_CHANGES = 10_000  # that are noted until it is known what is there; with more nothing of that is used

InThread = Callable[[Callable[[], Any]], "Deferred[Any]"]

log = Logger()


class OnDisk(Filed):
    """What is known of a file: ``written`` is when it was, or will be, and ``ready`` that it is."""

    __slots__ = ("path", "ready", "written")

    def __init__(self, values: dict[str, Any], path: str, length: int) -> None:
        super().__init__(
            _bytes(values["url"]),
            _bytes(values["way"]),
            tuple(_bytes(each) for each in values["names"]),
            tuple(_bytes(each) for each in values["chosen"]),
            frozenset(_bytes(each) for each in values["tags"]),
            size_of(length),
        )
        self.path = path
        self.written = float(values["written"])
        self.ready = False

    def answers(self, way: bytes, fields: Sequence[Field]) -> bool:
        return self.ready and super().answers(way, fields)


class DiskStore(Store[OnDisk]):
    """The files of one cache, in a folder that is its own."""

    def __init__(self, folder: str, budget: int, in_thread: InThread, seconds: Callable[[], float]) -> None:
        super().__init__(budget)
        self.folder = folder
        self._in_thread = in_thread
        self._seconds = seconds
        self._waiting = 0  # answers to be written
        self._waiting_bytes = 0
        self._failing = False
        self._learnt = False  # what is there
        self._changed: set[int] = set()  # until then: the hashes of URLs and of tags that are void
        self._prefixes: tuple[bytes, ...] = ()  # and how URLs begin that are
        self._all_void = False
        self._closed = False
        self.skipped = 0  # answers that were not written, since too many waited, or it was too soon

    def fault(self) -> str:
        """Why nothing can be stored there; "" if nothing is known against it."""
        return "" if os.path.isdir(self.folder) else f"{self.folder} is no folder"

    async def begin(self) -> None:
        """Learn what is there, a few files in a turn."""
        await self._in_thread(partial(_make_empty, os.path.join(self.folder, NEW)))
        for name in await self._in_thread(partial(_folders, self.folder)):
            paths = await self._in_thread(partial(_files, os.path.join(self.folder, name)))
            for place in range(0, len(paths), SLICE):
                if self._closed:
                    return
                for known in await self._in_thread(partial(_heads, paths[place : place + SLICE])):
                    self._found(known)
        self._learnt = True
        self._changed, self._prefixes = set(), ()

    def close(self) -> None:
        """Write nothing more, and look for nothing."""
        self._closed = True

    def _found(self, known: OnDisk) -> None:
        other = self.like(known)
        if self._is_void(known) or (other is not None and other.written >= known.written):
            self.forgotten(known)
        else:
            self.put(known)

    def forgotten(self, stored: OnDisk) -> None:
        if not self._closed:
            self._in_thread(partial(_unlink, stored.path)).addErrback(self.failed)

    # What is void, though it may not have been found yet

    def outdate(self, stored: Filed) -> None:
        """What is there of the same is not to be used any more."""
        known = self.like(stored)
        if known is not None:
            self.drop(known)
        self._note(stored.url)

    def purge_url(self, url: bytes) -> int:
        self._note(url)
        return super().purge_url(url)

    def purge_tag(self, tag: bytes) -> int:
        self._note(tag)
        return super().purge_tag(tag)

    def purge_prefix(self, prefix: bytes) -> Iterator[int]:
        if not self._learnt:
            self._prefixes += (prefix,)
            self._all_void = self._all_void or len(self._prefixes) > MOST_CHANGES
        return super().purge_prefix(prefix)

    def _note(self, name: bytes) -> None:
        if not self._learnt and not self._all_void:
            self._changed.add(hash(name))
            self._all_void = len(self._changed) > MOST_CHANGES

    def _is_void(self, known: OnDisk) -> bool:
        return (
            self._all_void
            or not self._changed.isdisjoint(map(hash, (known.url, *known.tags)))
            or known.url.startswith(self._prefixes)
        )

    # Files are written, and read

    def write(self, stored: Stored) -> None:
        """Write an answer, unless too many wait already."""
        length = len(stored.body)
        if self._closed:
            return
        if (
            not self._learnt
            or self._waiting >= MOST_WAITING
            or self._waiting_bytes + length > MOST_WAITING_BYTES
        ):
            self.skipped += 1
            self.outdate(stored)
            return
        values = values_of(stored, self._seconds())
        name = token_hex(16)
        path = os.path.join(self.folder, name[:2], name)
        known = OnDisk(values, path, length + len(json.dumps(values)))
        self.put(known)  # which makes room for it, so that the disk is never fuller than it may be
        self._waiting += 1
        self._waiting_bytes += length
        writing = self._in_thread(
            partial(_write, os.path.join(self.folder, NEW, name), path, values, stored.body)
        )

        def written(result: Any) -> None:
            self._waiting -= 1
            self._waiting_bytes -= length
            if isinstance(result, Failure):
                self.failed(result)
                self.drop(known)
                return
            self._failing = False
            if known.live:
                known.ready = True
            else:
                self.forgotten(known)  # it was thrown away meanwhile

        writing.addBoth(written)

    def read(self, known: OnDisk) -> Deferred[Optional[Stored]]:
        """The answer in a file; None if it is gone or torn, and then it is forgotten."""

        def came(result: Any) -> Optional[Stored]:
            if not known.live:
                return None
            if isinstance(result, Failure):
                if not result.check(FileNotFoundError, Malformed):
                    self.failed(result)
                self.drop(known)
                return None
            values, body = result
            return stored_of(values, body)

        reading: Deferred[Any] = self._in_thread(partial(_read, known.path))
        return reading.addBoth(came)

    def failed(self, failure: Failure) -> None:
        """Something could not be done there."""
        if not self._failing:  # once, until it works again
            log.warn("The cache in {folder} cannot be used: {why}", folder=self.folder, why=failure.value)
        self._failing = True


def size_of(length: int) -> int:
    """What a file of so many bytes counts for."""
    return (length + BLOCK - 1) // BLOCK * BLOCK + BLOCK


def values_of(stored: Stored, now: float) -> dict[str, Any]:
    """What the head of its file says."""
    terms = stored.terms
    return {
        "url": _text(stored.url),
        "way": _text(stored.way),
        "names": [_text(each) for each in stored.names],
        "chosen": [_text(each) for each in stored.chosen],
        "tags": [_text(each) for each in stored.tags],
        "written": now,
        "status": stored.status,
        "reason": _text(stored.reason),
        "fields": [_text(field[2][:-2]) for field in stored.fields],
        "terms": [
            terms.lifetime,
            terms.since,
            terms.always_validate,
            terms.never_stale,
            terms.while_revalidate,
            terms.if_error,
        ],
    }


def stored_of(values: dict[str, Any], body: bytes) -> Stored:
    """The answer that a file is of."""
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
        Terms(*values["terms"]),
    )


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


# In a thread.


def _write(beside: str, path: str, values: dict[str, Any], body: bytes) -> None:
    try:
        with open(beside, "xb") as file:
            file.write(pack(values, body))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(beside, path)
    except OSError:
        _unlink(beside)
        raise


def _read(path: str) -> tuple[dict[str, Any], bytes]:
    with open(path, "rb") as file:
        return unpack(file.read())


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _make_empty(folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    for path in _files(folder):
        _unlink(path)


def _folders(folder: str) -> list[str]:
    return sorted(name for name in os.listdir(folder) if len(name) == 2)


def _files(folder: str) -> list[str]:
    return [entry.path for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]


def _heads(paths: list[str]) -> list[OnDisk]:
    return list(_whole_heads(paths))


def _whole_heads(paths: list[str]) -> Iterator[OnDisk]:
    """What can be read of these files; the others are thrown away, if they are ours."""
    for path in paths:
        try:
            with open(path, "rb") as file:
                data = file.read(FIRST_READ)
                if data[: len(MAGIC)] == MAGIC and head_length(data) > len(data):
                    data += file.read(head_length(data) - len(data))
                length = os.fstat(file.fileno()).st_size
            known = OnDisk(unpack_head(data), path, length)
            known.ready = True
        except (Malformed, KeyError, TypeError, ValueError):
            _unlink(path)
        except OSError:
            continue
        else:
            yield known
