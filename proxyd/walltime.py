"""
What does the clock on the wall show, beside the seconds that deadlines go by?

The reactor's seconds are monotonic (`proxyd.tap`): durations, deadlines and rates go by them, and nobody sets
them.  What people and files see is wall time, seconds since the epoch: logs, HTTP dates, certificates, bans,
and all that the next process reads.  An argument called ``now`` is of the first kind, and ``wall`` of the
second.
"""

from __future__ import annotations

from typing import Callable

STEP_SECONDS = 0.01  # a clock that is closer to what we have was not set, but read a moment too late

READINGS = 3  # at the start: all of them may be interrupted, but hardly are


class WallTime:
    """
    The wall time of the moments of a clock that nobody sets.

    ``offset`` is what such a moment needs to be wall time.  It stays what it is until the clock on the wall
    is set, so that a moment that is shown twice is shown the same, and costs an addition.
    """

    __slots__ = ("_seconds", "_time", "offset")

    def __init__(self, seconds: Callable[[], float], time: Callable[[], float]) -> None:
        """``seconds`` is the clock that nobody sets, and ``time`` the one on the wall."""
        self._seconds = seconds
        self._time = time
        self.offset = min(self._read() for _ in range(READINGS))[1]  # the quickest of them

    def now(self) -> float:
        """What the clock on the wall shows now, as far as `look` has followed it."""
        return self._seconds() + self.offset

    def look(self) -> bool:
        """Follow the clock on the wall; whether it was set.  To be called each second."""
        took, offset = self._read()
        if took > STEP_SECONDS or abs(offset - self.offset) < STEP_SECONDS:
            return False  # or we were interrupted between the two clocks, and look again soon
        self.offset = offset
        return True

    def _read(self) -> tuple[float, float]:
        """How long it took to read both clocks, and what is between them."""
        before = self._seconds()
        offset = self._time() - before
        return self._seconds() - before, offset
