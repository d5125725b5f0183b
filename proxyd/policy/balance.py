"""
How is one server chosen among several that are all fit?

Each way has a name, which is looked up here.  Taking turns is in this file; beside it, `lots` has the ways
that leave it to chance, `connections` those that count, `hashing` those that go by the client, and `measured`
those that learn.

What a balancer works out about a list of servers it keeps for as long as it is given that very list.  So
choosing stays cheap among 1,000 servers; whoever changes a weight or the members makes a new list.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, Callable, Collection, Optional

from zope.interface import implementer

from proxyd.config.balance import BalanceSpec
from proxyd.interfaces import IBalancer
from proxyd.policy.arrival import client_key
from proxyd.policy.connections import First, LeastConnections
from proxyd.policy.hashing import TABLES, BoundedLoad, Hashed
from proxyd.policy.lots import Chance, PowerOfTwo, Random
from proxyd.policy.measured import LeastBytes, LeastTime
from proxyd.policy.server import Server

Seconds = Callable[[], float]  # a clock

_STALE = 4  # entries a server, of which all but one may be stale, before the heaps are made anew


@implementer(IBalancer)
class RoundRobin:
    """
    Each in turn, as often as its weight says and well mixed: nginx's smooth weighted round robin.

    For each choice nginx gives every server credit by its weight, takes the one that has most, and charges
    it the sum of all weights; 5, 1 and 1 give a a b a c a a.  That walks over all servers.  Here those of
    the same weight share a heap instead, since giving them all the same does not change their order: the
    choices are nginx's, and one costs a step in a heap.

    The credit belongs to the server, so one that was down or left out for a moment goes on where it was.
    Whoever is left out gets no credit, and pays nobody else's.  An entry of the heap may be out of date since
    its server was left out; it is dropped when it comes to the top.
    """

    def __init__(self, random: Chance) -> None:
        """Nothing here is left to chance; the argument is there for who takes any balancer."""
        self._servers: list[Server] = []
        self._given = 0  # choices made from this list: each has given every server its weight
        self._total = 0
        # By weight: debt before those choices, place in the list, server.
        self._heaps: dict[int, list[tuple[int, int, Server]]] = {}
        self._shares: dict[Server, tuple[int, int]] = {}  # weight and place
        self._debts: dict[Server, int] = {}  # of those that are not left out
        self._out: set[Server] = set()  # those that are
        self._returned = 0  # times that one was not left out any more

    def choose(
        self, servers: list[Server], avoid: Collection[Server] = (), arrival: Any = None
    ) -> Optional[Server]:
        if servers is not self._servers or self._returned > _STALE * len(servers):
            self._settle()
            self._take_up(servers)
        if avoid or self._out:
            self._leave_out(avoid)
            if not self._debts:
                return None
        self._given += 1
        given, debts = self._given, self._debts
        best = None
        for weight, heap in self._heaps.items():
            if self._out or self._returned:
                while heap and debts.get(heap[0][2]) != heap[0][0]:
                    heappop(heap)
                if not heap:
                    continue
            debt, place, _ = heap[0]
            standing = (debt - given * weight, place)
            if best is None or standing < best:
                best, first = standing, heap
        debt, place, server = first[0]
        debts[server] = debt + self._total
        heapreplace(first, (debt + self._total, place, server))
        return server

    def _leave_out(self, avoid: Collection[Server]) -> None:
        """These are not in it for this choice, and all others are."""
        for server in [server for server in self._out if server not in avoid]:
            self._out.remove(server)
            self._returned += 1
            weight, place = self._shares[server]
            self._total += weight
            debt = self._debts[server] = self._given * weight - server.credit
            heappush(self._heaps[weight], (debt, place, server))
        for server in avoid:
            if server in self._debts:
                self._out.add(server)
                weight, _ = self._shares[server]
                self._total -= weight
                server.credit = self._given * weight - self._debts.pop(server)

    def _take_up(self, servers: list[Server]) -> None:
        self._servers = servers
        self._given = self._returned = 0
        self._total = sum(server.share for server in servers)
        self._heaps = {}
        self._out = set()
        for place, server in enumerate(servers):
            self._heaps.setdefault(server.share, []).append((-server.credit, place, server))
        self._shares = {server: (server.share, place) for place, server in enumerate(servers)}
        self._debts = {server: -server.credit for server in servers}
        for heap in self._heaps.values():
            heapify(heap)

    def _settle(self) -> None:
        for server, debt in self._debts.items():
            server.credit = self._given * self._shares[server][0] - debt


@implementer(IBalancer)
class StaticRoundRobin(RoundRobin):
    """
    The same by weights that stay as they are configured: HAProxy's static-rr.

    `Pool.weigh` sees to that.  Nobody is owed anything: whenever servers come or go all begin anew.
    """

    def _take_up(self, servers: list[Server]) -> None:
        if servers is not self._servers:
            for server in servers:
                server.credit = 0
        super()._take_up(servers)


def make_balancer(spec: BalanceSpec, random: Chance, seconds: Seconds) -> IBalancer:
    """The balancer of a pool; ``random`` is as `random.random`, ``seconds`` a clock."""
    return BALANCERS[spec.name](spec, random, seconds)


def _hashed(spec: BalanceSpec, random: Chance, seconds: Seconds) -> IBalancer:
    if spec.hash_balance_factor:
        return BoundedLoad(TABLES[spec.name], client_key(spec), random, spec.hash_balance_factor)
    return Hashed(TABLES[spec.name], client_key(spec), random)


BALANCERS: dict[str, Callable[[BalanceSpec, Chance, Seconds], IBalancer]] = {
    "roundrobin": lambda spec, random, seconds: RoundRobin(random),
    "static-rr": lambda spec, random, seconds: StaticRoundRobin(random),
    "leastconn": lambda spec, random, seconds: LeastConnections(),
    "p2c": lambda spec, random, seconds: PowerOfTwo(random),
    "random": lambda spec, random, seconds: Random(random),
    "first": lambda spec, random, seconds: First(),
    "source": _hashed,
    "hash": _hashed,
    "maglev": _hashed,
    "leasttime": lambda spec, random, seconds: LeastTime(random, seconds, spec.decay),
    "leastbytes": lambda spec, random, seconds: LeastBytes(random, seconds, spec.decay),
}
