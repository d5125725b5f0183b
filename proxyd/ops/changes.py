"""
What has become of the servers lately, when, and who or what did it?

The last changes of all pools are kept, as the log has them, for whoever is called when it is over: it is the
`Changes` that are told of them, and a command of the admin socket that tells of it.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Callable, Iterator, Optional

from attrs import frozen

from proxyd.ops.command import Answer, Caller, Command, Declined, Given, Parameter, Steered
from proxyd.ops.state import became
from proxyd.policy.maintenance import Maintenance
from proxyd.policy.pool import Pool
from proxyd.policy.state import Change

MOST = 1000  # that are kept: some 200 KB, and of a pool that flaps an hour

ROWS = 100  # if nobody says how many

_LONGEST_WHY = 300  # letters: a server may have said them


@frozen
class Changed:
    """
    A server, which was at that ``address``, or a pool as a whole (both are empty then), became something:
    when, what, and why.
    """

    at: float
    pool: str
    server: str
    address: str
    what: str
    why: str


class Changes:
    """The last changes, the newest first; ``seconds`` is the time that the pools go by."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._kept: deque[Changed] = deque(maxlen=MOST)

    def watch(self, pool: Pool) -> None:
        """Keep what becomes of this pool from now on."""
        pool.watch(self._changed)
        pool.maintenance.watch(self._turned)

    def __iter__(self) -> Iterator[Changed]:
        return reversed(self._kept)

    def _changed(self, change: Change) -> None:
        server = change.server
        self._keep(change.pool.name, server.name, str(server.address), became(change), change.why)

    def _turned(self, maintenance: Maintenance) -> None:
        what = "is in maintenance" if maintenance.on else "serves its clients"
        self._keep(maintenance.pool, "", "", what, maintenance.why)

    def _keep(self, pool: str, server: str, address: str, what: str, why: str) -> None:
        self._kept.append(Changed(self._seconds(), pool, server, address, what, why[:_LONGEST_WHY]))


def _show_changes(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    limit = given.get("limit", ROWS)
    if not 1 <= limit <= MOST:
        raise Declined("bad_parameter", f"limit: {limit} is not a number of rows; write 1 to {MOST}")
    pool = steered.pool(given["pool"]).name if "pool" in given else ""
    now = steered.seconds()
    found = (changed for changed in steered.changes if pool in ("", changed.pool))
    return {
        "changes": [
            {
                "ago_seconds": round(now - changed.at, 3),
                "pool": changed.pool,
                "server": changed.server,
                "address": changed.address,
                "what": changed.what,
                "why": changed.why,
            }
            for changed in islice(found, limit)
        ]
    }


COMMANDS = (
    Command(
        "show changes",
        "what has become of the servers lately, and who or what did it; the newest comes first",
        _show_changes,
        (
            Parameter("pool", "the name of one pool"),
            Parameter("limit", f"so many at most, 1 to {MOST}; {ROWS} if not given", int),
        ),
    ),
)
