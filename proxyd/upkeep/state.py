"""Who sees to it that ejections end, that slow starts go on, and that the next process knows of all that?"""

from __future__ import annotations

from typing import Any, Sequence

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.state import Change, Event
from proxyd.policy.statefile import SECTION, Pasts, remember
from proxyd.upkeep.statefile import StateFolder
from proxyd.walltime import WallTime

_log = Logger()

SECONDS = 1.0  # between two looks; ejections and slow starts last for many of these


class Turns:
    """Looks after the pools, from `start` to `stop`."""

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
                _log.failure("Pool {pool} was not looked after.", pool=pool.name)


def carry_over(folder: StateFolder, pools: Sequence[Pool], now: float, wall: WallTime) -> None:
    """
    Put the servers where the process before has left them, and from now on keep where they are.

    Those that a pool gets later, since their addresses have to be looked up, are put there when they come;
    and those that have gone and come back, where operators have left them.
    """
    pasts = _pasts(folder, wall.offset)

    def changed(change: Change) -> None:
        if change.event is Event.ADD:
            take_back(change.pool, [change.server], change.at)
        elif change.event is Event.REMOVE:
            pasts.keep(change.server, change.why)
        folder.changed(SECTION)

    def take_back(pool: Pool, servers: Sequence[Server], at: float) -> None:
        for server in pasts.take_back(pool, servers, at):
            _log.info(
                "[pool {pool}] server {server} ({address}) is {state} as before, weight {weight}: {why}",
                pool=server.pool,
                server=server.name,
                address=str(server.address),
                state=server.state.value,
                weight=server.weight,
                why=server.why,
            )

    for pool in pools:
        take_back(pool, pool.servers, now)
        pool.watch(changed)
    folder.keep(SECTION, lambda: remember(pools, wall.offset))


def _pasts(folder: StateFolder, offset: float) -> Pasts:
    kept = folder.read(SECTION)
    if kept is not None:
        try:
            return Pasts(*kept, offset)
        except ValueError as error:
            folder.refuse(SECTION, str(error))
    return Pasts([], 0.0, offset)
