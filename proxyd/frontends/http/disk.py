"""
How does what is stored survive a restart?

A `DiskStore` has a file for each answer (`proxyd.wire.cachefile`), and in memory what is needed to find it
(`proxyd.policy.diskindex`).  All work on files is done in threads.  A file is written beside, and renamed
when it is whole, so that a process that is killed leaves whole files and remainders, which are thrown away at
the start; what a power cut tears is noticed by its digests when it is read.  So nothing waits for the disk
(fsync), and nothing torn is served.

What is found here goes to the store in memory, and is served from there; but of a large body only the open
file does (`proxyd.frontends.http.filebody`), whose digest is checked when this process opens it for the first
time, in threads and step by step.

Which URL and tags an answer has its file alone knows for sure: what is purged by a prefix or a tag is not
given from that moment on (`proxyd.policy.purging`), and a sweep reads the heads of those files that may be
meant.
"""

from __future__ import annotations

import os
from functools import partial
from secrets import randbits
from typing import Any, Callable, Optional, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.errors import Malformed
from proxyd.frontends.http.diskfiles import (
    BLOCK,
    NEW,
    Head,
    NewFile,
    files,
    folders,
    heads,
    key_of,
    length_of,
    lock,
    make_empty,
    nothing,
    read_file,
    size_of,
    unlink,
    write_file,
)
from proxyd.frontends.http.filebody import Checked, FileBody, InThread
from proxyd.policy.cachekey import Chosen
from proxyd.policy.cachestore import Elsewhere, Stored
from proxyd.policy.diskindex import DiskIndex, Key, bits_of, sign_of
from proxyd.policy.purging import Voids
from proxyd.relay.sendfile import ReadAhead
from proxyd.snapshots import DiskSnapshot
from proxyd.walltime import WallTime
from proxyd.wire.httpfields import Field

MOST_WAITING = 64  # files that wait to be written, beyond which answers are kept in memory alone
MOST_WAITING_BYTES = 32 * 1024 * 1024  # one alone may be longer
MOST_COMING = 64  # files whose bodies come, beyond which long answers are not stored

SLICE = 250  # files whose heads are taken in one turn
SWEPT = 1000  # places of the index that are looked at in one turn

MOST_CHANGES = 10_000  # URLs that are noted until it is known what is there; with more all that is is void

log = Logger()


@frozen
class OnDisk:
    """A file that has been found: ``place`` is its in the index."""

    place: int
    number: int
    key: Key


class DiskStore:
    """The files of one cache, in a folder that is its own."""

    def __init__(
        self,
        folder: str,
        budget: int,
        memory: int,
        in_thread: InThread,
        seconds: Callable[[], float],
        wall: WallTime,
    ) -> None:
        """``budget`` are bytes of the disk, ``memory`` those of what is known of it."""
        self.folder = folder
        self._memory = memory
        self.index = DiskIndex(budget, memory, BLOCK)
        self.in_thread = in_thread
        self._seconds = seconds
        self._wall = wall
        # Their places, URLs and tags, by their numbers.
        self._writing: dict[int, tuple[int, bytes, frozenset[bytes]]] = {}
        self._waiting_bytes = 0
        self._coming = 0  # those of them whose bodies still come
        self._failing = False
        self._learnt = False  # what is there
        self._changed: set[int] = set()  # until then: the hashes of URLs that are void
        self._voids = Voids()
        self._sweeping = False
        self._closed = False
        self._lock: Optional[int] = None  # a descriptor
        self._checked = Checked(in_thread)
        self.skipped = 0  # answers that were not written, since too many waited, or it was too soon
        self.swept = 0  # answers that were thrown away for being purged by a prefix or a tag

    def __len__(self) -> int:
        return len(self.index)

    @property
    def purging(self) -> bool:
        """Whether something that was purged may still be there, though it is not given any more."""
        return bool(self._voids)

    def snapshot(self) -> DiskSnapshot:
        """What is known of it at this moment."""
        index = self.index
        return DiskSnapshot(
            len(index),
            index.used,
            index.budget,
            index.memory,
            self._memory,
            index.evicted,
            self.swept,
            self.skipped,
        )

    def fault(self) -> str:
        """Why nothing can be stored there; "" if nothing is known against it. It is ours until `close`."""
        try:
            self._lock = lock(self.folder)
        except BlockingIOError:
            return f"{self.folder} is used by another process; each needs a folder of its own"
        except (FileNotFoundError, NotADirectoryError):
            return f"{self.folder} is no folder"
        except OSError as error:
            return f"{self.folder}: {error.strerror}"
        return "" if os.access(self.folder, os.W_OK | os.X_OK) else f"{self.folder} must not be written to"

    async def begin(self) -> None:
        """Learn what is there, a few files in a turn."""
        await self.in_thread(partial(make_empty, os.path.join(self.folder, NEW)))
        for name in await self.in_thread(partial(folders, self.folder)):
            paths = await self.in_thread(partial(files, os.path.join(self.folder, name)))
            for place in range(0, len(paths), SLICE):
                if self._closed:
                    return
                for head in await self.in_thread(partial(heads, paths[place : place + SLICE])):
                    await self._found(head)
        self._learnt = True
        self._changed = set()
        self._sweep_soon()

    def close(self) -> None:
        """Write nothing more, and look for nothing."""
        self._closed = True
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _found(self, head: Head) -> None:
        if hash(head.url) in self._changed or self._voids.have(0, head.url, head.tags):
            self._forget([head.number])
            return
        other = self.index.place_of(head.key)
        if other is not None:  # a kill has left both
            rivals = await self.in_thread(partial(heads, [self._path(self.index.numbers[other])]))
            if rivals and rivals[0].key == head.key and rivals[0].written >= head.written:
                self._forget([head.number])
                return
        self._put(head, ready=True)

    def _put(self, head: Head, ready: bool = False) -> int:
        """Know it, and forget those that have to go for it; its place, 0 if it has none."""
        sign, turn = sign_of(head.url, head.tags), self._voids.turn if self._learnt else 0
        place, gone = self.index.put(head.key, sign, head.size, head.number, turn, ready)
        self._forget(gone)
        return place

    def _drop(self, place: int) -> None:
        number = self.index.numbers[place]
        self.index.drop(place)
        self._forget([number])

    def _forget(self, numbers: Sequence[int]) -> None:
        """These files are of no use; those that are being written are thrown away when they are."""
        paths = [self._path(number) for number in numbers if number not in self._writing]
        if paths and not self._closed:
            self.in_thread(partial(unlink, *paths)).addErrback(self.failed)

    def _path(self, number: int) -> str:
        name = f"{number:016x}"
        return os.path.join(self.folder, name[:2], name)

    # What is not to be used any more, though it may not have been found yet

    def outdate(self, stored: Stored) -> None:
        """What is there of the same is not to be used any more."""
        place = self.index.place_of(key_of(stored))
        if place is not None:
            self._drop(place)
        self._note(stored.url)

    def purge_url(self, url: bytes) -> int:
        """Throw away the answers for a URL; how many there were."""
        found = list(self.index.places(url))
        for place in found:
            self._drop(place)
        self._note(url)
        return len(found)

    def purge(self, prefix: bytes = b"", tag: Optional[bytes] = None) -> None:
        """None of those whose URLs begin so, or that have this tag, is given any more."""
        rule = self._voids.add(prefix, tag)
        for number, (place, url, tags) in list(self._writing.items()):
            if self.index.holds(place, number) and rule.meets(url, tags):
                self._drop(place)
                self.swept += 1
        self._sweep_soon()

    def _note(self, url: bytes) -> None:
        if not self._learnt:
            self._changed.add(hash(url))
            if len(self._changed) > MOST_CHANGES:
                self._changed = set()
                self.purge()

    def _sweep_soon(self) -> None:
        if self._voids and self._learnt and not self._sweeping:
            self._sweeping = True
            Deferred.fromCoroutine(self._sweep()).addErrback(self.failed)

    async def _sweep(self) -> None:
        """Throw away what the rules are about, some of it in a turn, until there are none."""
        try:
            while self._voids and not self._closed:
                rules, place = self._voids.rules, 0
                bits = [bits_of(rule.prefix, rule.tag) for rule in rules]
                while place < self.index.end and not self._closed:
                    found = self.index.suspects(place, place + SWEPT, bits, rules[-1].turn)
                    place += SWEPT
                    for begin in range(0, len(found), SLICE):
                        await self._look_into(found[begin : begin + SLICE])
                    if not found:
                        await self.in_thread(nothing)
                if not self._closed:
                    self._voids.over(rules)
        finally:
            self._sweeping = False

    async def _look_into(self, found: Sequence[tuple[int, int]]) -> None:
        places = {number: place for place, number in found}
        for head in await self.in_thread(partial(heads, [self._path(number) for number in places])):
            place = places.pop(head.number)
            if self.index.holds(place, head.number) and self._is_void(place, head.url, head.tags):
                self._drop(place)
                self.swept += 1
        for number, place in places.items():
            if self.index.holds(place, number):
                self._drop(place)  # it could not be read, so that it may be one of those

    def _is_void(self, place: int, url: bytes, tags: frozenset[bytes] = frozenset()) -> bool:
        return self._voids.have(self.index.turn(place), url, tags)

    # Files are written, and read

    def find(self, url: bytes, way: bytes, fields: Sequence[Field]) -> Optional[OnDisk]:
        """The file of what may be the answer to a request that says this."""
        index, asked = self.index, Chosen(fields)
        for place in index.places(url):
            names = index.names(place)
            key = url, way, names, asked.by(names)
            if index.is_ready(place) and index.is_for(place, key):
                if self._is_void(place, url):
                    continue
                index.touch(place)
                return OnDisk(place, index.numbers[place], key)
        return None

    def has(self, stored: Stored) -> bool:
        """Whether there is an answer to the same that was not purged."""
        place = self.index.place_of(key_of(stored))
        return place is not None and not self._is_void(place, stored.url, stored.tags)

    def write(self, stored: Stored) -> None:
        """Write an answer, unless too many wait already."""
        length = len(stored.body)
        if self._closed or isinstance(stored.body, Elsewhere):
            return  # what is in a file stays there
        if (
            not self._learnt
            or len(self._writing) - self._coming >= MOST_WAITING
            or (self._waiting_bytes and self._waiting_bytes + length > MOST_WAITING_BYTES)
        ):
            self.skipped += 1
            self.outdate(stored)
            return
        number, wall, offset = randbits(64), self._wall.now(), self._wall.offset
        head = Head(number, key_of(stored), stored.tags, wall, size_of(length_of(stored, wall, offset)))
        place = self._put(head)  # which makes room for it, so that the disk is never fuller than it may be
        if not place:
            self.skipped += 1
            return
        self._writing[number] = place, stored.url, stored.tags
        self._waiting_bytes += length
        beside = os.path.join(self.folder, NEW, f"{number:016x}")

        def written(result: Any) -> None:
            del self._writing[number]
            self._waiting_bytes -= length
            live = self.index.holds(place, number)
            if isinstance(result, Failure):
                self.failed(result)
                if live:
                    self._drop(place)
                return
            self._failing = False
            if live:
                self.index.set_ready(place)
            else:
                self._forget([number])  # it was thrown away meanwhile

        work = partial(write_file, beside, self._path(number), stored, wall, offset)
        self.in_thread(work).addBoth(written)

    def receive(self, stored: Stored, length: int) -> Optional[NewFile]:
        """
        A file for an answer whose body comes, and will be so long, as far as that is known; None if it can
        have none.
        """
        if self._closed or not self._learnt or self._coming >= MOST_COMING:
            self.skipped += 1
            return None
        number, wall, offset = randbits(64), self._wall.now(), self._wall.offset
        beside = os.path.join(self.folder, NEW, f"{number:016x}")
        new = NewFile(number, beside, self._path(number), stored, wall, offset)
        new.length = size_of(new.room + length)
        new.place = self._put(Head(number, key_of(stored), stored.tags, wall, new.length))
        if not new.place:
            self.skipped += 1
            return None
        self._writing[number] = new.place, stored.url, stored.tags
        self._coming += 1
        return new

    def has_room(self, new: NewFile, length: int) -> bool:
        """Whether its body may be so long, and is wanted still."""
        if self.index.holds(new.place, new.number) and size_of(new.room + length) > new.length:
            new.length = size_of(new.room + length)
            self._forget(self.index.resize(new.place, new.length))
        return self.index.holds(new.place, new.number)

    def received(self, new: NewFile, whole: bool) -> bool:
        """It is whole, or will never be; whether it is there from now on."""
        del self._writing[new.number]
        self._coming -= 1
        if self.index.holds(new.place, new.number):
            if whole:
                self._failing = False
                self.index.set_ready(new.place)
                return True
            self.index.drop(new.place)
        if not self._closed:
            self.in_thread(partial(unlink, new.beside, new.path)).addErrback(self.failed)
        return False

    def read(self, known: OnDisk) -> Deferred[Optional[Stored]]:
        """The answer in a file; None if it is gone, torn, purged or another's, and then it is forgotten."""

        def came(result: Any) -> Optional[Stored]:
            if not self.index.holds(known.place, known.number):
                return None
            stored: Optional[Stored] = None
            if isinstance(result, Failure):
                if not result.check(FileNotFoundError, Malformed):
                    self.failed(result)
            else:
                stored = result
            if stored is None or key_of(stored) != known.key:
                self._drop(known.place)
                return None
            if self._is_void(known.place, stored.url, stored.tags):
                self._drop(known.place)  # before the sweep comes: who asks again would be sent here again
                self.swept += 1
                return None
            return stored

        return Deferred.fromCoroutine(self._whole(self._path(known.number))).addBoth(came)

    async def _whole(self, path: str) -> Stored:
        now, offset = self._seconds(), self._wall.offset
        stored: Stored = await self.in_thread(partial(read_file, path, now, offset))
        if isinstance(stored.body, FileBody):
            await self._checked.judge(stored.body)
        return stored

    def ahead(self, body: FileBody) -> ReadAhead:
        """Who has parts of a body read into the page cache."""
        return body.ahead(self.in_thread)

    def failed(self, failure: Failure) -> None:
        """Something could not be done there."""
        if not self._failing:  # once, until it works again
            log.warn("The cache in {folder} cannot be used: {why}", folder=self.folder, why=failure.value)
        self._failing = True
