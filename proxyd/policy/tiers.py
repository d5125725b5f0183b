"""
Which servers of a pool may be chosen, and which of them only when others are not left?

Backups and servers of a higher ``priority`` stand in for others; so do, while none is up, those that have not
been checked yet, and then those that are ejected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

from proxyd.policy.state import OUT, State

if TYPE_CHECKING:
    from proxyd.policy.server import Server


def tiers(
    servers: Sequence[Server], panic_threshold: int, backup_below: int
) -> tuple[bool, list[list[Server]]]:
    """
    Whether there is a panic; those that may be chosen, and one after another those that may be instead.

    They are always new lists, and none is empty.
    """
    able = [server for server in servers if server.share > 0 and server.state not in OUT]
    panic = _too_few_of(able, panic_threshold)
    fit = able if panic else []
    for state in (State.UP, State.CHECKING, State.EJECTED):
        fit = fit or [server for server in able if server.state is state]
    alike: dict[tuple[bool, int], list[Server]] = {}
    for server in fit:
        alike.setdefault((server.backup, server.priority), []).append(server)
    found: list[list[Server]] = []
    for rank, others in sorted(alike.items(), key=lambda item: item[0]):
        if found and len(found[0]) < backup_below:
            # In the order of the configuration, by which round robin and `first` go.
            found[0] = [server for server in fit if (server.backup, server.priority) <= rank]
        else:
            found.append(others)
    return panic, found


def _too_few_of(able: Sequence[Server], threshold: int) -> bool:
    """
    Whether so few are up that the checks are rather wrong than right: Envoy's panic threshold.

    Backups do not count, and while no other is up at all they come first.
    """
    if not threshold:
        return False
    hopeful = (State.UP, State.CHECKING)
    others = [server for server in able if not server.backup]
    left = sum(server.state in hopeful for server in others)
    if not left and any(server.state in hopeful for server in able):
        return False
    return left * 100 < threshold * len(others)
