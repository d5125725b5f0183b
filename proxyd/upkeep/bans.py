"""When does a ban that is over go from the table, and how does the next process know of the others?"""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from proxyd.policy.bans import Bans
from proxyd.upkeep.periodic import Periodic
from proxyd.upkeep.statefile import StateFolder
from proxyd.walltime import WallTime

SWEEP_SECONDS = 5.0

SECTION = "bans"

log = Logger()


class BanSweep:
    """Sweeps the table again and again, at the cost of the bans that are over; they hold nobody up before."""

    def __init__(self, clock: Any, random: Callable[[], float], bans: Bans, wall: WallTime) -> None:
        self._sweeping = Periodic(clock, random, SWEEP_SECONDS, lambda: bans.sweep(wall.now()))

    def start(self) -> None:
        """Begin."""
        self._sweeping.start()

    def stop(self) -> Deferred[Any]:
        """Sweep no more."""
        return self._sweeping.stop()


def carry_over_bans(folder: StateFolder, bans: Bans, wall: float) -> None:
    """Ban whom the process before had banned, and from now on keep who is."""
    kept = folder.read(SECTION)
    if kept is not None:
        try:
            if bans.restore(kept[0], wall):
                log.info("banned as before: {count}", count=len(bans))
        except ValueError as error:
            folder.refuse(SECTION, str(error))
    folder.keep(SECTION, bans.dump)
    bans.changed = lambda: folder.changed(SECTION)
