"""Are clients served while slowhttptest does its worst, and what is given up under load?"""

from __future__ import annotations

from tests.support.daemon import Daemon, DaemonCase, tcp_states
from tests.support.services import Service, nginx, redis
from tests.support.stage import program

MOST = 10  # connections that a client may have

ATTACKERS = 60

PAGE = b"hello\n"

LEGITIMATE = "127.0.0.99"  # whoever connects without saying from where is 127.0.0.1

MIN_RATE = "min_rate = 500/s after 2s"


class Slow(DaemonCase):
    """nginx serves a page, and something large; attacks are on all of its connections."""

    listener, pool = "", ""
    good = frozenset({"client_finished", "server_finished"})
    slow_headers = "client_too_slow"

    async def attack(self, *how: str, reason: str = "client_too_slow", reaches: bool = True) -> None:
        server = await nginx(self.stage)
        (server.folder / "files" / "page").write_bytes(PAGE)
        (server.folder / "files" / "large").write_bytes(b"x" * 4_000_000)
        daemon = await self.relay(
            server.place,
            listener=f"{self.listener}max_connections_per_client = {MOST}\n{MIN_RATE}\nsend_buffer = 64k",
            pool=self.pool,
        )
        url = f"http://{daemon.front}"
        attack = self.stage.spawn(
            program("slowhttptest", "slowhttptest"), "-c", str(ATTACKERS), "-r", "30", "-i", "1", "-l", "7",
            *(word.replace("URL", url) for word in how),
        )  # fmt: skip
        most, served = 0, 0
        while attack.status is None:
            said = await self.stage.run(
                program("curl", "curl"), "--silent", "--show-error", "--interface", LEGITIMATE, f"{url}/page"
            )
            self.assertEqual((said.status, said.out), (0, PAGE), said)
            served += 1
            most = max(most, connections(server))
        self.assertGreater(most, MOST // 2 if reaches else 0)  # or it was no attack
        await self.show(daemon, served, most, reason)

    async def show(self, daemon: Daemon, served: int, most: int, reason: str) -> None:
        """The page was always served; the slow ones had no more of the server than they may, and lost it."""
        self.assertGreater(served, 0)
        # Some that were cut are still to be closed by the server when others are there already.
        self.assertLessEqual(most, 2 * MOST)
        await daemon.leaves_nothing()
        await daemon.stop()  # by then every line is written
        records = await daemon.records(served + ATTACKERS // 2)
        blamed: dict[str, int] = {}
        for record in records:
            legitimate = record["client"].startswith(f"{LEGITIMATE}:")
            if legitimate:
                self.assertIn(record["reason"], self.good)
            else:
                blamed[record["reason"]] = blamed.get(record["reason"], 0) + 1
        # Of those who got in one or another ends by itself, as the attack does.
        self.assertGreaterEqual(blamed.get(reason, 0), MOST // 2, blamed)
        self.assertGreater(blamed.get("client_full", 0), 0, blamed)

    async def test_headers(self) -> None:
        """Requests that never end, a line a second (slowloris)."""
        await self.attack("-H", "-u", "URL/page", reason=self.slow_headers, reaches=not self.listener)

    async def test_body(self) -> None:
        """Uploads that never end, a few bytes a second."""
        await self.attack("-B", "-t", "PUT", "-s", "8192", "-u", "URL/upload")

    async def test_slow_read(self) -> None:
        """Answers that are taken five bytes a second, through windows of a few bytes."""
        await self.attack("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-u", "URL/large")


class SlowRequests(Slow):
    """The same where requests are understood: slow heads never reach a server."""

    listener = "protocol = http\nheader_timeout = 2s\n"
    pool = "idle_connection_timeout = 1s"
    good = frozenset({"answered"})
    slow_headers = "request_timeout"


def connections(server: Service) -> int:
    """How many connections the server has, in whatever state."""
    return sum(state != "LISTEN" for state in tcp_states(server.child.pid))


class Overload(DaemonCase):
    """Redis behind two listeners, of which one is less important, and a daemon that has few descriptors."""

    async def test_descriptors(self) -> None:
        """Above the mark the less important listener stops, the greediest client loses its connections."""
        server = await redis(self.stage)
        front, less = self.stage.tcp(), self.stage.tcp()
        daemon = await self.start(
            f"[listener front]\nbind = {front.bind}\npool = servers\n"
            f"[listener less]\nbind = {less.bind}\npool = servers\npriority = 5\n"
            f"[pool servers]\nserver a = {server.place}\n",
            front,
            proxyd="shed = descriptors=70%",
            limit=200,
        )
        modest = [self.stage.connect(front, source=LEGITIMATE) for _ in range(5)]
        greedy = [self.stage.connect(front) for _ in range(70)]
        await daemon.child.says(rb"shedding load, descriptors: \d+% of 70%: time limits of silence are 25%")
        await daemon.child.says(rb"shedding load, .*: listener less accepts nobody")
        waiting = self.stage.connect(less, source=LEGITIMATE)
        waiting.send(b"PING\r\n")
        await daemon.child.says(rb"shedding load, .*: connections are cut, of the clients that have most")
        for client in modest:
            client.send(b"PING\r\n")
            await client.receives(7)
        self.assertEqual(waiting.count, 0)
        records = await daemon.records(3)
        self.assertEqual({record["reason"] for record in records}, {"shed"})
        self.assertEqual({record["client"].split(":")[0] for record in records}, {"127.0.0.1"})
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_shedding_taken_total{step="cutting"}'], 1)
        self.assertGreaterEqual(metrics["proxyd_shedding_cut_total{}"], 3)
        self.assertEqual(daemon.log.count("shedding load"), 3)
        for client in (waiting, *modest, *greedy):
            client.close()
