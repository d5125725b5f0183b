"""
Which server of a pool gets the next connection?

The pool knows who may be chosen, its balancer chooses.  Who may be chosen changes far less often than
connections come, so the lists are made anew only when a standing or a weight changes.
"""

from __future__ import annotations

from collections import Counter
from typing import Callable, Collection, Optional

from attrs import define

from proxyd.config.address import Address
from proxyd.config.balance import FIXED_WEIGHTS
from proxyd.config.pool import HEAVIEST, PoolSpec
from proxyd.interfaces import IBalancer, ICounting, IKeyed, ITiming
from proxyd.policy.arrival import Arrival
from proxyd.policy.health import Standing


@define(eq=False, repr=False)
class Server:
    """
    One server as its pool sees it: its weight, its standing and since what, and its open connections.

    Whoever opens a connection to it counts ``open`` up, and down again when the server has closed its side.
    ``credit`` is what round robin owes it, and ``measured`` what a balancer that measures has found of it, as
    of ``measured_at``.
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
    priority: int = 0
    max_connections: int = 0
    measured: float = 0.0
    measured_at: float = 0.0

    def __repr__(self) -> str:
        return f"<Server {self.pool}/{self.name} {self.address} {self.standing.value}, {self.open} open>"


class Pool:
    """
    The servers that can stand in for each other.

    A server counts as up from the start unless the pool has a check; then it is ``checking`` until the
    first result.

    What the balancer wants to know is told it by whoever opens connections: ``by_client`` says that `pick`
    needs an arrival; ``released`` and ``timed`` are the balancer's methods (`proxyd.interfaces`), or None.
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
                priority=server.priority,
                max_connections=server.max_connections,
            )
            for server in spec.servers
        )
        self.by_client = False
        self.released: Optional[Callable[[Server, int], None]] = None
        self.timed: Optional[Callable[[Server, float], None]] = None
        if IKeyed.providedBy(balancer):
            self.by_client = True
            balancer.lay_out(self.servers)
        if ICounting.providedBy(balancer):
            self.released = balancer.released
        if ITiming.providedBy(balancer):
            self.timed = balancer.timed
        self._tiers = self._fit()

    def pick(self, tried: Collection[Server] = (), arrival: Optional[Arrival] = None) -> Optional[Server]:
        """
        Choose a server that has not been tried yet, or None when no such server is up.

        Backups get connections only when too few others are left, as in HAProxy and nginx.  While no server
        is up, those that have not been checked yet count as up: a start must not refuse what it could have
        served.  ``arrival`` is needed only if the pool goes by it.
        """
        for tier in self._tiers:
            server: Optional[Server] = self.balancer.choose(tier, tried, arrival)
            if server is not None:
                return server
        return None

    @property
    def why_none(self) -> str:
        """What to say when `pick` found nobody, and nobody had been tried."""
        return f"no server of pool {self.name} {'has room' if self._tiers else 'is up'}"

    def turned(self, server: Server, standing: Standing, why: str) -> None:
        """A check has changed its mind about a server; ``why`` is for people."""
        server.standing = standing
        server.why = why
        self._tiers = self._fit()

    def weigh(self, server: Server, weight: int) -> None:
        """
        Give a server another weight; 0 drains it: it gets no new connections, and keeps those it has.

        Raises ValueError for a weight that cannot be; with ``static-rr`` that is any but 0 and its own, as
        in HAProxy.
        """
        own = next(spec.weight for spec in self.spec.servers if spec.name == server.name)
        balance = self.spec.balance.name
        if not 0 <= weight <= HEAVIEST:
            raise ValueError(f"{weight} is no weight; weights are 0 to {HEAVIEST}")
        if balance in FIXED_WEIGHTS and weight not in (0, own):
            raise ValueError(f"with balance {balance} the weight can be 0 or {own}, not {weight}")
        server.weight = weight
        if IKeyed.providedBy(self.balancer):
            self.balancer.lay_out(self.servers)
        self._tiers = self._fit()

    def _fit(self) -> list[list[Server]]:
        """
        Those that may be chosen, and one after another those that may be when none of these is left.

        They are always new lists, and none is empty.
        """
        some_are_up = any(server.standing is Standing.UP for server in self.servers)
        wanted = Standing.UP if some_are_up else Standing.CHECKING
        fit = [server for server in self.servers if server.standing is wanted and server.weight > 0]
        alike: dict[tuple[bool, int], list[Server]] = {}
        for server in fit:
            alike.setdefault((server.backup, server.priority), []).append(server)
        tiers: list[list[Server]] = []
        for rank, servers in sorted(alike.items(), key=lambda item: item[0]):
            if tiers and len(tiers[0]) < self.spec.backup_below:
                # In the order of the configuration, by which round robin and `first` go.
                tiers[0] = [server for server in fit if (server.backup, server.priority) <= rank]
            else:
                tiers.append(servers)
        return tiers

    def __repr__(self) -> str:
        counts = Counter(server.standing for server in self.servers)
        words = [f"{counts[standing]} {standing.value}" for standing in Standing if standing in counts]
        words.append(f"{sum(server.open for server in self.servers)} open")
        return f"<Pool {self.name} {', '.join(words)}>"
