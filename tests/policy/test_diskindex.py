"""Is what is on the disk found again, and does the index stay within its bounds?"""

from __future__ import annotations

from random import Random
from typing import Optional

from proxyd.policy.diskindex import BYTES, MOST_NAMES, MOST_VARIANTS, DiskIndex, Key, bits_of, sign_of
from tests.support.case import Case

BLOCK = 4096


def key(url: bytes, way: bytes = b"w", *chosen: bytes) -> Key:
    return url, way, (b"x",) * len(chosen), chosen


class Indexed(Case):
    def setUp(self) -> None:
        self.index = DiskIndex(1000 * BLOCK, 1 << 20, BLOCK)
        self.number = 0

    def put(
        self,
        url: bytes,
        *chosen: bytes,
        blocks: int = 2,
        turn: int = 0,
        ready: bool = True,
        way: bytes = b"w",
    ) -> tuple[int, list[int]]:
        self.number += 1
        sign = sign_of(url, ())
        return self.index.put(key(url, way, *chosen), sign, blocks * BLOCK, self.number, turn, ready)

    def number_of(self, *which: bytes) -> Optional[int]:
        place = self.index.place_of(key(which[0], b"w", *which[1:]))
        return None if place is None else self.index.numbers[place]

    def test_found(self) -> None:
        """By its URL, its way and what it was chosen by; of one URL the newest first."""
        self.put(b"http://a/", b"1")
        self.put(b"http://a/", b"2")
        self.put(b"http://b/")
        self.assertEqual(
            [
                self.number_of(*which)
                for which in ((b"http://a/", b"1"), (b"http://a/", b"2"), (b"http://b/",))
            ],
            [1, 2, 3],
        )
        self.assertIsNone(self.number_of(b"http://a/", b"3"))
        self.assertIsNone(self.index.place_of(key(b"http://b/", b"another")))
        self.assertEqual([self.index.numbers[place] for place in self.index.places(b"http://a/")], [2, 1])
        (place,) = self.index.places(b"http://b/")
        self.assertTrue(self.index.is_for(place, key(b"http://b/")))
        self.assertFalse(self.index.is_for(place, key(b"http://b/", b"another")))
        self.assertEqual((self.index.names(place), self.index.used), ((), 6 * BLOCK))

    def test_grows(self) -> None:
        """One whose file becomes longer drives out others, and in the end itself; the budget is kept."""
        for number in range(9):
            self.put(b"http://a/%d" % number, blocks=100)
        place, _ = self.put(b"http://b/", ready=False)
        self.assertEqual(self.index.resize(place, 99 * BLOCK), [])
        self.assertEqual((self.index.used, self.index.resize(place, 101 * BLOCK)), (999 * BLOCK, [1]))
        self.assertEqual((self.index.used, self.index.resize(place, 50 * BLOCK)), (901 * BLOCK, []))
        self.assertEqual(self.index.resize(place, 1001 * BLOCK), [*range(2, 10), 10])
        self.assertEqual((self.index.used, len(self.index)), (0, 0))

    def test_replaced(self) -> None:
        """The later of two answers to the same stays; the number of the other is told."""
        place, gone = self.put(b"http://a/", ready=False)
        self.assertEqual((gone, self.index.is_ready(place)), ([], False))
        self.index.set_ready(place)
        self.assertTrue(self.index.is_ready(place))
        place, gone = self.put(b"http://a/")
        self.assertEqual((gone, len(self.index)), ([1], 1))
        self.assertTrue(self.index.holds(place, 2))
        self.assertFalse(self.index.holds(place, 1))

    def test_bounds(self) -> None:
        """Neither blocks nor memory are more than they may be; what had to go is told once."""
        for budget, memory, most in ((20 * BLOCK, 1 << 20, 10), (1000 * BLOCK, 30 * BYTES, 30)):
            self.index = DiskIndex(budget, memory, BLOCK)
            told: list[int] = []
            for number in range(100):
                told += self.put(b"http://a/%d" % number)[1]
                self.assertLessEqual(self.index.used, budget)
                self.assertLessEqual(self.index.memory, memory)
            self.assertEqual((len(self.index), self.index.evicted), (most, 100 - most))
            self.assertEqual(len(set(told)), len(told))
            self.assertLessEqual(self.index.end, most + 3)  # places are used again

    def test_too_much(self) -> None:
        """What is larger than all, or goes by yet another list of fields, has no place."""
        self.assertEqual(self.put(b"http://a/", blocks=1001), (0, [1]))
        for number in range(MOST_NAMES + 1):
            found = self.index.put((b"http://a/", b"w", (b"%d" % number,), (b"",)), 0, 0, 5, 0)
        self.assertEqual(found, (0, [5]))

    def test_variants(self) -> None:
        """Of one URL there are no more than so many; the oldest goes."""
        for number in range(MOST_VARIANTS + 5):
            gone = self.put(b"http://a/", b"%d" % number)[1]
        self.assertEqual((len(self.index), gone), (MOST_VARIANTS, [5]))

    def test_who_comes_back_stays(self) -> None:
        """What is asked for again outlives a crawler that asks for everything once."""
        self.index = DiskIndex(40 * BLOCK, 1 << 20, BLOCK)
        for number in range(10):
            self.put(b"http://a/%d" % number)
        for _ in range(3):
            for number in range(10):
                self.index.touch(next(self.index.places(b"http://a/%d" % number)))
        for number in range(500):
            gone = self.put(b"http://crawled/%d" % number)[1]
        self.assertEqual([self.number_of(b"http://a/%d" % number) for number in range(10)], [*range(1, 11)])
        last = b"http://crawled/%d" % (gone[-1] - 11)
        self.assertIsNone(self.number_of(last))
        self.put(last)  # which has gone just before, so it is for the main ring at once
        for number in range(500, 600):
            self.put(b"http://crawled/%d" % number)
        self.assertIsNotNone(self.number_of(last))

    def test_signs(self) -> None:
        """No answer whose URL begins so, or that has the tag, is passed over by its sign."""
        random = Random(5)
        for _ in range(2000):
            parts = [random.choice((b"a", b"bb", b"c?d", b"")) for _ in range(random.randrange(14))]
            url = b"http://www.example.com/" + b"/".join(parts)
            tags = [b"%d" % random.randrange(50) for _ in range(random.randrange(4))]
            sign, prefix = sign_of(url, tags), url[: random.randrange(len(url) + 1)]
            for bits in (bits_of(prefix, None), *(bits_of(b"", tag) for tag in tags)):
                self.assertEqual(sign & bits, bits, (url, prefix))
        others = [sign_of(b"http://www.example.com/%d/x" % number, ()) for number in range(1000)]
        mine = bits_of(b"http://www.example.com/7/", None)
        self.assertLess(sum(sign & mine == mine for sign in others), 100)

    def test_suspects(self) -> None:
        """Those before a turn whose files are there and that may be meant, of some of the places."""
        self.put(b"http://a/x/1", turn=0)
        self.put(b"http://a/x/2", turn=1)
        self.put(b"http://a/x/3", turn=0, ready=False)
        self.put(b"http://b/x/4", turn=0)
        bits = [bits_of(b"http://a/x/", None)]
        self.assertIn((2, 1), self.index.suspects(0, self.index.end, bits, 1))
        self.assertEqual(
            {number for _, number in self.index.suspects(0, self.index.end, [0], 2)},
            {1, 2, 4},
        )
        self.assertEqual(self.index.suspects(3, 4, [0], 2), [(3, 2)])

    def test_as_a_dict_would(self) -> None:
        """Whatever is put, dropped and evicted, what is found is what was put last and has not gone."""
        random = Random(7)
        self.index = DiskIndex(60 * BLOCK, 40 * BYTES, BLOCK)
        model: dict[tuple[bytes, ...], tuple[int, int]] = {}
        for _ in range(20_000):
            which = (
                b"http://a/%d" % random.randrange(60),
                *([b"%d" % random.randrange(3)] * random.randrange(2)),
            )
            what = random.random()
            place = self.index.place_of(key(which[0], b"w", *which[1:]))
            self.assertEqual(
                None if place is None else self.index.numbers[place], model.get(which, (None,))[0]
            )
            if what < 0.5:
                blocks = random.randrange(1, 5)
                _, gone = self.put(which[0], *which[1:], blocks=blocks)
                model[which] = self.number, blocks
                model = {which: value for which, value in model.items() if value[0] not in gone}
            elif what < 0.8 and place is not None:
                self.index.touch(place)
            elif place is not None:
                self.index.drop(place)
                del model[which]
            self.assertEqual(len(self.index), len(model))
            self.assertEqual(self.index.used, BLOCK * sum(blocks for _, blocks in model.values()))
