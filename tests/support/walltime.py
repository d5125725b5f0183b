"""How does a test set the clock on the wall?"""

from __future__ import annotations

from typing import Callable

from proxyd.walltime import WallTime


class SetTime(WallTime):
    """Wall time that is a clock's own, or so much ``ahead``, until the test sets it."""

    __slots__ = ("ahead",)

    def __init__(self, seconds: Callable[[], float], ahead: float = 0.0) -> None:
        self.ahead = ahead
        super().__init__(seconds, lambda: seconds() + self.ahead)

    def set(self, by: float) -> None:
        """Set it forward, or back, and have that noticed."""
        self.ahead += by
        self.look()
