"""When is an entry of a table forgotten that nobody uses?  Soon after its ttl."""

from __future__ import annotations

from typing import Any, Callable, Sequence

from twisted.internet.defer import Deferred

from proxyd.policy.counters import Counters
from proxyd.upkeep.periodic import Periodic

SWEEP_SECONDS = 5.0


class CountersSweep:
    """Sweeps the tables again and again, at the cost of the entries that go."""

    def __init__(self, clock: Any, random: Callable[[], float], tables: Sequence[Counters]) -> None:
        self._clock = clock
        self._tables = tables
        self._sweeping = Periodic(clock, random, SWEEP_SECONDS, self._sweep)

    def start(self) -> None:
        """Begin."""
        self._sweeping.start()

    def stop(self) -> Deferred[Any]:
        """Sweep no more."""
        return self._sweeping.stop()

    def _sweep(self) -> None:
        now = self._clock.seconds()
        for table in self._tables:
            table.sweep(now)
