"""Do curl and nginx notice that the daemon is between them?"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from tests.support.daemon import DaemonCase
from tests.support.services import Service, nginx
from tests.support.stage import Place, program

LARGE = 20 * 1024 * 1024


def sha256(path: Path) -> str:
    """The checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Http(DaemonCase):
    """curl and nginx; `make` in each test says what the two speak over."""

    async def curl(self, *arguments: Any, **how: Any) -> bytes:
        return await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--fail", *arguments, **how
        )

    async def goes_both_ways(self, server: Service, front: Place) -> None:
        """Send a large body through a daemon at ``front`` and fetch it again."""
        daemon = await self.relay(server.place, front=front)
        sent, got = self.stage.folder / "sent", self.stage.folder / "got"
        sent.write_bytes(os.urandom(LARGE))
        if front.port:
            where = ["http://" + str(front)]
        else:
            where = ["--unix-socket", front.host, "http://localhost"]
        url = f"{where.pop()}/large"
        await self.curl(*where, "--upload-file", sent, url)
        self.assertEqual(sha256(server.folder / "files" / "large"), sha256(sent))
        await self.curl(*where, "--output", got, url)
        self.assertEqual(sha256(got), sha256(sent))

        up, down = await daemon.records(2)
        self.assertGreater(up["bytes_in"], LARGE)
        self.assertGreater(down["bytes_out"], LARGE)
        self.assertEqual([up["reason"], down["reason"]], ["client_finished", "client_finished"])

    async def test_large_bodies(self) -> None:
        """20 MB arrive unchanged at the server, and come back unchanged."""
        await self.goes_both_ways(await nginx(self.stage), self.stage.tcp())

    async def test_ipv6(self) -> None:
        """The same over IPv6 on both sides."""
        await self.goes_both_ways(await nginx(self.stage, self.stage.tcp6()), self.stage.tcp6())

    async def test_unix_sockets(self) -> None:
        """The same over unix sockets on both sides."""
        server = await nginx(self.stage, self.stage.unix("server.sock"))
        await self.goes_both_ways(server, self.stage.unix("front.sock"))

    async def test_keep_alive(self) -> None:
        """A client that keeps its connection for many requests has one connection, and one record."""
        server = await nginx(self.stage)
        (server.folder / "files" / "small").write_bytes(b"small\n")
        daemon = await self.relay(server.place)
        out = await self.curl(f"http://{daemon.front}/small?[1-100]")
        self.assertEqual(out, b"small\n" * 100)
        record = await daemon.record()
        self.assertEqual((record["reason"], record["retries"]), ("client_finished", 0))

    async def test_turns(self) -> None:
        """With balance = roundrobin three servers take turns."""
        servers = [await nginx(self.stage, name=name) for name in "abc"]
        for server in servers:
            (server.folder / "files" / "name").write_text(server.folder.name)
        daemon = await self.relay(*(server.place for server in servers), pool="balance = roundrobin")
        out = await self.curl(
            "--no-keepalive", "--header", "Connection: close", f"http://{daemon.front}/name?[1-9]"
        )
        self.assertEqual(out, b"abc" * 3)

    async def test_parallel(self) -> None:
        """Many connections at once each get their own answer."""
        server = await nginx(self.stage)
        for number in range(200):
            (server.folder / "files" / str(number)).write_bytes(b"%d " % number * 5000)
        daemon = await self.relay(server.place)
        await self.curl(
            "--parallel", "--parallel-immediate", "--parallel-max", "100", "--output", "got-#1",
            f"http://{daemon.front}/[0-199]",
        )  # fmt: skip
        for number in range(200):
            self.assertEqual((self.stage.folder / f"got-{number}").read_bytes(), b"%d " % number * 5000)
