"""
Which server of a pool gets the next connection?

Who may be chosen is known here, the pool's balancer chooses.  Who may be chosen changes far less often than
connections come, so the lists are made anew only when a state or a weight changes.

What changes them is `proxyd.policy.pool`'s matter.
"""

from __future__ import annotations

import math
from typing import Callable, Collection, Optional, Sequence

from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.interfaces import IBalancer, ICounting, IKeyed
from proxyd.policy import ejection
from proxyd.policy.adaptive import Adaptive
from proxyd.policy.affinity import Affinity, make_affinity
from proxyd.policy.arrival import Arrival
from proxyd.policy.chosen import note_standing
from proxyd.policy.queue import Queue
from proxyd.policy.server import Server
from proxyd.policy.state import State
from proxyd.policy.tiers import tiers


class Choice:
    """
    A pool's servers, of which each connection gets one.

    ``by_client`` says that `pick` needs an arrival, ``released`` is the balancer's method
    (`proxyd.interfaces`), or None.  ``affinity`` is what the pool remembers of its clients, if it does, and
    ``came_back`` says that the one whom `pick` has served last got the server that it had before.
    ``queue`` is where clients wait while the servers have their ``max_connections``, or None if there is no
    such bound.
    """

    def __init__(self, spec: PoolSpec, balancer: IBalancer) -> None:
        self.name = spec.name
        self.spec = spec
        self.balancer = balancer
        self.servers = tuple(self._make(server) for server in spec.servers)
        self.panic = False
        self.by_client = False
        self.open = 0  # connections of all servers, those included that are no more
        self.queue: Optional[Queue] = None
        self._most = spec.max_connections or math.inf
        self._full: set[Server] = set()
        self._serving = False
        self.released: Optional[Callable[[Server, int], None]] = None
        self.affinity: Optional[Affinity] = None
        self.came_back = False
        self._take: Optional[Callable[[Server], bool]] = None
        if IKeyed.providedBy(balancer):
            self.by_client = True
            balancer.lay_out(self.servers)
        if ICounting.providedBy(balancer):
            self.released = balancer.released
            self._take = balancer.take
        self._tried_out: set[Server] = set()  # who are on trial, and have their one request
        if spec.affinity is not None:
            self.by_client = True
            self.affinity = make_affinity(spec.affinity, spec.affinity_failback, spec.name)
        self._tiers = self._fit()
        self._see_to_the_queue()
        self._named: dict[str, Server] = {}  # whom clients may come back to, as the affinity calls them
        self._named_of: list[list[Server]] = []  # the tiers that these are of

    def _make(self, spec: ServerSpec) -> Server:
        adaptive = Adaptive(spec.adaptive) if spec.adaptive is not None else None
        eject = self.spec.eject
        return Server(
            name=spec.name,
            address=spec.address,
            weight=spec.weight,
            backup=spec.backup,
            pool=self.name,
            state=State.CHECKING if self.spec.checks else State.UP,
            priority=spec.priority,
            max_connections=spec.max_connections if adaptive is None else adaptive.limit,
            tcp=spec.tcp,
            origin=spec.origin,
            adaptive=adaptive,
            tls=spec.tls,
            window=ejection.Window(eject) if eject is not None and eject.share else None,
        )

    def pick(
        self, tried: Collection[Server] = (), arrival: Optional[Arrival] = None, now: float = 0.0
    ) -> Optional[Server]:
        """
        Choose a server that has not been tried yet, or None when no such server is up.

        Backups get connections only when too few others are left, as in HAProxy and nginx.  While no server
        is up, those that have not been checked yet count as up: a start must not refuse what it could have
        served; and when there are none of these, those that are ejected.  One that is full is not down, so
        backups do not stand in for it (HAProxy): `is_full` tells.  ``arrival`` and ``now`` are needed only if
        the pool goes by the client.
        """
        if self.open >= self._most:
            return None
        if self.affinity is None or arrival is None:
            return self._balance(tried, arrival)
        return self._pick_again(self.affinity, tried, arrival, now)

    def _pick_again(
        self, affinity: Affinity, tried: Collection[Server], arrival: Arrival, now: float
    ) -> Optional[Server]:
        """The server that the client had before, or else another."""
        self.came_back = False
        key = affinity.key(arrival)
        if not key:
            return self._balance(tried, arrival)
        if self._named_of is not self._tiers:
            self._named_of = self._tiers
            fit = [server for tier in self._tiers for server in tier]
            fit += [server for server in self.servers if affinity.may_stay(server) and server not in fit]
            self._named = {name: server for server in fit for name in affinity.names(server)}
        full = False
        for name in affinity.servers(key, arrival, now):
            server = self._named.get(name)
            if server is not None and server not in tried:
                if server not in self._full and (self._take is None or self._take(server)):
                    affinity.kept(key, server.name, now)
                    self.came_back = True
                    return server
                full = True
        server = self._balance(tried, arrival)
        if server is not None:
            affinity.chosen(key, server.name, full, bool(tried), now)
        return server

    def _balance(self, tried: Collection[Server], arrival: Optional[Arrival]) -> Optional[Server]:
        server: Optional[Server] = None
        if self._full or self._tried_out:
            if self._tried_out:
                server = self._among(self._tried_out.union(tried), arrival)
            if server is None:
                server = self._among(tried, arrival)
        else:
            for tier in self._tiers:  # the same where all have room, which is nearly always so
                server = self.balancer.choose(tier, tried, arrival)
                if server is not None:
                    break
        if server is not None and server.trial:
            self._tried_out.add(server)
        return server

    def _among(self, tried: Collection[Server], arrival: Optional[Arrival]) -> Optional[Server]:
        full = self._full
        avoid = (full.union(tried) if tried else full) if full else tried
        for tier in self._tiers:
            server: Optional[Server] = self.balancer.choose(tier, avoid, arrival)
            if server is not None:
                return server
            if full and self._some_are_full(tier, tried):
                return None
        return None

    @property
    def tiers(self) -> Sequence[Sequence[Server]]:
        """Those that may be chosen, and one after another those that may be when none of these is left."""
        return self._tiers

    def serves(self, server: Server) -> bool:
        """Whether it is among those that get connections first."""
        return bool(self._tiers) and server in self._tiers[0]

    def is_full(self, tried: Collection[Server] = ()) -> bool:
        """Whether `pick` found nobody because servers have their ``max_connections``."""
        if self.open >= self._most:
            return any(server not in tried for tier in self._tiers for server in tier)
        return bool(self._full) and any(self._some_are_full(tier, tried) for tier in self._tiers)

    def _some_are_full(self, tier: list[Server], tried: Collection[Server]) -> bool:
        return any(server in self._full and server not in tried for server in tier)

    def opened(self, server: Server) -> None:
        """A connection to it is being dialed; to be called by whoever was told the server, at once."""
        self.open += 1
        server.open += 1
        if 0 < server.max_connections <= server.open:  # `full`, without a call
            self._full.add(server)

    def closed(self, server: Server, moved: int = 0) -> bool:
        """
        The server has closed its side, or was not reached; so many bytes were moved.

        Whether somebody waits who may come in now: then `admit` is to be called.
        """
        self.open -= 1
        server.open -= 1
        if self._full and server.open < server.max_connections:
            self._full.discard(server)
        if self._tried_out:
            self._tried_out.discard(server)
        if self.released is not None:
            self.released(server, moved)
        return self.queue is not None and len(self.queue) > 0

    def has_to_wait(self, tried: Collection[Server] = ()) -> bool:
        """Whether others wait, and there is no room for it: then who comes may not pick before its turn."""
        if self.queue is None or not len(self.queue) or not self._tiers:
            return False  # while nobody is up, who comes is told so at once
        return not self._has_room(tried)

    def admit(self, now: float) -> None:
        """Give those who wait the room that there is."""
        queue = self.queue
        if queue is None or self._serving:
            return
        # What one does who is let in may bring the next one here: it is served by the same loop, since a
        # thousand dials that fail at once would be as many calls deep.
        self._serving = True
        try:
            # As often as all of them may try: one who gets nothing after all does not keep us here.
            left = len(queue) * (self.spec.retries + 1)
            # Servers behind the first ones are for those alone who have tried these.
            while left > 0 and (self._has_room() or (queue.retrying and self._has_room_behind())):
                left -= 1
                ticket = queue.take(now, lambda ticket: self._has_room(ticket.tried))
                if ticket is None:
                    break
                ticket.admit()
        finally:
            self._serving = False

    def _has_room(self, tried: Collection[Server] = ()) -> bool:
        """Whether one need not wait who has tried these: `pick` has a server for it, or never will."""
        if self.open >= self._most or not self._tiers:
            return False
        full = self._full
        if not tried:
            return not full.issuperset(self._tiers[0])
        for tier in self._tiers:
            left = [server for server in tier if server not in tried]
            if left:
                return not full.issuperset(left)
        return True

    def _has_room_behind(self) -> bool:
        return self.open < self._most and any(not self._full.issuperset(tier) for tier in self._tiers[1:])

    def _see_to_the_queue(self) -> None:
        """There is a queue as soon as a server may be full."""
        bounds = [server.bound for server in self.servers]
        most = self.spec.max_connections
        if any(bounds) or most:
            slots = sum(bounds)
            if most and not (all(bounds) and slots < most):
                slots = most
            if self.queue is None:
                self.queue = Queue(self.spec.queue, slots)
            else:
                self.queue.length = self.spec.queue.length_for(slots)

    def _fit(self) -> list[list[Server]]:
        self.panic, found = tiers(self.servers, self.spec.panic_threshold, self.spec.backup_below)
        note_standing(self.servers, found, self.panic)
        return found
