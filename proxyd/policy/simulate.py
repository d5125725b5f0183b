"""
What would have become of these clients, had connections been spread like that?

The real pool and its real balancer are given the arrivals one after another.  Time is what the events say:
those that are to come (connections that end, servers that are lost) are in a heap, and whatever is due before
the next arrival happens first.  So an hour takes as long as its clients are many, and not as the hour is.

What is not known is assumed: a connection lasts as long and moves as much on whichever server; a server that
is not the one of the log takes as long to be reached as it took last in the log, and none is slower
with more connections, so ``adaptive`` stands for the most that there may be; one that is lost refuses, at
once, until the checks of its pool have noticed or so many failures have ejected it.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import exp, inf, log
from typing import Any, Callable, Mapping, Optional, Sequence

from attrs import Factory, define, frozen

from proxyd.config.combination import fold
from proxyd.config.health import CheckSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec
from proxyd.errors import Reason
from proxyd.policy.accesslog import Logged
from proxyd.policy.arrival import Arrival, network_of
from proxyd.policy.balance import make_balancer
from proxyd.policy.lots import Chance
from proxyd.policy.pool import Pool
from proxyd.policy.queue import Ticket
from proxyd.policy.server import Server
from proxyd.policy.state import State

Event = tuple[float, int, Callable[[Any], None], Any]  # when, in which order, what, and about whom

_UNKNOWN = ListenerSpec("", ())  # of a log that another configuration has made

_USUAL_OF = 64  # so many connections make what is usual

_TICK = 1.0  # seconds, as in the daemon

_STEPS = 50  # for each factor e: waits are counted to one per cent
_NO_WAIT = 1e-6  # seconds
_AT_ONCE = -1000


@frozen
class Loss:
    """A server is lost so many seconds after the first arrival, and, unless it is for good, comes back."""

    server: str
    at: float
    back: Optional[float] = None


@define(eq=False)
class Load:
    """
    What a server had to do.

    ``connections`` it was given, the most of them at a time in ``peak``, and ``open_seconds`` the sum of how
    long they were open while clients came; ``failed`` are those that could not reach it, and ``cut`` those
    that ended with it.
    """

    server: Server
    connections: int = 0
    peak: int = 0
    open_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    failed: int = 0
    cut: int = 0


@frozen
class Open:
    """A connection that is open: on which server, since when, and what it moves."""

    load: Load
    since: float
    logged: Logged


@define(eq=False)
class Waiting:
    """
    What the queue has done: ``clients`` that had to wait, ``seconds`` of all together, and ``longest``.

    ``refused`` found no place, ``evicted`` had to make room, and ``timed_out`` have waited in vain.
    """

    clients: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    refused: int = 0
    evicted: int = 0
    timed_out: int = 0
    _waits: int = 0
    _spread: dict[int, int] = Factory(dict)  # how many waits there were, by the logarithm of their length

    def note(self, seconds: float) -> None:
        """One has waited for so long, whatever came of it."""
        self.seconds += seconds
        self.longest = max(self.longest, seconds)
        self._waits += 1
        step = int(log(seconds) * _STEPS) if seconds > _NO_WAIT else _AT_ONCE
        self._spread[step] = self._spread.get(step, 0) + 1

    def within(self, share: float) -> float:
        """In how many seconds, to one per cent, such a share of the waits was over."""
        left = share * self._waits
        for step in sorted(self._spread):
            left -= self._spread[step]
            if left <= 0:
                return 0.0 if step == _AT_ONCE else min(self.longest, exp((step + 0.5) / _STEPS))
        return self.longest


class Visit:
    """A client that has not reached a server yet: those that it has tried, and its place in the queue."""

    __slots__ = ("arrival", "logged", "ticket", "tried")

    def __init__(self, logged: Logged, arrival: Optional[Arrival]) -> None:
        self.logged = logged
        self.arrival = arrival
        self.tried: list[Server] = []
        self.ticket: Optional[Ticket] = None


@frozen
class Imbalance:
    """
    How uneven a load is among servers, each for its weight.

    ``worst`` is the highest over the mean, and ``variation`` the standard deviation over the mean; 1 and 0 if
    all have the same.
    """

    worst: float
    variation: float


@frozen
class Outcome:
    """
    What has become of the clients.

    ``seconds`` is from the first to the last that came.  Of the ``arrivals``, ``no_server`` found no server
    that could be chosen, and ``unreachable`` none that could be reached; ``retries`` are further dials.
    """

    loads: tuple[Load, ...]
    arrivals: int
    seconds: float
    retries: int
    no_server: int
    unreachable: int
    waiting: Waiting

    @property
    def unserved(self) -> int:
        """How many clients got no server."""
        waiting = self.waiting
        left_out = waiting.refused + waiting.evicted + waiting.timed_out
        return self.no_server + self.unreachable + left_out

    def imbalance(self, measure: Callable[[Load], float]) -> Imbalance:
        """Of the servers that are no backups and not drained, by what is measured of each."""
        found = [
            measure(load) / load.server.weight
            for load in self.loads
            if load.server.weight and not load.server.backup and not load.server.priority
        ]
        mean = sum(found) / len(found) if found else 0.0
        if not mean:
            return Imbalance(1.0, 0.0)
        variance = sum((one - mean) ** 2 for one in found) / len(found)
        return Imbalance(max(found) / mean, variance**0.5 / mean)


class Simulation:
    """One pool, and the clients that come to it in the order of their times."""

    def __init__(
        self,
        spec: PoolSpec,
        random: Chance,
        losses: Sequence[Loss] = (),
        listeners: Mapping[str, ListenerSpec] = {},
    ) -> None:
        """
        All servers are up at first.

        ``losses`` name servers of the pool.  ``listeners``, by their names, say whose clients come first, and
        which of them are one client; one that is not there has the defaults.
        """
        self.pool = Pool(spec.at_most(), make_balancer(spec.balance, random, self._seconds))
        self.loads = {server: Load(server) for server in self.pool.servers}
        for server in self.pool.servers:
            self.pool.turned(server, State.UP, "assumed", 0.0)
        self._losses = losses
        self._listeners = listeners
        self._waiting = Waiting()
        self._lost: set[Server] = set()
        self._events: list[Event] = []
        self._number = 0  # of events so far: those of the same time happen in the order of their making
        self._time = 0.0
        self._last = inf  # when no more come; what is open then is not counted any further
        self._first: Optional[float] = None
        self._connects: dict[str, float] = {}  # of the servers in the log, the last that was seen
        self._usual = 0.0  # seconds that a connection lasts, of those that were served in the log
        self._served = 0
        self._arrivals = self._retries = self._no_server = self._unreachable = 0

    def _seconds(self) -> float:
        return self._time

    def _later(self, when: float, what: Callable[[Any], None], about: Any) -> None:
        self._number += 1
        heappush(self._events, (when, self._number, what, about))

    def arrive(self, logged: Logged) -> None:
        """The next client comes; all that is due before happens."""
        now = logged.started
        if self._first is None:
            self._first = now
            self._plan(now)
        events = self._events
        while events and events[0][0] <= now:
            self._happen()
        self._time = now
        self._arrivals += 1
        if logged.connect >= 0:
            self._connects[logged.server] = logged.connect
            self._served += 1
            self._usual += (logged.seconds - self._usual) / min(self._served, _USUAL_OF)
        self._reach_a_server(Visit(logged, logged.arrival() if self.pool.by_client else None))

    def _happen(self) -> None:
        self._time, _, what, about = heappop(self._events)
        what(about)

    def _reach_a_server(self, visit: Visit, in_turn: bool = False) -> None:
        """
        Try servers as `proxyd.relay.session` does: one after another, each once at most.

        ``in_turn`` is one who has waited, and whose turn it is.
        """
        pool, tried = self.pool, visit.tried
        while len(tried) <= pool.spec.retries:
            if pool.queue is not None and not in_turn and pool.has_to_wait(tried):
                self._wait(visit)
                return
            in_turn = False
            server = pool.pick(tried, visit.arrival, self._time)
            if server is None and pool.is_full(tried):
                self._wait(visit)
                return
            if server is None:
                break
            self._retries += bool(tried)
            pool.opened(server)
            if server not in self._lost:
                self._connected(self.loads[server], visit.logged)
                return
            self.loads[server].failed += 1
            self._closed(server, 0)
            pool.failed(server, Reason.CONNECT_REFUSED.code, self._time)
            if server.state is State.EJECTED:
                self._later(server.until, self._tick, server.until + pool.spec.slow_start)
            if pool.timed is not None:
                pool.timed(server, pool.spec.connect_timeout)
            tried.append(server)
        if tried:
            self._unreachable += 1
        else:
            self._no_server += 1

    def _wait(self, visit: Visit) -> None:
        """Wait in the pool's queue."""
        queue, logged = self.pool.queue, visit.logged
        assert queue is not None
        waited = None
        if visit.ticket is None:
            self._waiting.clients += 1
        else:
            waited = self._time - visit.ticket.since
        listener = self._listeners.get(logged.listener, _UNKNOWN)
        ticket = visit.ticket = Ticket(
            network_of(logged.arrival().source, listener.client_prefix4, listener.client_prefix6),
            listener.priority,
            lambda: self._admitted(visit),
            lambda: self._evicted(visit),
            tuple(visit.tried),
        )
        if queue.enter(ticket, self._time, waited):
            self._later(self._time + queue.spec.wait - (waited or 0.0), self._timed_out, ticket)
        else:
            self._waiting.refused += 1

    def _has_waited(self, ticket: Optional[Ticket]) -> None:
        assert ticket is not None
        self._waiting.note(self._time - ticket.entered)

    def _admitted(self, visit: Visit) -> None:
        self._has_waited(visit.ticket)
        self._reach_a_server(visit, in_turn=True)

    def _evicted(self, visit: Visit) -> None:
        self._has_waited(visit.ticket)
        self._waiting.evicted += 1

    def _timed_out(self, ticket: Ticket) -> None:
        if ticket.waiting and self.pool.queue is not None:
            self.pool.queue.leave(ticket)
            self._has_waited(ticket)
            self._waiting.timed_out += 1

    def _connected(self, load: Load, logged: Logged) -> None:
        server, now = load.server, self._time
        load.connections += 1
        if server.open > load.peak:
            load.peak = server.open
        # One that failed in the log would have lasted as others did.
        seconds = logged.seconds if logged.connect >= 0 else self._usual
        self._later(now + seconds, self._ended, Open(load, now, logged))
        if self.pool.timed is not None:
            connect = max(0.0, logged.connect)
            if server.name != logged.server:
                connect = self._connects.get(server.name, connect)
            self._later(now + connect, self._timed, (server, connect))

    def _ended(self, opened: Open) -> None:
        load, logged = opened.load, opened.logged
        load.open_seconds += max(0.0, min(self._time, self._last) - opened.since)
        load.bytes_in += logged.bytes_in
        load.bytes_out += logged.bytes_out
        if load.server.failures:
            self.pool.worked(load.server, opened.since)
        self._closed(load.server, logged.bytes_in + logged.bytes_out)

    def _closed(self, server: Server, moved: int) -> None:
        if self.pool.closed(server, moved):
            self.pool.admit(self._time)

    def _timed(self, measured: tuple[Server, float]) -> None:
        assert self.pool.timed is not None
        self.pool.timed(*measured)

    def _plan(self, first: float) -> None:
        """Lay out what happens to the servers, from the first arrival on."""
        by_name = {server.name: server for server in self.pool.servers}
        checks, wanted = {check.name: check for check in self.pool.spec.checks}, self.pool.spec.combination
        for loss in self._losses:
            server = by_name[loss.server]
            away, back = first + loss.at, None if loss.back is None else first + loss.back
            self._later(away, self._lose, server)
            if back is not None:
                self._later(back, self._lost.discard, server)
            if not checks:
                continue
            # All checks fail together: the first that must pass decides, and of stand-ins the last.
            falls = {name: check.interval + _fast(check) * (check.fall - 1) for name, check in checks.items()}
            noticed = away + fold(wanted, falls, min, max)
            if back is None or noticed < back:
                self._later(noticed, self._turn, (server, State.DOWN))
                if back is not None:
                    rises = {
                        name: _slow(check) + _fast(check) * (check.rise - 1) for name, check in checks.items()
                    }
                    self._later(back + fold(wanted, rises, max, min), self._turn, (server, State.UP))

    def _lose(self, server: Server) -> None:
        """A server and its connections are gone."""
        self._lost.add(server)
        events: list[Event] = []
        cut: list[Event] = []
        for event in self._events:
            about = event[3]
            (cut if isinstance(about, Open) and about.load.server is server else events).append(event)
        heapify(events)
        self._events[:] = events
        for _, _, _, opened in sorted(cut):
            opened.load.cut += 1
            opened.load.open_seconds += self._time - opened.since
            self._closed(server, 0)

    def _turn(self, turned: tuple[Server, State]) -> None:
        server, state = turned
        self.pool.turned(server, state, "simulated", self._time)
        if state is State.UP:
            self._tick(self._time + self.pool.spec.slow_start)

    def _tick(self, until: float) -> None:
        """Let servers return, and slow starts go on, until they are over."""
        self.pool.tick(self._time)
        if self._time < until:
            self._later(self._time + _TICK, self._tick, until)

    def outcome(self) -> Outcome:
        """What has become of all that came; first those who wait are served, and what is open ends."""
        last = self._last = self._time
        while self._events:
            self._happen()
        return Outcome(
            tuple(self.loads.values()),
            self._arrivals,
            0.0 if self._first is None else last - self._first,
            self._retries,
            self._no_server,
            self._unreachable,
            self._waiting,
        )


def _fast(check: CheckSpec) -> float:
    return check.interval if check.fast is None else check.fast


def _slow(check: CheckSpec) -> float:
    return check.interval if check.slow is None else check.slow
