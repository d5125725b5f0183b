"""Do real clients and real servers of HTTP notice that each request is led by itself?"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.threads import deferToThread

from tests.support.certificate import key_and_certificate
from tests.support.daemon import Daemon, DaemonCase
from tests.support.markers import Client, attack, provoke
from tests.support.origins import Echo, Hostile, requests_in
from tests.support.peer import SocketPeer, listening_socket
from tests.support.services import Service, apache, gunicorn, nginx, nginx_http
from tests.support.smuggling import SMUGGLED, corpus, lawful
from tests.support.splitting import answers
from tests.support.stage import PYTHONPATH, Place, program

LARGE = 20 * 1024 * 1024
HTTP = "protocol = http"
KEEP = "idle_connection_timeout = 1s"  # so that a test need not wait for these to go


def sha256(path: Path) -> str:
    """The checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Requests(DaemonCase):
    """A daemon that speaks HTTP, between real programs."""

    async def curl(self, *arguments: Any) -> bytes:
        return await self.stage.check(program("curl", "curl"), "--silent", "--show-error", *arguments)

    async def client(self, kind: str, daemon: Daemon) -> Any:
        """What a client of this kind got."""
        out = await self.stage.check(
            sys.executable, "-m", "tests.support.webclients", kind, f"http://{daemon.front}",
            environment={"PYTHONPATH": PYTHONPATH},
        )  # fmt: skip
        return json.loads(out)

    async def relay(self, *servers: Place, **how: Any) -> Daemon:
        return await super().relay(*servers, **{"listener": HTTP, "pool": KEEP, **how})

    async def accepted(self, listener: socket.socket) -> SocketPeer:
        """The next connection to a server that the test plays."""
        listener.setblocking(False)
        found: list[socket.socket] = []

        def accept() -> bool:
            try:
                found.append(listener.accept()[0])
            except BlockingIOError:
                return False
            return True

        await self.stage.until(accept, "a connection")
        server = SocketPeer(self.stage.reactor, found[0])
        self.addCleanup(server.close)
        return server

    async def goes_both_ways(self, server: Service, front: Place) -> None:
        """Send a large body through a daemon at ``front`` and fetch it again."""
        daemon = await self.relay(server.place, front=front)
        sent, got = self.stage.folder / "sent", self.stage.folder / "got"
        sent.write_bytes(os.urandom(LARGE))
        where = [f"http://{front}"] if front.port else ["--unix-socket", front.host, "http://localhost"]
        url = f"{where.pop()}/large"
        await self.curl("--fail", *where, "--upload-file", sent, url)
        self.assertEqual(sha256(server.folder / "files" / "large"), sha256(sent))
        await self.curl("--fail", *where, "--output", got, url, "--next", "--fail", *where, "--head", url)
        self.assertEqual(sha256(got), sha256(sent))
        up, down, head = await daemon.records(3)
        self.assertGreater(up["bytes_in"], LARGE)
        self.assertGreater(down["bytes_out"], LARGE)
        self.assertEqual([each["status"] for each in (up, down, head)], [201, 200, 200])
        self.assertEqual({each["reason"] for each in (up, down, head)}, {"answered"})

    async def test_large_bodies(self) -> None:
        """20 MB arrive unchanged at nginx, and come back unchanged."""
        await self.goes_both_ways(await nginx(self.stage), self.stage.tcp())

    async def paced(self, datapath: str) -> None:
        """Send and fetch through a listener that lets no more pass than so much a second."""
        server = await nginx(self.stage)
        lines = f"{HTTP}\nbandwidth = in=100M/s out=100M/s\ndatapath = {datapath}"
        daemon = await self.relay(server.place, listener=lines)
        (server.folder / "files" / "small").write_bytes(b"small")
        sent, got = self.stage.folder / "sent", self.stage.folder / "got"
        sent.write_bytes(os.urandom(LARGE))
        url = f"http://{daemon.front}"
        await self.curl("--fail", "--upload-file", sent, f"{url}/large")
        await self.curl("--fail", "--output", got, f"{url}/large")
        self.assertEqual(sha256(got), sha256(sent))
        self.assertEqual(await self.curl("--fail", f"{url}/small?[1-50]"), b"small" * 50)
        self.assertEqual({record["reason"] for record in await daemon.records(52)}, {"answered"})

    async def test_bandwidth(self) -> None:
        """The same where no more may pass than so much a second."""
        await self.paced("lane")

    async def test_bandwidth_stock(self) -> None:
        """The same on Twisted's transports."""
        await self.paced("stock")

    async def test_ipv6(self) -> None:
        """The same over IPv6 on both sides."""
        await self.goes_both_ways(await nginx(self.stage, self.stage.tcp6()), self.stage.tcp6())

    async def test_unix_sockets(self) -> None:
        """The same over unix sockets on both sides."""
        server = await nginx(self.stage, self.stage.unix("server.sock"))
        await self.goes_both_ways(server, self.stage.unix("front.sock"))

    async def test_stock(self) -> None:
        """The same on Twisted's transports."""
        server = await nginx(self.stage)
        daemon = await self.relay(server.place, listener=f"{HTTP}\ndatapath = stock")
        (server.folder / "files" / "large").write_bytes(os.urandom(LARGE))
        got = self.stage.folder / "got"
        await self.curl("--fail", "--output", got, f"http://{daemon.front}/large")
        self.assertEqual(sha256(got), sha256(server.folder / "files" / "large"))

    async def test_tls(self) -> None:
        """Where TLS ends here, bodies go both ways, and the server learns of it."""
        server = await nginx(self.stage)
        (self.stage.folder / "web.pem").write_bytes(key_and_certificate("localhost"))
        front = self.stage.tcp()
        daemon = await self.relay(
            server.place, front=front, listener=f"{HTTP}\ntls = {self.stage.folder}/web.pem"
        )
        sent, got = self.stage.folder / "sent", self.stage.folder / "got"
        sent.write_bytes(os.urandom(LARGE))
        url = f"https://{front}/large"
        await self.curl("--fail", "--insecure", "--upload-file", sent, url)
        await self.curl("--fail", "--insecure", "--output", got, url)
        self.assertEqual(sha256(got), sha256(sent))
        self.assertEqual([each["status"] for each in await daemon.records(2)], [201, 200])

    async def test_kept_connections(self) -> None:
        """A hundred requests of one client, and those of the next, go to nginx on one connection."""
        server = await nginx_http(self.stage, 'return 200 "$connection ";')
        daemon = await self.relay(server.place, pool="")
        out = await self.curl(f"http://{daemon.front}/?[1-100]")
        out += await self.curl(f"http://{daemon.front}/?[1-100]")
        self.assertEqual((len(out.split()), len(set(out.split()))), (200, 1))
        self.assertEqual(len(await daemon.records(200)), 200)
        metrics = await daemon.metrics()
        counts = [metrics[name] for name in metrics if name.startswith("proxyd_requests_total{")]
        self.assertEqual(counts, [200])
        await daemon.stop()  # it would keep that one for long

    async def test_expected_uploads(self) -> None:
        """An upload that nginx lets come (100) goes on a kept connection, and leaves it kept."""
        server = await nginx(self.stage)
        daemon = await self.relay(server.place, pool="")
        sent = self.stage.folder / "sent"
        sent.write_bytes(os.urandom(100_000))
        for number in range(3):
            said = await self.curl(
                "--verbose", "--stderr", "-", "--header", "Expect: 100-continue", "--upload-file", sent,
                f"http://{daemon.front}/{number}",
            )  # fmt: skip
            self.assertIn(b"< HTTP/1.1 100 Continue", said)
        records = await daemon.records(3)
        self.assertEqual([record["status"] for record in records], [201] * 3)
        self.assertEqual([record["connect_seconds"] for record in records[1:]], [0, 0])
        await daemon.stop()

    async def test_turns(self) -> None:
        """With balance = roundrobin the requests of one connection take turns at three servers."""
        servers = [await nginx_http(self.stage, f"return 200 {name};", name=name) for name in "abc"]
        daemon = await self.relay(*(each.place for each in servers), pool=f"balance = roundrobin\n{KEEP}")
        self.assertEqual(await self.curl(f"http://{daemon.front}/?[1-9]"), b"abc" * 3)

    async def test_own_log(self) -> None:
        """The access log as the operator wants it, of requests and of connections that brought none."""
        server = await nginx_http(self.stage, "add_header X-Colour 'deep blue'; return 200 hello;")
        (self.stage.folder / "web.pem").write_bytes(key_and_certificate("localhost"))
        daemon = await self.relay(
            server.place,
            listener=f"{HTTP}\ntls = {self.stage.folder}/web.pem",
            proxyd='access_log = access.log format=\'{tls}|{alpn}|{sni}|{path}|"{request.user-agent}"|'
            "{status}|{response.x-colour}|{fault}' connections='nothing from {client_address}, {reason}'",
        )
        await self.curl(
            *("--insecure", "--http1.1", "--connect-to", f"a.example:443:{daemon.front}"),
            *("--user-agent", 'a "tester"', "https://a.example/x|y?z"),
        )
        SocketPeer(
            self.stage.reactor, socket.create_connection((daemon.front.host, daemon.front.port))
        ).close()
        await self.stage.until(lambda: daemon.access_log.read_bytes().count(b"\n") == 2, "lines")
        lines = daemon.access_log.read_text().splitlines()
        self.assertRegex(
            lines[0],
            r'TLSv1.3/\w+\|http/1.1\|a.example\|"/x\|y"\|"a \\"tester\\""\|200\|"deep blue"\|nobody',
        )
        self.assertRegex(lines[1], r"nothing from 127.0.0.1, \w+")

    async def test_combined_log(self) -> None:
        """The access log as most tools read it."""
        server = await nginx_http(self.stage, "return 200 hello;")
        daemon = await self.relay(server.place, proxyd="access_log = access.log format=combined")
        await self.curl("--user-agent", "tester", f"http://{daemon.front}/x")
        await self.stage.until(lambda: daemon.access_log.read_bytes(), "a line")
        line = daemon.access_log.read_text()
        self.assertRegex(line, r'^127\.[0-9.]+ - - \[[^]]+\] "GET /x HTTP/1\.1" 200 \d+ "-" "tester"\n$')

    async def test_apache(self) -> None:
        """Apache, whose answers are chunked, and which redirects to a name of its own."""
        server = await apache(self.stage)
        (server.folder / "files" / "large").write_bytes(os.urandom(LARGE))
        (server.folder / "files" / "folder").mkdir()
        daemon = await self.relay(server.place)
        got = self.stage.folder / "got"
        await self.curl("--fail", "--output", got, f"http://{daemon.front}/large")
        self.assertEqual(sha256(got), sha256(server.folder / "files" / "large"))
        head = await self.curl("--head", f"http://{daemon.front}/folder")
        self.assertIn(b"Location: http://%s/folder/\r\n" % str(daemon.front).encode(), head)

    async def test_gunicorn(self) -> None:
        """gunicorn, httpx, requests and aiohttp: chunks both ways, many at once; and who the client is."""
        server = await gunicorn(self.stage)
        daemon = await self.relay(server.place)
        found = await self.client("httpx", daemon)
        self.assertEqual(found, {"same": True, "large": 3_000_000, "head": 200, "missing": 404})
        found = await self.client("requests", daemon)
        self.assertEqual(found, {"same": True, "large": 3_000_000, "moved": [302, 200]})
        self.assertTrue(await self.client("aiohttp", daemon))
        url = f"http://{daemon.front}"
        told = json.loads(await self.curl("--header", "X-Forwarded-For: 1.2.3.4", f"{url}/who"))
        self.assertEqual((told["HTTP_X_FORWARDED_PROTO"], told["HTTP_HOST"]), ("http", str(daemon.front)))
        self.assertNotIn("1.2.3.4", told["HTTP_X_FORWARDED_FOR"])
        moved = await self.curl("--location", f"{url}/moved")
        self.assertEqual(json.loads(moved)["HTTP_HOST"], str(daemon.front))

    async def test_ab(self) -> None:
        """ab, which speaks HTTP/1.0, on connections that are kept or closed, with bodies and without."""
        server = await nginx(self.stage)
        daemon = await self.relay(server.place)
        small = self.stage.folder / "small"
        small.write_bytes(b"small")
        (server.folder / "files" / "small").write_bytes(b"small")
        for how in (["-k"], [], ["-u", small], ["-k", "-u", small]):
            out = await self.stage.check(
                program("ab", "apache2-utils"),
                "-q",
                "-n",
                "200",
                "-c",
                "10",
                *how,
                f"http://{daemon.front}/small",
            )
            numbers = dict(re.findall(rb"^([A-Z][\w -]*\w): +(\d+)", out, re.MULTILINE))
            self.assertEqual(
                (numbers[b"Complete requests"], numbers[b"Failed requests"]), (b"200", b"0"), out
            )
            self.assertEqual(numbers.get(b"Keep-Alive requests"), b"200" if "-k" in how else None)
            self.assertNotIn(b"Non-2xx responses", numbers)
        answered = [each for each in await daemon.records(800) if each["reason"] == "answered"]
        self.assertGreaterEqual(len(answered), 800)  # it may ask once more than it counts

    async def test_websockets(self) -> None:
        """A WebSocket goes through, with large messages, pings, and its end."""
        place = self.stage.tcp()
        child = self.stage.spawn(
            sys.executable, "-m", "tests.support.webclients", "echo", place.host, str(place.port), feed=None,
            environment={"PYTHONPATH": PYTHONPATH},
        )  # fmt: skip
        await child.says(b"ready")
        daemon = await self.relay(place)
        self.assertEqual(await self.client("websockets", daemon), [True] * 4)
        record = await daemon.record()
        self.assertEqual((record["status"], record["fault"]), (101, "nobody"))
        self.assertGreater(record["bytes_out"], 1000)

    async def test_killed_server(self) -> None:
        """When one of three servers is killed under load, no request fails that may be asked again."""
        servers = [await nginx_http(self.stage, f"return 200 {name};", name=name) for name in "abc"]
        daemon = await self.relay(*(each.place for each in servers))
        child = self.stage.spawn(
            program("curl", "curl"), "--silent", "--fail", "--parallel", "--parallel-max", "16",
            f"http://{daemon.front}/?[1-4000]",
        )  # fmt: skip
        await daemon.records(300)
        servers[1].child.signal("KILL")
        self.assertEqual(await child.ends(), 0, child)
        records = await daemon.records(4000)
        self.assertEqual([record for record in records if record["status"] != 200], [])
        self.assertEqual(len(child.out), 4000)

    async def test_stopped_server(self) -> None:
        """With hedge_after, a server that stands still delays no request for much longer than that."""
        servers = [await nginx_http(self.stage, f"return 200 {name};", name=name) for name in "ab"]
        pool = f"{KEEP}\nbalance = roundrobin\nhedge_after = 500ms"
        daemon = await self.relay(*(each.place for each in servers), pool=pool)
        servers[0].child.signal("STOP")
        out = await self.curl("--fail", f"http://{daemon.front}/?[1-8]")
        self.assertEqual(out, b"b" * 8)
        records = await daemon.records(8)
        self.assertEqual([record["server"] for record in records], ["b"] * 8)
        self.assertEqual([record["hedged"] for record in records].count(True), 4)
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_hedged_requests_total{pool="servers"}'], 4)
        self.assertEqual(metrics['proxyd_retry_budget_spent_total{pool="servers"}'], 4)

    async def test_killed_client(self) -> None:
        """When a client is killed in the midst of an answer, its server is cut off at once."""
        listener = listening_socket(socket.AF_INET, 64 * 1024)
        self.addCleanup(listener.close)
        daemon = await self.relay(Place(*listener.getsockname()))
        child = self.stage.spawn(program("curl", "curl"), "--silent", f"http://{daemon.front}/")
        server = await self.accepted(listener)
        await server.receives(10)
        child.signal("KILL")
        await server.sees_either()
        self.assertEqual((await daemon.record())["fault"], "client")

    async def test_stopping(self) -> None:
        """A daemon that stops lets the answer under way be completed, and says that no other will follow."""
        listener = listening_socket(socket.AF_INET, 64 * 1024)
        self.addCleanup(listener.close)
        daemon = await self.relay(Place(*listener.getsockname()), proxyd="drain_timeout = 10m")
        idle, busy = self.stage.connect(daemon.front), self.stage.connect(daemon.front)
        busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server = await self.accepted(listener)
        await server.receives(10)
        daemon.child.signal("TERM")
        await idle.sees_end()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        self.assertIn(b"Connection: close\r\n", await busy.sees_end())
        await daemon.child.ends()
        self.assertNotIn("Traceback", daemon.log)


class Smuggling(DaemonCase):
    """No bytes of one connection answer, or make, another's request."""

    async def attack(self, server: Place) -> Daemon:
        """Send each attack, and see that it gets one answer, an error, and then the end."""
        daemon = await self.relay(server, listener=HTTP, pool=KEEP)
        for one in corpus():
            with daemon.front.socket() as skt:
                skt.sendall(one.data)
                said = b""
                while True:
                    try:
                        more = skt.recv(65536)
                    except ConnectionResetError:
                        break
                    if not more:
                        break
                    said += more
            self.assertRegex(said, rb"^HTTP/1\.1 (400|417|431|501|505) ", one)
            self.assertEqual(said.count(b"HTTP/1.1 "), 1, one)
        records = await daemon.records(len(corpus()))
        self.assertEqual({record["reason"] for record in records}, {"request_malformed"})
        return daemon

    async def test_nginx(self) -> None:
        """nginx never sees the second request."""
        server = await nginx_http(self.stage, "access_log seen; return 200 hello;")
        await self.attack(server.place)
        self.assertNotIn("smuggled", (server.folder / "seen").read_text())

    async def test_apache(self) -> None:
        """Nor does Apache."""
        server = await apache(self.stage)
        await self.attack(server.place)
        self.assertNotIn("smuggled", (server.folder / "access.log").read_text())

    async def test_permissive(self) -> None:
        """Nor would one that takes whatever comes: not a byte of the second request arrives."""
        seen = bytearray()
        listener = listening_socket(socket.AF_INET, 64 * 1024)
        self.addCleanup(listener.close)
        listener.settimeout(0.05)
        await self.attack(Place(*listener.getsockname()))
        while True:
            try:
                skt, _ = listener.accept()
            except socket.timeout:
                break
            with skt:
                skt.settimeout(5)
                try:
                    while more := skt.recv(65536):
                        seen += more
                except ConnectionResetError:
                    pass
        self.assertNotIn(SMUGGLED[:20], seen)

    async def follow(self, echo: Echo) -> list[bytes]:
        """Send what is lawful, each with a marker behind it; return what was answered."""
        daemon = await self.relay(echo.place, listener=HTTP, pool=KEEP)

        def ask() -> list[bytes]:
            random, other = Random(1), Client(daemon.front, "127.0.0.3")
            answered: list[bytes] = []
            for number, one in enumerate(lawful()):
                answered += attack(daemon.front, other, one, number, "whole", random, lawful=True)
            other.close()
            return answered

        answered = await deferToThread(ask)
        self.assertEqual(len(answered), 3 * len(lawful()))
        await daemon.leaves_nothing()
        return answered

    async def test_markers(self) -> None:
        """What only a careless server would find in a body is no request, whoever shares the connection."""
        echo = Echo(self.stage)
        answered = await self.follow(echo)
        seen = [target for data in echo.heard for target, _ in requests_in(bytes(data))]
        self.assertEqual(Counter(seen), Counter(answered))

    async def test_careless_server(self) -> None:
        """And with a careless server, which does find it, everybody gets the own answers."""
        await self.follow(Echo(self.stage, careless=True))

    async def test_hostile_server(self) -> None:
        """What a server says without having been asked is nobody's answer, even if it is read late."""
        hostile = Hostile(self.stage, answers())
        daemon = await self.relay(hostile.place, listener=HTTP, pool=KEEP)

        def ask() -> int:
            other = Client(daemon.front, "127.0.0.3")
            for number, split in enumerate(hostile.splits):
                provoke(daemon.front, hostile, other, number)
                if split.later:
                    provoke(daemon.front, hostile, other, number, daemon.child.pid)
            other.close()
            return hostile.accepted

        # Each of them has cost its connection.
        self.assertGreaterEqual(await deferToThread(ask), len(hostile.splits))
