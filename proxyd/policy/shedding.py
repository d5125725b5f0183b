"""
What is given up when there is too much to do, and in which order?

Looked at once a second.  A step is taken when a mark was exceeded at a few looks in a row, and the next one
only after the last had some time to show what it does; steps are taken back one by one, when all has been
well below the marks for a while.  So a single long turn of the event loop sheds nothing, and what hovers at
a mark does not go to and fro.  Envoy's overload manager is the precedent: it has these actions, and
thresholds for each.
"""

from __future__ import annotations

import enum
from collections import Counter
from heapq import heapify, heappop, heapreplace
from typing import Iterable, Optional, Sequence, TypeVar

from attrs import frozen

from proxyd.config.shedding import ShedSpec

RISE = 3  # looks in a row above a mark, before a step is taken

FALL = 10  # looks in a row below all, before one is taken back

WELL_BELOW = 0.9  # of a mark: between that and the mark nothing changes

PATIENCE = 0.25  # of the time limits is left

MOST_CUT = 64  # connections cut at a look: a few milliseconds' work

SHARE_CUT = 0.02  # of the connections, if that is less, but at least one


class Step(enum.IntEnum):
    """How far it has come; each step includes those before."""

    NONE = 0
    IDLE = 1  # the time limits are shorter
    ACCEPTING = 2  # the least important listeners accept nobody
    CUTTING = 3  # the worst offenders go


@frozen
class Load:
    """How it is now: descriptors as percent of those there may be, memory in bytes, lag in seconds."""

    descriptors: float = 0.0
    memory: int = 0
    lag: float = 0.0


class Shedding:
    """Which step it is, by look after look."""

    def __init__(self, spec: ShedSpec) -> None:
        self._spec = spec
        self.step = Step.NONE
        self.why = ""  # which mark was exceeded last
        self._above = 0
        self._below = 0

    def look(self, load: Load) -> Step:
        """The step that this load leads to."""
        worst, why = 0.0, ""
        for name, value, mark in self._marks(load):
            if value / mark > worst:
                worst, why = value / mark, f"{name}: {_shown(name, value)} of {_shown(name, mark)}"
        if worst >= 1:
            self._above, self._below, self.why = self._above + 1, 0, why
        elif worst < WELL_BELOW:
            self._above, self._below = 0, self._below + 1
        else:
            self._above = self._below = 0
        if self._above >= RISE and self.step < Step.CUTTING:
            self.step, self._above = Step(self.step + 1), 0
        elif self._below >= FALL and self.step > Step.NONE:
            self.step, self._below = Step(self.step - 1), 0
        return self.step

    def _marks(self, load: Load) -> Iterable[tuple[str, float, float]]:
        spec = self._spec
        if spec.descriptors:
            yield "descriptors", load.descriptors, spec.descriptors
        if spec.memory:
            yield "memory", load.memory, spec.memory
        if spec.lag:
            yield "lag", load.lag, spec.lag


def _shown(name: str, value: float) -> str:
    if name == "descriptors":
        return f"{value:.0f}%"
    if name == "memory":
        return f"{value / 1024**2:.0f}M"
    return f"{value * 1000:.0f}ms"


Named = TypeVar("Named")


def least_important(priorities: Sequence[tuple[Named, int]]) -> list[Named]:
    """Whose priority has the highest number, if it is not that of all."""
    numbers = {priority for _, priority in priorities}
    if len(numbers) < 2:
        return []
    return [named for named, priority in priorities if priority == max(numbers)]


Connection = TypeVar("Connection")


def worst_offenders(
    connections: Sequence[tuple[Connection, bytes, float]], most: Optional[int] = None
) -> list[Connection]:
    """
    Which connections to cut: each is given with its client, and when it was last seen to move something.

    Again and again one of the client that has most left, its longest silent one first.  ``most`` is not
    more than `MOST_CUT`, and by default a fiftieth of them.
    """
    if most is None:
        most = max(1, min(MOST_CUT, int(len(connections) * SHARE_CUT)))
    counts = Counter(client for _, client, _ in connections)
    ranked = counts.most_common(most)
    least = ranked[-1][1] if ranked else 0
    # Who has fewer than these cannot come to be the one with most before so many are cut.
    silent: dict[bytes, list[tuple[float, int]]] = {}
    for place, (_, client, moved) in enumerate(connections):
        if counts[client] >= least:
            silent.setdefault(client, []).append((moved, place))
    for places in silent.values():
        places.sort(reverse=True)
    heap = [(-len(places), places[-1], client) for client, places in silent.items()]
    heapify(heap)
    chosen: list[Connection] = []
    while heap and len(chosen) < most:
        _, (_, place), client = heap[0]
        chosen.append(connections[place][0])
        places = silent[client]
        places.pop()
        if places:
            heapreplace(heap, (-len(places), places[-1], client))
        else:
            heappop(heap)
    return chosen
