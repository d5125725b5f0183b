"""Does the table remember what a plain dict would, within its bounds?"""

from __future__ import annotations

from collections import OrderedDict
from random import Random
from typing import Optional

from proxyd.policy.table import SWEPT, Table
from tests.support.case import Case


class Model:
    """The same in the plainest way: entries in the order of their last use, each with its own end."""

    def __init__(self, size: int, ttl: float) -> None:
        self.size, self.ttl = size, ttl
        self.entries: OrderedDict[bytes, tuple[str, str, float, int]] = OrderedDict()

    def find(self, key: bytes, now: float) -> Optional[tuple[str, str]]:
        entry = self.entries.get(key)
        if entry is None or entry[2] <= now:
            self.entries.pop(key, None)
            return None
        return entry[:2]

    def use(self, key: bytes, server: str, now: float) -> None:
        self.find(key, now)
        _, home, _, uses = self.entries.pop(key, ("", server, 0.0, 0))
        if key not in self.entries and len(self.entries) >= self.size:
            self.entries.popitem(last=False)
        self.entries[key] = (server, home, now + self.ttl, uses + 1)

    def rows(self, now: float) -> list[tuple[bytes, str, str, float, int]]:
        return [
            (key, server, home, until - now, uses)
            for key, (server, home, until, uses) in reversed(self.entries.items())
            if until > now
        ]


def rounded(rows: list[tuple[bytes, str, str, float, int]]) -> list[tuple[bytes, str, str, float, int]]:
    return [(key, server, home, round(left, 6), uses) for key, server, home, left, uses in rows]


class TableTests(Case):
    """`Table`."""

    def test_like_the_model(self) -> None:
        """Whatever comes in whatever order, it knows what a dict would, and never more than its bound."""
        for seed in range(40):
            dice = Random(seed)
            size, ttl = dice.choice((1, 2, 3, 8, 40)), dice.choice((1.0, 5.0, 50.0))
            table, model = Table(size, ttl), Model(size, ttl)
            now = 0.0
            for _ in range(600):
                now += dice.choice((0.0, 0.0, 0.25, 1.0, 7.0)) * (dice.random() < 0.7)
                key = b"%d" % dice.randrange(size * 2 + 1)
                self.assertEqual(table.find(key, now), model.find(key, now))
                if dice.random() < 0.8:
                    server = dice.choice("abc")
                    table.use(key, server, now)
                    model.use(key, server, now)
                self.assertLessEqual(len(table), size)
                self.assertEqual(rounded([*table.rows(now)]), rounded(model.rows(now)))
            again = Table(size, ttl)
            again.restore([*table.rows(now)], now + 100)
            self.assertEqual(rounded([*again.rows(now + 100)]), rounded([*table.rows(now)]))

    def test_a_full_table(self) -> None:
        """The one that was not used for longest makes room, and one that was used again does not."""
        table = Table(3, 60.0)
        for key in (b"a", b"b", b"c", b"a", b"d"):
            table.use(key, "s", 0.0)
        self.assertEqual([row[0] for row in table.rows(0.0)], [b"d", b"a", b"c"])
        self.assertEqual((table.evicted, table.expired), (1, 0))

    def test_a_spray(self) -> None:
        """Who comes from ever new addresses pushes out, and never takes more room."""
        table = Table(100, 60.0)
        for number in range(10_000):
            table.use(b"%d" % number, "s", number / 1000)
        self.assertEqual((len(table), table.evicted, len(table._keys)), (100, 9_900, 101))

    def test_running_out(self) -> None:
        """What has run out is not found, goes a few at a time as others come, and leaves its room."""
        table = Table(1000, 60.0)
        for number in range(100):
            table.use(b"%d" % number, "s", 0.0)
        self.assertIsNone(table.find(b"7", 60.0))
        self.assertEqual((len(table), table.expired, [*table.rows(60.0)]), (99, 1, []))
        table.use(b"new", "s", 60.0)
        self.assertEqual((len(table), table.expired), (100 - SWEPT, 1 + SWEPT))
        table.sweep(60.0, 1000)
        self.assertEqual((len(table), table.expired), (1, 100))
        for number in range(100):
            table.use(b"%d" % number, "s", 60.0)
        self.assertEqual(len(table._keys), 102)

    def test_moves(self) -> None:
        """It is told whether a key had another server, and where it was first."""
        table = Table(3, 60.0)
        moved = [table.use(b"a", server, 0.0) for server in ("s", "s", "t", "t")]
        self.assertEqual(moved, [False, False, True, False])
        self.assertEqual(table.find(b"a", 0.0), ("t", "s"))

    def test_retries(self) -> None:
        """A connection that went elsewhere is still one, and its first server is the one that it reached."""
        table = Table(3, 60.0)
        table.use(b"a", "s", 0.0)
        self.assertTrue(table.retry(b"a", "t", 0.0))
        self.assertEqual([*table.rows(0.0)], [(b"a", "t", "t", 60.0, 1)])
        table.use(b"a", "t", 0.0)
        self.assertTrue(table.retry(b"a", "u", 0.0))
        self.assertEqual([*table.rows(0.0)], [(b"a", "u", "t", 60.0, 2)])
        self.assertFalse(table.retry(b"new", "u", 0.0))
        self.assertEqual(table.find(b"new", 0.0), ("u", "u"))

    def test_restoring(self) -> None:
        """What is known by now stays; the rest comes back in its order, with no more time than there is."""
        table = Table(3, 60.0)
        table.use(b"a", "new", 100.0)
        rows = [(b"c", "s", "t", 500.0, 7), (b"a", "old", "old", 50.0, 1), (b"b", "s", "s", 20.0, 1)]
        rows += [(b"d", "s", "s", 10.0, 1), (b"e", "s", "s", -1.0, 1), (b"c", "x", "x", 1.0, 1)]
        table.restore(rows, 100.0)
        self.assertEqual(
            [*table.rows(100.0)],
            [(b"a", "new", "new", 60.0, 1), (b"c", "s", "t", 60.0, 7), (b"b", "s", "s", 20.0, 1)],
        )

    def test_a_clock_that_is_set_back(self) -> None:
        """Entries live longer then, and nothing else happens."""
        table = Table(2, 60.0)
        table.use(b"a", "s", 1000.0)
        table.use(b"b", "s", 0.0)
        self.assertEqual([row[0] for row in table.rows(70.0)], [b"a"])
        self.assertIsNone(table.find(b"b", 70.0))
        self.assertEqual(table.find(b"a", 70.0), ("s", "s"))
