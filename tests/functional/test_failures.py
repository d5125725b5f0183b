"""What do clients and the access log see when a server, or a client, fails?"""

from __future__ import annotations

import os
import socket
from typing import Any

from tests.support.daemon import DaemonCase, tcp_states
from tests.support.services import nginx, postgres_program, postgresql
from tests.support.stage import Child, Place, Stage, program

LARGE = 64 * 1024 * 1024  # more than all buffers on the way hold


def black_hole(stage: Stage) -> Place:
    """A server whose host answers no SYN: its queue of new connections is full, and nobody accepts them."""
    place = stage.tcp()
    server = socket.socket()
    stage.add_cleanup(server.close)
    server.bind((place.host, place.port))
    server.listen(0)
    for _ in range(4):  # the queue takes one or two, whatever it is told
        client = socket.socket()
        stage.add_cleanup(client.close)
        client.setblocking(False)
        client.connect_ex((place.host, place.port))
    return place


class Unreachable(DaemonCase):
    """Servers that cannot be reached when a client comes."""

    async def served_by(self, *servers: Place, pool: str = "balance = roundrobin") -> dict[str, Any]:
        """Fetch a page through a daemon before nginx and these servers; return the record."""
        web = await nginx(self.stage)
        (web.folder / "files" / "page").write_bytes(b"served\n")
        daemon = await self.relay(*servers, web.place, pool=pool)
        out = await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--fail", f"http://{daemon.front}/page"
        )
        self.assertEqual(out, b"served\n")
        return await daemon.record()

    async def refused_by(self, *servers: Place, pool: str = "", **how: Any) -> dict[str, Any]:
        """Connect to a daemon before these servers; the client is closed, and the record says why."""
        daemon = await self.relay(*servers, pool=pool, **how)
        peer = self.stage.connect(daemon.front)
        await peer.sees_either()
        self.assertEqual(peer.count, 0)
        return await daemon.record()

    async def test_one_down(self) -> None:
        """A server that refuses is passed over: the client is served by the next and notices nothing."""
        record = await self.served_by(self.stage.tcp())
        self.assertEqual((record["server"], record["retries"], record["reason"]), ("b", 1, "client_finished"))

    async def test_one_socket_missing(self) -> None:
        """A unix socket that is not there is passed over as well."""
        record = await self.served_by(self.stage.unix("nobody.sock"))
        self.assertEqual((record["server"], record["retries"]), ("b", 1))

    async def test_black_hole(self) -> None:
        """A server that does not answer is given up after connect_timeout, and the next one serves."""
        record = await self.served_by(
            black_hole(self.stage), pool="balance = roundrobin\nconnect_timeout = 500ms"
        )
        self.assertEqual((record["server"], record["retries"]), ("b", 1))
        self.assertGreaterEqual(record["total_seconds"], 0.5)

    async def test_down_and_known(self) -> None:
        """Once the checks have found a server down, no client waits for it."""
        web = await nginx(self.stage)
        (web.folder / "files" / "page").write_bytes(b"served\n")
        daemon = await self.relay(
            self.stage.tcp(),
            web.place,
            pool="balance = roundrobin\ncheck = tcp interval=1s timeout=500ms",
        )
        await daemon.child.says(rb"server a \(.*\) is down")
        await daemon.child.says(rb"server b \(.*\) is up")
        out = await self.stage.check(
            program("curl", "curl"), "--silent", "--fail", "--no-keepalive", "-H", "Connection: close",
            f"http://{daemon.front}/page?[1-4]",
        )  # fmt: skip
        self.assertEqual(out, b"served\n" * 4)
        for record in await daemon.records(4):
            self.assertEqual((record["server"], record["retries"]), ("b", 0))

    async def test_all_down(self) -> None:
        """With every server refusing, the client is closed at once, and the record says so."""
        record = await self.refused_by(self.stage.tcp(), self.stage.tcp())
        self.assertEqual((record["reason"], record["fault"]), ("connect_refused", "server"))
        self.assertEqual((record["detail"], record["retries"]), ("Connection refused", 1))
        self.assertIsNone(record["connect_seconds"])

    async def test_all_known_down(self) -> None:
        """With every server found down by the checks, no server is tried."""
        daemon = await self.relay(self.stage.tcp(), pool="check = tcp interval=1s timeout=500ms")
        await daemon.child.says(rb"server a \(.*\) is down")
        peer = self.stage.connect(daemon.front)
        await peer.sees_end()
        record = await daemon.record()
        self.assertEqual((record["reason"], record["fault"], record["server"]), ("no_server", "server", ""))

    async def test_all_black_holes(self) -> None:
        """With no server answering, the client is closed after connect_timeout."""
        record = await self.refused_by(black_hole(self.stage), pool="connect_timeout = 300ms")
        self.assertEqual((record["reason"], record["fault"]), ("connect_timeout", "server"))
        self.assertIn("0.3 s", record["detail"])

    async def test_unknown_name(self) -> None:
        """A name that does not resolve is told with the name, and the next server serves."""
        record = await self.served_by(Place("no-such-host.invalid", 80))
        self.assertEqual((record["server"], record["retries"]), ("b", 1))

    async def test_only_unknown_name(self) -> None:
        """With no other server, the record says which name did not resolve."""
        record = await self.refused_by(Place("no-such-host.invalid", 80))
        self.assertEqual((record["reason"], record["fault"]), ("name_failed", "server"))
        self.assertIn("no-such-host.invalid", record["detail"])


class CutShort(DaemonCase):
    """Servers and clients that die in the middle of a transfer."""

    async def transfer(self, upload: bool = False) -> None:
        """Begin a slow transfer with curl, and wait until it is under way."""
        self.web = await nginx(self.stage)
        large = self.web.folder / "files" / "large"
        large.write_bytes(os.urandom(1024) * (LARGE // 1024))
        self.daemon = await self.relay(self.web.place)
        self.curl: Child = self.stage.spawn(
            program("curl", "curl"), "--silent", "--show-error", "--limit-rate", "1M", "--output", "got",
            *(("--upload-file", str(large)) if upload else ()), f"http://{self.daemon.front}/large",
        )  # fmt: skip
        await self.moves()

    async def moves(self) -> None:
        """Wait until some bytes more have moved."""
        enough = await self.moved() + 200_000
        for _ in range(1000):
            if await self.moved() > enough:
                return
        self.fail("nothing moves")

    async def moved(self) -> float:
        metrics = await self.daemon.metrics()
        return sum(metrics[name] for name in metrics if name.startswith("proxyd_bytes_total{"))

    async def test_server_dies(self) -> None:
        """A server that dies while it sends ends the download: the client knows that it is not whole."""
        await self.transfer()
        await self.web.child.stop()
        # 18: fewer bytes than were promised; 56: a reset.
        self.assertIn(await self.curl.ends(), (18, 56), self.curl)
        record = await self.daemon.record()
        self.assertIn(record["reason"], ("server_finished", "server_reset"))
        self.assertLess(record["bytes_out"], LARGE)

    async def test_server_resets(self) -> None:
        """A server that dies with an upload unread resets the connection, and so does the daemon."""
        await self.transfer(upload=True)
        self.web.child.signal("STOP")
        await self.moves()
        await self.web.child.stop()
        self.assertIn(await self.curl.ends(), (55, 56), self.curl)
        record = await self.daemon.record()
        self.assertEqual((record["reason"], record["fault"]), ("server_reset", "server"))

    async def test_client_dies(self) -> None:
        """A client that dies with a download unread resets the connection; the server is let go."""
        await self.transfer()
        self.curl.signal("STOP")
        await self.curl.stop()
        record = await self.daemon.record()
        self.assertEqual((record["reason"], record["fault"]), ("client_reset", "client"))
        self.assertLess(record["bytes_out"], LARGE)
        await self.stage.until(
            lambda: "ESTABLISHED" not in tcp_states(self.web.child.pid), "nginx to lose its client"
        )

    async def test_client_resets_while_waiting(self) -> None:
        """A client that leaves before a server was reached is recorded as gone."""
        daemon = await self.relay(black_hole(self.stage), pool="connect_timeout = 30s")
        peer = self.stage.connect(daemon.front)
        await self.stage.until(lambda: "SYN_SENT" in tcp_states(daemon.child.pid), "a dial")
        peer.reset()
        record = await daemon.record()
        self.assertEqual((record["reason"], record["fault"]), ("client_gone", "client"))

    async def test_backend_terminated(self) -> None:
        """PostgreSQL's farewell reaches the client before the end of the connection does."""
        server = await postgresql(self.stage)
        daemon = await self.relay(server.place)
        psql = [postgres_program("psql"), "--no-psqlrc", "-h", daemon.front.host, "-U", "postgres"]
        finished = await self.stage.run(
            *psql, "-p", str(daemon.front.port), "-c", "SELECT pg_terminate_backend(pg_backend_pid())"
        )
        self.assertEqual(finished.status, 2)
        self.assertIn(b"terminating connection due to administrator command", finished.err)
        record = await daemon.record()
        self.assertEqual(record["reason"], "server_finished")
