"""The reactor's lag is the worst delay of the last seconds."""

from __future__ import annotations

from twisted.internet.task import Clock

from proxyd.ops.lag import EVERY_SECONDS, REMEMBERED, Lag
from tests.support.case import Case


class LagTests(Case):
    """A clock that a test moves late."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.lag = Lag(self.clock)
        self.lag.start()
        self.addCleanup(self.lag.stop)

    def test_a_reactor_in_time(self) -> None:
        """Calls that come when they should have no lag."""
        self.clock.pump([EVERY_SECONDS] * 5)
        self.assertAlmostEqual(self.lag.seconds(), 0.0)

    def test_a_reactor_that_was_held_up(self) -> None:
        """The worst delay is shown for as long as it is remembered, and forgotten then."""
        self.clock.pump([EVERY_SECONDS] * 3)
        self.clock.advance(EVERY_SECONDS + 0.4)
        self.assertAlmostEqual(self.lag.seconds(), 0.4)
        self.assertAlmostEqual(self.lag.latest(), 0.4)
        self.clock.advance(0.6)
        self.assertAlmostEqual(self.lag.latest(), 0.0)
        self.clock.pump([EVERY_SECONDS] * (REMEMBERED - 2))
        self.assertAlmostEqual(self.lag.seconds(), 0.4)
        self.clock.pump([EVERY_SECONDS] * 2)
        self.assertAlmostEqual(self.lag.seconds(), 0.0)

    def test_beats_that_were_missed(self) -> None:
        """A delay of several beats is one delay, and the next beat is in time again."""
        self.clock.advance(EVERY_SECONDS * 4.5)
        self.assertAlmostEqual(self.lag.seconds(), 3.5)
        self.clock.advance(0.5)
        self.clock.pump([EVERY_SECONDS] * REMEMBERED)
        self.assertAlmostEqual(self.lag.seconds(), 0.0)

    def test_stopping(self) -> None:
        """No timer is left, and a second stop does no harm."""
        self.lag.stop()
        self.lag.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
