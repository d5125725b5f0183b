"""How is a server drawn by chance, in proportion to the weights?"""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from typing import Any, Callable, Collection, Optional

from zope.interface import classImplements

from proxyd.interfaces import IBalancer
from proxyd.policy.server import Server

Chance = Callable[[], float]  # as `random.random`: at least 0, less than 1

DRAWS = 8  # for one who may have the connection, before those who may not are sorted out: a walk over all


class Random:
    """Any of them, in proportion to the weights: needs no state, so many proxies together stay even."""

    def __init__(self, random: Chance) -> None:
        self._random = random
        self._servers: list[Server] = []
        self._sums: list[int] = []

    def choose(
        self, servers: list[Server], avoid: Collection[Server] = (), arrival: Any = None
    ) -> Optional[Server]:
        if servers is not self._servers:
            self._servers, self._sums = servers, _running_sums(servers)
        for _ in range(DRAWS if avoid else 1):
            server = servers[bisect(self._sums, int(self._random() * self._sums[-1]))]
            if not avoid or server not in avoid:
                return server
        # Whom these draws have passed over has the same chance in the next, so together they are fair.
        rest = [server for server in servers if server not in avoid]
        sums = _running_sums(rest)
        return rest[bisect(sums, int(self._random() * sums[-1]))] if rest else None


classImplements(Random, IBalancer)


class TwoDraws:
    """Draws two different servers by weighted chance; who derives from it takes the better one."""

    def __init__(self, random: Chance) -> None:
        self._random = random
        self._servers: list[Server] = []
        self._sums: list[int] = []

    def draw(
        self, servers: list[Server], avoid: Collection[Server]
    ) -> tuple[Optional[Server], Optional[Server]]:
        """Two servers that are not to be avoided; of one or none, the second or both are None."""
        if len(servers) > 1:
            if servers is not self._servers:
                self._servers, self._sums = servers, _running_sums(servers)
            if not avoid:
                return self._two_of(servers, self._sums)
            for _ in range(DRAWS):
                drawn = self._two_of(servers, self._sums)
                if not (drawn[0] in avoid or drawn[1] in avoid):
                    return drawn
        rest = [server for server in servers if server not in avoid]
        if len(rest) > 1:
            return self._two_of(rest, _running_sums(rest))
        return (rest[0] if rest else None), None

    def _two_of(self, servers: list[Server], sums: list[int]) -> tuple[Server, Server]:
        place = bisect(sums, int(self._random() * sums[-1]))
        one = servers[place]
        if len(servers) == 2:
            return one, servers[1 - place]
        # The second draw is from all that is left when the first one's share is cut out.
        lot = int(self._random() * (sums[-1] - one.share))
        if lot >= sums[place] - one.share:
            lot += one.share
        return one, servers[bisect(sums, lot)]


class PowerOfTwo(TwoDraws):
    """
    Two different ones by weighted chance, and of these the one with fewer connections for its weight.

    HAProxy's ``random(2)``, its default, and nginx's ``random two``: nearly as even as looking at all of
    them (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001), and a herd of proxies
    does not fall upon the one that is emptiest.  At a draw the first one drawn is taken, so idle servers are
    chosen by weight.
    """

    def choose(
        self, servers: list[Server], avoid: Collection[Server] = (), arrival: Any = None
    ) -> Optional[Server]:
        if servers is self._servers and not avoid:
            one, other = self._two_of(servers, self._sums)  # as `draw` does nearly always
        else:
            drawn, second = self.draw(servers, avoid)
            if drawn is None or second is None:
                return drawn
            one, other = drawn, second
        return one if one.open * other.share <= other.open * one.share else other


classImplements(PowerOfTwo, IBalancer)


def _running_sums(servers: list[Server]) -> list[int]:
    return list(accumulate(server.share for server in servers))
