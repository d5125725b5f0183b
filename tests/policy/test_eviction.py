"""Which of the things that are kept has to go?"""

from __future__ import annotations

from random import Random
from typing import Hashable

from proxyd.policy.eviction import Evictable, S3Fifo
from tests.support.case import Case


class Thing(Evictable):
    """A name."""

    __slots__ = ("_name",)

    def __init__(self, name: Hashable, size: int = 1) -> None:
        super().__init__(size)
        self._name = name

    @property
    def name(self) -> Hashable:
        return self._name


class Cache:
    """Things that are asked for by name, and kept if they were not there."""

    def __init__(self, budget: int) -> None:
        self.kept: S3Fifo[Thing] = S3Fifo(budget)
        self.by_name: dict[Hashable, Thing] = {}

    def ask(self, name: Hashable, size: int = 1) -> bool:
        thing = self.by_name.get(name)
        if thing is not None:
            thing.touch()
            return True
        thing = self.by_name[name] = Thing(name, size)
        for gone in self.kept.add(thing):
            del self.by_name[gone.name]
        return False


class Eviction(Case):
    def test_budget(self) -> None:
        """Whatever is asked for, what is kept is within the budget, and counted rightly."""
        random = Random(3)
        cache = Cache(1000)
        for _ in range(20_000):
            name = int(random.paretovariate(0.7))
            cache.ask(name, 1 + name % 90)
            if random.random() < 0.05 and cache.by_name:
                gone = random.choice(list(cache.by_name))
                cache.kept.remove(cache.by_name.pop(gone))
            self.assertLessEqual(cache.kept.used, 1000)
            self.assertEqual(len(cache.kept), len(cache.by_name))
        self.assertEqual(cache.kept.used, sum(thing.size for thing in cache.by_name.values()))
        self.assertTrue(all(thing in cache.kept for thing in cache.by_name.values()))

    def test_a_scan_drives_out_nothing_that_is_used(self) -> None:
        """Who asks for everything once, however much that is, leaves what others come back for."""
        cache = Cache(100)
        for _ in range(5):
            for name in range(80):
                cache.ask(name)
        for name in range(10_000):
            cache.ask(f"once {name}")
        self.assertEqual(sum(cache.ask(name) for name in range(80)), 80)

    def test_better_than_the_least_recently_used(self) -> None:
        """Of requests of which many come once, it keeps more that is asked for again."""
        random = Random(4)
        cache, recent, hits, recent_hits = Cache(200), dict[int, None](), 0, 0
        for number in range(60_000):
            name = -number if random.random() < 0.4 else int(random.paretovariate(0.6)) % 5000
            hits += cache.ask(name)
            recent_hits += name in recent
            recent.pop(name, None)
            recent[name] = None
            if len(recent) > 200:
                del recent[next(iter(recent))]
        self.assertGreater(hits, 1.05 * recent_hits)

    def test_what_comes_again_is_kept(self) -> None:
        """Of what has gone the name is remembered: asked for again, it outlasts what is new."""
        cache = Cache(100)
        cache.ask("again")
        for name in range(120):
            cache.ask(name)
        self.assertFalse(cache.ask("again"))
        for name in range(1000, 1120):
            cache.ask(name)
        self.assertTrue(cache.ask("again"))

    def test_too_large(self) -> None:
        """What is larger than all is not kept, and says so."""
        cache = Cache(100)
        cache.ask("large", 101)
        self.assertEqual((len(cache.kept), cache.kept.used, cache.by_name), (0, 0, {}))

    def test_what_is_remembered_is_bounded(self) -> None:
        """The names of what has gone are as many as would fill the budget again."""
        cache = Cache(50)
        for name in range(5000):
            cache.ask(name)
        self.assertLessEqual(len(cache.kept._gone), 50)

    def test_proven(self) -> None:
        """What stands for another that was asked for again does not begin anew."""
        kept: S3Fifo[Thing] = S3Fifo(10)
        proven = Thing("proven")
        kept.add(proven, proven=True)
        for number in range(100):
            kept.add(Thing(number))
        self.assertIn(proven, kept)

    def test_growing(self) -> None:
        """What becomes larger drives out what would go next, in either queue, and the sums are right."""
        random = Random(5)
        kept: S3Fifo[Thing] = S3Fifo(1000)
        there: dict[Hashable, Thing] = {}
        for number in range(5000):
            thing = there[number] = Thing(number, random.randrange(1, 30))
            gone = kept.add(thing, random.random() < 0.3)
            if there and random.random() < 0.5:
                thing = random.choice(list(there.values()))
                if thing not in gone:
                    gone += kept.grow(thing, random.randrange(1, 50))
            for each in gone:
                del there[each.name]
            self.assertEqual(kept.used, sum(each.size for each in there.values()))
            self.assertLessEqual(kept.used, kept.budget)
            self.assertEqual(kept._small_used, sum(each.size for each in kept._small))
