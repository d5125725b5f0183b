"""Who waits for a server whose limit follows from what it takes?"""

from __future__ import annotations

from proxyd.config.adaptive import AdaptiveSpec
from proxyd.config.address import TcpAddress
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.policy.pool import Pool
from proxyd.policy.queue import Ticket
from proxyd.policy.server import Server
from tests.policy.pools import First
from tests.support.case import Case

A = ServerSpec("a", TcpAddress("10.0.0.1", 1), max_connections=8, adaptive=AdaptiveSpec(2, 8))
B = ServerSpec("b", TcpAddress("10.0.0.2", 1), max_connections=1)


class AdaptivePool(Case):
    def setUp(self) -> None:
        self.pool = Pool(PoolSpec("web", (A, B)), First())
        self.a, self.b = self.pool.servers
        self.admitted: list[str] = []
        self.now = 0.0

    def opened(self) -> Server:
        server = self.pool.pick()
        assert server is not None
        self.pool.opened(server)
        return server

    def wait(self, name: str) -> None:
        def admit() -> None:
            self.admitted.append(f"{name} {self.opened().name}")

        assert self.pool.queue is not None
        self.pool.queue.enter(Ticket(name, 0, admit, lambda: None), self.now)

    def answers(self, seconds: float) -> None:
        assert self.a.adaptive is not None
        self.pool.tick(self.now)
        for _ in range(40):
            self.a.adaptive.sampled(seconds, self.a.open, self.now)
        self.now += 1.0
        self.pool.tick(self.now)

    def test_grows(self) -> None:
        """Clients wait at the limit that there is, and are let in as soon as it grows."""
        self.assertEqual([self.opened().name for _ in range(3)], [*"aab"])
        self.assertTrue(self.pool.is_full())
        for name in "xyz":
            self.wait(name)
        self.answers(0.01)
        self.assertEqual((self.a.max_connections, self.a.open, self.admitted), (4, 4, ["x a", "y a"]))
        self.answers(0.01)
        self.assertEqual((self.a.max_connections, self.a.open), (8, 5))

    def test_shrinks(self) -> None:
        """When it shrinks nobody is cut, and nobody is let in before it is below its limit."""
        for _ in range(3):
            while self.pool.pick() is self.a:
                self.opened()
            self.answers(0.01)
        self.assertEqual((self.a.max_connections, self.a.open), (8, 8))
        self.answers(0.1)
        self.assertEqual((self.a.max_connections, self.a.open), (4, 8))
        self.assertIs(self.opened(), self.b)
        self.wait("x")
        for left in (7, 6, 5, 4):
            if self.pool.closed(self.a):
                self.pool.admit(self.now)
            self.assertEqual((self.a.open, self.admitted), (left, []))
        self.pool.closed(self.a)
        self.pool.admit(self.now)
        self.assertEqual((self.a.open, self.admitted), (4, ["x a"]))

    def test_length(self) -> None:
        """As many may wait as for the most that there may be, or the queue would be short at the start."""
        assert self.pool.queue is not None
        self.assertEqual(self.pool.queue.length, 4 * (8 + 1))

    def test_agent(self) -> None:
        """What an agent says is the most that there may be."""
        self.pool.limit(self.a, 1, 0.0)
        self.assertEqual(self.a.max_connections, 1)
        self.pool.limit(self.a, 0, 0.0)
        self.assertEqual(self.a.max_connections, 2)

    def test_moved(self) -> None:
        """A server that is elsewhere is measured anew."""
        self.answers(0.01)
        for _ in range(2):
            self.opened()
        self.answers(0.01)
        self.assertEqual(self.a.max_connections, 4)
        moved = ServerSpec("a", TcpAddress("10.0.0.9", 1), max_connections=8, adaptive=AdaptiveSpec(2, 8))
        self.pool.revise([(self.a, moved)], "moved", self.now)
        self.assertEqual(self.a.max_connections, 2)
        self.assertIs(self.opened(), self.b)
