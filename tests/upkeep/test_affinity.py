"""Does the next process know which clients are to come back?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from proxyd.config.address import TcpAddress
from proxyd.config.affinity import AffinitySpec, CookieSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.policy.affinity import SealedAffinity
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import RoundRobin
from proxyd.policy.pool import Pool
from proxyd.upkeep.affinity import SECTION, carry_tables_over, give_secrets
from proxyd.upkeep.statefile import StateFolder
from tests.support.case import Case
from tests.support.walltime import SetTime


class Restart(Case):
    """`carry_tables_over`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds)
        self.clock.advance(1000.0)
        self.path = Path(self.mktemp())
        self.path.mkdir()

    def process(self, affinity: bool = True) -> tuple[StateFolder, list[Pool]]:
        """The state folder and two pools of a daemon that has started."""
        folder = StateFolder(str(self.path), self.clock, lambda work: maybeDeferred(work), self.wall)
        servers = tuple(ServerSpec(name, TcpAddress("10.0.0.1", 80)) for name in "abc")
        spec = AffinitySpec("source", ttl=60.0) if affinity else None
        pools = [
            Pool(PoolSpec(name, servers, affinity=spec), RoundRobin(lambda: 0.0)) for name in ("one", "two")
        ]
        carry_tables_over(folder, pools, self.clock.seconds, self.wall)
        folder.start()
        return folder, pools

    def get(self, pool: Pool, number: int) -> str:
        server = pool.pick((), Arrival(f"10.0.0.{number}"), self.clock.seconds())
        assert server is not None
        return server.name

    def test_comes_back(self) -> None:
        """A client gets its server after a restart, as long as it would have without one."""
        folder, pools = self.process()
        self.assertEqual([self.get(pools[0], n) for n in (1, 2, 3)], [*"abc"])
        self.assertEqual(self.get(pools[1], 3), "a")
        self.clock.advance(20)
        self.successResultOf(folder.stop())
        self.clock.advance(30)
        _, pools = self.process()
        self.assertEqual([self.get(pools[0], n) for n in (3, 2)], [*"cb"])
        self.assertEqual(self.get(pools[1], 3), "a")
        self.clock.advance(10)
        self.assertEqual([self.get(pools[0], n) for n in (1, 3)], [*"ac"])
        assert pools[0].affinity is not None
        self.assertEqual(pools[0].affinity.misses, 1)

    def test_run_out(self) -> None:
        """What has run out meanwhile is swept away, without a client."""
        folder, pools = self.process()
        self.get(pools[0], 1)
        self.successResultOf(folder.stop())
        self.clock.advance(59)
        _, pools = self.process()
        assert pools[0].affinity is not None
        self.assertEqual(len(pools[0].affinity.table), 1)
        self.clock.advance(1)
        pools[0].tick(self.clock.seconds())
        self.assertEqual(len(pools[0].affinity.table), 0)

    def test_a_clock_that_was_set_back(self) -> None:
        """Nobody is remembered for longer than ttl."""
        folder, pools = self.process()
        self.get(pools[0], 1)
        self.successResultOf(folder.stop())
        self.wall.set(-990.0)
        _, pools = self.process()
        assert pools[0].affinity is not None
        self.assertEqual(pools[0].affinity.entries(self.clock.seconds(), 9)[0].left, 60.0)

    def test_another_clock(self) -> None:
        """From when the seconds of a process are counted is nothing to the next one, after a boot say."""
        folder, pools = self.process()
        self.get(pools[0], 1)
        self.clock.advance(20)
        self.successResultOf(folder.stop())
        self.clock.rightNow, self.wall = 3.0, SetTime(self.clock.seconds, 1047.0)
        _, pools = self.process()
        assert pools[0].affinity is not None
        (entry,) = pools[0].affinity.entries(3.0, 9)
        self.assertEqual((entry.server, entry.left), ("a", 10.0))

    def test_without(self) -> None:
        """Where nobody remembers nothing is kept, and from a file that makes no sense nothing is taken."""
        folder, _ = self.process(affinity=False)
        self.successResultOf(folder.stop())
        self.assertEqual([*self.path.iterdir()], [])
        folder, _ = self.process()
        self.successResultOf(folder.stop())
        file = self.path / f"{SECTION}.json"
        kept = json.loads(file.read_text())
        contents: list[Any] = [None, [], {"one": 1}, {"one": {"key": "source/32/64", "rows": [1]}}]
        for content in contents:
            file.write_text(json.dumps({**kept, "content": content}))
            _, pools = self.process()
            self.assertEqual(self.get(pools[0], 1), "a")


class Secrets(Case):
    """`give_secrets`."""

    def pool(self, **cookie: Any) -> Pool:
        spec = AffinitySpec("cookie", cookie=CookieSpec("SRV", **cookie))
        return Pool(PoolSpec("web", (), affinity=spec), RoundRobin(lambda: 0.0))

    def reads(self, pool: Pool, other: Pool) -> bool:
        """Whether the cookies of one pool are good in the other."""
        assert isinstance(pool.affinity, SealedAffinity) and isinstance(other.affinity, SealedAffinity)
        value = pool.affinity.give("a", b"a nonce.", False)[4:47]
        return bool(other.affinity.servers(value, Arrival(), 0.0))

    def test_given(self) -> None:
        """One that is written, one of a file, and else one that nobody has had before."""
        path = Path(self.mktemp())
        path.write_text("of sixteen letters\n")
        written, filed = self.pool(secret="of sixteen letters"), self.pool(secret_path=str(path))
        made, other = self.pool(), self.pool()
        self.assertEqual(give_secrets([written, filed, made, other]), [])
        self.assertTrue(self.reads(written, filed))
        self.assertTrue(self.reads(made, made))
        self.assertFalse(self.reads(made, other) or self.reads(made, written))

    def test_files_that_are_wrong(self) -> None:
        """They are told once, and no secret is left empty."""
        short, missing = Path(self.mktemp()), self.mktemp()
        short.write_text("short")
        pools = [
            self.pool(secret_path=str(short)),
            self.pool(secret_path=missing),
            self.pool(secret_path=missing),
        ]
        self.assertEqual(
            give_secrets(pools),
            [
                f"{short}: is shorter than 16 bytes, and could be guessed",
                f"{missing}: cannot be read: No such file or directory",
            ],
        )
        self.assertFalse(self.reads(pools[1], pools[2]))
