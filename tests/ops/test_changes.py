"""Can one see afterwards what has become of servers, and who did it?"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from proxyd.ops.changes import MOST, Changes
from proxyd.policy.state import State
from tests.ops.test_commands import CommandCase


class Lately(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.changes = Changes(lambda: self.now)
        for pool in self.pools.values():
            self.changes.watch(pool)
        self.steered = evolve(self.steered, changes=self.changes)

    def told(self, **given: Any) -> list[tuple[Any, ...]]:
        rows = self.do("show changes", **given)["changes"]
        return [
            (row["ago_seconds"], row["pool"], row["server"], row["address"], row["what"], row["why"])
            for row in rows
        ]

    def test_what_has_become(self) -> None:
        """Checks, operators, weights and the maintenance of pools: when, what and why, the newest first."""
        db = self.pools["db"]
        db.turned(db.servers[0], State.DOWN, "connection refused", self.now)
        self.now += 5
        self.do("weight", server="db/a", weight=0, reason="too slow")
        self.do("disable", server="db")
        self.now += 1
        self.do("disable", server="db", reason="all of it")
        self.do("enable", server="db")
        self.assertEqual(
            self.told(),
            [
                (0.0, "db", "", "", "serves its clients", "by uid 0"),
                (0.0, "db", "", "", "is in maintenance", "by uid 0: all of it"),
                (1.0, "db", "", "", "is in maintenance", "by uid 0"),
                (1.0, "db", "a", "10.0.0.1:5432", "has weight 0", "by uid 0: too slow"),
                (6.0, "db", "a", "10.0.0.1:5432", "is down", "connection refused"),
            ],
        )

    def test_one_pool(self) -> None:
        """The changes of one pool alone, and so many of them."""
        self.do("drain", server="db/a")
        self.do("drain", server="web/a")
        self.do("enable", server="web/a")
        self.assertEqual([row[4] for row in self.told(pool="web")], ["is up", "is draining"])
        self.assertEqual([row[4] for row in self.told(pool="web", limit=1)], ["is up"])
        self.assertEqual(
            self.declines("show changes", limit=0),
            f"bad_parameter: limit: 0 is not a number of rows; write 1 to {MOST}",
        )
        self.assertIn("unknown_pool", self.declines("show changes", pool="x"))

    def test_bounded(self) -> None:
        """The oldest are forgotten, and what a server has said of itself is cut."""
        db = self.pools["db"]
        for number in range(MOST + 3):
            state = State.DOWN if number % 2 else State.UP
            db.turned(db.servers[0], state, f"{number} {'x' * 1000}", self.now)
        rows = self.told(limit=MOST)
        self.assertEqual([int(row[5].split()[0]) for row in rows], list(range(MOST + 2, 2, -1)))
        self.assertEqual({len(row[5]) for row in rows}, {300})
