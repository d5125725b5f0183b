"""Does wall time follow the clock on the wall, and nothing else?"""

from __future__ import annotations

from twisted.internet.task import Clock

from proxyd.walltime import STEP_SECONDS, WallTime
from tests.support.case import Case
from tests.support.walltime import SetTime


class WallTimeTests(Case):
    """`WallTime`, beside a clock that the test moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds, 1e9)

    def test_goes_on(self) -> None:
        """While nobody sets the clock there is nothing to follow."""
        self.clock.advance(5.0)
        self.assertEqual((self.wall.now(), self.wall.offset, self.wall.look()), (1e9 + 5.0, 1e9, False))

    def test_set(self) -> None:
        """A clock that is set either way is followed at the next look, and not before."""
        for by in (3600.0, -7200.0):
            before = self.wall.now()
            self.wall.ahead += by
            self.assertEqual(self.wall.now(), before)
            self.assertTrue(self.wall.look())
            self.assertEqual(self.wall.now(), before + by)

    def test_read_late(self) -> None:
        """A difference as small as between two readings is none: what was shown once is shown the same."""
        self.wall.ahead += STEP_SECONDS / 2
        self.assertEqual((self.wall.look(), self.wall.offset), (False, 1e9))
        self.wall.ahead += STEP_SECONDS
        self.assertEqual((self.wall.look(), self.wall.offset), (True, 1e9 + 1.5 * STEP_SECONDS))

    def test_interrupted(self) -> None:
        """Whoever is held up between the two clocks has learned nothing."""

        def time() -> float:
            self.clock.advance(held_up.pop(0))
            return self.clock.seconds() + 1e9

        held_up = [1.0, 0.0, 2.0, 3.0]
        wall = WallTime(self.clock.seconds, time)
        self.assertEqual((wall.offset, held_up), (1e9, [3.0]))
        self.assertEqual((wall.look(), wall.offset), (False, 1e9))
