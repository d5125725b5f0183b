"""How are people, and the next process, told which pools are in maintenance?"""

from __future__ import annotations

from typing import Any, Sequence

from twisted.logger import Logger

from proxyd.policy.maintenance import Maintenance
from proxyd.policy.pool import Pool
from proxyd.upkeep.statefile import StateFolder

SECTION = "maintenance"

_LONGEST_WHY = 1000

_log = Logger()


def carry_maintenance_over(folder: StateFolder, pools: Sequence[Pool]) -> None:
    """
    Put the pools where operators have left them, and from now on keep where they are, and tell of changes.

    What is configured otherwise than it was is as it is configured.
    """
    kept = folder.read(SECTION)
    content = kept[0] if kept is not None else None

    def changed(maintenance: Maintenance) -> None:
        _tell(maintenance)
        folder.changed(SECTION)

    for pool in pools:
        _take_back(pool.maintenance, content.get(pool.name) if isinstance(content, dict) else None)
        if pool.maintenance.on:
            _tell(pool.maintenance)
        pool.maintenance.watch(changed)
    folder.keep(SECTION, lambda: {pool.name: _plain(pool.maintenance) for pool in pools})


def _tell(maintenance: Maintenance) -> None:
    _log.info(
        "[pool {pool}] {what}: {why}",
        pool=maintenance.pool,
        what="is in maintenance" if maintenance.on else "is in maintenance no more",
        why=maintenance.why,
    )


def _plain(maintenance: Maintenance) -> dict[str, Any]:
    return {
        "on": maintenance.on,
        "configured": maintenance.configured,
        "why": maintenance.why[:_LONGEST_WHY],
        "since": maintenance.since,
    }


def _take_back(maintenance: Maintenance, past: Any) -> None:
    if not isinstance(past, dict) or past.get("configured") is not maintenance.configured:
        return
    on, why, since = past.get("on"), past.get("why"), past.get("since")
    if (
        isinstance(on, bool)
        and isinstance(why, str)
        and isinstance(since, (int, float))
        and 0 <= since < 1e11
    ):
        maintenance.on, maintenance.why, maintenance.since = on, why, since
