"""What do the tests of a pool choose from, and who may be chosen?"""

from __future__ import annotations

from typing import Any, Callable, Collection, Optional

from zope.interface import implementer

from proxyd.config.address import TcpAddress
from proxyd.config.health import CheckSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.interfaces import IBalancer
from proxyd.policy.arrival import Arrival
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server


@implementer(IBalancer)
class First:
    """Takes the first, and remembers what it was given, and for whom."""

    def __init__(self) -> None:
        self.given: list[list[Server]] = []
        self.left: list[list[Server]] = []
        self.arrivals: list[Optional[Arrival]] = []

    def choose(
        self, servers: list[Server], avoid: Collection[Server] = (), arrival: Optional[Arrival] = None
    ) -> Optional[Server]:
        left = [server for server in servers if server not in avoid]
        self.given.append(servers)
        self.left.append(left)
        self.arrivals.append(arrival)
        return left[0] if left else None


def make(*words: str, check: Optional[CheckSpec] = None, **options: Any) -> tuple[Pool, First]:
    """
    A pool of servers written as "a", "a/5" (weight 5), "a/backup", "a/p1" (priority 1) or "a/m2" (at most 2
    connections).
    """
    specs = []
    for port, word in enumerate(words, 1001):
        name, _, rest = word.partition("/")
        weight = int(rest) if rest.isdigit() else 1
        priority = int(rest[1:]) if rest.startswith("p") else 0
        most = int(rest[1:]) if rest.startswith("m") else 0
        address = TcpAddress("10.0.0.1", port)
        specs.append(ServerSpec(name, address, weight, rest == "backup", priority, most))
    first = First()
    return Pool(PoolSpec("web", tuple(specs), checks=(check,) if check else (), **options), first), first


def named(pool: Pool) -> Callable[[str], Server]:
    return lambda name: next(server for server in pool.servers if server.name == name)


def fit(pool: Pool, *tried: str) -> str:
    """The names that the balancer may choose from, in order; empty when there are none."""
    assert isinstance(pool.balancer, First)
    pool.balancer.left.clear()
    picked = pool.pick([named(pool)(name) for name in tried])
    names = "".join(server.name for servers in pool.balancer.left for server in servers)
    assert (picked.name if picked else "") == names[:1]
    return names
