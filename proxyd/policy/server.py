"""What is known of one server?  Its pool keeps this, and the balancers go by it."""

from __future__ import annotations

from typing import Optional

from attrs import define

from proxyd.config.address import Address, TcpAddress
from proxyd.config.servertls import ServerTlsSpec
from proxyd.config.tcp import TcpSpec
from proxyd.policy.adaptive import Adaptive
from proxyd.policy.ejection import Window
from proxyd.policy.slowstart import FULL
from proxyd.policy.state import State
from proxyd.snapshots import ServerSnapshot


@define(eq=False, repr=False)
class Server:
    """
    One server as its pool sees it: its weight, its state, since when and why, and its open connections.

    ``open`` are the connections that it has, and those that are being dialed: see `Pool.opened`.
    ``credit`` is what round robin owes it, and ``measured`` what a balancer that measures has found of it, as
    of ``measured_at``; as long as that is nothing, it was tried then.

    ``weight`` is what the operator wants, ``configured`` what the configuration says.  Balancers go by
    ``share``: the weight times `FULL`, or less while the server starts slowly.  ``since`` is when it came
    into its state, or 0 for the start of the process; ``until``, when it leaves
    it by itself, if it is ejected.  ``health`` is what its checks have said last.  ``cold`` is a server that
    has been away, and has not been up since.

    ``failures`` are connections in a row that came to nothing, ``failing_since`` when the first of them did,
    ``window`` what part of all did lately, where that counts; ``ejections`` how often it was ejected lately,
    and ``returned`` when it came back from the last one.  One on ``trial`` has to show that it is well.  One
    that is ``leaving`` drains because its name no longer leads there, and one that is ``gone`` is no more in
    its pool, though it may have connections.  Where ``max_connections`` follow from
    what it is found to take, ``adaptive`` knows.  Of one that is spoken with in ``tls``, ``tls_failures`` are
    the connections in which that did not come about.  ``standing`` is what is told of a client to whom the
    balancer gives it (`proxyd.policy.chosen`).
    """

    name: str
    address: Address
    weight: int = 1
    backup: bool = False
    pool: str = ""
    state: State = State.UP
    why: str = ""
    open: int = 0
    credit: int = 0
    priority: int = 0
    max_connections: int = 0
    tcp: Optional[TcpSpec] = None
    measured: float = 0.0
    measured_at: float = 0.0
    share: int = 0
    configured: int = 0
    since: float = 0.0
    until: float = 0.0
    health: State = State.CHECKING
    cold: bool = False
    failures: int = 0
    failing_since: float = 0.0
    window: Optional[Window] = None
    trial: bool = False
    ejections: int = 0
    returned: float = 0.0
    leaving: bool = False
    gone: bool = False
    origin: Optional[TcpAddress] = None
    adaptive: Optional[Adaptive] = None
    tls: Optional[ServerTlsSpec] = None
    tls_failures: int = 0
    standing: str = ""

    def __attrs_post_init__(self) -> None:
        self.share = self.weight * FULL
        self.configured = self.weight

    @property
    def effective_weight(self) -> float:
        """Its weight, as far as it has come since it is up again (nginx's word)."""
        return self.share / FULL

    @property
    def bound(self) -> int:
        """What its ``max_connections`` may become, 0 if it has none."""
        return self.max_connections if self.adaptive is None else self.adaptive.most

    @property
    def full(self) -> bool:
        """Whether it has its ``max_connections``."""
        return 0 < self.max_connections <= self.open

    def snapshot(self, offset: float) -> ServerSnapshot:
        """What people and the metrics see of it; ``offset`` makes wall time of its times."""
        return ServerSnapshot(
            pool=self.pool,
            name=self.name,
            address=str(self.address),
            state=self.state.value,
            weight=self.weight,
            backup=self.backup,
            open=self.open,
            why=self.why,
            since=self.since + offset if self.since else 0.0,
            until=self.until + offset if self.until else 0.0,
            health=self.health.value,
            effective_weight=self.effective_weight,
            origin=str(self.origin or ""),
            max_connections=self.max_connections,
            tls_failures=self.tls_failures if self.tls is not None else None,
            trial=self.trial,
        )

    def __repr__(self) -> str:
        return f"<Server {self.pool}/{self.name} {self.address} {self.state.value}, {self.open} open>"
