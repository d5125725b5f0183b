"""Is it noticed, and said, that the clock on the wall was set?"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from proxyd.upkeep.walltime import LOOK_SECONDS, WallTimeLook
from tests.support.case import Case
from tests.support.walltime import SetTime


class Looks(Case):
    """`WallTimeLook`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds, 1e9)
        self.look = WallTimeLook(self.clock, self.wall)

    def test_set(self) -> None:
        """A second later wall time is right again, and a line of the log says what has happened."""
        self.look.start()
        with capturedLogs() as events:
            for by in (-3600.0, 1.5):
                self.wall.ahead += by
                self.clock.advance(LOOK_SECONDS)
                self.assertEqual(self.wall.offset, self.wall.ahead)
            self.clock.advance(LOOK_SECONDS)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "the clock was set back by 3600.000 s; no timeout goes by it",
                "the clock was set forward by 1.500 s; no timeout goes by it",
            ],
        )
        self.look.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_never_begun(self) -> None:
        """A stop without a start is none."""
        self.look.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
