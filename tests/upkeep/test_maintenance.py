"""Do people, and the next process, know which pools are in maintenance?"""

from __future__ import annotations

import os
from copy import copy
from functools import partial
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from proxyd.config.pool import PoolSpec
from proxyd.policy.lots import Random
from proxyd.policy.pool import Pool
from proxyd.upkeep.maintenance import SECTION, carry_maintenance_over
from proxyd.upkeep.statefile import StateFolder
from tests.support.case import Case
from tests.support.walltime import SetTime


class CarriedOver(Case):
    """From one process to the next."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds)
        self.path = self.mktemp()
        os.mkdir(self.path)

    def process(self, *configured: bool) -> tuple[list[Pool], StateFolder, list[str]]:
        """A process begins with pools that are configured so; and what it says of them."""
        pools = [
            Pool(PoolSpec(name, (), maintenance=on), Random(lambda: 0.0))
            for name, on in zip("ab", configured)
        ]
        folder = StateFolder(self.path, self.clock, maybeDeferred, self.wall)
        with capturedLogs() as events:
            carry_maintenance_over(folder, pools)
        folder.start()
        return pools, folder, [formatEvent(event) for event in events]

    def states(self, pools: list[Pool]) -> list[tuple[bool, str, float]]:
        return [(pool.maintenance.on, pool.maintenance.why, pool.maintenance.since) for pool in pools]

    def test_operators(self) -> None:
        """What they have turned on or off stays so, and each change is told."""
        pools, folder, said = self.process(False, True)
        self.assertEqual(said, ["[pool b] is in maintenance: as configured"])
        with capturedLogs() as events:
            pools[0].maintenance.turn(True, "disk", 5.0)
            pools[1].maintenance.turn(False, "done", 6.0)
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["[pool a] is in maintenance: disk", "[pool b] is in maintenance no more: done"],
        )
        self.successResultOf(folder.stop())
        pools, folder, said = self.process(False, True)
        self.assertEqual(self.states(pools), [(True, "disk", 5.0), (False, "done", 6.0)])
        self.assertEqual(said, ["[pool a] is in maintenance: disk"])
        self.successResultOf(folder.stop())

    def test_configured_anew(self) -> None:
        """A configuration that has changed decides."""
        pools, folder, _ = self.process(False, False)
        for pool in pools:
            pool.maintenance.turn(True, "disk", 5.0)
        self.successResultOf(folder.stop())
        pools, folder, _ = self.process(True, False)
        self.assertEqual(self.states(pools), [(True, "as configured", 0.0), (True, "disk", 5.0)])
        self.successResultOf(folder.stop())

    def test_nonsense(self) -> None:
        """A file that somebody has edited costs what makes no sense."""
        good = {"on": True, "configured": False, "why": "disk", "since": 5.0}
        wrong: list[Any] = [
            None, [], 1, {"a": 1}, {"a": {}}, {"a": {**good, "on": 1}}, {"a": {**good, "why": None}},
            {"a": {**good, "since": "x"}}, {"a": {**good, "since": -1}}, {"a": {**good, "configured": True}},
        ]  # fmt: skip
        for content, on in [*((each, False) for each in wrong), ({"a": good}, True)]:
            folder = StateFolder(self.path, self.clock, maybeDeferred, self.wall)
            folder.keep(SECTION, partial(copy, content))
            folder.start()
            folder.changed(SECTION)
            self.successResultOf(folder.stop())
            pools, folder, _ = self.process(False)
            self.assertIs(pools[0].maintenance.on, on, content)
            self.successResultOf(folder.stop())
