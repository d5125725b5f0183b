"""
How does work that must be done again and again go on, whatever happens?

It is done in a `Rhythm`; what one run raises is logged, and the next one comes as if nothing had happened.
"""

from __future__ import annotations

from inspect import iscoroutine
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.upkeep.rhythm import Rhythm

InThread = Callable[[Callable[[], Any]], Deferred[Any]]  # has work that takes long done elsewhere


class Periodic(Rhythm):
    """
    Some work that is done every ``interval`` seconds, give or take ``jitter`` as a part of that.

    ``work`` may return a Deferred, be an ``async def``, or return what has a Deferred's ``addCallbacks`` and
    ``cancel`` without being one.  A run that fails is logged, once for as long as the failure is the same.
    """

    __slots__ = ("_failure", "_stops", "_under_way", "_work")

    _log = Logger()

    def __init__(
        self,
        clock: Any,
        random: Callable[[], float],
        interval: float,
        work: Callable[[], Any],
        jitter: float = 0.2,
    ) -> None:
        super().__init__(clock, random, interval, jitter)
        self._work = work
        self._under_way: Any = None
        self._stops: list[Deferred[None]] = []
        self._failure = ""

    def stop(self) -> Deferred[None]:
        """Cancel the run that is under way, have no other, and fire when all is still."""
        was_running = self.running
        super().stop()
        still: Deferred[None] = Deferred()
        self._stops.append(still)
        if self._under_way is None:
            self._tell_that_all_is_still()
        elif was_running:
            self._under_way.cancel()
        return still

    def run(self) -> None:
        """Begin the work."""
        try:
            under_way = self._work()
        except Exception:  # noqa: BLE001
            self._failed(Failure())
            return
        if iscoroutine(under_way):
            under_way = Deferred.fromCoroutine(under_way)
        if hasattr(under_way, "addCallbacks"):
            self._under_way = under_way
            under_way.addCallbacks(self._over, self._failed)
        else:
            self._over()

    def _over(self, _: object = None, failure: str = "") -> None:
        self._failure = failure
        self._under_way = None
        self.rest()
        if self._stops:
            self._tell_that_all_is_still()

    def _failed(self, failure: Failure) -> None:
        """Log it, unless the run before has said the same."""
        what = f"{type(failure.value).__name__}: {failure.value}"
        if what != self._failure and (self.running or not failure.check(CancelledError)):
            self._log.failure(
                "{work} failed ({what}); it is tried again every {interval:g}s",
                failure=failure,
                work=getattr(self._work, "__qualname__", self._work),
                what=what,
                interval=self.interval,
            )
        self._over(failure=what)

    def _tell_that_all_is_still(self) -> None:
        stops, self._stops = self._stops, []
        for still in stops:
            still.callback(None)
