"""
How is one server chosen among several that are all fit?

What a balancer works out about a list of servers it keeps for as long as it is given that very list.  So
choosing stays cheap among 1,000 servers; whoever changes a weight or the members makes a new list.
"""

from __future__ import annotations

from bisect import bisect
from heapq import heapify, heapreplace
from itertools import accumulate
from typing import Callable

from zope.interface import implementer

from proxyd.interfaces import IBalancer
from proxyd.policy.pool import Server

Chance = Callable[[], float]  # as `random.random`: at least 0, less than 1


@implementer(IBalancer)
class RoundRobin:
    """
    Each in turn, as often as its weight says and well mixed: nginx's smooth weighted round robin.

    For each choice nginx gives every server credit by its weight, takes the one that has most, and charges
    it the sum of all weights; 5, 1 and 1 give a a b a c a a.  That walks over all servers.  Here those of
    the same weight share a heap instead, since giving them all the same does not change their order: the
    choices are nginx's, and one costs a step in a heap.

    The credit belongs to the server, so one that was down or left out for a moment goes on where it was.
    """

    def __init__(self, random: Chance) -> None:
        """Nothing here is left to chance; the argument is there because all balancers are made alike."""
        self._servers: list[Server] = []
        self._given = 0  # choices made from this list: each has given every server its weight
        self._total = 0
        # By weight: debt before those choices, place in the list, server.
        self._heaps: dict[int, list[tuple[int, int, Server]]] = {}

    def choose(self, servers: list[Server]) -> Server:
        if servers is not self._servers:
            self._settle()
            self._take_up(servers)
        self._given += 1
        given = self._given
        best = None
        for weight, heap in self._heaps.items():
            debt, place, _ = heap[0]
            standing = (debt - given * weight, place)
            if best is None or standing < best:
                best, first = standing, heap
        debt, place, server = first[0]
        heapreplace(first, (debt + self._total, place, server))
        return server

    def _take_up(self, servers: list[Server]) -> None:
        self._servers = servers
        self._given = 0
        self._total = sum(server.weight for server in servers)
        self._heaps = {}
        for place, server in enumerate(servers):
            self._heaps.setdefault(server.weight, []).append((-server.credit, place, server))
        for heap in self._heaps.values():
            heapify(heap)

    def _settle(self) -> None:
        for weight, heap in self._heaps.items():
            for debt, _, server in heap:
                server.credit = self._given * weight - debt


@implementer(IBalancer)
class Random:
    """Any of them, in proportion to the weights: needs no state, so many proxies together stay even."""

    def __init__(self, random: Chance) -> None:
        self._random = random
        self._servers: list[Server] = []
        self._sums: list[int] = []

    def choose(self, servers: list[Server]) -> Server:
        if servers is not self._servers:
            self._servers, self._sums = servers, _running_sums(servers)
        return servers[bisect(self._sums, int(self._random() * self._sums[-1]))]


@implementer(IBalancer)
class PowerOfTwo:
    """
    Two different ones by weighted chance, and of these the one with fewer connections for its weight.

    HAProxy's ``random(2)``, its default, and nginx's ``random two``: nearly as even as looking at all of
    them (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001), and a herd of proxies
    does not fall upon the one that is emptiest.  At a draw the first one drawn is taken, so idle servers are
    chosen by weight.
    """

    def __init__(self, random: Chance) -> None:
        self._random = random
        self._servers: list[Server] = []
        self._sums: list[int] = []

    def choose(self, servers: list[Server]) -> Server:
        count = len(servers)
        if count == 1:
            return servers[0]
        if servers is not self._servers:
            self._servers, self._sums = servers, _running_sums(servers)
        sums = self._sums
        place = bisect(sums, int(self._random() * sums[-1]))
        one = servers[place]
        if count == 2:
            other = servers[1 - place]
        else:
            # The second draw is from all that is left when the first one's share is cut out.
            lot = int(self._random() * (sums[-1] - one.weight))
            if lot >= sums[place] - one.weight:
                lot += one.weight
            other = servers[bisect(sums, lot)]
        return one if one.open * other.weight <= other.open * one.weight else other


def _running_sums(servers: list[Server]) -> list[int]:
    return list(accumulate(server.weight for server in servers))


BALANCERS: dict[str, Callable[[Chance], IBalancer]] = {
    "roundrobin": RoundRobin,
    "random": Random,
    "p2c": PowerOfTwo,
}
