"""
Which server has the fewest connections, and which has room for one more?

Both are asked at each connection, so neither walks over the servers: a heap has the right one on top.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, Collection, Optional

from zope.interface import implementer

from proxyd.interfaces import ICounting
from proxyd.policy.server import Server

_Entry = tuple[float, float, int]  # open connections for the weight, turn, place in the list

_STALE = 4  # entries a server, of which all but one are stale, before the heap is made anew


@implementer(ICounting)
class LeastConnections:
    """
    The one with the fewest open connections for its weight; among equals, each in turn: HAProxy's leastconn.

    Turns heed weights too (HAProxy's do not): if connections are so short that all servers are always idle,
    each still gets its share.  A server's turn moves on by 1/weight whenever it is chosen, and one that
    was busy for long takes its place among the others, instead of making up for all that it has missed.

    An entry of the heap may be out of date.  One with too few connections is put right when it comes to
    the top, where it comes too soon; for one with too many a second is added, and the first is dropped when
    it comes to the top.
    """

    def __init__(self) -> None:
        self._servers: list[Server] = []
        self._weights: list[int] = []
        self._places: dict[Server, int] = {}
        self._heap: list[_Entry] = []
        self._entries: list[_Entry] = []  # by place, those that are right or have too few
        self._turn = 0.0  # of the last one that was chosen

    def choose(
        self, servers: list[Server], avoid: Collection[Server] = (), arrival: Any = None
    ) -> Optional[Server]:
        if servers is not self._servers:
            self._take_up(servers)
        elif len(self._heap) > _STALE * len(servers):
            self._heap = self._entries[:]
            heapify(self._heap)
        heap, entries = self._heap, self._entries
        avoided = []
        chosen = None
        while heap and chosen is None:
            entry = heap[0]
            load, turn, place = entry
            server = servers[place]
            now = server.open / self._weights[place]
            if entries[place] != entry:
                heappop(heap)
            elif load < now:
                entries[place] = (now, turn, place)
                heapreplace(heap, entries[place])
            elif server in avoid:
                avoided.append(heappop(heap))
            else:
                chosen = server
                self._turn = max(self._turn, turn)
                entries[place] = (now, self._turn + 1 / self._weights[place], place)
                heapreplace(heap, entries[place])
        for entry in avoided:
            heappush(heap, entry)
        return chosen

    def take(self, server: Server) -> bool:
        return True  # its entry is put right when it comes to the top

    def released(self, server: Server, moved: int) -> None:
        place = self._places.get(server)
        if place is None:
            return
        load, turn, _ = self._entries[place]
        now = server.open / self._weights[place]
        if now < load:
            self._entries[place] = (now, max(turn, self._turn), place)
            heappush(self._heap, self._entries[place])

    def _take_up(self, servers: list[Server]) -> None:
        turns = {server: entry[1] for server, entry in zip(self._servers, self._entries)}
        self._servers = servers
        self._weights = [server.share for server in servers]
        self._places = {server: place for place, server in enumerate(servers)}
        self._entries = [
            (server.open / server.share, max(turns.get(server, 0.0), self._turn), place)
            for place, server in enumerate(servers)
        ]
        self._heap = self._entries[:]
        heapify(self._heap)


@implementer(ICounting)
class First:
    """
    The first one in the list that has fewer than its max_connections: HAProxy's first.

    So a few servers are full and the last ones idle, and may be switched off.  Weights do not count.  When
    all are full, none is chosen.
    """

    def __init__(self) -> None:
        self._servers: list[Server] = []
        self._places: dict[Server, int] = {}
        self._room: list[int] = []  # a heap of the places that may have room
        self._full: set[int] = set()  # the other places

    def choose(
        self, servers: list[Server], avoid: Collection[Server] = (), arrival: Any = None
    ) -> Optional[Server]:
        if servers is not self._servers:
            self._servers = servers
            self._places = {server: place for place, server in enumerate(servers)}
            self._room = list(range(len(servers)))
            self._full = set()
        room = self._room
        avoided = []
        chosen = None
        while room and chosen is None:
            server = servers[room[0]]
            if _is_full(server):
                self._full.add(heappop(room))
            elif server in avoid:
                avoided.append(heappop(room))
            else:
                chosen = server
        for place in avoided:
            heappush(room, place)
        return chosen

    def take(self, server: Server) -> bool:
        return True  # the pool knows who is full

    def released(self, server: Server, moved: int) -> None:
        place = self._places.get(server)
        if place is not None and place in self._full and not _is_full(server):
            self._full.remove(place)
            heappush(self._room, place)


def _is_full(server: Server) -> bool:
    return server.full
