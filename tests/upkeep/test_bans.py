"""Does a ban that is over leave the table, and does the next process know of the others?"""

from __future__ import annotations

import os
import shutil
import tempfile
from ipaddress import ip_network
from typing import Callable

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from proxyd.policy.bans import Ban, Bans
from proxyd.upkeep.bans import SWEEP_SECONDS, BanSweep, carry_over_bans
from proxyd.upkeep.statefile import StateFolder, replace
from tests.support.case import Case
from tests.support.walltime import SetTime


class BanSweepTests(Case):
    def test_sweeps(self) -> None:
        """Soon after its end a ban is no longer in the table, and others still are."""
        clock, bans = Clock(), Bans(10)
        for place, until in enumerate((1.0, 100.0)):
            bans.add(Ban(ip_network(f"10.0.0.{place}"), until))
        sweep = BanSweep(clock, lambda: 0.0, bans, SetTime(clock.seconds))
        sweep.start()
        clock.pump([0.25] * int(2 * SWEEP_SECONDS / 0.25))
        self.assertEqual([str(ban) for ban in bans], ["10.0.0.1 100"])
        self.successResultOf(sweep.stop())
        self.assertEqual(clock.getDelayedCalls(), [])


class CarryOver(Case):
    """A process that ends, and the next one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds)
        self.clock.advance(1000)
        self.path = tempfile.mkdtemp(prefix="p-")
        self.addCleanup(shutil.rmtree, self.path)

    def process(self) -> tuple[StateFolder, Bans]:
        folder = StateFolder(self.path, self.clock, self.at_once, self.wall)
        bans = Bans(10)
        carry_over_bans(folder, bans, self.clock.seconds())
        folder.start()
        return folder, bans

    def at_once(self, work: Callable[[], None]) -> Deferred[None]:
        return maybeDeferred(work)

    def test_restart(self) -> None:
        """Who was banned is banned after a restart, or after the process was killed, until the same end."""
        folder, bans = self.process()
        bans.add(Ban(ip_network("10.0.0.1"), 1100.0, "too loud"))
        bans.add(Ban(ip_network("10.0.0.2"), 1010.0))
        self.clock.advance(2)  # nobody stops it
        self.clock.advance(50)
        folder, bans = self.process()
        self.assertEqual([str(ban) for ban in bans], ["10.0.0.1 1100 too loud"])
        bans.remove(ip_network("10.0.0.1"))
        self.successResultOf(folder.stop())
        self.assertEqual(len(self.process()[1]), 0)

    def test_set(self) -> None:
        """A ban ends when people were told that it would, by the clock on the wall."""
        bans = Bans(10)
        bans.add(Ban(ip_network("10.0.0.1"), 1100.0))
        sweep = BanSweep(self.clock, lambda: 0.0, bans, self.wall)
        sweep.start()
        self.wall.set(-3600.0)
        self.clock.pump([SWEEP_SECONDS] * 40)
        self.assertEqual(len(bans), 1)
        self.wall.set(3600.0)
        self.clock.advance(SWEEP_SECONDS)
        self.assertEqual(len(bans), 0)
        self.successResultOf(sweep.stop())

    def test_damaged(self) -> None:
        """What cannot be read is told, and the daemon begins without it."""
        text = b'{"format": "proxyd state 1", "section": "bans", "written": 1, "content": 7}'
        replace(os.path.join(self.path, "bans.json"), text)
        with capturedLogs() as events:
            self.assertEqual(len(self.process()[1]), 0)
        [event] = events
        self.assertIn("bans.json is left out: it is not lines of bans", str(formatEvent(event)))
