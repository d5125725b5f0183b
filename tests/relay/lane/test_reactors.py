"""The lane works under every reactor that can watch a descriptor, and outlives a lack of descriptors."""

from __future__ import annotations

import hashlib
import os
import sys
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from tests.support.case import AsyncCase
from tests.support.echo import EchoFactory
from tests.support.peer import Ended, SocketPeer
from tests.support.relay import REACTORS
from tests.support.stage import PYTHONPATH, Child, Place, Stage

BULK = 1_000_000
MANY = 1000
CLIENTS = 60
DESCRIPTORS = 48  # of which the process needs some ten for itself, and each connection two
FEW = 8  # connections that certainly fit


class RelayProcessCase(AsyncCase):
    """A test with a relay in a process of its own, and a server that echoes in this one."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.stage = Stage(reactor, self.addCleanup)
        anything: Any = reactor
        port = anything.listenTCP(0, EchoFactory(), interface="127.0.0.1", backlog=511)
        self.addCleanup(port.stopListening)
        self.server = port.getHost()

    async def start(self, name: str = "epoll", limit: int = 0) -> Child:
        """The relay's process, once it listens; ``front`` is where."""
        child = self.stage.spawn(
            sys.executable, "-m", "tests.support.relay",
            name, self.server.host, str(self.server.port), str(MANY),
            environment={"PYTHONPATH": PYTHONPATH}, limit=limit,
        )  # fmt: skip
        said = await child.says(rb"(\w+) listens on (\d+)")
        self.assertEqual(said[1].decode(), name)
        self.front = Place("127.0.0.1", int(said[2]))
        return child

    async def stop(self, child: Child) -> int:
        """Stop it; it must have left nothing; return how many connections it had."""
        child.signal("TERM")
        await child.ends()
        said = await child.says(rb"(\d+) records; left: (.*)")
        self.assertEqual(said[2].decode(), "[]")
        self.assertEqual(bytes(child.err), b"")
        return int(said[1])

    async def echo(self, data: bytes, half_close: bool = False) -> None:
        """A connection of its own; everything must come back."""
        peer = self.stage.connect(self.front, keep=False)
        peer.send(data)
        if half_close:
            peer.finish()
        await peer.receives(len(data))
        if not half_close:
            self.assertIs(peer.ended, Ended.NOT)
            peer.finish()
        await peer.sees_end()
        self.assertEqual((peer.count, peer.digest), (len(data), hashlib.sha256(data).hexdigest()))


class ReactorTests(RelayProcessCase):
    """The same relay under each of Twisted's reactors on Linux."""

    async def check(self, name: str) -> None:
        child = await self.start(name)
        data = Random(name).randbytes(BULK)
        silent = self.stage.connect(self.front)
        await self.echo(b"hello")
        await gatherResults(
            [Deferred.fromCoroutine(self.echo(data, half_close=bool(number % 2))) for number in range(6)]
        )
        gone = self.stage.connect(self.front)
        gone.send(b"x")
        await gone.receives(1)
        gone.reset()
        count = await self.stop(child)
        self.assertEqual(count, 9)
        await silent.sees_either()

    async def test_epoll(self) -> None:
        """Under epoll, Twisted's choice on Linux."""
        await self.check("epoll")

    async def test_poll(self) -> None:
        """Under poll."""
        await self.check("poll")

    async def test_select(self) -> None:
        """Under select."""
        await self.check("select")

    async def test_asyncio(self) -> None:
        """Under asyncio, where others share the loop."""
        await self.check("asyncio")

    def test_all_are_tested(self) -> None:
        """Each reactor that the process knows has its test above."""
        self.assertEqual({name for name in REACTORS if not hasattr(self, f"test_{name}")}, set())


class DescriptorsTests(RelayProcessCase):
    """The relay's process has few descriptors."""

    async def exchange(self, peer: SocketPeer, data: bytes) -> None:
        count = peer.count
        peer.send(data)
        await peer.receives(count + len(data))

    async def test_no_descriptor_left(self) -> None:
        """Those who are connected are served on, even with bulk; others once there are descriptors again."""
        child = await self.start(limit=DESCRIPTORS)
        clients = [self.stage.connect(self.front, keep=False) for _ in range(CLIENTS)]
        for client in clients:
            client.send(b"x")

        def served() -> list[SocketPeer]:
            return [client for client in clients if client.count and client.ended is Ended.NOT]

        await self.stage.until(
            lambda: len(served()) > FEW and any(client.ended is not Ended.NOT for client in clients),
            "many to be served, and somebody to be turned away",
        )
        lucky = served()
        self.assertLess(len(lucky), DESCRIPTORS // 2)
        await gatherResults(
            [Deferred.fromCoroutine(self.exchange(client, os.urandom(BULK // 4))) for client in lucky]
        )
        for client in clients:
            if client not in lucky[:FEW]:
                client.reset()
        await self.echo(b"hello")
        for client in lucky[:FEW]:
            await self.exchange(client, b"still here")
        await self.stop(child)
        for client in lucky[:FEW]:
            await client.sees_either()
