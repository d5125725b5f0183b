"""How does a server come to its full share?"""

from __future__ import annotations

from proxyd.policy.slowstart import FULL, step
from tests.support.case import Case


class Steps(Case):
    """How far a server is after some time."""

    def test_from_one_to_all(self) -> None:
        """It has a step at once, one after another then, and all of them when the time is over."""
        steps = [step(tenths / 10, 30.0) for tenths in range(320)]
        self.assertEqual(steps, sorted(steps))
        self.assertEqual((steps[0], steps[150], steps[299], steps[300]), (1, 8, FULL - 1, FULL))
        self.assertEqual(set(steps), set(range(1, FULL + 1)))

    def test_long_after(self) -> None:
        """A server that has been up for years has its full share."""
        self.assertEqual(step(1e9, 30.0), FULL)
