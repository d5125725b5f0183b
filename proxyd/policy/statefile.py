"""
What of the servers is worth knowing in the next process, and what of it still holds there?

`remember` makes plain values of the servers of all pools, for a section of `proxyd.upkeep.statefile`;
`Pasts` takes them back, for each server that has the same pool, name and address as before.  What
operators have done holds for ever, an ejection until its time is over, and what checks have found only if it
was written lately; the first check decides anew, but until then clients are led by it.  HAProxy has this as
``load-server-state-from-file``.
"""

from __future__ import annotations

from typing import Any, Iterable, Optional, Sequence

from attrs import asdict, evolve, frozen

from proxyd.config.pool import HEAVIEST
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.state import OUT, State

SECTION = "servers"

FRESH = 300.0  # seconds for which what checks have found is believed: a restart or a reboot, not a weekend

MOST = 10_000  # servers that are no more and of which something is kept

_LONGEST_WHY = 1000


@frozen
class Past:
    """
    What is remembered of a server; the fields are those of `proxyd.policy.server.Server`, in a file
    with wall time.

    It is made of what a file says, so making one of wrong values raises TypeError or ValueError.
    """

    pool: str
    name: str
    address: str
    state: State
    why: str
    since: float
    until: float
    health: State
    weight: int
    configured: int
    ejections: int
    returned: float

    def moved(self, offset: float) -> Past:
        """The same by a clock that is so far ahead."""
        return evolve(
            self,
            since=self.since + offset if self.since else 0.0,
            until=self.until + offset if self.until else 0.0,
            returned=self.returned + offset if self.returned else 0.0,
        )


def remember(pools: Iterable[Pool], offset: float) -> list[dict[str, Any]]:
    """The servers of the pools, as plain values; ``offset`` makes wall time of the times of the pools."""
    pasts = (
        _past_of(server).moved(offset) for pool in pools for server in pool.servers if not server.leaving
    )
    return [{**asdict(past), "state": past.state.value, "health": past.health.value} for past in pasts]


def _past_of(server: Server) -> Past:
    return Past(
        pool=server.pool,
        name=server.name,
        address=_place(server),
        state=server.state,
        why=server.why[:_LONGEST_WHY],
        since=server.since,
        until=server.until,
        health=server.health,
        weight=server.weight,
        configured=server.configured,
        ejections=server.ejections,
        returned=server.returned,
    )


class Pasts:
    """
    What the process before has known of the servers; each is taken back once.

    So is what operators have done of one whose address has gone, in case that is there again.
    """

    def __init__(self, content: Any, written: float, offset: float) -> None:
        """
        The content of a file that was ``written`` at that wall time.

        ``offset`` makes wall time of the times of the pools.  Raises ValueError if the content is not what
        `remember` makes.
        """
        if not isinstance(content, list):
            raise ValueError("it is no list of servers")
        self._pasts = {(past.pool, past.name): past.moved(-offset) for past in map(_past, content)}
        self._written = written - offset

    def keep(self, server: Server, why: str) -> None:
        """A server is no more for that reason, which has also drained it if nobody else did before."""
        taken_out = server.state in OUT and server.why != why
        if taken_out or server.weight != server.configured:
            state = server.state if taken_out else State.CHECKING
            past = evolve(_past_of(server), state=state, health=State.CHECKING)
            self._pasts[(server.pool, server.name)] = past
            if len(self._pasts) > MOST:
                del self._pasts[next(iter(self._pasts))]

    def take_back(self, pool: Pool, servers: Sequence[Server], now: float) -> list[Server]:
        """
        Put servers, that nobody has used yet, back into the states and weights that they had.

        Returns those that are not as the configuration has them.
        """
        known = [server for server in servers if (pool.name, server.name) in self._pasts]
        fresh = 0 <= now - self._written < FRESH
        for server in known:
            past = self._pasts.pop((pool.name, server.name))
            if past.address == _place(server):
                _take_back(pool, server, past, fresh, now)
        if known:
            pool.resume(known)
        return [
            server
            for server in known
            if server.state not in (State.UP, State.CHECKING) or server.weight != server.configured
        ]


def _place(server: Server) -> str:
    """Where it is as the configuration says it, so that a name which has not resolved yet is the same."""
    return str(server.origin or server.address)


def _take_back(pool: Pool, server: Server, past: Past, fresh: bool, now: float) -> None:
    checked = bool(pool.spec.checks)
    state: Optional[State] = None
    if past.state in OUT:
        state = past.state
    elif past.state is State.EJECTED and past.since <= now < past.until:
        state = past.state
    elif past.state in (State.UP, State.DOWN) and checked and fresh:
        state = past.state
    if past.configured == server.configured and pool.takes(server, past.weight):
        server.weight = past.weight
    server.ejections, server.returned = past.ejections, past.returned
    if state is not None:
        server.state, server.why, server.since = state, past.why, past.since
        server.until = past.until if state is State.EJECTED else 0.0
        if checked and fresh and past.state is not State.MAINTENANCE:
            server.health = past.health


def _past(entry: Any) -> Past:
    """One server of a file.  Raises ValueError if it is none."""
    if not isinstance(entry, dict):
        raise ValueError(f"{_shown(entry)} is no server")
    try:
        past = Past(
            **{
                **entry,
                "state": State(entry["state"]),
                "health": State(entry["health"]),
            }
        )
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{_shown(entry)} is no server") from None
    texts = (past.pool, past.name, past.address, past.why)
    times = (past.since, past.until, past.returned)
    counts = (past.weight, past.configured, past.ejections)
    right = (
        all(isinstance(text, str) for text in texts)
        and all(type(time) in (int, float) and 0 <= time < 1e11 for time in times)
        and all(type(count) is int and 0 <= count < 1e9 for count in counts)
        and max(past.weight, past.configured) <= HEAVIEST
    )
    if not right:
        raise ValueError(f"{_shown(entry)} is no server")
    return past


def _shown(entry: Any) -> str:
    text = repr(entry)
    return text if len(text) < 80 else text[:76] + " ..."
