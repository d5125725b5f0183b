"""Can operators see and steer the daemon with proxyctl while it serves?"""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import sys
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Iterator

from twisted.internet.defer import Deferred, gatherResults

from proxyd import cli
from tests.support.daemon import Daemon, DaemonCase, start, twistd
from tests.support.peer import Ended, SocketPeer
from tests.support.services import nginx, redis
from tests.support.stage import PYTHONPATH, Finished, Place, program

NOBODY = 65534

ME = rf"uid {os.getuid()}(, logged in as uid \d+)?"


def started(record: dict[str, Any]) -> float:
    """When a connection was accepted, in seconds since the epoch."""
    when = datetime.strptime(record["started"], "%Y-%m-%dT%H:%M:%S.%fZ")
    return when.replace(tzinfo=timezone.utc).timestamp()


class AdminCase(DaemonCase):
    """A daemon with an admin socket, before two servers of Redis."""

    async def serve(self, pool: str = "balance = roundrobin") -> Daemon:
        self.places = [(await redis(self.stage)).place for _ in "ab"]
        self.daemon = await self.relay(*self.places, pool=pool, proxyd="admin = unix:admin.sock")
        return self.daemon

    @property
    def socket(self) -> Path:
        return self.daemon.folder / "admin.sock"

    async def ctl(self, *arguments: object) -> Finished:
        """Run proxyctl."""
        environment = {"PYTHONPATH": PYTHONPATH, "PROXYD_ADMIN": str(self.socket)}
        return await self.stage.run(
            sys.executable, "-m", "proxyd.cli", *map(str, arguments), environment=environment
        )

    async def does(self, *arguments: object) -> str:
        """Run proxyctl, which must succeed, and return what it printed."""
        finished = await self.ctl(*arguments)
        self.assertEqual((finished.status, finished.err), (0, b""), f"{arguments}: {finished}")
        return finished.out.decode()

    async def row(self, name: str) -> dict[str, Any]:
        """A server as the daemon tells it."""
        rows = json.loads(await self.does("show", "servers", "--json"))["servers"]
        return next(row for row in rows if row["name"] == name)

    async def client(self) -> SocketPeer:
        """A client that has reached a server."""
        client = self.stage.connect(self.daemon.front)
        await self.ping(client)
        return client

    async def ping(self, client: SocketPeer) -> None:
        before = client.count
        client.send(b"PING\r\n")
        await client.receives(before + len(b"+PONG\r\n"))

    async def leave(self, client: SocketPeer) -> None:
        client.finish()
        await client.sees_end()
        client.close()

    async def shares(self, clients: int) -> Counter[str]:
        """Which servers so many clients are led to, one after another."""
        before = self.daemon.access_log.read_bytes().count(b"\n")
        for _ in range(clients):
            await self.leave(await self.client())
        records = await self.daemon.records(before + clients)
        return Counter(record["server"] for record in records[before:])


class Explaining(AdminCase):
    """Why a client gets its server, as things are."""

    async def explained(self, *supposed: str) -> dict[str, Any]:
        """What proxyctl explains of the daemon as it is."""
        config = self.daemon.folder / "proxy.ini"
        found: dict[str, Any] = json.loads(await self.does("explain", config, "--live", "--json", *supposed))
        return found

    async def test_live(self) -> None:
        """Operators' weights and drains, open connections and the client's entry are those of the daemon."""
        await self.serve("balance = leastconn\naffinity = source\nserver x = localhost:7 backup resolve=all")
        client = await self.client()
        [entry] = json.loads(await self.does("show", "table", "affinity/servers", "127.0.0.1", "--json"))[
            "rows"
        ]
        had, other = entry["server"], "b" if entry["server"] == "a" else "a"
        await self.does("weight", f"servers/{other}", 9)
        found = await self.explained("client=127.0.0.1")
        self.assertEqual((found["chosen"], found["remembered"]), (had, had))
        rows = {row["server"]: row for row in found["servers"]}
        self.assertEqual((rows[had]["open"], rows[other]["open"], rows[other]["weight"]), (1, 0, 9.0))
        self.assertEqual(rows["x-127.0.0.1"]["address"], "127.0.0.1:7")
        self.assertEqual((await self.explained("client=10.1.1.1"))["chosen"], other)
        await self.does("drain", f"servers/{had}")
        self.assertEqual((await self.explained("client=127.0.0.1"))["chosen"], other)
        found = await self.explained("client=127.0.0.1", f"down={other}")
        self.assertEqual(found["chosen"][:2], "x-")
        await self.leave(client)

    async def test_nobody_there(self) -> None:
        """Without the daemon it is said that there is none."""
        daemon = await self.serve()
        await self.does("show", "info")  # so it runs, and stops in order when it is told to
        await daemon.stop()
        finished = await self.ctl("explain", daemon.folder / "proxy.ini", "--live", "client=127.0.0.1")
        self.assertEqual((finished.status, finished.out), (3, b""))
        self.assertIn(b"there is no", finished.err)


class Requests(AdminCase):
    """What is under way of HTTP, by HTTP/1.1 and by HTTP/2."""

    async def test_requests(self) -> None:
        """Who asks what, how far it is and where, as long as it lasts; then the log has why it ended."""
        server = await nginx(self.stage)
        (server.folder / "files" / "slow").write_bytes(bytes(20_000_000))
        self.daemon = await self.relay(
            server.place,
            listener="protocol = http",
            pool="idle_connection_timeout = 1s",
            proxyd="admin = unix:admin.sock",
        )
        url = f"http://{self.daemon.front}/slow?x"
        clients = [
            self.stage.spawn(program("curl", "curl"), "--silent", "--limit-rate", "1k", how, url, feed=None)
            for how in ("--http1.1", "--http2-prior-knowledge")
        ]
        rows: list[Any] = []
        while [row["state"] for row in rows] != ["answer"] * 2:
            rows = json.loads(await self.does("show", "requests", "--json"))["requests"]
        for row, version in zip(sorted(rows, key=lambda row: str(row["version"])), ("1.1", "2.0")):
            seen = [row[name] for name in ("method", "target", "version", "status", "pool", "server")]
            self.assertEqual(seen, ["GET", "/slow?x", version, 200, "servers", "a"])
        self.assertEqual((await self.daemon.metrics())['proxyd_requests_open{listener="front"}'], 2)
        self.assertIn(f"GET {self.daemon.front}/slow?x", await self.does("show", "requests"))
        for client in clients:
            client.signal("KILL")
            await client.ends()
        records = await self.daemon.records(2)
        self.assertEqual({record["fault"] for record in records}, {"client"})
        self.assertEqual(json.loads(await self.does("show", "requests", "--json"))["requests"], [])


class Steering(AdminCase):
    """What is changed holds for the next client."""

    async def load(self) -> None:
        """Clients that come one after another, until told to stop; each must be served."""
        while self.loaded:
            await self.leave(await self.client())

    async def test_drain_under_load(self) -> None:
        """A drained server gets no new client, keeps those it has to their end, and is brought back."""
        daemon = await self.serve("balance = roundrobin\nslow_start = 0s")
        held = [await self.client() for _ in range(6)]
        self.loaded = True
        load = [Deferred.fromCoroutine(self.load()) for _ in range(4)]
        await daemon.records(20)
        said = await self.does("drain", "servers/a", "--reason", "kernel update")
        drained = time.time()
        self.assertRegex(said, r"servers/a is draining, weight 1, with [3-7] open connections\n")
        await daemon.records(daemon.access_log.read_bytes().count(b"\n") + 40)
        row = await self.row("a")
        self.assertEqual((row["state"], row["open"]), ("draining", 3))
        self.assertRegex(row["why"], f"^by {ME}: kernel update$")
        for client in held:
            await self.ping(client)
            await self.leave(client)
        said = await self.does("drain", "servers/a", "--wait", "60s")
        self.assertEqual(said.splitlines()[-1], "servers/a has no open connections")

        enabled = time.time()
        await self.does("enable", "servers/a")
        await daemon.records(daemon.access_log.read_bytes().count(b"\n") + 40)
        self.loaded = False
        await gatherResults(load)
        records = await daemon.records(100)
        self.assertEqual({record["reason"] for record in records}, {"client_finished"})
        meanwhile = [r["server"] for r in records if drained + 0.001 < started(r) < enabled]
        self.assertGreater(len(meanwhile), 40)
        self.assertEqual(set(meanwhile), {"b"})
        self.assertEqual({r["server"] for r in records if started(r) > enabled}, {"a", "b"})
        self.assertRegex(
            daemon.log,
            rf"admin: {ME} \(pid \d+\) has asked for drain of servers/a: kernel update\n",
        )
        self.assertRegex(daemon.log, rf"server a \(\S+\) is draining: by {ME}: kernel update\n")

    async def test_disable(self) -> None:
        """A server in maintenance gets no new client and is not checked; enabled, it is checked first."""
        await self.serve("balance = roundrobin\nslow_start = 0s\ncheck = redis interval=2s")
        await self.until_state("a", "up")
        await self.until_state("b", "up")
        client = await self.client()
        await self.does("disable", "servers/a")
        self.assertEqual(await self.shares(4), {"b": 4})
        finished = await self.ctl("disable", "servers/b")
        self.assertEqual(
            finished.err, b"note: no server of pool servers gets connections now; clients are refused\n"
        )
        refused = self.stage.connect(self.daemon.front)
        await refused.sees_either()
        await self.does("enable", "servers/a")
        await self.until_state("a", "up")
        self.assertEqual(await self.shares(4), {"a": 4})
        await self.ping(client)
        await self.leave(client)

    async def until_state(self, name: str, state: str) -> None:
        while (await self.row(name))["state"] != state:
            pass  # proxyctl takes its time

    async def test_weight(self) -> None:
        """Another weight is another share of the clients; 0 is none, and who is connected stays."""
        await self.serve()
        self.assertEqual(await self.shares(8), {"a": 4, "b": 4})
        said = await self.does("weight", "servers/a", 3, "--reason", "new machine")
        self.assertEqual(said, "servers/a is up, weight 3, with 0 open connections\n")
        self.assertEqual(await self.shares(8), {"a": 6, "b": 2})
        clients = [await self.client() for _ in range(4)]
        said = await self.does("weight", "servers/a", 0)
        self.assertEqual(said, "servers/a is up, weight 0, with 3 open connections\n")
        self.assertEqual(await self.shares(4), {"b": 4})
        for client in clients:
            await self.ping(client)
            await self.leave(client)

    async def test_wrong_names(self) -> None:
        """A name that is not known is answered with the nearest, status 1, and nothing has changed."""
        await self.serve()
        before = await self.row("a")
        for arguments, said in [
            (("drain", "servers/x"), 'server of pool servers: "x" is not known; known here: a, b'),
            (("weight", "server/a", "5"), 'pool: "server" is not known; did you mean "servers"?'),
            (("weight", "servers/c", "5"), 'server of pool servers: "c" is not known; known here: a, b'),
            (("weight", "servers", "5"), 'server: "servers" is not POOL/SERVER; write db/a, for example'),
            (("weight", "servers/a", "500"), "servers/a: 500 is no weight; weights are 0 to 256"),
            (("show", "servers", "--pool", "x"), 'pool: "x" is not known; known here: servers'),
        ]:
            finished = await self.ctl(*arguments)
            self.assertEqual(
                (finished.status, finished.out, finished.err.decode()), (1, b"", f"proxyctl: {said}\n")
            )
        self.assertEqual({**await self.row("a"), "for_seconds": 0}, {**before, "for_seconds": 0})


class Seeing(AdminCase):
    """What is shown is what is."""

    async def test_connections(self) -> None:
        """The open connections are shown, with what the kernel knows of both sides at that moment."""
        await self.serve()
        client = await self.client()
        [row] = json.loads(await self.does("show", "connections", "--tcp", "--json"))["connections"]
        self.assertEqual((row["listener"], row["pool"], row["server"]), ("front", "servers", "a"))
        for side in "client_tcp", "server_tcp":
            self.assertGreater(row[side]["rtt"], 0)
            self.assertGreater(row[side]["snd_wnd"], 0)
        said = await self.does("show", "connections", "--listener", "front", "--tcp")
        self.assertRegex(said.splitlines()[1], r"^front  .*servers/a .*client rtt \S+ms, .*; server rtt ")
        await self.leave(client)

    async def test_show(self) -> None:
        """Servers, pools, listeners and the daemon itself, as tables."""
        daemon = await self.serve()
        client = await self.client()
        pid = daemon.child.pid
        a, b = self.places
        width = max(len("ADDRESS"), len(str(a)), len(str(b)))
        for view, lines in [
            (
                "servers",
                [
                    rf"SERVER     STATE  FOR  WEIGHT  OPEN  {'ADDRESS':{width}}  WHY",
                    rf"servers/a  up      \d+s +     1     1  {str(a):{width}}  -",
                    rf"servers/b  up      \d+s +     1     0  {str(b):{width}}  -",
                ],
            ),
            (
                "pools",
                [
                    r"POOL     BALANCE     CHECK  OPEN  QUEUE  SERVERS",
                    r"servers  roundrobin  none      1      0  2 up",
                ],
            ),
            (
                "listeners",
                [r"LISTENER  OPEN  BINDS .*POOLS", rf"front        1  {daemon.front.bind}  servers"],
            ),
            ("info", [r"VERSION .*", rf"\S+ .* +{pid} +\d+s +1/\d+"]),
        ]:
            out = await self.does("show", view)
            for line, expected in zip(out.splitlines(), lines):
                self.assertRegex(line, f"^{expected}$")
            self.assertEqual(len(out.splitlines()), len(lines))
        await self.leave(client)

    async def test_tables(self) -> None:
        """What is remembered of clients: how much it is, and of whom."""
        await self.serve("balance = first\naffinity = source ttl=1h size=1k")
        await self.shares(3)
        self.assertEqual(
            [line.split() for line in (await self.does("show", "tables")).splitlines()],
            [["TABLE", "KIND", "ENTRIES", "SIZE"], ["affinity/servers", "affinity", "1", "1024"]],
        )
        titles, row = (await self.does("show", "table", "affinity/servers")).splitlines()
        self.assertEqual(titles.split(), ["CLIENT", "SERVER", "LEFT", "CONNECTIONS"])
        self.assertRegex(row, r"^\S+ +a +(5\dm\d\ds|1h00m) +3$")
        finished = await self.ctl("show", "table", "affinity/server")
        self.assertEqual(
            (finished.status, finished.err),
            (1, b'proxyctl: table: "affinity/server" is not known; did you mean "affinity/servers"?\n'),
        )


class Holding(AdminCase):
    """The socket is for those who may use it, and stays usable whatever they do."""

    def raw(self) -> SocketPeer:
        return self.stage.connect(Place(str(self.socket)))

    async def test_lines(self) -> None:
        """Any program can ask: a line for each request, and a line for each answer."""
        await self.serve()
        peer = self.raw()
        peer.send(b'{"command": "show info"}\n' * 1000)
        peer.finish()
        answers = [json.loads(line) for line in (await peer.sees_end()).splitlines()]
        self.assertEqual({answer["result"]["pid"] for answer in answers}, {self.daemon.child.pid})
        self.assertEqual(len(answers), 1000)

    async def test_a_huge_line(self) -> None:
        """It is answered as too long before it has ended, and costs the daemon nothing."""
        await self.serve()
        resident = self.daemon.resident()
        for _ in range(20):
            peer = self.raw()
            peer.send(b"x" * 1_000_000)
            await peer.sees_either()
        self.assertLess(self.daemon.resident() - resident, 10_000_000)
        finished = await self.ctl("weight", "servers/a", 5, "--reason", "x" * 100_000)
        self.assertEqual(
            (finished.status, finished.err), (1, b"proxyctl: a request has at most 16384 bytes\n"), finished
        )

    async def test_silent_clients(self) -> None:
        """A hundred who connect and say nothing keep nobody out, and most of them are hung up on."""
        await self.serve()
        silent = [self.raw() for _ in range(100)]
        self.assertIn("servers/a", await self.does("show", "servers"))
        for peer in silent[:60]:
            await peer.sees_either()
        self.assertEqual(sum(peer.ended is Ended.NOT for peer in silent[-20:]), 20)
        self.assertEqual(await self.shares(2), {"a": 1, "b": 1})
        for peer in silent:
            peer.close()

    async def test_who_does_not_read(self) -> None:
        """Who asks and does not take the answers is read from no more, and others are served."""
        await self.serve()
        peer = self.raw()
        peer.stop_reading()
        resident = self.daemon.resident()
        peer.send(b'{"command":"help"}\n' * 100_000)
        await self.does("show", "info")
        self.assertGreater(peer.queued, 0)
        self.assertLess(self.daemon.resident() - resident, 10_000_000)
        peer.close()

    async def test_a_stale_socket(self) -> None:
        """What a killed daemon has left behind is told as that, and is no hindrance to the next one."""
        daemon = await self.serve()
        daemon.child.signal("KILL")
        await daemon.child.ends()
        finished = await self.ctl("show", "info")
        self.assertEqual(
            (finished.status, finished.err.decode()),
            (3, f"proxyctl: nobody listens on {self.socket}; the daemon that made it has ended\n"),
        )
        child = twistd(self.stage, "-n", "--pidfile=", "tcpproxy", "--config", daemon.folder / "proxy.ini")
        await child.says(rb"proxyd [^:]+: \d+ listener")
        await self.does("show", "info")
        child.signal("TERM")
        await child.ends()
        finished = await self.ctl("show", "info")
        self.assertEqual((finished.status, b"there is no" in finished.err), (3, True))

    async def test_permissions(self) -> None:
        """The socket is for the daemon's user alone; another is told whose it is."""
        await self.serve()
        found = os.stat(self.socket)
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o600)
        err = io.StringIO()
        with self.nobody(), contextlib.redirect_stderr(err), self.assertRaises(SystemExit) as left:
            cli.main(["show", "info", "--socket", str(self.socket)])
        self.assertEqual(left.exception.code, 3)
        self.assertRegex(
            err.getvalue(), r"proxyctl: you \(uid \d+\) may not write to \S+/admin.sock, which has"
        )

    @contextlib.contextmanager
    def nobody(self) -> Iterator[None]:
        """Be somebody whom the socket is not for."""
        if os.geteuid():
            self.socket.chmod(0)
            yield
            return
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    async def test_a_mode(self) -> None:
        """A mode lets others in."""
        await start(
            self.stage,
            f"[listener front]\nbind = {self.stage.tcp().bind}\npool = p\n[pool p]\nserver a = 127.0.0.1:9\n",
            self.stage.tcp(),
            "admin = unix:admin.sock:mode=660",
        )
        self.assertEqual(stat.S_IMODE(os.stat(self.stage.folder / "daemon" / "admin.sock").st_mode), 0o660)
