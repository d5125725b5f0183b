"""Does an entry that nobody uses leave its table?"""

from __future__ import annotations

from twisted.internet.task import Clock

from proxyd.config.counters import CountersSpec
from proxyd.policy.counters import Counters
from proxyd.upkeep.counters import SWEEP_SECONDS, CountersSweep
from tests.support.case import Case


class CountersSweepTests(Case):
    def test_sweeps(self) -> None:
        """Soon after its time an entry is gone, and nothing is left to do after a stop."""
        clock, table = Clock(), Counters(CountersSpec("t", ttl=1.0))
        entry, _ = table.opened("a", 0.0)
        table.closed(entry, 0.0, False, False, 0, 0)
        sweep = CountersSweep(clock, lambda: 0.0, [table])
        sweep.start()
        clock.pump([0.25] * int(2 * SWEEP_SECONDS / 0.25))
        self.assertEqual(len(table), 0)
        self.successResultOf(sweep.stop())
        self.assertEqual(clock.getDelayedCalls(), [])
