"""
How does much that falls due at one moment not keep the relay waiting?

It is done one thing a turn of the reactor, so that between two of them every connection is served: a check
that begins or ends takes as long as some dozen messages, and with a thousand of them several fall due in
most turns of a busy daemon.  A `LoopingCall` takes the turns; its interval is set anew by each, to the moment
of the next.  It stops for good after its first exception, so what it calls lets none out.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any, Callable, Optional

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

MOST_LATE = 0.05  # seconds; what is later than that has no turn of its own, or it would never end

log = Logger(__name__)

SPARE = 64  # calls that were cancelled and stay until their time, beside as many as there are others


class SpacedCall:
    """One call that is to come."""

    __slots__ = ("_spaced", "arguments", "at", "function")

    def __init__(self, spaced: Spaced, at: float, function: Callable[..., Any], arguments: Any) -> None:
        self._spaced = spaced
        self.at = at
        self.function: Optional[Callable[..., Any]] = function
        self.arguments = arguments

    def active(self) -> bool:
        """Whether it is still to come."""
        return self.function is not None

    def cancel(self) -> None:
        """Have it not come."""
        if self.function is not None:
            self.function = self.arguments = None
            self._spaced.cancelled()


class Spaced:
    """A clock that is a reactor's, but for what `callLater` is told, of which one comes at a turn."""

    def __init__(self, reactor: Any) -> None:
        self.seconds: Callable[[], float] = reactor.seconds
        self._calls: list[tuple[float, int, SpacedCall]] = []  # a heap
        self._number = 0  # of the last one; of two for one moment the first comes first
        self._left = 0  # that were not cancelled
        self._serving = False
        self._turns = LoopingCall(self._serve)
        self._turns.clock = reactor

    def callLater(self, delay: float, function: Callable[..., Any], *arguments: Any) -> SpacedCall:
        """Call a function in so many seconds, or some turns later."""
        at = self.seconds() + delay
        call = SpacedCall(self, at, function, arguments)
        self._number += 1
        self._left += 1
        heappush(self._calls, (at, self._number, call))
        if not self._serving and self._calls[0][2] is call:
            self._wind()
        return call

    def cancelled(self) -> None:
        """One is not to come any more."""
        self._left -= 1
        calls = self._calls
        if len(calls) > 2 * self._left + SPARE or not self._left:
            calls[:] = [one for one in calls if one[2].function is not None]
            heapify(calls)
            if not calls and not self._serving:
                self._wind()

    def _wind(self) -> None:
        """Have the next turn when the next one is due."""
        turns = self._turns
        if not self._calls:
            if turns.running:
                turns.stop()
            return
        now = self.seconds()
        turns.interval = max(0.0, self._calls[0][0] - now)
        if self._serving:
            turns.starttime = now
        elif turns.running:
            turns.reset()
        else:
            turns.start(turns.interval, now=False)

    def _serve(self) -> None:
        self._serving = True
        calls, now = self._calls, self.seconds()
        while calls and calls[0][0] <= now:
            at, _, call = heappop(calls)
            function, call.function = call.function, None
            if function is not None:
                self._left -= 1
                try:
                    function(*call.arguments)
                except Exception:  # noqa: BLE001
                    log.failure("What was to be done now has failed.")
                if now - at < MOST_LATE:
                    break
        self._wind()
        self._serving = False
