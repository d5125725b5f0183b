"""
How is load shed while there is too much to do, and how does it end?

Once a second the daemon looks at itself; `proxyd.policy.shedding` says which step that leads to.  What a
step costs is bounded: shorter time limits are a factor on the wheel that holds them, listeners are paused
as they are at ``max_connections``, and who is cut is chosen among so many connections at most.
"""

from __future__ import annotations

import os
import resource
from itertools import chain, islice
from typing import Any, Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from proxyd.config.shedding import ShedSpec
from proxyd.errors import Reason
from proxyd.policy.limits import prefix_of
from proxyd.policy.shedding import PATIENCE, Load, Shedding, Step, least_important, worst_offenders
from proxyd.relay.admission import client_of
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.factory import ProxyFactory
from proxyd.relay.session import Session
from proxyd.relay.streams import OUT_OF_DESCRIPTORS
from proxyd.snapshots import SheddingSnapshot
from proxyd.upkeep.periodic import Periodic

LOOK_SECONDS = 1.0

MOST_LOOKED_AT = 20_000  # connections among which offenders are looked for: some 50 ms

log = Logger()


def measure(lag: float) -> Load:
    """The load of this process; the lag is measured elsewhere."""
    try:
        # Linux 6.2 and later tell the number as the folder's size; before, it is 0.
        used = os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))
        with open("/proc/self/statm", encoding="ascii") as file:
            memory = int(file.read().split()[1]) * resource.getpagesize()
    except OSError as error:
        if error.errno not in OUT_OF_DESCRIPTORS:
            raise
        # That says it all; without a descriptor only the most that the memory ever was can be known.
        return Load(100.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, lag)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    share = 0.0 if limit == resource.RLIM_INFINITY else 100 * used / limit
    return Load(share, memory, lag)


class LoadShedding:
    """Looks at the load again and again; ``listeners`` are those of the frontends, which it may pause."""

    def __init__(
        self,
        clock: Any,
        random: Callable[[], float],
        spec: ShedSpec,
        frontends: Sequence[ProxyFactory],
        listeners: Sequence[Any],
        wheel: Wheel,
        capacity: Capacity,
        load: Callable[[], Load],
    ) -> None:
        """``listeners`` may be filled later; each has its frontend as ``factory``."""
        self._shedding = Shedding(spec)
        self._frontends = frontends
        self._listeners = listeners
        self._wheel = wheel
        self._capacity = capacity
        self._load = load
        self._held: list[Any] = []
        self._taken = dict.fromkeys(Step, 0)
        self._cut = 0
        self._looking = Periodic(clock, random, LOOK_SECONDS, self.look, jitter=0.0)

    def start(self) -> None:
        """Begin."""
        self._looking.start()

    def stop(self) -> Deferred[Any]:
        """Look no more; what was shed last stays so."""
        return self._looking.stop()

    def snapshot(self) -> SheddingSnapshot:
        """Which step it is, and what has passed."""
        taken = {step.name.lower(): count for step, count in self._taken.items() if step}
        return SheddingSnapshot(int(self._shedding.step), taken, self._cut)

    def look(self) -> None:
        """Look once, and do what follows."""
        before = self._shedding.step
        step = self._shedding.look(self._load())
        if step > before:
            self._taken[step] += 1
            log.warn("shedding load, {why}: {what}", why=self._shedding.why, what=self._take(step))
        elif step < before:
            log.info("shedding less load: {what}", what=self._take_back(before))
        if step is Step.CUTTING:
            self._cut_some()

    def _take(self, step: Step) -> str:
        if step is Step.IDLE:
            self._wheel.patience = PATIENCE
            return f"time limits of silence are {PATIENCE:.0%} of what they were"
        if step is Step.CUTTING:
            return "connections are cut, of the clients that have most"
        priorities = [(listener, listener.factory.spec.priority) for listener in self._listeners]
        self._held = least_important(priorities)
        self._capacity.hold(self._held)
        return f"{self._names() or 'no listener, as all have the same priority,'} accepts nobody"

    def _take_back(self, step: Step) -> str:
        if step is Step.IDLE:
            self._wheel.patience = 1.0
            return "time limits are as they were"
        if step is Step.CUTTING:
            return "no connections are cut any more"
        names = self._names()
        self._capacity.let_go(self._held)
        self._held = []
        return f"{names or 'every listener'} accepts clients again"

    def _names(self) -> str:
        return ", ".join(dict.fromkeys(f"listener {held.factory.spec.name}" for held in self._held))

    def _cut_some(self) -> None:
        sessions = chain.from_iterable(frontend.sessions for frontend in self._frontends)
        known = [
            (session, _client_of(session), max(session.started, session.moved))
            for session in islice(sessions, MOST_LOOKED_AT)
            if not session.parting
        ]
        for session in worst_offenders(known):
            if not session.over:
                self._cut += 1
                session.cut(Reason.SHED, self._shedding.why)


def _client_of(session: Session) -> bytes:
    spec = session.factory.spec
    address = session.address if session.opening is None else session.opening.address
    return prefix_of(client_of(address), spec.client_prefix4, spec.client_prefix6)
