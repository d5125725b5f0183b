"""Does a ban that has ended leave the table?"""

from __future__ import annotations

from ipaddress import ip_network

from twisted.internet.task import Clock

from proxyd.policy.bans import Ban, Bans
from proxyd.upkeep.bans import SWEEP_SECONDS, BanSweep
from tests.support.case import Case


class BanSweepTests(Case):
    def test_sweeps(self) -> None:
        """Soon after its end a ban is no longer in the table, and others still are."""
        clock, bans = Clock(), Bans(10)
        for place, until in enumerate((1.0, 100.0)):
            bans.add(Ban(ip_network(f"10.0.0.{place}"), until))
        sweep = BanSweep(clock, lambda: 0.0, bans)
        sweep.start()
        clock.pump([0.25] * int(2 * SWEEP_SECONDS / 0.25))
        self.assertEqual([str(ban) for ban in bans], ["10.0.0.1 100"])
        self.successResultOf(sweep.stop())
        self.assertEqual(clock.getDelayedCalls(), [])
