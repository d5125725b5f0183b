"""What happens when more clients come than the daemon can serve?"""

from __future__ import annotations

from tests.support.daemon import Daemon, DaemonCase, tcp_states
from tests.support.peer import Ended, SocketPeer
from tests.support.services import redis

PING = b"PING\r\n"
PONG = b"+PONG\r\n"


class Full(DaemonCase):
    """The server is Redis, because one word makes it answer."""

    def ping(self, daemon: Daemon) -> SocketPeer:
        """A new client that has asked."""
        client = self.stage.connect(daemon.front)
        client.send(PING)
        return client

    async def test_descriptors(self) -> None:
        """
        With too few descriptors those who are connected go on, the others wait or are turned away, the
        log says so once, and when some have left the next are served.
        """
        server = await redis(self.stage)
        daemon = await self.relay(server.place, proxyd="max_connections = 1000", limit=64)
        self.assertIn("max_connections = 1000 may not be reached", daemon.log)
        clients = [self.ping(daemon) for _ in range(60)]
        await daemon.child.says(rb"no file descriptor left with \d+ connections open")
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

        for client in served:
            client.close()
        waiting = [client for client in clients if client not in served]
        await self.stage.until(
            lambda: all(client.count or client.ended is not Ended.NOT for client in waiting),
            "everyone who waited to be served or turned away",
        )
        for client in waiting:
            client.close()
        await daemon.leaves_nothing()
        self.assertEqual(await self.ping(daemon).receives(len(PONG)), PONG)

        # Every client was told of once: served, or turned away for want of a descriptor.
        records = await daemon.records(60)
        self.assertEqual(len(records), 60)
        self.assertLessEqual(
            {record["reason"] for record in records}, {"client_finished", "client_reset", "descriptors"}
        )

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
