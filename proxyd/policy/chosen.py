"""
By what did a client get its server?

One word, which the logs and the open connections tell.  The server that is spoken of is the last one that was
tried; where there was none it is "".
"""

from __future__ import annotations

from typing import Sequence

from proxyd.policy.server import Server
from proxyd.policy.state import State

BALANCE = "balance"  # the balancer took it, of those that are there for that: so it is nearly always
AFFINITY = "affinity"  # the client had it before
BACKUP = "backup"  # it stands in for others, as a backup or by its ``priority``
PANIC = "panic"  # so few were up that nobody asked who was
LAST_RESORT = "last_resort"  # none was up: it had not been checked yet, or was ejected
RETRY = "retry"  # another had failed, and it was next
HEDGE = "hedge"  # another had not begun to answer, and it did


def note_standing(servers: Sequence[Server], tiers: Sequence[Sequence[Server]], panic: bool) -> None:
    """Note with each server of a pool's tiers what it is called when the balancer takes it."""
    home = min(((server.backup, server.priority) for server in servers), default=(False, 0))
    for tier in tiers:
        for server in tier:
            if panic:
                server.standing = PANIC
            elif server.state is not State.UP:
                server.standing = LAST_RESORT
            else:
                server.standing = BALANCE if (server.backup, server.priority) == home else BACKUP
