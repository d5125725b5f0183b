"""Can one see what the checks of a server have found, and when they look again?"""

from __future__ import annotations

import errno

from attrs import evolve
from twisted.internet.error import ConnectError

from proxyd.config.address import TcpAddress
from proxyd.config.agent import AgentSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.policy.lots import PowerOfTwo
from proxyd.policy.pool import Pool
from proxyd.snapshots import CheckSnapshot
from tests.upkeep.checking import InMemory, no_delay, pool_of

FIRST = CheckSnapshot("web", "a", "", "tcp", "10.0.0.1:80", "checking", needed=1)


class Seen(InMemory):
    def test_one_after_another(self) -> None:
        """What was found, how long ago, what it took, how many are against the state, and the next one."""
        checks = self.check()
        self.assertEqual(list(checks.snapshots()), [FIRST])
        self.reactor.advance(0.25)
        self.accept()
        up = evolve(
            FIRST, state="up", needed=3, found="check passed", ago_seconds=0.0, took_seconds=0.25,
            next_seconds=4.75, passed=1,
        )  # fmt: skip
        self.assertEqual(list(checks.snapshots()), [up])
        self.reactor.advance(1)
        self.assertEqual(list(checks.snapshots()), [evolve(up, ago_seconds=1.0, next_seconds=3.75)])
        self.reactor.advance(3.75)
        self.refuse()
        down = evolve(up, found="connection refused", took_seconds=0.0, against=1, failed=1, next_seconds=5.0)
        self.assertEqual(list(checks.snapshots()), [down])
        self.next_check()
        self.fail_with(ConnectError(errno.EMFILE, "Too many open files"))
        self.assertEqual(list(checks.snapshots()), [evolve(down, found="too many open files", unable=1)])
        self.assertStill(checks)

    def test_resting(self) -> None:
        """It is said that nobody looks, and why: in maintenance, or as long as a name has not resolved."""
        self.pool = pool_of(TcpAddress("10.0.0.1", 80), TcpAddress("db.example", 80))
        checks = self.check()
        self.accept()
        self.pool.disable(self.pool.servers[0], "disk", 0.0)
        self.assertEqual(
            [seen.rests for seen in checks.snapshots()],
            ["it is in maintenance", "its name has not resolved yet"],
        )
        self.assertStill(checks)

    def test_agents(self) -> None:
        """An agent is seen like a check: what it has told, and what could not be done of that."""
        agent = AgentSpec(99, interval=4.0, timeout=1.0)
        spec = PoolSpec("web", (ServerSpec("a", TcpAddress("10.0.0.1", 80)),), agent_check=agent)
        self.pool = Pool(spec, PowerOfTwo(no_delay))
        checks = self.check()
        found = []
        for line in (b"50% maxconn:3 up #all \x1b[31mwell\n", b"down\n", b"gibberish\n", b"\n"):
            self.accept().protocol.dataReceived(line)
            (seen,) = checks.snapshots()
            found.append((seen.kind, seen.address, seen.state, seen.found, seen.passed, seen.failed))
            self.reactor.advance(4)
        self.assertEqual(
            found,
            [
                ("agent", "10.0.0.1:99", "up", "50% maxconn:3 up (all \\x1b[31mwell)", 1, 0),
                ("agent", "10.0.0.1:99", "down", "down", 2, 0),
                ("agent", "10.0.0.1:99", "down", "sent b'gibberish', which is no word of an agent", 2, 1),
                ("agent", "10.0.0.1:99", "down", "nothing", 3, 1),
            ],
        )
        self.assertStill(checks)
