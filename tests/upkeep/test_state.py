"""Does what time alone brings come?"""

from __future__ import annotations

import os

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from proxyd.config.address import TcpAddress
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.policy.lots import Random
from proxyd.policy.pool import Pool
from proxyd.policy.state import Change, State
from proxyd.upkeep.state import Turns, carry_over
from proxyd.upkeep.statefile import StateFolder
from tests.support.case import Case
from tests.support.walltime import SetTime


class Time(Case):
    """Ejections end and slow starts go on, as long as it runs."""

    def setUp(self) -> None:
        self.clock = Clock()
        servers = tuple(ServerSpec(name, TcpAddress("10.0.0.1", 80)) for name in "ab")
        self.pools = [Pool(PoolSpec(name, servers), Random(lambda: 0.0)) for name in ("one", "two")]
        self.turns = Turns(self.clock, self.pools)

    def test_time_passes(self) -> None:
        """A server returns when its time is over, and has its whole share slow_start later."""
        a = self.pools[0].servers[0]
        self.turns.start()
        self.pools[0].eject(a, 10.0, "", self.clock.seconds())
        self.clock.pump([1.0] * 9)
        self.assertIs(a.state, State.EJECTED)
        self.clock.pump([1.0] * 2)
        self.assertIs(a.state, State.UP)
        self.assertLess(a.effective_weight, 1.0)
        self.clock.pump([1.0] * 30)
        self.assertEqual(a.effective_weight, 1.0)
        self.turns.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_fault(self) -> None:
        """A fault of our own in one pool is logged, and the others and the next second are looked after."""

        def fail(change: Change) -> None:
            raise ZeroDivisionError

        self.pools[0].watch(fail)
        self.turns.start()
        self.pools[1].eject(self.pools[1].servers[1], 1.0, "", 0.0)
        with self.assertRaises(ZeroDivisionError):
            self.pools[0].eject(self.pools[0].servers[0], 1.0, "", 0.0)
        self.clock.advance(1.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(self.pools[1].servers[1].state, State.UP)
        self.turns.stop()

    def test_never_begun(self) -> None:
        """A stop without a start is none."""
        self.turns.stop()


class CarriedOver(Case):
    """From one process to the next."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds)
        self.path = self.mktemp()
        os.mkdir(self.path)

    def process(self, *names: str) -> tuple[Pool, StateFolder]:
        """A process begins that has these servers."""
        servers = tuple(ServerSpec(name, TcpAddress("10.0.0.1", 80)) for name in names)
        pool = Pool(PoolSpec("web", servers), Random(lambda: 0.0))
        folder = StateFolder(self.path, self.clock, maybeDeferred, self.wall)
        carry_over(folder, [pool], self.clock.seconds(), self.wall)
        folder.start()
        return pool, folder

    def test_drained(self) -> None:
        """A server that was drained is drained, also if it comes later, and a line of the log says so."""
        pool, folder = self.process("a", "b")
        pool.drain(pool.servers[1], "upgrade", 1.0)
        self.successResultOf(folder.stop())
        for names in (("a", "b"), ("a",)):
            with capturedLogs() as events:
                pool, folder = self.process(*names)
                if "b" not in names:
                    pool.add([ServerSpec("b", TcpAddress("10.0.0.1", 80))], "its name leads there", 2.0)
            self.assertIs(pool.servers[1].state, State.DRAINING)
            self.assertEqual(
                [formatEvent(event) for event in events],
                ["[pool web] server b (10.0.0.1:80) is draining as before, weight 1: upgrade"],
            )
            self.successResultOf(folder.stop())

    def test_gone_and_back(self) -> None:
        """What operators have done holds when an address has gone and is there again; nothing else does."""
        pool, folder = self.process("o")
        specs = [ServerSpec(name, TcpAddress("10.0.0.1", 80)) for name in "abcde"]
        a, b, c, d, e = pool.add(specs, "the name leads there", 1.0)
        pool.drain(a, "kernel", 2.0)
        pool.weigh(b, 7, "much memory", 2.0)
        pool.eject(c, 900.0, "refused", 2.0)
        pool.drain(d, "gone", 3.0)  # as a server with open connections is when its name leads elsewhere
        pool.weigh(d, 3, "", 3.0)
        pool.remove([a, b, c, d, e], "gone", 4.0)
        found = pool.add(specs, "the name leads there", 100.0)
        self.assertEqual(
            [(server.state.value, server.why, server.since, server.weight) for server in found],
            [
                ("draining", "kernel", 2.0, 1),
                ("up", "the name leads there", 100.0, 7),
                ("up", "the name leads there", 100.0, 1),
                ("up", "the name leads there", 100.0, 3),
                ("up", "the name leads there", 100.0, 1),
            ],
        )
        self.assertEqual([server.effective_weight / server.weight for server in found], [1] + [1 / 16] * 4)
        pool.enable(found[0], "", 101.0)
        pool.remove(found, "gone", 102.0)
        found = pool.add(specs, "the name leads there", 103.0)
        self.assertEqual([server.state for server in found], [State.UP] * 5)
        self.successResultOf(folder.stop())

    def test_foreign(self) -> None:
        """A file that has something else is told, left out, and written anew."""
        folder = StateFolder(self.path, self.clock, maybeDeferred, self.wall)
        folder.keep("servers", lambda: ["nobody"])
        folder.start()
        self.successResultOf(folder.stop())
        with capturedLogs() as events:
            pool, folder = self.process("a")
        self.assertEqual(
            [formatEvent(event) for event in events],
            [f"{self.path}/servers.json is left out: 'nobody' is no server"],
        )
        self.assertIs(pool.servers[0].state, State.UP)
        self.successResultOf(folder.stop())
        kept = folder.read("servers")
        assert kept is not None
        self.assertEqual([server["name"] for server in kept[0]], ["a"])
