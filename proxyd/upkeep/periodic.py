"""
How does work that must be done again and again go on, whatever happens?

There is a beat at a fixed interval, and each run comes a bit of chance after the beat, the first one too.
What is started at one moment is soon run once, and from then on spread over the whole interval: its beats
begin at a moment of chance (envoyproxy/envoy#4132, HAProxy's spread-checks).  A run that takes nearly as
long as the interval misses no beat: it may be late for the next one by as much as by chance.  A `LoopingCall`
makes the runs; its interval is set anew by each, to the moment of the next.

A `LoopingCall` stops for good after its first exception; what it calls here never lets one out.
"""

from __future__ import annotations

from math import ceil
from typing import Any, Callable, Optional

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

SOON = 1.0  # seconds; somebody waits for it, and a fifth of an interval may be minutes

InThread = Callable[[Callable[[], Any]], Deferred[Any]]  # has work that takes long done elsewhere


class Periodic:
    """
    Some work that is done every ``interval`` seconds, give or take ``jitter`` as a part of that.

    ``work`` may return a Deferred or be an ``async def``.  Runs never overlap: one that takes longer than
    the interval leaves out beats.  A run that fails is logged, once for as long as the failure is the same,
    and the next one comes as if nothing had happened.
    """

    _log = Logger()

    def __init__(
        self,
        clock: Any,
        random: Callable[[], float],
        interval: float,
        work: Callable[[], Any],
        jitter: float = 0.2,
    ) -> None:
        self._clock = clock
        self._random = random
        self._interval = interval
        self._work = work
        self._jitter = jitter
        self._loop = LoopingCall(self._run)
        self._loop.clock = clock
        self._due = 0.0  # when the next run begins, unless one is under way
        self._beat = 0.0  # which the last run was for, or the next one is
        self._under_way: Optional[Deferred[None]] = None
        self._stopped: Deferred[Any] = succeed(None)
        self._failure = ""

    @property
    def running(self) -> bool:
        """Whether it has been started and not been told to stop."""
        return self._loop.running

    @property
    def next_seconds(self) -> Optional[float]:
        """In how long the next run begins; None while one is under way, and when there will be none."""
        return max(0.0, self._due - self._clock.seconds()) if self._loop.call is not None else None

    def start(self) -> None:
        """Begin; the first run comes within ``jitter`` of the interval."""
        self._begin(self._jitter * self._interval)

    def _begin(self, most_late: float) -> None:
        now, late = self._clock.seconds(), self._random() * most_late
        self._beat = now - self._random() * self._interval
        if self._beat + self._interval <= now + late:
            self._beat += self._interval
        self._due = now + late
        self._stopped = self._loop.start(late, now=False)

    def pace(self, interval: float) -> None:
        """Change the interval; called by the work, the next run comes that long from now."""
        if interval != self._interval:
            self._interval = interval
            self._beat = self._clock.seconds()

    def soon(self, interval: float) -> None:
        """
        Change the interval, and have the next run within `SOON` or ``jitter`` of it, unless one is under way.
        """
        self.pace(interval)
        if self._loop.running and self._loop.call is not None:  # while one is under way, none is to come
            self._loop.stop()
            self._begin(min(self._jitter * self._interval, SOON))

    def stop(self) -> Deferred[Any]:
        """Cancel the run that is under way, have no other, and fire when all is still."""
        if self._loop.running:
            self._loop.stop()
            if self._under_way is not None:
                self._under_way.cancel()
        still: Deferred[Any] = Deferred()
        self._stopped.chainDeferred(still)
        return still

    def _run(self) -> Deferred[None]:
        self._under_way = maybeDeferred(self._work)
        return self._under_way.addCallbacks(self._succeeded, self._failed)

    def _succeeded(self, _: object) -> None:
        self._failure = ""
        self._look_ahead()

    def _look_ahead(self) -> None:
        """The next run comes for the next beat for which it is not too late."""
        now = self._clock.seconds()
        since, late = now - self._beat, self._jitter * self._interval
        beats = max(1, ceil((since - late) / self._interval))
        self._beat += beats * self._interval
        earliest = max(0.0, self._beat - now)
        latest = max(earliest, self._beat + late - now)
        self._loop.starttime = now
        self._loop.interval = earliest + self._random() * (latest - earliest)
        self._due = now + self._loop.interval

    def _failed(self, failure: Failure) -> None:
        """Log it, unless the run before has said the same."""
        self._look_ahead()
        if failure.check(CancelledError) and not self._loop.running:
            return
        what = f"{type(failure.value).__name__}: {failure.value}"
        if what != self._failure:
            self._failure = what
            self._log.failure(
                "{work} failed ({what}); it is tried again every {interval:g}s",
                failure=failure,
                work=getattr(self._work, "__qualname__", self._work),
                what=what,
                interval=self._interval,
            )
