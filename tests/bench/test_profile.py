"""Are stacks counted as a profile should count them?"""

from __future__ import annotations

from bench.profile import shares
from tests.support.case import Case


class Shares(Case):
    """How often a function ran, and how often it was on the stack."""

    def test_own_and_total(self) -> None:
        """The innermost function ran; each one on the stack counts once, whatever its line and its depth."""
        own, total = shares(
            [
                "run (loop.py:1);read (lane.py:10);send (lane.py:20) 3",
                "run (loop.py:2);read (lane.py:11) 2",
                "read (lane.py:10);read (lane.py:10) 1",
                "",
            ]
        )
        self.assertEqual(own, {"send (lane.py)": 3, "read (lane.py)": 3})
        self.assertEqual(total, {"run (loop.py)": 5, "read (lane.py)": 6, "send (lane.py)": 3})
