"""
Which server of a pool gets the next connection?

The pool knows who may be chosen, its balancer chooses.  Who may be chosen changes far less often than
connections come, so the lists are made anew only when a state or a weight changes.

Checks, operators and the traffic itself change states through the verbs here; `proxyd.policy.state` says what
leads where.  Whoever wants to follow gives `Pool.watch` a function.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Callable, Collection, Optional, Sequence

from proxyd.config.address import named
from proxyd.config.balance import FIXED_WEIGHTS, RAMPED
from proxyd.config.pool import HEAVIEST, PoolSpec, ServerSpec
from proxyd.config.servertls import CLIENT
from proxyd.errors import IllegalMove
from proxyd.interfaces import IBalancer, ICounting, IKeyed, ITiming
from proxyd.policy import ejection
from proxyd.policy.adaptive import Adaptive
from proxyd.policy.affinity import Affinity, make_affinity
from proxyd.policy.arrival import Arrival
from proxyd.policy.maintenance import Maintenance
from proxyd.policy.names import common
from proxyd.policy.queue import Queue
from proxyd.policy.retries import Budget
from proxyd.policy.server import Server
from proxyd.policy.slowstart import FULL, step
from proxyd.policy.state import Change, Event, State, Watcher, move
from proxyd.policy.tiers import tiers

SWEPT = 1000  # entries of affinity that have run out and go at a tick: a millisecond's work


class Pool:
    """
    The servers that can stand in for each other.

    A server counts as up from the start unless the pool has a check; then it is ``checking`` until the
    first result.

    What the balancer wants to know is told it by whoever opens connections: ``by_client`` says that `pick`
    needs an arrival; ``released`` and ``timed`` are the balancer's methods (`proxyd.interfaces`), or None.
    ``watched`` says that it matters how long an answer takes, ``tells`` that servers are told who is served.
    ``affinity`` is what the pool remembers of its clients, if it does, and ``maintenance`` whom it turns
    away.

    ``queue`` is where clients wait while the servers have their ``max_connections``, or None if there is no
    such bound.

    ``budget`` is what may be asked again, None without a bound; ``minded`` are the statuses that are more to
    it than words for the client.

    In every verb ``why`` is for people, and ``now`` is the time in seconds since the epoch.  `IllegalMove` is
    raised for what a server cannot do in its state.
    """

    def __init__(self, spec: PoolSpec, balancer: IBalancer) -> None:
        self.name = spec.name
        self.spec = spec
        self.balancer = balancer
        self.servers = tuple(self._make(server) for server in spec.servers)
        self.panic = False
        self.maintenance = Maintenance(spec.name, spec.maintenance)
        self.by_client = False
        self.open = 0  # connections of all servers, those included that are no more
        self.queue: Optional[Queue] = None
        self._most = spec.max_connections or math.inf
        self._full: set[Server] = set()
        self._serving = False
        self.released: Optional[Callable[[Server, int], None]] = None
        self.timed: Optional[Callable[[Server, float], None]] = None
        self.affinity: Optional[Affinity] = None
        self._take: Optional[Callable[[Server], bool]] = None
        if IKeyed.providedBy(balancer):
            self.by_client = True
            balancer.lay_out(self.servers)
        if ICounting.providedBy(balancer):
            self.released = balancer.released
            self._take = balancer.take
        if ITiming.providedBy(balancer):
            self.timed = balancer.timed
        self.tells = spec.proxy_protocol is not None or any(
            server.tls is not None and server.tls.sni == CLIENT for server in spec.servers
        )
        self.watched = self.timed is not None or spec.hedge_after > 0
        self._watchers: list[Watcher] = []
        self._starting: dict[Server, float] = {}  # who starts slowly, and since when
        self._ejected: set[Server] = set()
        self._tried_out: set[Server] = set()  # who are on trial, and have their one request
        self.budget = Budget(spec.retry_budget) if spec.retry_budget is not None else None
        self.minded = spec.retry_on.statuses | (
            spec.eject.statuses if spec.eject is not None else frozenset()
        )
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
                    return server
                full = True
        server = self._balance(tried, arrival)
        if server is not None:
            affinity.chosen(key, server.name, full, bool(tried), now)
        return server

    def _balance(self, tried: Collection[Server], arrival: Optional[Arrival]) -> Optional[Server]:
        server: Optional[Server] = None
        if self._tried_out:
            server = self._among(self._tried_out.union(tried), arrival)
        if server is None:
            server = self._among(tried, arrival)
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

    def watch(self, watcher: Watcher) -> None:
        """Tell this one of every change from now on, when it has been made."""
        self._watchers.append(watcher)

    def turned(self, server: Server, state: State, why: str, now: float) -> None:
        """The checks have changed their mind about a server, which is UP or DOWN to them."""
        before, event = server.health, Event.PASSED if state is State.UP else Event.FAILED
        if server.state is not State.MAINTENANCE:
            server.health = state
        self._move(server, event, why, now, news=server.state is State.DRAINING and before is not state)

    def drain(self, server: Server, why: str, now: float) -> None:
        """Give it no new connections; it keeps those that it has, and its checks go on (HAProxy's drain)."""
        self._move(server, Event.DRAIN, why, now, news=server.why != why)

    def disable(self, server: Server, why: str, now: float) -> None:
        """Take it into maintenance: it gets no new connections, and is not checked (HAProxy's maint)."""
        self._move(server, Event.DISABLE, why, now, news=server.why != why)

    def enable(self, server: Server, why: str, now: float) -> None:
        """
        Undo `drain` and `disable`, and end an ejection.

        After draining it is what its checks say; otherwise it is checked first, if the pool has a check.  One
        that is leaving cannot be enabled: whoever is reached there now, its name no longer leads there.
        """
        if server.leaving:
            raise IllegalMove(
                f"server {server.name} of pool {self.name} is leaving: its name leads elsewhere"
            )
        self._move(server, Event.ENABLE, why, now)

    def eject(self, server: Server, until: float, why: str, now: float) -> None:
        """Give it no new connections until then; checks that fail take it down all the same."""
        self._move(server, Event.EJECT, why, now, until=until)

    def failed(self, server: Server, why: str, now: float) -> None:
        """A connection to it has come to nothing by its fault; so many in a row eject it."""
        spec = self.spec.eject
        if spec is None:
            return
        if not server.failures:
            server.failing_since = now
        server.failures += 1
        much = server.window is not None and server.window.note(now, True)
        if not (server.failures >= spec.in_a_row or server.trial or much):
            return
        if server.state not in (State.UP, State.CHECKING):
            return
        if server not in self.servers:
            return  # it was removed, and its last connections end
        others = sum(other.state is State.UP and other.share > 0 for other in self.servers) - (
            server.state is State.UP
        )
        if not ejection.may_go(spec, len(self.servers), len(self._ejected), others):
            return
        server.ejections = ejection.times(spec, server.ejections, now - server.returned)
        until = now + ejection.seconds(spec, server.ejections)
        if server.trial:
            row = f"it was on trial, and failed: {why}"
        elif server.failures >= spec.in_a_row:
            row = f"{server.failures} connections in a row came to nothing, the last: {why}"
        else:
            row = f"{spec.share}% or more in {spec.window:g}s came to nothing, the last: {why}"
        self.eject(server, until, f"{row}; out for {until - now:g}s", now)

    def worked(self, server: Server, began: float, now: Optional[float] = None) -> None:
        """
        It has said something in a connection that began then, so failures before that are no row.

        To be called if there are failures; one that began before them proves nothing.
        With ``now`` it counts for its ``window``, and is to be called of each.
        """
        if now is not None and server.window is not None:
            server.window.note(now, False)
        if began >= server.failing_since:
            server.failures = 0
            if server.trial:
                server.trial = False
                self._tried_out.discard(server)

    def weigh(self, server: Server, weight: int, why: str, now: float) -> None:
        """
        Give a server another weight; with 0 it gets no new connections, and keeps those it has.

        Raises ValueError for a weight that cannot be; with ``static-rr`` that is any but 0 and its own, as
        in HAProxy.
        """
        own, balance = server.configured, self.spec.balance.name
        if not 0 <= weight <= HEAVIEST:
            raise ValueError(f"{weight} is no weight; weights are 0 to {HEAVIEST}")
        if not self.takes(server, weight):
            raise ValueError(f"with balance {balance} the weight can be 0 or {own}, not {weight}")
        server.weight = weight
        self._share(server, now)
        self._lay_out()
        self._changed(server, Event.WEIGH, server.state, why, now)

    def limit(self, server: Server, most: int, now: float) -> None:
        """
        Give it another ``max_connections``, of which 0 is none; the connections that it has go on.

        If they are adaptive, that is the most that they may become, and 0 what the configuration says.
        """
        if most == server.bound:
            return
        if server.adaptive is not None:
            server.adaptive.bound(most)
            most = server.adaptive.limit
        self._limit(server, most)
        self._see_to_the_queue()
        self.admit(now)

    def _limit(self, server: Server, most: int) -> None:
        server.max_connections = most
        if server.full:
            self._full.add(server)
        else:
            self._full.discard(server)
        self._tiers = self._fit()  # balancers that know who is full look anew

    def add(self, specs: Sequence[ServerSpec], why: str, now: float, cold: bool = True) -> list[Server]:
        """
        Some servers more, each checked first if the pool has a check; ``cold`` ones start slowly.

        Raises ValueError if the pool has a server of that name, and adds none.
        """
        names = {server.name for server in self.servers}
        for spec in specs:
            if spec.name in names:
                raise ValueError(f"pool {self.name} has a server {spec.name} already")
        servers = [self._make(spec) for spec in specs]
        self.servers = (*self.servers, *servers)
        for server in servers:
            server.since, server.why, server.cold = now, why, cold
            if server.state is State.UP:
                self._warm_up(server, now)
        self._lay_out()
        for server in servers:
            self._changed(server, Event.ADD, server.state, why, now)
        return servers

    def revise(self, revised: Sequence[tuple[Server, ServerSpec]], why: str, now: float) -> None:
        """
        Give servers the address, the weight and the priority that they have from now on.

        One that is no longer where it was begins anew: it is checked first, and starts slowly.  Its
        connections go on.  A weight that `weigh` has given stays.
        """
        moved = []
        for server, spec in revised:
            before = (server.address, server.configured, server.priority)
            if before == (spec.address, spec.weight, spec.priority):
                continue
            moved.append((server, named(server.address) or common(server.address, spec.address)))
            server.address, server.origin, server.priority = spec.address, spec.origin, spec.priority
            if server.weight == server.configured:
                server.weight = spec.weight
                self._share(server, now)
            server.configured = spec.weight
        if moved:
            self._lay_out()
        for server, same in moved:
            if same:
                self._changed(server, Event.REVISE, server.state, why, now)
                continue
            server.cold, server.measured, server.failures, server.ejections = True, 0.0, 0, 0
            if server.adaptive is not None:
                server.adaptive = Adaptive(server.adaptive.spec)
                self._limit(server, server.adaptive.limit)
            if self.spec.checks:
                server.health = State.CHECKING
            elif server.state is State.UP:
                self._warm_up(server, now)
            self._move(server, Event.MOVE, why, now, news=True)

    def remove(self, servers: Sequence[Server], why: str, now: float) -> None:
        """Some servers are no more; their connections go on.  ValueError is for one of another pool."""
        for server in servers:
            if server not in self.servers:
                raise ValueError(f"pool {self.name} has no such server as {server.name}")
        self.servers = tuple(server for server in self.servers if server not in servers)
        for server in servers:
            self._leave_timers(server)
            self._full.discard(server)
            self._tried_out.discard(server)
        self._lay_out()
        for server in servers:
            self._changed(server, Event.REMOVE, server.state, why, now)

    def tick(self, now: float) -> None:
        """What time alone brings: servers return, slow starts go on, limits adapt.  Call it each second."""
        for server in [server for server in self._ejected if not server.since <= now < server.until]:
            self._move(server, Event.RETURN, "the time of its ejection is over", now)
        if self.affinity is not None:
            self.affinity.table.sweep(now, SWEPT)
        before = [server.share for server in self._starting]
        for server in list(self._starting):
            self._share(server, now)
        if [server.share for server in self._starting] != before:
            self._tiers = self._fit()
        for server in self.servers:
            if server.adaptive is not None and server.adaptive.tick(server.open, now):
                self._limit(server, server.adaptive.limit)
                self.admit(now)

    def takes(self, server: Server, weight: int) -> bool:
        """Whether the server may have such a weight."""
        fixed = self.spec.balance.name in FIXED_WEIGHTS
        return 0 <= weight <= HEAVIEST and (not fixed or weight in (0, server.configured))

    def resume(self, servers: Collection[Server]) -> None:
        """Go on with the states and weights that these servers have been given; nobody has used them yet."""
        for server in servers:
            self._leave_timers(server)
            server.share = server.weight * FULL
            server.cold = server.state not in (State.UP, State.CHECKING)
            if server.state is State.EJECTED:
                self._ejected.add(server)
        self._lay_out()
        self._tiers = self._fit()

    def serves(self, server: Server) -> bool:
        """Whether it is among those that get connections first."""
        return bool(self._tiers) and server in self._tiers[0]

    def _move(
        self, server: Server, event: Event, why: str, now: float, until: float = 0.0, news: bool = False
    ) -> None:
        before = server.state
        try:
            after = move(before, event)
        except IllegalMove as illegal:
            raise IllegalMove(f"server {server.name} of pool {self.name}: {illegal}") from None
        if after is State.CHECKING:
            if not self.spec.checks:
                after = State.UP
            elif before is State.DRAINING:
                after = server.health
            elif before is not after:
                server.health = State.CHECKING
        elif after is State.MAINTENANCE:
            server.health = State.CHECKING
        if after is not before:
            server.state, server.why, server.since, server.until = after, why, now, until
            self._forgive(server, before is State.EJECTED, event is Event.RETURN, now)
            self._leave_timers(server)
            if after is State.EJECTED:
                self._ejected.add(server)
            if after is State.UP:
                self._warm_up(server, now)
            elif after is not State.CHECKING:
                server.cold = True
        elif not news:
            return
        elif event in (Event.DRAIN, Event.DISABLE):
            server.why = why  # of two who take it out, the second keeps it out
        self._changed(server, event, before, why, now)

    def _forgive(self, server: Server, returned: bool, on_trial: bool, now: float) -> None:
        """It begins anew, in another state."""
        eject = self.spec.eject
        server.failures, server.trial = 0, False
        self._tried_out.discard(server)
        if server.window is not None:
            server.window.forget()
        if returned:
            server.returned = now
        if on_trial and eject is not None and eject.trial:
            server.trial, server.failures, server.failing_since = True, 1, now

    def _leave_timers(self, server: Server) -> None:
        self._ejected.discard(server)
        if self._starting.pop(server, None) is not None:
            server.share = server.weight * FULL

    def _warm_up(self, server: Server, now: float) -> None:
        """It is up: if it has been away, its share grows from now on."""
        if server.cold and self.spec.slow_start and self.spec.balance.name in RAMPED:
            self._starting[server] = now
            self._share(server, now)
        server.cold = False

    def _share(self, server: Server, now: float) -> None:
        since = self._starting.get(server)
        steps = FULL if since is None else step(now - since, self.spec.slow_start)
        server.share = server.weight * steps
        if steps == FULL:
            self._starting.pop(server, None)

    def _lay_out(self) -> None:
        self._see_to_the_queue()
        if IKeyed.providedBy(self.balancer):
            self.balancer.lay_out(self.servers)

    def _changed(self, server: Server, event: Event, before: State, why: str, now: float) -> None:
        self._tiers = self._fit()
        change = Change(self, server, event, before, why, now)
        for watcher in self._watchers:
            watcher(change)
        if self.queue is not None and len(self.queue):
            self.admit(now)

    def _fit(self) -> list[list[Server]]:
        self.panic, found = tiers(self.servers, self.spec.panic_threshold, self.spec.backup_below)
        return found

    def __repr__(self) -> str:
        counts = Counter(server.state for server in self.servers)
        words = [f"{counts[state]} {state.value}" for state in State if state in counts]
        words.append(f"{sum(server.open for server in self.servers)} open")
        return f"<Pool {self.name} {', '.join(words)}>"
