"""Does the daemon stop in order: what is under way ends, what is late is refused, and it is over in time?"""

from __future__ import annotations

import signal
import socket

from tests.support.daemon import Daemon, DaemonCase, start
from tests.support.peer import SocketPeer, listening_socket
from tests.support.services import redis
from tests.support.stage import PATIENCE, Place

MUCH = 16 * 1024 * 1024  # more than the kernel takes for a client that does not read
SMALL_BUFFER = 64 * 1024


class Stop(DaemonCase):
    """SIGTERM while a client is connected; the server is played by the test."""

    async def begin(self, proxyd: str) -> tuple[Daemon, SocketPeer, SocketPeer]:
        """Start a daemon; return it with a client that has said something, and the server that heard it."""
        listener = listening_socket(socket.AF_INET, SMALL_BUFFER)
        self.addCleanup(listener.close)
        listener.settimeout(PATIENCE)
        daemon = await self.relay(Place(*listener.getsockname()), proxyd=proxyd)
        client = self.stage.connect(daemon.front)
        server = SocketPeer(self.stage.reactor, listener.accept()[0])
        self.addCleanup(server.close)
        client.send(b"hello")
        await server.receives(5)
        return daemon, client, server

    async def stopping(self, daemon: Daemon) -> None:
        daemon.child.signal("TERM")
        await daemon.child.says(rb"stopping: up to \S+ s for 1 open connection to end")

    async def ends(self, daemon: Daemon) -> None:
        self.assertEqual(await daemon.child.ends(), -signal.SIGTERM)
        self.assertIn("Server Shut Down.", daemon.log)
        self.assertNotIn("Traceback", daemon.log)
        self.assertNotIn("Unhandled", daemon.log)

    async def test_hangup(self) -> None:
        """SIGHUP, which others take for a reload, ends nothing: the log says so, and clients go on."""
        daemon, client, server = await self.begin("drain_timeout = 10m")
        daemon.child.signal("HUP")
        await daemon.child.says(rb"SIGHUP: there is no reload yet; nothing changed")
        server.send(b"still here")
        await client.receives(10)
        client.finish()
        server.finish()
        self.assertEqual((await daemon.record())["bytes_out"], 10)

    async def test_open_transfer_finishes(self) -> None:
        """What is under way goes on to its end while new clients are refused; then the daemon is gone."""
        daemon, client, server = await self.begin("drain_timeout = 10m")
        await self.stopping(daemon)
        self.assertRaises(ConnectionRefusedError, daemon.front.socket)
        self.assertEqual(await daemon.open_connections(), 1)  # the drain can be watched
        data = bytes(range(256)) * (MUCH // 256)
        server.send(data)
        server.finish()
        self.assertEqual(await client.sees_end(), data)
        client.send(b" and thanks")
        client.finish()
        self.assertEqual(await server.sees_end(), b"hello and thanks")
        await self.ends(daemon)
        record = await daemon.record()
        self.assertEqual(
            (record["reason"], record["bytes_in"], record["bytes_out"]), ("server_finished", 16, MUCH)
        )

    async def test_inherited_socket(self) -> None:
        """A socket that the parent passed and let go of refuses new clients like any other."""
        front = listening_socket(socket.AF_INET, SMALL_BUFFER)
        place = Place(*front.getsockname())
        server = await redis(self.stage)
        daemon = await start(
            self.stage,
            f"[listener front]\nbind = fd:7\npool = servers\n[pool servers]\nserver a = {server.place}\n",
            place,
            fds={7: front.fileno()},
        )
        front.close()
        client = self.stage.connect(place)
        client.send(b"PING\r\n")
        await client.receives(7)
        await self.stopping(daemon)
        self.assertRaises(ConnectionRefusedError, place.socket)
        client.finish()
        await client.sees_end()
        await self.ends(daemon)

    async def test_drain_timeout(self) -> None:
        """What has not ended within drain_timeout is cut, and recorded as drained."""
        daemon, client, server = await self.begin("drain_timeout = 300ms")
        await self.stopping(daemon)
        await client.sees_either()
        await server.sees_either()
        await self.ends(daemon)
        record = await daemon.record()
        self.assertEqual((record["reason"], record["fault"]), ("drained", "proxy"))
        self.assertIn("stopping: 1 connection cut short", daemon.log)

    async def test_client_that_does_not_read(self) -> None:
        """A client that has stopped reading does not hold up the end."""
        daemon, client, server = await self.begin("drain_timeout = 300ms")
        client.stop_reading()
        server.send(bytes(MUCH))
        await self.stopping(daemon)
        await server.sees_either()
        await self.ends(daemon)
        self.assertEqual((await daemon.record())["reason"], "drained")

    async def test_second_signal(self) -> None:
        """A second SIGTERM does not wait for drain_timeout."""
        daemon, client, server = await self.begin("drain_timeout = 10m")
        await self.stopping(daemon)
        daemon.child.signal("TERM")
        await client.sees_either()
        await server.sees_either()
        await self.ends(daemon)
        self.assertEqual((await daemon.record())["reason"], "drained")
