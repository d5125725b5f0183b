"""When does a ban that has ended go from the table?  Soon after; it holds nobody up in the meantime."""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred

from proxyd.policy.bans import Bans
from proxyd.upkeep.periodic import Periodic

SWEEP_SECONDS = 5.0


class BanSweep:
    """Sweeps the table again and again, at the cost of the bans that have ended."""

    def __init__(self, clock: Any, random: Callable[[], float], bans: Bans) -> None:
        self._sweeping = Periodic(clock, random, SWEEP_SECONDS, lambda: bans.sweep(clock.seconds()))

    def start(self) -> None:
        """Begin."""
        self._sweeping.start()

    def stop(self) -> Deferred[Any]:
        """Sweep no more."""
        return self._sweeping.stop()
