"""
How do many millions of connections come into the order of their times, in little memory?

An access log has them in the order in which they ended.  They are sorted piece by piece; pieces are put
away in a temporary file, and merged when they are asked for.
"""

from __future__ import annotations

import marshal
from heapq import merge
from operator import itemgetter
from tempfile import TemporaryFile
from typing import Iterator

from proxyd.policy.accesslog import Logged

PIECE = 100_000  # connections that are sorted at a time; some 40 MB
_BLOCK = 500  # of a piece, that are in memory while pieces are merged

_when = itemgetter(0)


class InOrder:
    """Connections, which are added in any order, and come out in that of their times; once."""

    def __init__(self, piece: int = PIECE) -> None:
        self._piece = piece
        self._last: list[Logged] = []
        self._file = TemporaryFile()
        self._blocks: list[list[int]] = []  # of each piece, where its blocks begin in the file
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, logged: Logged) -> None:
        """One more."""
        self._last.append(logged)
        self._count += 1
        if len(self._last) == self._piece:
            self._put_away()

    def _put_away(self) -> None:
        self._last.sort(key=_when)
        places = []
        for begin in range(0, len(self._last), _BLOCK):
            places.append(self._file.tell())
            # As plain tuples, which is all that marshal knows; nobody else ever sees this file.
            marshal.dump([tuple(one) for one in self._last[begin : begin + _BLOCK]], self._file)
        self._blocks.append(places)
        self._last = []

    def _brought_back(self, places: list[int]) -> Iterator[Logged]:
        for place in places:
            self._file.seek(place)
            yield from map(Logged._make, marshal.load(self._file))

    def __iter__(self) -> Iterator[Logged]:
        self._last.sort(key=_when)
        yield from merge(*map(self._brought_back, self._blocks), self._last, key=_when)
        self._file.close()
