"""
How does the next process know which clients are to come back to which servers?

By the tables that this one leaves; where the clients know it themselves, by the secret of their cookies.
"""

from __future__ import annotations

from secrets import token_bytes
from typing import Any, Callable, Sequence

from twisted.logger import Logger

from proxyd.config.affinity import read_secret
from proxyd.errors import Problem
from proxyd.policy.affinity import SealedAffinity
from proxyd.policy.pool import Pool
from proxyd.upkeep.statefile import StateFolder
from proxyd.walltime import WallTime

SECTION = "affinity"

MOST = 500_000  # entries of all pools, the latest of each: a second's work, and less than a section may have

_SECRET_BYTES = 32  # of one that is made here

_log = Logger()


def give_secrets(pools: Sequence[Pool]) -> list[str]:
    """Give the pools what their cookies are sealed with; a line for each thing that is wrong with a file."""
    problems: list[Problem] = []
    for pool in pools:
        affinity = pool.affinity
        if isinstance(affinity, SealedAffinity) and affinity.spec.cookie is not None:
            spec = affinity.spec.cookie
            secret = spec.secret.encode("utf-8")
            if spec.secret_path:
                secret = read_secret(spec.secret_path, problems)
            affinity.secret(secret or token_bytes(_SECRET_BYTES))
    return list(dict.fromkeys(map(str, problems)))


def carry_tables_over(
    folder: StateFolder, pools: Sequence[Pool], seconds: Callable[[], float], wall: WallTime
) -> None:
    """
    Give the pools the tables that the process before has left, and keep them at the stop.

    An entry has as much time as it had when the tables were written, less what has passed since.
    """
    remembering = [pool for pool in pools if pool.affinity is not None and pool.affinity.remembers]
    if not remembering:
        return
    kept = folder.read(SECTION)
    if kept is not None:
        content, written = kept
        for pool in remembering:
            dumped = content.get(pool.name) if isinstance(content, dict) else None
            assert pool.affinity is not None
            count = pool.affinity.restore(dumped, min(written - wall.offset, seconds()))
            if count:
                _log.info(
                    "[pool {pool}] {count} clients are remembered as before", pool=pool.name, count=count
                )
    folder.keep(SECTION, lambda: _dump(remembering, seconds()), at_stop=True)


def _dump(pools: Sequence[Pool], now: float) -> dict[str, Any]:
    most = MOST // len(pools)
    return {pool.name: pool.affinity.dump(now, most) for pool in pools if pool.affinity is not None}
