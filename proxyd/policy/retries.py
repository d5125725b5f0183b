"""
May one more request be sent to a second server?

While a few fail, asking another server helps; when all are at their limit, it gives them still more to do.
So what is asked again is at most a share of the requests of late (Finagle's RetryBudget, Envoy's
retry_budget).

"Of late" are two windows: the one that goes on, and of the one before as much as is still within reach.  That
is a few numbers, however many requests there are.
"""

from __future__ import annotations

from proxyd.config.retries import BudgetSpec
from proxyd.snapshots import BudgetSnapshot


class Budget:
    """
    What a pool may spend; tell it of each request by `asked`.

    ``taken`` and ``refused`` are how often it was spent since the start, and how often nothing was left.
    """

    __slots__ = (
        "_before",
        "_ends",
        "_least",
        "_requests",
        "_retried",
        "_retried_before",
        "_share",
        "_window",
        "refused",
        "taken",
    )

    def __init__(self, spec: BudgetSpec) -> None:
        self._share = spec.share / 100.0
        self._window = spec.window
        self._least = spec.least.count / spec.least.seconds * spec.window
        self._ends = 0.0  # the window that goes on
        self._requests = self._before = 0  # in this one, and in the one before
        self._retried = self._retried_before = 0
        self.taken = self.refused = 0

    def asked(self, now: float) -> None:
        """A request has come."""
        if now >= self._ends:
            self._turn(now)
        self._requests += 1

    def left(self, now: float) -> int:
        """How many may be asked again now."""
        if now >= self._ends:
            self._turn(now)
        part = (self._ends - now) / self._window
        requests = self._requests + self._before * part
        retried = self._retried + self._retried_before * part
        return max(0, int(requests * self._share + self._least - retried + _TINY))

    def snapshot(self, pool: str, now: float) -> BudgetSnapshot:
        """What is left of it now, and what it was spent on."""
        return BudgetSnapshot(pool, self.left(now), self.taken, self.refused)

    def take(self, now: float) -> bool:
        """Whether one more request may be asked again, which then counts."""
        if not self.left(now):
            self.refused += 1
            return False
        self._retried += 1
        self.taken += 1
        return True

    def _turn(self, now: float) -> None:
        """Begin another window."""
        follows = now < self._ends + self._window
        self._before = self._requests if follows else 0
        self._retried_before = self._retried if follows else 0
        self._requests = self._retried = 0
        self._ends = (self._ends if follows else now) + self._window


_TINY = 1e-9  # what sums of fractions may lack
