"""How many connections does a server take?  Asked of servers that are simulated, whose knee is known."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from random import Random
from typing import Any, Callable, Optional

from proxyd.config.adaptive import AdaptiveSpec
from proxyd.policy.adaptive import PATIENCE, REMEMBERED, Adaptive
from tests.support.case import Case

SETTLED = 40  # seconds, after which a limit is to stay near the knee

SERVICES: dict[str, Callable[[Random], float]] = {
    "always alike": lambda random: 1.0,
    "exponential": lambda random: random.expovariate(1.0),
    "a few very long": lambda random: random.lognormvariate(0, 1) / 1.65,
}


class Server:
    """``workers`` that serve one each and the others in turn (M/M/c), behind a limit and a queue."""

    def __init__(self, workers: int, seconds: float, how: str, seed: int = 1, spec: Any = None) -> None:
        self.workers = workers
        self.seconds = seconds
        self.adaptive = Adaptive(spec or AdaptiveSpec())
        self.now = 0.0
        self.limits: list[int] = []  # of each second
        self.served: list[int] = [0]
        self.open = 0
        self.wanted: Optional[int] = None  # connections at most, None for always more
        self._how = SERVICES[how]
        self._random = Random(seed)
        self._busy = 0
        self._line: deque[float] = deque()
        self._ends: list[tuple[float, int, float]] = []
        self._number = 0

    def run(self, seconds: int) -> list[int]:
        """Let time pass; the limit of each second."""
        for _ in range(seconds):
            until = self.now + 1.0
            self._let_in()
            while self._ends and self._ends[0][0] <= until:
                self.now, _, began = heappop(self._ends)
                self.adaptive.sampled(self.now - began, self.open, began)
                self.open -= 1
                self._busy -= 1
                self.served[-1] += 1
                self._let_in()
            self.now = until
            self.adaptive.tick(self.open, self.now)
            self.limits.append(self.adaptive.limit)
            self.served.append(0)
        return self.limits[-seconds:]

    def _let_in(self) -> None:
        most = self.adaptive.limit if self.wanted is None else min(self.wanted, self.adaptive.limit)
        while self.open < most:
            self.open += 1
            self._line.append(self.now)
        while self._line and self._busy < self.workers:
            self._busy += 1
            self._number += 1
            ends = self.now + self._how(self._random) * self.seconds
            heappush(self._ends, (ends, self._number, self._line.popleft()))


class Simulated(Case):
    """What becomes of a limit with a server whose clients always wait."""

    def test_finds_the_knee(self) -> None:
        """
        Whatever the server, the limit stays between three quarters of its knee and twice that, and the server
        does at least nine tenths of what it can.
        """
        for how in SERVICES:
            for workers in (5, 10, 20, 50):
                with self.subTest(how=how, workers=workers):
                    server = Server(workers, 0.02, how)
                    server.run(SETTLED)
                    limits = server.run(60)
                    self.assertGreaterEqual(min(limits), int(0.75 * workers), limits)
                    self.assertLessEqual(max(limits), 2 * workers, limits)
                    served = sum(server.served[SETTLED:]) / 60
                    self.assertGreater(served, 0.9 * workers / 0.02)

    def test_finds_it_soon(self) -> None:
        """From few on the limit doubles, so a hundred are found in some seconds."""
        limits = Server(100, 0.02, "exponential").run(8)
        self.assertEqual(limits[:5], [3, 6, 12, 24, 48])
        self.assertGreater(max(limits), 90)

    def test_slow_requests(self) -> None:
        """The same where a response takes a second; it only takes longer to find out."""
        server = Server(10, 1.0, "exponential")
        server.run(300)
        limits = server.run(300)
        self.assertTrue(5 <= min(limits) and max(limits) <= 25, limits)

    def test_fewer_workers(self) -> None:
        """A server that can do half as much, or a tenth, has its limit shrunk, and it stays there."""
        for workers in (10, 3):
            server = Server(20, 0.02, "exponential")
            server.run(SETTLED)
            server.workers = workers
            server.run(20)
            self.assertLessEqual(max(server.run(60)), 2 * workers + 2, server.limits)

    def test_more_workers(self) -> None:
        """A server that can do more is found out by and by, since the limit is always tried upwards."""
        server = Server(10, 0.02, "exponential")
        server.run(SETTLED)
        server.workers = 40
        server.run(20)
        self.assertGreater(min(server.run(60)), 30, server.limits)

    def test_other_requests(self) -> None:
        """When requests themselves take longer, fewer connections do not help, and the limit comes back."""
        for factor in (2, 3, 10):
            server = Server(20, 0.02, "exponential")
            server.run(SETTLED)
            server.seconds *= factor
            server.run(60)
            self.assertGreater(min(server.run(60)), 14, server.limits)
            self.assertLess(max(server.limits[-60:]), 40, server.limits)

    def test_not_asked_for(self) -> None:
        """A limit that nobody reaches does not grow: it would have proven nothing."""
        server = Server(50, 0.02, "exponential")
        server.wanted = 10
        self.assertEqual(max(server.run(60)), 12)
        server.wanted = None
        self.assertGreater(max(server.run(20)), 40)

    def test_slow_though_few(self) -> None:
        """A server that is slow with fewer than half of its connections is not slow for their number."""
        server = Server(20, 0.02, "exponential")
        server.run(SETTLED)
        before = server.adaptive.limit
        server.wanted, server.seconds = 5, 0.2
        self.assertEqual(set(server.run(20)), {before})

    def test_bounds(self) -> None:
        """However fast or slow it is, the limit stays within what the operator says."""
        spec = AdaptiveSpec(8, 15)
        for workers in (1, 4, 12, 1000):
            server = Server(workers, 0.02, "exponential", spec=spec)
            limits = server.run(100)
            self.assertTrue(8 <= min(limits) and max(limits) <= 15, limits)
        self.assertEqual(limits[-1], 15)


class Told(Case):
    """What it makes of single things."""

    def setUp(self) -> None:
        self.adaptive = Adaptive(AdaptiveSpec(4, 100))
        self.now = 1000.0
        self.adaptive.tick(0, self.now)

    def window(self, seconds: float, count: int = 40, open: Optional[int] = None, failed: int = 0) -> int:
        """So many responses in a second, all alike; the limit after that."""
        for _ in range(count):
            full = self.adaptive.limit if open is None else open
            self.adaptive.sampled(seconds, full, self.now)
        for _ in range(failed):
            self.adaptive.failed(self.now)
        self.now += 1.0
        self.adaptive.tick(0, self.now)
        return self.adaptive.limit

    def test_a_table(self) -> None:
        """Windows of so many seconds a response, and the limit after each."""
        for seconds, limit in (
            (0.010, 8), (0.010, 16), (0.0139, 32), (0.028, 16), (0.0139, 20), (0.012, 24), (0.016, 21),
            (0.010, 26),
        ):  # fmt: skip
            self.assertEqual(self.window(seconds, 400), limit, seconds)
        self.assertEqual((self.adaptive.usual, self.adaptive.lately), (0.01, 0.01))

    def test_failures(self) -> None:
        """More than a tenth that come to nothing take a tenth of the limit, and are not taken for fast."""
        self.assertEqual([self.window(0.01) for _ in range(3)], [8, 16, 32])
        self.assertEqual(self.window(0.01, failed=4), 64)
        self.assertEqual(self.window(0.01, failed=5), 57)
        self.assertEqual(self.window(0.01, count=0, failed=40), 51)
        self.assertEqual(self.adaptive.usual, 0.01)

    def test_asked_before(self) -> None:
        """What was asked under another limit says nothing of this one."""
        self.window(0.01)
        for _ in range(100):
            self.adaptive.sampled(5.0, 8, self.now - 0.5)
        self.assertEqual(self.window(0.01), 16)

    def test_few_responses(self) -> None:
        """Where connections stay, a few responses are waited for a while, and then enough."""
        limits = [self.window(0.01, 4 * (second == 0)) for second in range(int(PATIENCE) + 1)]
        self.assertEqual(limits, [4] * 4 + [8] * 2)
        for seconds, limit in ((0.02, 16), (0.05, 8)):  # a single one has to be very slow
            self.adaptive.sampled(seconds, self.adaptive.limit, self.now)
            self.assertEqual([self.window(0, 0) for _ in range(int(PATIENCE))][-1], limit)

    def test_nobody_answers(self) -> None:
        """Full of connections that stay, it lets more in; of such that wait for an answer, it does not."""
        self.adaptive.pending = 1

        def later() -> int:
            for _ in range(int(PATIENCE)):
                self.now += 1.0
                self.adaptive.tick(self.adaptive.limit, self.now)
            return self.adaptive.limit

        self.assertEqual(later(), 4)
        self.adaptive.pending = 0
        self.assertEqual(later(), 8)
        self.assertEqual([self.window(0, 0) for _ in range(20)][-1], 8)

    def test_bound(self) -> None:
        """An agent may lower the highest limit, even below the lowest, and give it back."""
        for _ in range(10):
            self.window(0.01)
        self.assertEqual(self.adaptive.limit, 100)
        for most, expected in ((30, 30), (2, 2), (1000, 4), (0, 4)):
            self.adaptive.bound(most)
            self.assertEqual((most, self.adaptive.limit), (most, expected))

    def test_bounded(self) -> None:
        """However many responses come in a second, so many are kept, the last ones."""
        self.window(0.01)
        for seconds in (5.0, 0.01):
            for _ in range(REMEMBERED):
                self.adaptive.sampled(seconds, 8, self.now)
        self.now += 1.0
        self.adaptive.tick(0, self.now)
        self.assertEqual((self.adaptive.lately, self.adaptive.limit), (0.01, 16))

    def test_anything(self) -> None:
        """Whatever it is told, the limit is within its bounds."""
        for seed in range(30):
            random = Random(seed)
            adaptive, now = Adaptive(AdaptiveSpec(3, 50)), 0.0
            for _ in range(500):
                for _ in range(random.choice((0, 1, 5, 60))):
                    adaptive.sampled(random.expovariate(1) ** 3, random.randrange(60), now)
                if random.random() < 0.1:
                    adaptive.failed(now)
                now += random.choice((1.0, 1.0, 7.0, -3.0))
                before = adaptive.limit
                self.assertEqual(adaptive.tick(random.randrange(60), now), adaptive.limit != before)
                self.assertTrue(3 <= adaptive.limit <= 50, seed)
