"""Who notices that the clock on the wall was set?"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from proxyd.walltime import WallTime

LOOK_SECONDS = 1.0  # so long log lines may have the time from before

_log = Logger()


class WallTimeLook:
    """Looks at the clock on the wall, from `start` to `stop`, and says when it was set."""

    def __init__(self, clock: IReactorTime, wall: WallTime) -> None:
        self._wall = wall
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin."""
        self._loop.start(LOOK_SECONDS)

    def stop(self) -> None:
        """Look no more; also if it has never begun."""
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        before = self._wall.offset
        if self._wall.look():
            _log.info(
                "the clock was set {way} by {seconds:.3f} s; no timeout goes by it",
                way="back" if self._wall.offset < before else "forward",
                seconds=abs(self._wall.offset - before),
            )
