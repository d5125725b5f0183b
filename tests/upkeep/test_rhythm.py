"""Do runs come when they are due, one after the other?  What a whole rhythm is like `test_periodic` shows."""

from __future__ import annotations

from twisted.internet.task import Clock

from proxyd.upkeep.rhythm import Rhythm
from tests.support.case import Case


class Noted(Rhythm):
    """Notes its runs, which are over when the test says so."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, lambda: 0.0, 10.0)
        self.clock = clock
        self.runs: list[float] = []

    def run(self) -> None:
        self.runs.append(self.clock.seconds())


class RhythmTests(Case):
    def setUp(self) -> None:
        self.clock = Clock()
        self.rhythm = Noted(self.clock)

    def test_next(self) -> None:
        """When the next run comes is known but while one is under way, and it comes for the next beat."""
        self.assertIsNone(self.rhythm.next_seconds)
        self.rhythm.start()
        self.clock.advance(0)
        self.assertEqual(self.rhythm.runs, [0.0])
        self.assertIsNone(self.rhythm.next_seconds)
        self.clock.advance(14)
        self.assertEqual(self.rhythm.runs, [0.0])
        self.rhythm.rest()
        self.assertEqual(self.rhythm.next_seconds, 6.0)
        self.clock.advance(6)
        self.assertEqual(self.rhythm.runs, [0.0, 20.0])

    def test_stopped(self) -> None:
        """Stopped, none comes, also not when one that was under way is over, nor soon."""
        self.rhythm.start()
        self.clock.advance(0)
        self.rhythm.stop()
        self.rhythm.rest()
        self.rhythm.soon(5.0)
        self.assertFalse(self.rhythm.running)
        self.assertIsNone(self.rhythm.next_seconds)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_twice(self) -> None:
        """To stop what rests, or was stopped, is no error."""
        self.rhythm.stop()
        self.rhythm.start()
        self.rhythm.stop()
        self.rhythm.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
