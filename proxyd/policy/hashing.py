"""
How do like clients get the same server, also when others come and go?

A client has a key (`proxyd.policy.arrival`), and a table says in which order a key asks for servers; the
first that may have the connection gets it.  The table is of all servers of the pool.  One that is down, or
full, or has just failed is passed over, so its clients alone are led elsewhere, and come back with it; and
nothing is worked out anew when a server goes down.  Proxies with the same servers lead a client to the same.

The hash is SHA-256, which every host has, also one that is held to FIPS 140.  There is no secret in it, or
proxies would differ: who knows the servers' names can find keys for one of them (``hash_balance_factor``).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from hashlib import sha256
from heapq import heapify, heapreplace
from itertools import islice
from typing import Any, Callable, Collection, Iterator, Mapping, Optional, Protocol, Sequence

from zope.interface import implementer

from proxyd.interfaces import ICounting, IKeyed
from proxyd.policy.arrival import Arrival
from proxyd.policy.lots import Chance, PowerOfTwo
from proxyd.policy.server import Server

PROBES = 64  # servers that a key asks for before those that are left are compared with each other

POINTS = 256  # of the heaviest server on a ring, at least half as many: shares are even to some 6 %

TABLE_SIZE = 65537  # Maglev's own, and Envoy's: a prime, and a hundred times as many as we have servers

_PLACE_BITS = 16  # of a point on the ring, beside 48 bits of hash
_POINT_BYTES = 6
_POINTS_OF_ONE_HASH = 32 // _POINT_BYTES


def hash_of(data: bytes) -> int:
    """64 bits, the same everywhere and always."""
    return int.from_bytes(sha256(data).digest()[:8], "big")


class Table(Protocol):
    """An order of servers for each key, in which a server may come several times."""

    def asks(self, key: int) -> Iterator[Server]: ...


class Ring:
    """
    Points on a ring, many for each server; a key asks for those that follow it (Karger et al., 1997).

    As in ketama a server's points follow from its name, and their number from its weight, so servers that
    are added or taken away move the keys of their own points alone.
    """

    def __init__(self, weights: Mapping[Server, int]) -> None:
        self._servers = list(weights)
        unit = max(1, POINTS >> (max(weights.values()) - 1).bit_length())
        points = []
        for place, (server, weight) in enumerate(weights.items()):
            points += [point << _PLACE_BITS | place for point in _points(server.name, unit * weight)]
        self._points = array("Q", sorted(points))

    def asks(self, key: int) -> Iterator[Server]:
        points, servers = self._points, self._servers
        begin = bisect_left(points, key >> _PLACE_BITS << _PLACE_BITS)
        for at in range(begin - len(points), begin):  # from there on and around; -1 is the last
            yield servers[points[at] & 0xFFFF]


def _points(name: str, count: int) -> list[int]:
    """So many points of a server, all of them among those of a higher number."""
    found: list[int] = []
    for number in range(-(-count // _POINTS_OF_ONE_HASH)):
        digest = sha256(b"%s %d" % (name.encode(), number)).digest()
        for at in range(0, _POINT_BYTES * _POINTS_OF_ONE_HASH, _POINT_BYTES):
            found.append(int.from_bytes(digest[at : at + _POINT_BYTES], "big"))
    return found[:count]


class Maglev:
    """
    A table in which each server has places by its weight, as even as can be (Eisenbud et al., 2016, 3.4).

    The servers take places in turn, each by a permutation of its own; the heavier, the more often.  A key
    that is refused its place asks for another one, as if it were another key.  A server that is added or
    taken away moves some keys of others, too: a few percent of all.
    """

    def __init__(self, weights: Mapping[Server, int]) -> None:
        self._servers = sorted(weights, key=lambda server: server.name)  # in any order the same table
        self._table = array("i", [-1]) * TABLE_SIZE
        self._fill([weights[server] for server in self._servers])

    def _fill(self, weights: list[int]) -> None:
        size, table = TABLE_SIZE, self._table
        next_places, skips, turns = [], [], []
        for place, server in enumerate(self._servers):
            digest = sha256(server.name.encode()).digest()
            next_places.append(int.from_bytes(digest[:8], "big") % size)
            skips.append(int.from_bytes(digest[8:16], "big") % (size - 1) + 1)
            turns.append((1 / weights[place], place))
        heapify(turns)
        for _ in range(size):
            turn, place = turns[0]
            at, skip = next_places[place], skips[place]
            while table[at] >= 0:
                at += skip
                if at >= size:
                    at -= size
            table[at] = place
            next_places[place] = at
            heapreplace(turns, (turn + 1 / weights[place], place))

    def asks(self, key: int) -> Iterator[Server]:
        while True:
            yield self._servers[self._table[key % TABLE_SIZE]]
            key = hash_of(key.to_bytes(8, "big"))


MakeTable = Callable[[Mapping[Server, int]], Table]  # of the servers, by their weights of 1 or more

TABLES: dict[str, MakeTable] = {"source": Ring, "hash": Ring, "maglev": Maglev}


@implementer(IKeyed)
class Hashed:
    """The server that a client's key leads to; a client without a key gets one as by `PowerOfTwo`."""

    def __init__(
        self,
        make_table: MakeTable,
        key: Callable[[Arrival], bytes],
        random: Chance,
    ) -> None:
        self._make_table = make_table
        self._key = key
        self._keyless = PowerOfTwo(random)
        self._weights: dict[Server, int] = {}
        self._table: Optional[Table] = None  # while there is nobody
        self._stale = False  # it is not that of the weights yet
        self._servers: list[Server] = []
        self._fit: frozenset[Server] = frozenset()

    def lay_out(self, servers: Sequence[Server]) -> None:
        # One that is drained keeps its place, and is passed over: the clients of others stay where they are.
        weights = {server: server.weight or self._weights.get(server, 0) for server in servers}
        if weights != self._weights:
            self._weights = weights
            self._servers = []  # whoever comes next is the first after a change
            self._stale = True
            if self._table is None:
                self._lay()  # at the start, while nobody waits

    def _lay(self) -> None:
        """
        Make the table.

        That takes some 40 ms for Maglev, so of several changes at once, as when the addresses of a name are
        others, one table is made: by the next one who comes.
        """
        weighty = {server: weight for server, weight in self._weights.items() if weight}
        self._table = self._make_table(weighty) if weighty else None
        self._stale = False

    def choose(
        self, servers: list[Server], avoid: Collection[Server] = (), arrival: Any = None
    ) -> Optional[Server]:
        if servers is not self._servers:
            self._take_up(servers)
        key = self._key(arrival) if arrival is not None else b""
        if not key:
            return self._keyless.choose(servers, avoid)
        fit, table = self._fit, self._table
        assert table is not None  # somebody is fit
        for server in islice(table.asks(hash_of(key)), PROBES):
            if server in fit and server not in avoid and self._has_room(server):
                return server
        return self._highest(key, [server for server in servers if server not in avoid])

    def _has_room(self, server: Server) -> bool:
        return True

    def _take_up(self, servers: list[Server]) -> None:
        self._servers = servers
        self._fit = frozenset(servers)
        if any(server not in self._weights for server in servers):
            self.lay_out(list({**self._weights, **dict.fromkeys(servers)}))
            self._servers = servers
        if self._stale:
            self._lay()

    def _highest(self, key: bytes, servers: list[Server]) -> Optional[Server]:
        """
        The one whose hash with the key is highest (Thaler and Ravishankar's rendezvous, 1998).

        When nearly all servers are down the table hardly ever names one of the few that are left.
        """
        roomy = [server for server in servers if self._has_room(server)]
        return max(
            roomy or servers,
            key=lambda server: hash_of(b"%s %s" % (key, server.name.encode())),
            default=None,
        )


@implementer(ICounting)
class BoundedLoad(Hashed):
    """
    The same, but no server gets more than a factor of its fair share of the open connections.

    HAProxy's ``hash-balance-factor`` (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded
    Loads", 2016): so a key that many clients have does not bring its server down.
    """

    def __init__(
        self,
        make_table: MakeTable,
        key: Callable[[Arrival], bytes],
        random: Chance,
        factor: int,
    ) -> None:
        """``factor`` is in percent, more than 100."""
        super().__init__(make_table, key, random)
        self._factor = factor
        self._open = 0  # on all servers of the list
        self._whole = 0  # the sum of their weights

    def choose(
        self, servers: list[Server], avoid: Collection[Server] = (), arrival: Any = None
    ) -> Optional[Server]:
        server = super().choose(servers, avoid, arrival)
        if server is not None:
            self._open += 1
        return server

    def take(self, server: Server) -> bool:
        if server not in self._fit:
            return True  # of another tier, which is not counted
        if not self._has_room(server):
            return False
        self._open += 1
        return True

    def released(self, server: Server, moved: int) -> None:
        if server in self._fit:
            self._open -= 1

    def _take_up(self, servers: list[Server]) -> None:
        super()._take_up(servers)
        self._open = sum(server.open for server in servers)
        self._whole = sum(server.share for server in servers)

    def _has_room(self, server: Server) -> bool:
        # Whole numbers, both rounded up: below some server's bound there is always room for this one more.
        most = -(-(self._open + 1) * self._factor // 100)
        return server.open < -(-most * server.share // self._whole)
