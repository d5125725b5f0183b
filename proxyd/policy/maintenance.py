"""
Is this client turned away, because its pool is in maintenance?

That is not the maintenance of a server (`proxyd.policy.state`), which is left alone while its pool goes on:
the servers stay what their checks say, so that who is let in sees what all others will see afterwards.
"""

from __future__ import annotations

from typing import Callable, Sequence

from proxyd.policy.lists import Listed
from proxyd.snapshots import MaintenanceSnapshot

CONFIGURED = "as configured"


class Maintenance:
    """
    Whether a pool is in maintenance, since when and why.

    ``since`` is wall time, or 0 for the start of the process; ``turned_away`` counts clients
    or requests.  ``allowed`` are those who are let in all the same.
    """

    def __init__(self, pool: str, on: bool) -> None:
        self.pool = pool
        self.on = self.configured = on
        self.why = CONFIGURED if on else ""
        self.since = 0.0
        self.turned_away = 0
        self.allowed: Sequence[Listed] = ()
        self._watchers: list[Callable[[Maintenance], None]] = []

    def watch(self, watcher: Callable[[Maintenance], None]) -> None:
        """Tell this one of every change from now on, when it has been made."""
        self._watchers.append(watcher)

    def turn(self, on: bool, why: str, wall: float) -> None:
        """Begin or end it; of two who begin it, the second keeps it on."""
        if on is self.on and (not on or why == self.why):
            return
        if on is not self.on:
            self.since = wall
        self.on, self.why = on, why
        for watcher in self._watchers:
            watcher(self)

    def snapshot(self) -> MaintenanceSnapshot:
        """Whether it is on, and whom that has cost an answer."""
        return MaintenanceSnapshot(self.pool, self.on, self.turned_away)

    def lets_in(self, client: bytes) -> bool:
        """Whether a client (`proxyd.policy.lists`) is served; who is not is counted."""
        if not self.on or any(each.networks.covers(client) for each in self.allowed):
            return True
        self.turned_away += 1
        return False

    def __str__(self) -> str:
        return f"[pool {self.pool}] maintenance: {self.why}"
