"""Is load shed in steps, said once, and taken back?"""

from __future__ import annotations

import os
import resource
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher

from proxyd.config.address import TcpAddress
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.shedding import ShedSpec
from proxyd.policy.balance import RoundRobin
from proxyd.policy.pool import Pool
from proxyd.policy.shedding import Load
from proxyd.relay.factory import ProxyFactory
from proxyd.upkeep.shedding import LoadShedding, measure
from tests.relay.test_session import SessionCase
from tests.support.admission import admission
from tests.support.case import Case
from tests.support.streams import FakePeer

MUCH, LITTLE = Load(lag=1.0), Load(lag=0.0)


class Door:
    """A listener that notes whether it accepts."""

    def __init__(self, factory: ProxyFactory) -> None:
        self.factory = factory
        self.accepting = True

    def pause(self) -> None:
        self.accepting = False

    def resume(self) -> None:
        self.accepting = True


class LoadSheddingTests(SessionCase):
    """Two listeners, the second of which is less important, unless a test says otherwise."""

    def setUp(self) -> None:
        super().setUp()
        self.said: list[str] = []
        observer = cast(ILogObserver, self.note)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def note(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "proxyd.upkeep.shedding":
            self.said.append(formatEvent(event))

    def begin(self, *priorities: int) -> None:
        servers = (ServerSpec("a", TcpAddress("10.0.0.1", 1)),)
        self.pool = Pool(PoolSpec("web", servers), RoundRobin(lambda: 0.0))
        self.frontends = [
            ProxyFactory(
                ListenerSpec(f"front{place}", (), "web", priority=priority, idle_timeout=400.0),
                {"web": self.pool},
                self.datapath,
                self.wheel,
                self.clock.seconds,
                self.wall,
                self.capacity,
                [self.notebook],
                admission(),
            )
            for place, priority in enumerate(priorities)
        ]
        self.doors = [Door(factory) for factory in self.frontends]
        for door in self.doors:
            self.capacity.add(door)
        self.load = LITTLE
        self.shedding = LoadShedding(
            self.clock, lambda: 0.0, ShedSpec(lag=0.5), self.frontends, self.doors, self.wheel, self.capacity,
            lambda: self.load,
        )  # fmt: skip
        self.shedding.start()
        self.addCleanup(self.shedding.stop)

    def looks(self, load: Load, count: int) -> None:
        self.load = load
        for _ in range(count):
            self.pass_time(1)

    def come(self, place: int, *hosts: str) -> list[FakePeer]:
        peers = []
        for host in hosts:
            address = IPv4Address("TCP", host, 4711)
            peers.append(self.network.connect(self.frontends[place].buildProtocol(address)))
            self.network.flush()
        return peers

    def accepting(self) -> list[bool]:
        return [door.accepting for door in self.doors]

    def reasons(self) -> list[tuple[str, str]]:
        return [(record.client.split(":")[0], record.reason.code) for record in self.notebook.records]

    def test_steps(self) -> None:
        """Limits of silence, then the less important listener, then connections; and back in reverse."""
        self.begin(0, 3)
        self.looks(LITTLE, 5)
        self.looks(MUCH, 3)
        self.assertEqual((self.wheel.patience, self.accepting()), (0.25, [True, True]))
        self.looks(MUCH, 3)
        self.assertEqual(self.accepting(), [True, False])
        self.looks(MUCH, 13)
        self.assertEqual(self.shedding.snapshot().step, 3)
        self.looks(LITTLE, 10)
        self.assertEqual((self.shedding.snapshot().step, self.accepting()), (2, [True, False]))
        self.looks(LITTLE, 10)
        self.assertEqual((self.wheel.patience, self.accepting()), (0.25, [True, True]))
        self.looks(LITTLE, 30)
        self.assertEqual(self.wheel.patience, 1.0)
        self.assertEqual(
            self.said,
            [
                "shedding load, lag: 1000ms of 500ms: time limits of silence are 25% of what they were",
                "shedding load, lag: 1000ms of 500ms: listener front1 accepts nobody",
                "shedding load, lag: 1000ms of 500ms: connections are cut, of the clients that have most",
                "shedding less load: no connections are cut any more",
                "shedding less load: listener front1 accepts clients again",
                "shedding less load: time limits are as they were",
            ],
        )
        snapshot = self.shedding.snapshot()
        self.assertEqual((snapshot.step, snapshot.taken), (0, {"idle": 1, "accepting": 1, "cutting": 1}))

    def test_all_alike(self) -> None:
        """Where no listener is less important than another, all go on accepting."""
        self.begin(1, 1)
        self.looks(MUCH, 12)
        self.assertEqual(self.accepting(), [True, True])

    def test_full_meanwhile(self) -> None:
        """A listener that is held back is not let on when a connection ends, nor the other way round."""
        self.begin(0, 3)
        self.looks(MUCH, 7)
        self.capacity.most = 1
        self.capacity.enter()
        self.assertEqual(self.accepting(), [False, False])
        self.capacity.leave()
        self.assertEqual(self.accepting(), [True, False])
        self.capacity.enter()
        self.looks(LITTLE, 11)
        self.assertEqual((self.shedding.snapshot().step, self.accepting()), (1, [False, False]))
        self.capacity.leave()
        self.assertEqual(self.accepting(), [True, True])

    def test_silent_connections(self) -> None:
        """A connection that has been silent for a quarter of idle_timeout goes, with a reason of its own."""
        self.begin(0)
        self.come(0, "10.0.0.1")
        self.looks(LITTLE, 60)
        self.assertEqual(self.reasons(), [])
        self.looks(MUCH, 3)
        self.looks(Load(lag=0.47), 110)
        self.assertEqual(self.reasons(), [("10.0.0.1", "shed")])
        self.assertEqual(self.shedding.snapshot().cut, 0)

    def test_worst_offenders(self) -> None:
        """The client with most connections loses one at each look, and none any more when it is over."""
        self.begin(0, 3)
        self.come(0, "10.0.0.1", "10.0.0.2", "10.0.0.2")
        self.looks(LITTLE, 1)
        self.come(1, "10.0.0.1", "10.0.0.1", "10.0.0.1")
        self.looks(MUCH, 9)
        self.assertEqual(self.reasons(), [("10.0.0.1", "shed")])
        self.looks(MUCH, 2)
        self.assertEqual(self.reasons(), [("10.0.0.1", "shed")] * 2 + [("10.0.0.2", "shed")])
        self.looks(LITTLE, 10)
        before = len(self.reasons())
        self.looks(LITTLE, 30)
        self.assertEqual(len(self.reasons()), before)
        self.assertEqual(self.shedding.snapshot().cut, before)


class MeasureTests(Case):
    def test_descriptors(self) -> None:
        """The share of descriptors grows with what is open."""
        before = measure(0.0).descriptors
        taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(50)]
        try:
            self.assertGreater(measure(0.0).descriptors, before)
        finally:
            for fd in taken:
                os.close(fd)

    def test_no_descriptor(self) -> None:
        """Without any descriptor left they are all in use, and the memory is known as far as it can be."""
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
        try:
            found = measure(0.25)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        self.assertEqual((found.descriptors, found.lag), (100.0, 0.25))
        self.assertGreater(found.memory, 5 * 1024**2)

    def test_memory(self) -> None:
        """The memory is that in RAM: of a Python with Twisted some tens of megabytes."""
        found = measure(0.25)
        self.assertTrue(5 * 1024**2 < found.memory < 8 * 1024**3, found)
        self.assertEqual(found.lag, 0.25)
