"""How are people told that a server is in another state?  By a line of the log."""

from __future__ import annotations

from twisted.logger import Logger

from proxyd.policy.state import Change, Event, State

_LOUD = (State.DOWN, State.EJECTED)


class StateLog:
    """Writes a line for each change; its method is for `proxyd.policy.pool.Pool.watch`."""

    log = Logger()

    def __init__(self) -> None:
        self._panicking: set[str] = set()

    def changed(self, change: Change) -> None:
        """Say what is now, and why."""
        server = change.server
        loud = change.before is not server.state and server.state in _LOUD
        tell = self.log.warn if loud else self.log.info
        tell(
            "[pool {pool}] server {server} ({address}) {what}: {why}",
            pool=change.pool.name,
            server=server.name,
            address=str(server.address),
            what=became(change),
            why=change.why,
        )
        self._tell_of_panic(change.pool.name, change.pool.panic)

    def _tell_of_panic(self, pool: str, panic: bool) -> None:
        if panic and pool not in self._panicking:
            self._panicking.add(pool)
            self.log.warn(
                "[pool {pool}] fewer servers are up than its panic_threshold: all get connections", pool=pool
            )
        elif not panic and pool in self._panicking:
            self._panicking.discard(pool)
            self.log.info("[pool {pool}] enough servers are up again: only these get connections", pool=pool)


def became(change: Change) -> str:
    """What a server is now, or what it has, behind its name."""
    server = change.server
    if change.event is Event.WEIGH:
        return f"has weight {server.weight}"
    if change.event is Event.REMOVE:
        return "is no more"
    if change.event is Event.REVISE:
        return f"is {server.state.phrase} with weight {server.weight} and priority {server.priority}"
    if change.before is server.state is State.DRAINING:
        return f"is draining, and {server.health.value} to its checks"
    return f"is {server.state.phrase}"
