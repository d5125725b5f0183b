"""
What does a cache do while the daemon runs?

A `Cache` is one ``[cache]`` of the configuration, for all listeners and routes that name it: what is stored,
what is being fetched, so that it is fetched once, and what is known not to be worth storing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Callable, Iterator, Optional, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from proxyd.config.cache import CacheSpec
from proxyd.frontends.http.bodies import Filling
from proxyd.frontends.http.disk import DiskStore, OnDisk
from proxyd.frontends.http.filebody import InThread
from proxyd.frontends.http.variants import Variants
from proxyd.policy.cachekey import Chosen, read_prefix, read_url
from proxyd.policy.cachestore import Memory, Stored
from proxyd.policy.freshness import Rules
from proxyd.snapshots import CacheSnapshot
from proxyd.walltime import WallTime
from proxyd.wire.httpfields import Field

if TYPE_CHECKING:
    from proxyd.frontends.http.caching import CachingSession
    from proxyd.frontends.http.fetching import Fetch
    from proxyd.frontends.http.giving import GivingSession

# What a request is told to have had of the cache.
HIT, STALE, MISS, REVALIDATED, COALESCED, BYPASS = (
    "hit",
    "stale",
    "miss",
    "revalidated",
    "coalesced",
    "bypass",
)
WORDS = (HIT, STALE, MISS, REVALIDATED, COALESCED, BYPASS)

# How that is told to clients (RFC 9211).
HOW = {
    HIT: b"hit",
    STALE: b"hit",
    MISS: b"fwd=miss",
    REVALIDATED: b"fwd=stale; fwd-status=304",
    COALESCED: b"fwd=miss; collapsed",
    BYPASS: b"fwd=bypass",
}

_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*").fullmatch

PASSED = 10_000  # URLs of which it is remembered that their answers are not to be stored
PASSED_FOR = 10.0  # seconds

SHARE = 8  # where there is a disk, what is longer than this part of the memory goes there while it comes

MOST_FETCHES = 1000  # at once, beyond which requests go to their servers as without a cache
MOST_REFRESHES = 100  # of these, behind answers that are used meanwhile


class Cache:
    """What is stored, and being fetched; ``counts`` are of requests, by the words above."""

    def __init__(
        self, spec: CacheSpec, clock: IReactorTime, wall: WallTime, in_thread: Optional[InThread] = None
    ) -> None:
        """``in_thread`` does what may wait for the disk, and is there if something is stored there."""
        self.spec = spec
        self.seconds: Callable[[], float] = clock.seconds
        self.wall = wall
        self._clock = clock
        self.rules = Rules(
            spec.heuristic / 100,
            tuple(name.encode("ascii") for name in spec.targeted),
            dict(spec.negative),
            spec.stale_while_revalidate,
            spec.stale_if_error,
            spec.ignore_set_cookie,
        )
        self.store = Memory(spec.size)
        longest = min(spec.max_object, spec.size // SHARE) if spec.path else spec.max_object
        self.filling = Filling(spec.size, longest)
        self.variants = Variants(self.store, self.filling)
        self.disk: Optional[DiskStore] = None
        if spec.path:
            assert in_thread is not None
            self.disk = DiskStore(spec.path, spec.disk_size, spec.disk_index, in_thread, clock.seconds, wall)
        self._loading: dict[int, Loading] = {}  # by the numbers of files
        self._purges: list[Iterator[int]] = []  # of which something is left to do
        self.counts = dict.fromkeys(WORDS, 0)
        self.saved = 0  # bytes that were sent without asking a server
        self.purged = 0
        self.refreshing = 0
        self._fetches: dict[bytes, list[Fetch]] = {}
        self._fetching = 0
        self._passed: dict[int, float] = {}  # by hashes, as URLs are as long as a client likes

    # What is stored

    def faults(self) -> list[str]:
        """A line for what is wrong with its folder."""
        wrong = self.disk.fault() if self.disk is not None else ""
        return [f"[cache {self.spec.name}] path: {wrong}"] if wrong else []

    def begin(self) -> None:
        """Learn what is on the disk."""
        if self.disk is not None:
            Deferred.fromCoroutine(self.disk.begin()).addErrback(self.disk.failed)

    def put(self, stored: Stored) -> None:
        """Store it."""
        self.store.put(stored)
        if self.disk is not None:
            self.disk.write(stored)
            self.store.drop_gone()

    def found(self, stored: Stored) -> None:
        """It is on the disk, and given from memory from now on, or by what is known of it there."""
        self.store.put(stored)
        self.store.drop_gone()

    def drop(self, stored: Stored) -> None:
        """It is not to be used any more."""
        self.store.drop(stored)
        if self.disk is not None:
            self.disk.outdate(stored)

    def load(self, known: OnDisk) -> Loading:
        """Get it from the disk; what all wait for who ask for it."""
        loading = self._loading.get(known.number)
        if loading is None:
            assert self.disk is not None
            loading = self._loading[known.number] = Loading(self)

            def came(stored: Optional[Stored]) -> None:
                del self._loading[known.number]
                if stored is not None:
                    self.found(stored)
                loading.over(stored)

            self.disk.read(known).addCallback(came)
        return loading

    # What is being fetched

    @property
    def busy(self) -> bool:
        """Whether nothing more is to be fetched now."""
        return self._fetching >= MOST_FETCHES

    def began(self, fetch: Fetch) -> None:
        """Others may wait for it from now on."""
        self._fetches.setdefault(fetch.url, []).append(fetch)
        self._fetching += 1

    def ended(self, fetch: Fetch) -> None:
        """They may not any more; it may be told so twice."""
        fetches = self._fetches.get(fetch.url, [])
        if fetch in fetches:
            self._fetching -= 1
            fetches.remove(fetch)
            if not fetches:
                del self._fetches[fetch.url]

    def fetch_of(self, url: bytes, way: bytes, fields: Sequence[Field]) -> Optional[Fetch]:
        """One whose answer will do for a request that says this, as far as that is known."""
        fetches = self._fetches.get(url)
        if fetches is None:
            return None
        known, asked = self.store.names(url), Chosen(fields)
        for fetch in fetches:
            names = known if fetch.names is None else fetch.names
            if not fetch.outdated and fetch.way == way and asked.by(names) == fetch.chosen.by(names):
                return fetch
        return None

    def close(self) -> None:
        """Nobody waits for what is being fetched any more, and nothing more is written, made or swept."""
        self._purges = []
        self.variants.close()
        if self.disk is not None:
            self.disk.close()
        for fetches in list(self._fetches.values()):
            for fetch in list(fetches):
                fetch.cancel()

    # What is not worth it

    def passes(self, url: bytes, way: bytes) -> bool:
        """Whether an answer to such a request was not to be stored a moment ago."""
        until = self._passed.get(hash((url, way)))
        return until is not None and self.seconds() < until

    def let_pass(self, url: bytes, way: bytes) -> None:
        """An answer is not to be stored: who asks next need not wait for others."""
        passed, key = self._passed, hash((url, way))
        passed.pop(key, None)
        if len(passed) >= PASSED:
            del passed[next(iter(passed))]
        passed[key] = self.seconds() + PASSED_FOR

    def let_pass_no_more(self, url: bytes, way: bytes) -> None:
        """An answer could have been stored."""
        self._passed.pop(hash((url, way)), None)

    # What is thrown away

    def invalidate(self, url: bytes) -> int:
        """What is stored of a URL is not to be used any more, nor what is on its way; how many there were."""
        for fetch in self._fetches.get(url, ()):
            fetch.outdated = True
        count = self.store.purge_url(url)
        if self.disk is not None:
            count = max(count, self.disk.purge_url(url))
        return count

    def purge_url(self, url: bytes) -> int:
        """The same, by the operator."""
        count = self.invalidate(url)
        self.purged += count
        return count

    def purge_named(self, url: str) -> int:
        """The same of a URL as people write it.  Raises `proxyd.errors.Malformed`."""
        return self.purge_url(read_url(url.encode("utf-8")))

    @property
    def purging(self) -> bool:
        """Whether something that was purged may still be there, though it is not given any more."""
        return bool(self.store.voids) or (self.disk is not None and self.disk.purging)

    def purge_tag(self, tag: bytes) -> int:
        """
        Throw away what has a tag; how many answers in memory have gone so far.

        The others, and those on the disk, are not given any more, and go behind this (`purging`).
        """
        self._outdate(lambda fetch: True)
        if self.disk is not None:
            self.disk.purge(tag=tag)
        return self._purge(self.store.purge_tag(tag))

    def purge_prefix(self, prefix: bytes) -> int:
        """The same of what is stored of URLs that begin so.  Raises `proxyd.errors.Malformed`."""
        prefix = read_prefix(prefix)
        self._outdate(lambda fetch: fetch.url.startswith(prefix))
        if self.disk is not None:
            self.disk.purge(prefix)
        return self._purge(self.store.purge_prefix(prefix))

    def _purge(self, steps: Iterator[int]) -> int:
        """Do the first step, and the others in turns behind it."""
        count = next(steps, 0)
        self.purged += count
        if self.store.voids:
            if not self._purges:
                self._clock.callLater(0, self._purge_more)
            self._purges.append(steps)
        return count

    def _purge_more(self) -> None:
        """Another step."""
        if self._purges:
            count = next(self._purges[0], None)
            if count is None:
                del self._purges[0]
            self.purged += count or 0
        if self._purges:
            self._clock.callLater(0, self._purge_more)

    def _outdate(self, which: Callable[[Fetch], bool]) -> None:
        for fetches in self._fetches.values():
            for fetch in fetches:
                fetch.outdated = fetch.outdated or which(fetch)

    def snapshot(self) -> CacheSnapshot:
        """What is known of it at this moment."""
        store = self.store
        return CacheSnapshot(
            self.spec.name,
            tuple(self.counts.items()),
            len(store),
            store.used,
            self.spec.size,
            store.evicted,
            self.purged,
            self.saved,
            self.purging,
            None if self.disk is None else self.disk.snapshot(),
        )


class Loading:
    """What is got from the disk, for all who wait for it."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._waiting: list[CachingSession] = []

    def join(self, session: CachingSession) -> None:
        """One more waits for it."""
        self._waiting.append(session)

    def leave(self, session: GivingSession) -> None:
        """It waits no more."""
        if session in self._waiting:
            self._waiting = [other for other in self._waiting if other is not session]

    def left(self) -> None:
        """As many may leave as want to: it is got all the same."""

    def leads(self, session: CachingSession) -> bool:
        """A disk that does not answer is waited for no longer than a server by others."""
        return False

    def over(self, stored: Optional[Stored]) -> None:
        """It is there, or is not to be had."""
        waiting, self._waiting = self._waiting, []
        for session in waiting:
            session.loaded = stored
            session.start_anew()


def cache_status(name: str, how: bytes, ttl: Optional[int] = None) -> bytes:
    """What a cache of this name tells clients of an answer, which is good for ``ttl`` seconds more."""
    if ttl is not None:
        how += b"; ttl=%d" % ttl
    return b"Cache-Status: %s; %s\r\n" % (_called(name), how)


@lru_cache(maxsize=64)
def _called(name: str) -> bytes:
    """The name of this cache, as an item of structured fields."""
    name = name or "proxyd"
    return (name if _TOKEN(name) else f'"{name}"').encode("ascii")
