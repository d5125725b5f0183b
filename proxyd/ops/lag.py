"""
How late does the reactor run?

A reactor that is kept busy too long by one thing serves everything else late, and nothing else shows it
so plainly: a call is asked for once a second, and how late it comes is the lag.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

EVERY_SECONDS = 1.0

REMEMBERED = 15  # seconds: Prometheus asks about as often, so no delay goes unseen


class Lag:
    """The worst delay of the last seconds."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._delays: deque[float] = deque(maxlen=REMEMBERED)
        self._expected = 0.0
        self._loop = LoopingCall(self._note)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to measure."""
        self._expected = self._clock.seconds() + EVERY_SECONDS
        self._loop.start(EVERY_SECONDS, now=False)

    def stop(self) -> None:
        """Measure no more."""
        if self._loop.running:
            self._loop.stop()

    def seconds(self) -> float:
        """The worst delay within the last 15 s, in seconds."""
        return max(self._delays, default=0.0)

    def latest(self) -> float:
        """The delay of the last second."""
        return self._delays[-1] if self._delays else 0.0

    def _note(self) -> None:
        now = self._clock.seconds()
        self._delays.append(max(0.0, now - self._expected))
        # LoopingCall keeps to the beats of its start, and skips those that it has missed.
        self._expected += EVERY_SECONDS * (1 + int(max(0.0, now - self._expected) / EVERY_SECONDS))
