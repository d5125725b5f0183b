"""
Who is next when a server has room again?

The queue of a pool whose servers all have their ``max_connections``.  Classes come first: nobody waits behind
one of a lower class.  Within a class clients take turns (stochastic fairness queueing, McKenney 1990, with a
line for each client instead of a hash), so one client with a thousand connections delays another by one.

The queue is full for the one who has most in it: a client that has fewer waiting than another takes the place
of that other one's last (SFQ's and fq_codel's drop from the longest queue, RFC 8290 section 4.1.2).  So one
client alone may have the whole queue, and cannot keep anybody out.

Under overload a queue that serves in order serves everybody too late.  ``lifo`` and ``adaptive`` serve the
last one first (Facebook's adaptive LIFO, "Fail at Scale", ACM Queue 2015).

Each step is O(1), but for the number of classes, and for those who have tried the only servers with room:
they are passed over, and keep their places.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from typing import Any, Callable, Collection, Hashable, Iterator, Optional

from proxyd.config.queue import ADAPTIVE, LIFO, QueueSpec
from proxyd.snapshots import QueueSnapshot

LATE = 0.5  # of the longest wait; adaptive turns to lifo when the next one has waited for so much of it


class Ticket:
    """A place in the queue: whose it is, since when, and whom to call when it is its turn or it has to go."""

    __slots__ = ("admit", "client", "entered", "evict", "rank", "since", "tried", "waiting")

    def __init__(
        self,
        client: Hashable,
        rank: int,
        admit: Callable[[], None],
        evict: Callable[[], None],
        tried: Collection[Any] = (),
    ) -> None:
        """
        ``rank`` is the class, the lowest first; `admit` takes a slot before it returns, or none at all.

        ``tried`` are the servers that it has tried in vain, and cannot use.
        """
        self.client = client
        self.rank = rank
        self.tried = tried
        self.since = 0.0  # with what it has waited before
        self.entered = 0.0
        self.admit = admit
        self.evict = evict
        self.waiting = False


class _Class:
    """Those of one rank, in the order in which they came and in lines by client."""

    def __init__(self) -> None:
        self.all: OrderedDict[Ticket, None] = OrderedDict()
        self._again: OrderedDict[Ticket, None] = OrderedDict()  # those who had their turn in vain
        self._lines: OrderedDict[Hashable, OrderedDict[Ticket, None]] = OrderedDict()
        self._by_length: dict[int, OrderedDict[Hashable, None]] = {}  # clients by how many they have waiting
        self.longest = 0

    def add(self, ticket: Ticket, first: bool) -> None:
        line = self._lines.get(ticket.client)
        if line is None:
            line = self._lines[ticket.client] = OrderedDict()
        line[ticket] = None
        self.all[ticket] = None
        if first:
            self._again[ticket] = None
            line.move_to_end(ticket, last=False)
            self.all.move_to_end(ticket, last=False)
            self._lines.move_to_end(ticket.client, last=False)
        self._measure(ticket.client, len(line) - 1, len(line))

    def remove(self, ticket: Ticket) -> None:
        line = self._lines[ticket.client]
        del line[ticket]
        del self.all[ticket]
        self._again.pop(ticket, None)
        self._measure(ticket.client, len(line) + 1, len(line))
        if not line:
            del self._lines[ticket.client]

    def of(self, client: Hashable) -> int:
        """How many a client has waiting."""
        return len(self._lines.get(client, ()))

    def in_turn(self) -> Iterator[Ticket]:
        """The first of the client whose turn it is, and then the others behind it."""
        return (ticket for line in self._lines.values() for ticket in line)

    def turn(self, client: Hashable) -> None:
        """The client has had its turn."""
        if client in self._lines:
            self._lines.move_to_end(client)

    def newest(self) -> Iterator[Ticket]:
        """Those who had their turn in vain, then the one who came last, and then the one before it."""
        return chain(reversed(self._again), reversed(self.all))

    def last_of_the_longest(self) -> Ticket:
        """The last one of a client that has most."""
        return next(reversed(self._lines[next(iter(self._by_length[self.longest]))]))

    def _measure(self, client: Hashable, before: int, now: int) -> None:
        if before:
            alike = self._by_length[before]
            del alike[client]
            if not alike:
                del self._by_length[before]
        if now:
            alike = self._by_length.setdefault(now, OrderedDict())
            alike[client] = None
        # A line grows and shrinks by one, so the longest is found without a search.
        if now > self.longest:
            self.longest = now
        elif before == self.longest and before not in self._by_length:
            self.longest = now


class Queue:
    """
    Those who wait for a server of one pool.

    ``length`` is how many they are at most, ``slots`` how many connections the servers may have in all.
    """

    def __init__(self, spec: QueueSpec, slots: int) -> None:
        self.spec = spec
        self.length = spec.length_for(slots)
        self.evicted = 0  # that had to go for others
        self.retrying = 0  # of those who wait, that have tried servers in vain
        self._classes: dict[int, _Class] = {}
        self._waiting = 0
        self._late = False

    def __len__(self) -> int:
        return self._waiting

    def __iter__(self) -> Iterator[Ticket]:
        """Those who wait, the first class first, in the order in which they came."""
        for rank in sorted(self._classes):
            yield from self._classes[rank].all

    def snapshot(self, pool: str) -> QueueSnapshot:
        """How full it is."""
        return QueueSnapshot(pool, self._waiting, self.length, self.evicted)

    def enter(self, ticket: Ticket, now: float, waited: Optional[float] = None) -> bool:
        """
        Begin to wait; False if there is no room and no other has to make it.

        One who has ``waited`` before, so many seconds, and got no server then, is the next one.
        """
        if self._waiting >= self.length:
            victim = self._victim(ticket)
            if victim is None:
                return False
            self.leave(victim)
            self.evicted += 1
            victim.evict()
        ticket.since = now - (waited or 0.0)
        ticket.entered = now
        ticket.waiting = True
        self._class(ticket.rank).add(ticket, waited is not None)
        self._waiting += 1
        self.retrying += bool(ticket.tried)
        return True

    def leave(self, ticket: Ticket) -> None:
        """Wait no more; one who does not wait is no error."""
        if not ticket.waiting:
            return
        ticket.waiting = False
        members = self._classes[ticket.rank]
        members.remove(ticket)
        if not members.all:
            del self._classes[ticket.rank]
        self._waiting -= 1
        self.retrying -= bool(ticket.tried)
        if not self._waiting:
            self._late = False

    def take(self, now: float, fits: Callable[[Ticket], bool] = lambda ticket: True) -> Optional[Ticket]:
        """
        The next one that fits, who then waits no more; None if nobody does.

        The others keep their places.
        """
        order = self.spec.order
        for rank in sorted(self._classes):
            members = self._classes[rank]
            if order == ADAPTIVE and not self._late:
                self._late = now - next(iter(members.all)).since >= LATE * self.spec.wait
            for ticket in members.newest() if order == LIFO or self._late else members.in_turn():
                if fits(ticket):
                    self.leave(ticket)
                    members.turn(ticket.client)
                    return ticket
        return None

    def oldest(self) -> float:
        """Since when the one waits who has waited longest; infinity if nobody does."""
        return min(
            (next(iter(members.all)).since for members in self._classes.values()), default=float("inf")
        )

    def _victim(self, ticket: Ticket) -> Optional[Ticket]:
        """Who has to go for this one, if anybody."""
        if not self._waiting:
            return None
        last = max(self._classes)
        members = self._classes[last]
        if last > ticket.rank or (last == ticket.rank and members.longest > members.of(ticket.client) + 1):
            return members.last_of_the_longest()
        return None

    def _class(self, rank: int) -> _Class:
        members = self._classes.get(rank)
        if members is None:
            members = self._classes[rank] = _Class()
        return members
