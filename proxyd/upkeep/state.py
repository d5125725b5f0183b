"""Who sees to it that states change which change by time alone: ejections that end, and slow starts?"""

from __future__ import annotations

from typing import Any, Sequence

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from proxyd.policy.pool import Pool

SECONDS = 1.0  # between two looks; ejections and slow starts last for many of these


class Turns:
    """Looks after the pools, from `start` to `stop`."""

    _log = Logger()

    def __init__(self, reactor: Any, pools: Sequence[Pool]) -> None:
        self._reactor = reactor
        self._pools = pools
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor

    def start(self) -> None:
        """Begin."""
        self._loop.start(SECONDS, now=False)

    def stop(self) -> None:
        """End; also if it has never begun."""
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        now = self._reactor.seconds()
        for pool in self._pools:
            try:
                pool.tick(now)
            except Exception:  # noqa: BLE001 - the loop would never run again
                self._log.failure("Pool {pool} was not looked after.", pool=pool.name)
