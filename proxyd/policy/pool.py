"""
What may become of the servers of a pool?

Checks, operators and the traffic itself change states through the verbs here; `proxyd.policy.state` says what
leads where.  Whoever wants to follow gives `Pool.watch` a function.  Which server gets the next connection
`proxyd.policy.choice` says, of which a pool is one.
"""

from __future__ import annotations

from collections import Counter
from typing import Callable, Collection, Optional, Sequence

from proxyd.config.address import named
from proxyd.config.balance import FIXED_WEIGHTS, RAMPED
from proxyd.config.pool import HEAVIEST, PoolSpec, ServerSpec
from proxyd.config.servertls import CLIENT
from proxyd.errors import IllegalMove
from proxyd.interfaces import IBalancer, IKeyed, ITiming
from proxyd.policy import ejection
from proxyd.policy.adaptive import Adaptive
from proxyd.policy.choice import Choice
from proxyd.policy.maintenance import Maintenance
from proxyd.policy.names import common
from proxyd.policy.retries import Budget
from proxyd.policy.server import Server
from proxyd.policy.slowstart import FULL, step
from proxyd.policy.state import Change, Event, State, Watcher, move

SWEPT = 1000  # entries of affinity that have run out and go at a tick: a millisecond's work


class Pool(Choice):
    """
    The servers that can stand in for each other.

    A server counts as up from the start unless the pool has a check; then it is ``checking`` until the
    first result.

    What the balancer wants to know is told it by whoever opens connections: ``timed`` is its method
    (`proxyd.interfaces`), or None.  ``watched`` says that it matters how long an answer takes, ``tells`` that
    servers are told who is served.  ``maintenance`` is whom the pool turns away.

    ``budget`` is what may be asked again, None without a bound; ``minded`` are the statuses that are more to
    it than words for the client.

    In every verb ``why`` is for people, and ``now`` the seconds that deadlines go by.  `IllegalMove` is
    raised for what a server cannot do in its state.
    """

    def __init__(self, spec: PoolSpec, balancer: IBalancer) -> None:
        super().__init__(spec, balancer)
        self.maintenance = Maintenance(spec.name, spec.maintenance)
        self.timed: Optional[Callable[[Server, float], None]] = None
        if ITiming.providedBy(balancer):
            self.timed = balancer.timed
        self.tells = spec.proxy_protocol is not None or any(
            server.tls is not None and server.tls.sni == CLIENT for server in spec.servers
        )
        self.watched = self.timed is not None or spec.hedge_after > 0
        self._watchers: list[Watcher] = []
        self._starting: dict[Server, float] = {}  # who starts slowly, and since when
        self._ejected: set[Server] = set()
        self.budget = Budget(spec.retry_budget) if spec.retry_budget is not None else None
        self.minded = spec.retry_on.statuses | (
            spec.eject.statuses if spec.eject is not None else frozenset()
        )

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
        if server.gone:
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
        for server in servers:
            server.gone = True
        self.servers = tuple(server for server in self.servers if not server.gone)
        for server in servers:
            self._leave_timers(server)
            self._full.discard(server)
            self._tried_out.discard(server)
        self._lay_out()
        for server in servers:
            self._changed(server, Event.REMOVE, server.state, why, now)

    def tick(self, now: float) -> None:
        """What time alone brings: servers return, slow starts go on, limits adapt.  Call it each second."""
        for server in [server for server in self._ejected if now >= server.until]:
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
            if server.state is not State.UP:
                self._leave_timers(server)
                server.cold |= server.state is not State.CHECKING
            self._share(server, self._starting.get(server, 0.0))
            if server.state is State.EJECTED:
                self._ejected.add(server)
        self._lay_out()
        self._tiers = self._fit()

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

    def __repr__(self) -> str:
        counts = Counter(server.state for server in self.servers)
        words = [f"{counts[state]} {state.value}" for state in State if state in counts]
        words.append(f"{sum(server.open for server in self.servers)} open")
        return f"<Pool {self.name} {', '.join(words)}>"
