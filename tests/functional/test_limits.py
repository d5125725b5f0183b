"""What happens when more clients come than the daemon can serve?"""

from __future__ import annotations

from tests.support.daemon import Daemon, DaemonCase, tcp_states
from tests.support.peer import Ended, SocketPeer
from tests.support.services import redis

PING = b"PING\r\n"
PONG = b"+PONG\r\n"

MOST_TURNED_AWAY = 2  # the one for whom no server could be dialed, and the one behind it


class Full(DaemonCase):
    """The server is Redis, because one word makes it answer."""

    def ping(self, daemon: Daemon) -> SocketPeer:
        """A new client that has asked."""
        client = self.stage.connect(daemon.front)
        client.send(PING)
        return client

    async def answered(self, client: SocketPeer) -> None:
        """Wait until the client has an answer, or was turned away."""
        await self.stage.until(lambda: client.count or client.ended is not Ended.NOT, "an answer")

    async def test_an_even_number_of_descriptors(self) -> None:
        """There may be none left for the next client ..."""
        await self.too_few_descriptors(50)

    async def test_an_odd_number_of_descriptors(self) -> None:
        """... or one, with which it is accepted, but no server can be dialed for it."""
        await self.too_few_descriptors(51)

    async def test_an_odd_number_on_the_stock_datapath(self) -> None:
        """Twisted's transports say only in the next turn that a dial had no descriptor."""
        await self.too_few_descriptors(51, "datapath = stock")

    async def test_an_even_number_on_the_stock_datapath(self) -> None:
        """Even or odd depends on what else is open, and that depends on the datapath."""
        await self.too_few_descriptors(50, "datapath = stock")

    async def too_few_descriptors(self, limit: int, listener: str = "") -> None:
        """
        With too few descriptors those who are connected go on, one client pays for the discovery, the
        others wait and are served when some have left, and the log says so once.
        """
        server = await redis(self.stage)
        daemon = await self.relay(
            server.place, proxyd="max_connections = 1000", listener=listener, limit=limit
        )
        self.assertIn("max_connections = 1000 may not be reached", daemon.log)
        clients = [self.ping(daemon) for _ in range(60)]
        await daemon.child.says(rb"no file descriptor left \(connections open: \d+\)")
        await self.stage.until(
            lambda: (
                10
                < sum(client.count > 0 for client in clients)
                == tcp_states(server.child.pid).count("ESTABLISHED")
            ),
            "everyone who has a server to be served",
        )
        served = [client for client in clients if client.count]
        for asked in range(2, 20):  # again and again, while the listener tries to go on
            for client in served:
                client.send(PING)
            for client in served:
                await client.receives(asked * len(PONG))
        self.assertEqual(daemon.log.count("no file descriptor left"), 1)

        for client in clients:  # whenever one leaves, there is room for the next
            await self.answered(client)
            client.close()
        turned_away = [client for client in clients if not client.count]
        self.assertLessEqual(len(turned_away), MOST_TURNED_AWAY)
        await daemon.leaves_nothing()
        self.assertEqual(await self.ping(daemon).receives(len(PONG)), PONG)

        # Every client was told of once: served, or turned away for want of a descriptor.
        records = await daemon.records(60)
        self.assertEqual(len(records), 60)
        reasons = [record["reason"] for record in records]
        self.assertLessEqual(set(reasons), {"client_finished", "client_reset", "descriptors"})
        self.assertEqual(reasons.count("descriptors"), len(turned_away))

    async def test_max_connections(self) -> None:
        """Clients beyond max_connections wait, are served as soon as one ends, and none is turned away."""
        server = await redis(self.stage)
        daemon = await self.relay(server.place, proxyd="max_connections = 2")
        clients = []
        for _ in range(2):
            clients.append(self.ping(daemon))
            await clients[-1].receives(len(PONG))
        clients += [self.ping(daemon) for _ in range(20)]
        self.assertEqual(await daemon.open_connections(), 2)
        self.assertEqual([client.count for client in clients[2:]], [0] * 20)
        for client in clients:
            await client.receives(len(PONG))
            client.finish()
        records = await daemon.records(22)
        self.assertEqual({record["reason"] for record in records}, {"client_finished"})
        self.assertEqual(daemon.log.count("max_connections: all 2 are in use"), 1)
