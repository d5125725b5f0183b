"""What does a cache do while the daemon runs?"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from proxyd.config.cache import CacheSpec
from proxyd.frontends.http.cache import PASSED, PASSED_FOR, WORDS, Cache
from proxyd.policy import cachestore
from proxyd.policy.cachekey import Chosen
from proxyd.policy.cachestore import Stored
from proxyd.policy.freshness import Terms
from proxyd.wire.httpfields import parse_field
from tests.support.case import Case
from tests.support.walltime import SetTime


class Fetching:
    """What is being fetched, as the cache sees it."""

    def __init__(self, url: bytes, names: Any = None, *lines: bytes) -> None:
        self.url, self.way, self.names = url, b"w", names
        self.fields = [parse_field(line) for line in lines]
        self.chosen = Chosen(self.fields)
        self.outdated = self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Caches(Case):
    def setUp(self) -> None:
        self.clock = Clock()
        self.cache: Any = Cache(CacheSpec("pages", size=1 << 20), self.clock, SetTime(self.clock.seconds))

    def store(self, url: bytes, *lines: bytes) -> None:
        fields = [parse_field(line) for line in lines]
        self.cache.store.put(Stored(url, b"w", (), (), 200, b"OK", fields, b"x", Terms(60.0, 0.0)))

    def test_what_is_fetched(self) -> None:
        """It is found by those for whom its answer will do, as far as that is known."""
        any_one = Fetching(b"u", None, b"X: 1")
        self.cache.began(any_one)
        other = [parse_field(b"X: 2")]
        self.assertIs(self.cache.fetch_of(b"u", b"w", other), any_one)
        self.assertIsNone(self.cache.fetch_of(b"u", b"v", other))
        self.assertIsNone(self.cache.fetch_of(b"v", b"w", other))
        any_one.names = (b"x",)
        self.assertIsNone(self.cache.fetch_of(b"u", b"w", other))
        self.assertIs(self.cache.fetch_of(b"u", b"w", any_one.fields), any_one)
        self.cache.ended(any_one)
        self.cache.ended(any_one)
        self.assertEqual((self.cache._fetches, self.cache._fetching), ({}, 0))

    def test_what_is_known_of_variants(self) -> None:
        """Who says something else in a field that is known to decide does not wait in vain."""
        stored = Stored(b"u", b"w", (b"x",), (b"=0",), 200, b"OK", [], b"", Terms(60.0, 0.0))
        self.cache.store.put(stored)
        self.cache.began(Fetching(b"u", None, b"X: 1"))
        self.assertIsNone(self.cache.fetch_of(b"u", b"w", [parse_field(b"X: 2")]))
        self.assertIsNotNone(self.cache.fetch_of(b"u", b"w", [parse_field(b"X: 1")]))

    def test_passing(self) -> None:
        """That an answer is not worth storing is remembered for a while, of so many URLs."""
        self.cache.let_pass(b"u", b"w")
        self.assertTrue(self.cache.passes(b"u", b"w"))
        self.clock.advance(PASSED_FOR)
        self.assertFalse(self.cache.passes(b"u", b"w"))
        self.cache.let_pass(b"u", b"w")
        self.cache.let_pass_no_more(b"u", b"w")
        self.assertFalse(self.cache.passes(b"u", b"w"))
        for number in range(PASSED + 10):
            self.cache.let_pass(b"%d" % number, b"w")
        self.assertLessEqual(len(self.cache._passed), PASSED)

    def test_purged(self) -> None:
        """What is stored goes, and what is on its way will not be stored."""
        for purge, outdated in (
            (lambda: self.cache.purge_url(b"http://a/1"), [True, False]),
            (lambda: self.cache.purge_tag(b"t"), [True, True]),
            (lambda: self.cache.purge_prefix(b"http://a/"), [True, True]),
            (lambda: self.cache.purge_prefix(b"http://a/2"), [False, True]),
        ):
            self.setUp()
            fetches = [Fetching(b"http://a/1"), Fetching(b"http://a/2")]
            for fetch in fetches:
                self.cache.began(fetch)
                self.store(fetch.url, b"Cache-Tag: t")
            count = purge()
            self.assertEqual((len(self.cache.store), self.cache.purged), (2 - count, count))
            self.assertEqual([fetch.outdated for fetch in fetches], outdated)

    def test_purged_in_turns(self) -> None:
        """Many answers go in several turns; none is found meanwhile, and what is stored then stays."""
        self.patch(cachestore, "PURGED_IN_A_STEP", 2)
        for number in range(5):
            self.store(b"http://a/%d" % number, b"Cache-Tag: t")
        self.assertEqual((self.cache.purge_tag(b"t"), self.cache.purge_prefix(b"http://a/")), (2, 2))
        self.assertTrue(self.cache.snapshot().purging)
        self.store(b"http://a/1", b"Cache-Tag: t")
        found = [self.cache.store.find(b"http://a/%d" % number, b"w", []) for number in range(5)]
        self.assertEqual([each is not None for each in found], [False, True, False, False, False])
        for _ in range(10):
            self.clock.advance(0)
        self.assertEqual((len(self.cache.store), self.cache.purged, self.cache.purging), (1, 5, False))
        self.cache.purge_prefix(b"http://b/")
        self.assertFalse(self.cache.purging)
        self.cache.purge_tag(b"t")
        self.cache.close()
        self.clock.advance(0)

    def test_closed(self) -> None:
        """What is being fetched is not waited for."""
        fetch = Fetching(b"u")
        self.cache.began(fetch)
        self.cache.close()
        self.assertTrue(fetch.cancelled)

    def test_snapshot(self) -> None:
        """What can be seen of it."""
        self.store(b"u")
        self.cache.counts["hit"] += 3
        self.cache.saved = 7
        seen = self.cache.snapshot()
        self.assertEqual((seen.name, seen.entries, seen.size, seen.saved), ("pages", 1, 1 << 20, 7))
        self.assertEqual(dict(seen.requests), {**dict.fromkeys(WORDS, 0), "hit": 3})
        self.assertGreater(seen.used, 1000)
