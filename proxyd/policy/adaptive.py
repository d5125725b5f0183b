"""
How many connections does a server take before they wait for each other?

A server that has more to do than it can do at a time does nothing faster for it: beyond that knee each more
connection only makes all of them slower (Little's law).  So the limit grows while the server is as fast as it
is with few, and shrinks in proportion to how much slower it has become: the gradient of Netflix's
concurrency-limits and of Envoy's adaptive concurrency filter, from few on as in TCP's slow start.

What is measured of a connection is its response: the time to connect, and from what the client asks first to
the first byte of the answer.  Medians of windows are compared, because a few slow requests say nothing.

What is usual follows only downwards, or a lasting overload would become usual.  So whether a server is slow
because of the connections, or for another reason, is found out by halving them (BBR looks at its round trip
so): if that makes it no faster, what it takes is usual from now on, and the limit is what it was.

Who has filled the limit may have more, and nobody else: a limit that was never reached has proven nothing.
"""

from __future__ import annotations

from math import inf, sqrt
from statistics import median
from typing import Optional

from proxyd.config.adaptive import AdaptiveSpec

ENOUGH = 32  # responses make a window
REMEMBERED = 512  # of them, the last that came
WINDOW = 0.5  # seconds that it lasts at least
RESPONSES = 4.0  # and as many medians, or the long ones would be missing
LONGEST_WINDOW = 30.0  # seconds, whatever the responses take
PATIENCE = 5.0  # seconds, after which fewer responses are enough: connections that stay bring no more
TOLERANCE = 1.25  # times what is usual is not slow yet (Envoy's buffer of 25 %)
OUR_OWN = 0.001  # seconds that turns of our reactor may add
FOLLOWS = 0.3  # how far what is usual follows a faster window
STEEPEST = 0.5  # of the limit is left at least by one window
SLOW_WINDOWS = 4  # in a row, and the connections are halved
FAILED = 0.1  # as many connections as this, for each response, and the limit shrinks all the same
BACKOFF = 0.9  # is then left of it (Netflix's AIMD)
HELPED = 0.75  # of the time before is left where fewer connections make a server faster


class Adaptive:
    """
    What one server is found to take.

    ``limit`` is how many connections it may have now.  ``usual`` are the seconds of a response while it has
    few, None until that is known, and ``lately`` those of the last window.  ``pending`` connections have been
    asked something and not answered: whoever measures counts them.
    """

    __slots__ = (
        "_before", "_begun", "_changed", "_exact", "_failed", "_grows_fast", "_most_open", "_samples",
        "_seen", "_slow", "_suspect", "lately", "least", "limit", "most", "pending", "spec", "usual",
    )  # fmt: skip

    def __init__(self, spec: AdaptiveSpec) -> None:
        self.spec = spec
        self.least, self.most = spec.least, spec.most
        self.usual: Optional[float] = None
        self.lately = 0.0
        self.pending = 0
        self._grows_fast = True  # until the server was slow for the first time
        self._slow = 0  # windows in a row
        self._before = 0.0  # the limit when it was not slow yet
        self._suspect = (0.0, 0.0)  # the limit and the seconds that fewer connections are compared with
        self._changed = -inf
        self._most_open = 0
        self._begin(-inf)
        self._set(float(spec.least))

    def bound(self, most: int) -> None:
        """It may have so many at most from now on; 0 is what the configuration says."""
        self.most = min(most, self.spec.most) if most else self.spec.most
        self.least = min(self.spec.least, self.most)
        self._set(self._exact)

    def sampled(self, seconds: float, connections: int, asked: float) -> None:
        """A response to what was asked at that time has taken so long; so many connections are open."""
        if asked < self._changed:
            return  # there was another limit
        if len(self._samples) < REMEMBERED:
            self._samples.append(seconds)
        else:
            self._samples[self._seen % REMEMBERED] = seconds
        self._seen += 1
        self._most_open = max(self._most_open, connections)

    def failed(self, dialed: float) -> None:
        """A connection that was dialed at that time has come to nothing, which says nothing of how fast."""
        if dialed >= self._changed:
            self._failed += 1

    def tick(self, connections: int, now: float) -> bool:
        """Decide, if enough is known, and say whether the limit has changed; to be called each second."""
        self._most_open = max(self._most_open, connections)
        if self._begun == -inf:  # it has only begun
            self._begin(now)
            return False
        if not self._is_over(now - self._begun):
            return False
        before = self.limit
        full = self._most_open >= before
        if self._failed > self._seen * FAILED:
            self._slow = 0
            self._grows_fast = False
            self._set(self._exact * BACKOFF)
        elif self._samples:
            self._judge(median(self._samples), full)
        elif full and not self.pending:
            self._grow()  # who lets nobody in learns nothing
        self._begin(now)
        if self.limit != before:
            self._changed = now
        return self.limit != before

    def _begin(self, now: float) -> None:
        self._begun = now
        self._samples: list[float] = []
        self._seen = 0
        self._failed = 0
        self._most_open = 0

    def _is_over(self, age: float) -> bool:
        least = max(WINDOW, min(LONGEST_WINDOW, RESPONSES * self.lately))
        return age >= (least if self._seen + self._failed >= ENOUGH else max(PATIENCE, least))

    def _judge(self, seconds: float, full: bool) -> None:
        self.lately = seconds
        doubt = 1 / sqrt(len(self._samples))  # how far the median of so many is off by chance
        if self.usual is None:
            self.usual = seconds
        elif seconds < self.usual * (1 - 2 * doubt):
            self.usual += (seconds - self.usual) * FOLLOWS
        allowed = (TOLERANCE + doubt) * self.usual + OUR_OWN
        if seconds <= allowed:
            self._slow = 0
            if full:
                self._grow()
        elif 2 * self._most_open > self.limit:  # else it is not the connections that make it slow
            self._grows_fast = False
            self._shrink(seconds, max(STEEPEST, allowed / seconds))

    def _grow(self) -> None:
        """By the square root, as Netflix and Envoy do, which is a queue that a server hardly notices."""
        self._set(self._exact + (self._exact if self._grows_fast else sqrt(self._exact)))

    def _shrink(self, seconds: float, share: float) -> None:
        """Shrink to that share, until there are half as many connections as in the beginning; then judge."""
        if not self._slow:
            self._before = self._exact
        self._slow += 1
        if self._slow == 1 or seconds > self._suspect[1]:  # slower with fewer: it has only begun
            self._suspect = (self._exact, seconds)
        if self._exact > max(self.least, self._suspect[0] / 2):
            self._set(self._exact * share if self._slow <= SLOW_WINDOWS else self._suspect[0] / 2)
        elif seconds > HELPED * self._suspect[1]:
            self.usual = seconds
            self._slow = 0
            self._set(self._before)
        else:
            self._suspect = (self._exact, seconds)
            self._before = self._exact
            self._set(self._exact * share)

    def _set(self, exact: float) -> None:
        self._exact = min(max(exact, float(self.least)), float(self.most))
        self.limit = int(self._exact)
