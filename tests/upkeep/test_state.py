"""Does what time alone brings come?"""

from __future__ import annotations

from twisted.internet.task import Clock

from proxyd.config.address import TcpAddress
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.policy.lots import Random
from proxyd.policy.pool import Pool
from proxyd.policy.state import Change, State
from proxyd.upkeep.state import Turns
from tests.support.case import Case


class Time(Case):
    """Ejections end and slow starts go on, as long as it runs."""

    def setUp(self) -> None:
        self.clock = Clock()
        servers = tuple(ServerSpec(name, TcpAddress("10.0.0.1", 80)) for name in "ab")
        self.pools = [Pool(PoolSpec(name, servers), Random(lambda: 0.0)) for name in ("one", "two")]
        self.turns = Turns(self.clock, self.pools)

    def test_time_passes(self) -> None:
        """A server returns when its time is over, and has its whole share slow_start later."""
        a = self.pools[0].servers[0]
        self.turns.start()
        self.pools[0].eject(a, 10.0, "", self.clock.seconds())
        self.clock.pump([1.0] * 9)
        self.assertIs(a.state, State.EJECTED)
        self.clock.pump([1.0] * 2)
        self.assertIs(a.state, State.UP)
        self.assertLess(a.effective_weight, 1.0)
        self.clock.pump([1.0] * 30)
        self.assertEqual(a.effective_weight, 1.0)
        self.turns.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_fault(self) -> None:
        """A fault of our own in one pool is logged, and the others and the next second are looked after."""

        def fail(change: Change) -> None:
            raise ZeroDivisionError

        self.pools[0].watch(fail)
        self.turns.start()
        self.pools[1].eject(self.pools[1].servers[1], 1.0, "", 0.0)
        with self.assertRaises(ZeroDivisionError):
            self.pools[0].eject(self.pools[0].servers[0], 1.0, "", 0.0)
        self.clock.advance(1.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(self.pools[1].servers[1].state, State.UP)
        self.turns.stop()

    def test_never_begun(self) -> None:
        """A stop without a start is none."""
        self.turns.stop()
