"""
Is this client in that list of networks, of which there may be a million?

A client is the bytes of its address: 4 of IPv4, 16 of IPv6, none of a unix socket.  `client_bytes` makes
IPv4 of an address that IPv6 maps (RFC 4291 2.5.5.2), so an IPv4 client is the same on whatever socket.

Networks are kept as the bounds of the ranges that they cover, in order: where a range begins, where it is
over, where the next one begins.  An address is covered if an odd number of bounds is not above it.  That is
8 bytes a network of IPv4 and 32 one of IPv6, in three arrays that the garbage collector never looks into, and
a microsecond or two a client; the trees of py-radix and pytricia take 100 bytes and more (`make lists`).
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right
from typing import Iterable, Iterator, Optional, Sequence

from proxyd.config.lists import FILE, LIST_SIGN, MAPPED, RECORD4, Clients, ListSpec, record_of

_STEP = 1000  # networks that are merged in one step, which takes about a millisecond


def client_bytes(packed: bytes) -> bytes:
    """The bytes that a client goes by here, of its address in network order."""
    return packed[12:] if packed.startswith(MAPPED) and len(packed) == 16 else packed


class Networks:
    """A set of networks that never changes."""

    __slots__ = ("_bounds", "_highs", "_lows", "count", "unix")

    def __init__(
        self, bounds: array[int], highs: array[int], lows: array[int], count: int = 0, unix: bool = False
    ) -> None:
        """
        ``bounds`` are those of IPv4; ``highs`` and ``lows`` the upper and lower 64 bits of those of IPv6.

        ``count`` is how many networks were written; ``unix`` says whether clients of unix sockets belong too.
        """
        self._bounds = bounds
        self._highs = highs
        self._lows = lows
        self.count = count
        self.unix = unix

    def __repr__(self) -> str:
        return f"<Networks {self.count}>"

    def covers(self, client: bytes) -> bool:
        """Whether the client's address is in one of the networks."""
        if len(client) == 4:
            return bisect_right(self._bounds, int.from_bytes(client, "big")) & 1 == 1
        if not client:
            return self.unix
        highs = self._highs
        high = int.from_bytes(client[:8], "big")
        first = bisect_left(highs, high)
        if first == len(highs) or highs[first] != high:
            return first & 1 == 1
        after = bisect_right(highs, high, first)
        return bisect_right(self._lows, int.from_bytes(client[8:], "big"), first, after) & 1 == 1


EMPTY = Networks(array("I"), array("Q"), array("Q"))


def gather(slices: Iterable[Sequence[bytes]], unix: bool = False) -> Iterator[Optional[Networks]]:
    """
    Make a set of the networks in these slices, each a record of `proxyd.config.lists`.

    Yields None after each step, which takes about as long as a slice of a thousand, and at last the set.
    Slices are sorted as they come and then merged: sorting a million at once would take half a second.
    """
    runs4: list[bytes] = []
    runs6: list[bytes] = []
    count = 0
    for records in slices:
        count += len(records)
        for runs, own in (
            (runs4, [record for record in records if len(record) == RECORD4]),
            (runs6, [record for record in records if len(record) != RECORD4]),
        ):
            if own:
                own.sort()
                runs.append(b"".join(own))
        yield None
    bounds, highs, lows = array("I"), array("Q"), array("Q")
    for place, bound in enumerate(_bounds(runs4, 32)):
        bounds.append(bound)
        if place % _STEP == 0:
            yield None
    for place, bound in enumerate(_bounds(runs6, 128)):
        highs.append(bound >> 64)
        lows.append(bound & 0xFFFF_FFFF_FFFF_FFFF)
        if place % _STEP == 0:
            yield None
    yield Networks(bounds, highs, lows, count, unix)


def networks_of(records: Sequence[bytes], unix: bool = False) -> Networks:
    """The set of these networks, made at once."""
    for found in gather([records], unix):
        if found is not None:
            return found
    raise AssertionError("gather ends with what it has made")


def _bounds(runs: list[bytes], bits: int) -> Iterator[int]:
    """Where the ranges that these networks cover begin and are over; what would be over behind all is not."""
    size = bits // 8
    begin = end = -1
    for record in heapq.merge(*(_pieces(run, size + 1) for run in runs)):
        start = int.from_bytes(record[:size], "big")
        behind = start + (1 << (bits - record[size]))
        if start > end:
            if end >= 0:
                yield begin
                yield end
            begin, end = start, behind
        elif behind > end:
            end = behind
    if end >= 0:
        yield begin
        if end < 1 << bits:
            yield end


def _pieces(run: bytes, size: int) -> Iterator[bytes]:
    return (run[place : place + size] for place in range(0, len(run), size))


class Listed:
    """One set of networks by the name that it has in the configuration; that of a file may be replaced."""

    __slots__ = ("name", "networks")

    def __init__(self, name: str, networks: Networks = EMPTY) -> None:
        self.name = name
        self.networks = networks

    def __repr__(self) -> str:
        return f"<Listed {self.name}: {self.networks.count}>"


class Lists:
    """All lists of a configuration; ``files`` are the sets of files, by their paths, empty at first."""

    def __init__(self, specs: Iterable[ListSpec]) -> None:
        self.files: dict[str, Listed] = {}
        self._named = {spec.name: self.members(spec.networks, LIST_SIGN + spec.name) for spec in specs}

    def members(self, clients: Clients, name: str) -> tuple[Listed, ...]:
        """The sets that these words stand for; ``name`` is for what the words say themselves."""
        sets: list[Listed] = []
        if clients.networks or clients.unix:
            sets.append(Listed(name, networks_of([*map(record_of, clients.networks)], clients.unix)))
        for path in clients.paths:
            sets.append(self.files.setdefault(path, Listed(FILE + path)))
        for listed in clients.lists:
            sets += self._named[listed]
        return tuple(sets)
