"""Does the soak's load do what it says, and does it notice a wrong byte?"""

from __future__ import annotations

import socket
from random import Random
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory

from proxyd.config.address import TcpAddress
from tests.soak.talk import CONVERSATIONS, Client, Server, ServerFactory
from tests.support.case import AsyncCase
from tests.support.peer import SocketPeer
from tests.support.relay import Relay

SEEDS = 3
SHORT = 0.05  # seconds that a stall may last here
LIMIT = 0.5  # seconds that the relay's timers take
LOOKS = 1000


class Wrong(Server):
    """A server that changes a bit of whatever it sends."""

    def makeConnection(self, transport: Any) -> None:
        write = transport.write
        transport.write = lambda data: write(data[:-1] + bytes([data[-1] ^ 1]))
        super().makeConnection(transport)


class WrongFactory(Factory):
    noisy = False
    protocol = Wrong


class ConversationTests(AsyncCase):
    """Each conversation goes through a relay in this process."""

    def start(self, factory: Any) -> None:
        """A relay that leads to such a server."""
        anything: Any = reactor
        port = anything.listenTCP(0, factory, interface="127.0.0.1", backlog=511)
        self.addCleanup(port.stopListening)
        server = TcpAddress("127.0.0.1", port.getHost().port)
        self.relay = Relay(reactor, server, idle_timeout=LIMIT, half_closed_timeout=LIMIT)
        self.addCleanup(self.relay.stop)

    def connect(self, keep: bool) -> SocketPeer:
        peer = SocketPeer(reactor, socket.create_connection(("127.0.0.1", self.relay.address.port)), keep)
        self.addCleanup(peer.close)
        return peer

    async def check(self, conversation: Any) -> None:
        """It ends well, whatever chance brings, and the relay is left with nothing."""
        self.start(ServerFactory())
        for seed in range(SEEDS):
            client = Client(reactor, Random(seed), self.connect, SHORT)
            await conversation(client)
        for _ in range(LOOKS):
            if not self.relay.left():
                break
            await client.wait()
        self.assertEqual(self.relay.left(), [])
        self.assertGreaterEqual(len(self.relay.notebook.records), SEEDS)

    async def test_exchanges(self) -> None:
        """Questions and answers."""
        await self.check(Client.exchanges)

    async def test_both_ways(self) -> None:
        """Bulk and its echo."""
        await self.check(Client.both_ways)

    async def test_upload(self) -> None:
        """Bulk to the server."""
        await self.check(Client.upload)

    async def test_download(self) -> None:
        """Bulk from the server."""
        await self.check(Client.download)

    async def test_reset_by_client(self) -> None:
        """A client that leaves in the middle."""
        await self.check(Client.reset_by_client)

    async def test_reset_by_server(self) -> None:
        """A server that leaves in the middle."""
        await self.check(Client.reset_by_server)

    async def test_abandoned(self) -> None:
        """A client that falls silent, or reads no more."""
        await self.check(Client.abandoned)

    async def test_flood(self) -> None:
        """Many clients at once that want nothing."""
        await self.check(Client.flood)

    def test_all_are_tested(self) -> None:
        """Each conversation of the soak has its test above."""
        names = [conversation.__name__ for _, conversation in CONVERSATIONS]
        self.assertEqual([name for name in names if not hasattr(self, f"test_{name}")], [])

    async def test_a_wrong_byte_is_noticed(self) -> None:
        """A relay or server that changes a bit fails the soak."""
        self.start(WrongFactory())
        for conversation in (Client.both_ways, Client.upload, Client.download, Client.reset_by_server):
            try:
                await conversation(Client(reactor, Random(1), self.connect, SHORT))
            except AssertionError:
                continue
            self.fail(f"{conversation.__name__} has noticed nothing")
