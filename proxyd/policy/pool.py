"""
Which server of a pool gets the next connection?

The pool knows who may be chosen, its balancer chooses.  Who may be chosen changes far less often than
connections come, so the list is made anew only when a standing changes.
"""

from __future__ import annotations

from collections import Counter
from typing import Collection, Optional

from attrs import define

from proxyd.config.address import Address
from proxyd.config.pool import PoolSpec
from proxyd.interfaces import IBalancer
from proxyd.policy.health import Standing


@define(eq=False, repr=False)
class Server:
    """
    One server as its pool sees it: its weight, its standing and since what, and its open connections.

    Whoever opens a connection to it counts ``open`` up, and down again when the server has closed its side.
    ``credit`` is what round robin owes it.
    """

    name: str
    address: Address
    weight: int = 1
    backup: bool = False
    pool: str = ""
    standing: Standing = Standing.UP
    why: str = ""
    open: int = 0
    credit: int = 0

    def __repr__(self) -> str:
        return f"<Server {self.pool}/{self.name} {self.address} {self.standing.value}, {self.open} open>"


class Pool:
    """
    The servers that can stand in for each other.

    A server counts as up from the start unless the pool has a check; then it is ``checking`` until the
    first result.
    """

    def __init__(self, spec: PoolSpec, balancer: IBalancer) -> None:
        self.name = spec.name
        self.spec = spec
        self.balancer = balancer
        standing = Standing.UP if spec.check is None else Standing.CHECKING
        self.servers = tuple(
            Server(
                name=server.name,
                address=server.address,
                weight=server.weight,
                backup=server.backup,
                pool=spec.name,
                standing=standing,
            )
            for server in spec.servers
        )
        self._tiers = self._fit()

    def pick(self, tried: Collection[Server] = ()) -> Optional[Server]:
        """
        Choose a server that has not been tried yet, or None when no such server is up.

        Backups get connections only when no other server is left, as in HAProxy and nginx.  While no server
        is up, those that have not been checked yet count as up: a start must not refuse what it could have
        served.
        """
        for tier in self._tiers:
            fit = [server for server in tier if server not in tried] if tried else tier
            if fit:
                server: Server = self.balancer.choose(fit)
                return server
        return None

    def turned(self, server: Server, standing: Standing, why: str) -> None:
        """A check has changed its mind about a server; ``why`` is for people."""
        server.standing = standing
        server.why = why
        self._tiers = self._fit()

    def _fit(self) -> tuple[list[Server], list[Server]]:
        """Those that may be chosen, and those that may be when none of these is left; always new lists."""
        some_are_up = any(server.standing is Standing.UP for server in self.servers)
        wanted = Standing.UP if some_are_up else Standing.CHECKING
        fit = [server for server in self.servers if server.standing is wanted and server.weight > 0]
        return [server for server in fit if not server.backup], [server for server in fit if server.backup]

    def __repr__(self) -> str:
        counts = Counter(server.standing for server in self.servers)
        words = [f"{counts[standing]} {standing.value}" for standing in Standing if standing in counts]
        words.append(f"{sum(server.open for server in self.servers)} open")
        return f"<Pool {self.name} {', '.join(words)}>"
