"""
When is the next run of what must be done again and again?

There is a beat at a fixed interval, and each run comes a bit of chance after the beat, the first one too.
What is started at one moment is soon run once, and from then on spread over the whole interval: its beats
begin at a moment of chance (envoyproxy/envoy#4132, HAProxy's spread-checks).  A run that takes nearly as
long as the interval misses no beat: it may be late for the next one by as much as by chance.
"""

from __future__ import annotations

from math import ceil
from typing import Any, Callable, Optional

SOON = 1.0  # seconds; somebody waits for it, and a fifth of an interval may be minutes


class Rhythm:
    """
    Calls `run` every ``interval`` seconds, give or take ``jitter`` as a part of that.

    Runs never overlap: whoever makes one says by `rest` that it is over, and one that has taken longer than
    the interval leaves out beats.
    """

    __slots__ = ("_beat", "_call", "_clock", "_due", "_jitter", "_random", "interval", "running")

    def __init__(self, clock: Any, random: Callable[[], float], interval: float, jitter: float = 0.2) -> None:
        self.running = False  # it has been started and not been told to stop
        self.interval = interval
        self._clock = clock
        self._random = random
        self._jitter = jitter
        self._beat = 0.0  # which the last run was for, or the next one is
        self._due = 0.0  # when the next run begins, unless one is under way
        self._call: Any = None  # of the next run, or of the one that is under way

    def run(self) -> None:
        """Begin a run."""
        raise NotImplementedError

    @property
    def next_seconds(self) -> Optional[float]:
        """In how long the next run begins; None while one is under way, and when there will be none."""
        if not self.running or not self._call.active():
            return None
        return max(0.0, self._due - float(self._clock.seconds()))

    def start(self) -> None:
        """Begin; the first run comes within ``jitter`` of the interval."""
        self._begin(self._jitter * self.interval)

    def _begin(self, most_late: float) -> None:
        now, late = self._clock.seconds(), self._random() * most_late
        self._beat = now - self._random() * self.interval
        if self._beat + self.interval <= now + late:
            self._beat += self.interval
        self.running = True
        self._due = now + late
        self._call = self._clock.callLater(late, self.run)

    def pace(self, interval: float) -> None:
        """Change the interval; called in a run, the next one comes that long from now."""
        if interval != self.interval:
            self.interval = interval
            self._beat = self._clock.seconds()

    def soon(self, interval: float) -> None:
        """
        Change the interval, and have the next run within `SOON` or ``jitter`` of it, unless one is under way.
        """
        self.pace(interval)
        if self.running and self._call.active():
            self._call.cancel()
            self._begin(min(self._jitter * interval, SOON))

    def rest(self) -> None:
        """The run is over: the next one comes for the next beat for which it is not too late."""
        if not self.running:
            return
        interval, now = self.interval, self._clock.seconds()
        since, late = now - self._beat, self._jitter * interval
        self._beat += max(1, ceil((since - late) / interval)) * interval
        earliest = max(0.0, self._beat - now)
        latest = max(earliest, self._beat + late - now)
        left = earliest + self._random() * (latest - earliest)
        self._due = now + left
        self._call = self._clock.callLater(left, self.run)

    def stop(self) -> Any:
        """Have no other run."""
        if self.running:
            self.running = False
            if self._call.active():
                self._call.cancel()
