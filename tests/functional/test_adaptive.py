"""Is a server that gets in its own way given as many connections as it can do something with?"""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred, gatherResults

from tests.support.crowded import KNEE, LINE
from tests.support.daemon import Daemon, DaemonCase
from tests.support.peer import SocketPeer
from tests.support.stage import PYTHONPATH, Place

CLIENTS = 60  # at a time, five times what the server can do something with

CROWDED = 2 * KNEE  # connections, with which it does half of what it could


class Crowd(DaemonCase):
    async def start_with(self, most: str) -> tuple[Daemon, Place]:
        server, front = self.stage.tcp(), self.stage.tcp()
        child = self.stage.spawn(
            sys.executable, "-m", "tests.support.crowded", server.host, str(server.port),
            environment={"PYTHONPATH": PYTHONPATH},
        )  # fmt: skip
        await child.says(rb"serving")
        text = (
            f"[listener front]\nbind = {front.bind}\npool = servers\n"
            f"[pool servers]\nserver a = {server} max_connections={most}\nqueue = wait=1m\n"
        )
        return await self.start(text, front), front

    async def ask(self, front: Place, times: int) -> list[int]:
        """All clients ask so many times each, one time after another; what they were told."""
        told: list[int] = []

        async def client() -> None:
            for _ in range(times):
                peer = SocketPeer(self.stage.reactor, front.socket())
                try:
                    peer.send(b"?")
                    told.append(int(await peer.receives(LINE)))
                    await peer.sees_end()
                finally:
                    peer.close()

        await gatherResults([Deferred.fromCoroutine(client()) for _ in range(CLIENTS)], consumeErrors=True)
        return told

    async def test_near_its_knee(self) -> None:
        """The server has about as many as it can use; all clients are served, and few of them in a crowd."""
        daemon, front = await self.start_with("adaptive")
        told = await self.ask(front, 40)
        self.assertEqual(len(told), CLIENTS * 40)
        self.assertLessEqual(max(told), 3 * KNEE)
        lately = told[len(told) // 2 :]
        self.assertGreater(sum(count < CROWDED for count in lately), 0.9 * len(lately))
        self.assertGreater(sum(lately) / len(lately), KNEE / 2)
        limit = (await daemon.metrics())['proxyd_server_max_connections{pool="servers",server="a"}']
        self.assertLessEqual(limit, 3 * KNEE)
        records = await daemon.records(CLIENTS * 40)
        self.assertEqual({record["reason"] for record in records}, {"server_finished"})

    async def test_a_limit_that_is_too_high(self) -> None:
        """With a fixed limit that somebody has guessed too high, all of them crowd."""
        _, front = await self.start_with("1000")
        told = await self.ask(front, 3)
        self.assertEqual(max(told), CLIENTS)
        self.assertGreater(sum(count >= CROWDED for count in told), 0.8 * len(told))
