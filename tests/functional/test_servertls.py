"""Do real servers get TLS, as it is asked for, and only if they are those that are meant?"""

from __future__ import annotations

import os
import re
from typing import Any, Optional

from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol

from tests.support.authority import DAY, FOR_CLIENTS, NOW, Authority, Issued, self_signed
from tests.support.daemon import Daemon, DaemonCase, twistd
from tests.support.services import nginx_http, redis_tls, s_server_of
from tests.support.stage import Place, program

HOST = "db.example.com"
OURS, THEIRS, CLIENTS = Authority("Our CA"), Authority("Their CA"), Authority("Clients' CA")

# What nginx knows of a connection.
SEES = (
    "sni=$ssl_server_name alpn=$ssl_alpn_protocol version=$ssl_protocol reused=$ssl_session_reused "
    "client=$ssl_client_s_dn address=$proxy_protocol_addr over=$server_protocol"
)

DATAPATHS = ("lane", "stock")

LARGE = 8 * 1024 * 1024


class ServerTlsCase(DaemonCase):
    """A daemon between clients that know nothing of TLS and servers that speak nothing else."""

    def setUp(self) -> None:
        super().setUp()
        self.ca = OURS.write(self.stage.folder / "ca.pem")
        self.fronts: dict[str, Place] = {}
        self.clients = 0  # so far

    async def web(
        self,
        issued: Issued,
        name: str = "web",
        lines: str = "ssl_protocols TLSv1.2 TLSv1.3;",
        listen: str = "ssl http2",
        place: Optional[Place] = None,
    ) -> Place:
        """nginx that shows this certificate, and answers with its name and what it sees."""
        pem = issued.write(self.stage.folder / f"{name}.pem")
        text = (
            f"ssl_certificate {pem}; ssl_certificate_key {pem}; {lines} location / {{ return 200 '{SEES}'; }}"
        )
        return (await nginx_http(self.stage, text, listen, place, name)).place

    async def serve(self, proxyd: str = "", listener: str = "", **pools: str) -> Daemon:
        """A daemon with a listener for each pool on each datapath, called ``NAME-lane`` and so on."""
        sections = [f"[pool {name}]\nbalance = first\n{lines}" for name, lines in pools.items()]
        for name in pools:
            for datapath in DATAPATHS:
                front = self.fronts[f"{name}-{datapath}"] = self.stage.tcp()
                lines = f"bind = {front.bind}\npool = {name}\ndatapath = {datapath}\n{listener}"
                sections.append(f"[listener {name}-{datapath}]\n{lines}")
        return await self.start("\n".join(sections), next(iter(self.fronts.values())), proxyd=proxyd)

    def listen(self, protocol: type[Protocol]) -> Place:
        """A server of this protocol in the test's own process."""
        place = self.stage.tcp()
        port = self.stage.reactor.listenTCP(place.port, Factory.forProtocol(protocol), interface=place.host)
        self.addCleanup(port.stopListening)
        return place

    async def fetch(self, front: str, *arguments: Any) -> dict[str, str]:
        """What the server sees of a client of this listener."""
        self.clients += 1
        out = await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--fail", *arguments,
            f"http://{self.fronts[front]}/",
        )  # fmt: skip
        return dict(word.split("=", 1) for word in out.decode().split(" "))

    async def refused(self, daemon: Daemon, front: str) -> str:
        """Why a client of this listener is closed: no server was reached."""
        self.clients += 1
        peer = self.stage.connect(self.fronts[front])
        await peer.sees_either()
        self.assertEqual(peer.count, 0)
        record = await self.latest(daemon, front)
        self.assertEqual(record["reason"], "connect_tls")
        return str(record["detail"])

    async def latest(self, daemon: Daemon, front: str) -> dict[str, Any]:
        """The record of the last client of this listener, when all have theirs."""
        records = await daemon.records(self.clients)
        return [record for record in records if record["listener"] == front][-1]


class Agreed(ServerTlsCase):
    """What is agreed on with nginx."""

    async def test_what_is_asked(self) -> None:
        """The server is asked by SNI for the name that is verified; for an address it is not asked."""
        v4, v6 = self.stage.tcp(), self.stage.tcp6()
        issued = OURS.issue(HOST, v4.host, v6.host)
        await self.web(issued, "four", place=v4)
        await self.web(issued, "six", place=v6)
        await self.serve(
            name=f"tls = ca={self.ca} name={HOST}\nserver a = {v4}",
            own=f"tls = ca={self.ca} name=other.example\nserver a = {v4} tls_name={HOST}",
            four=f"tls = ca={self.ca}\nserver a = {v4}",
            six=f"tls = ca={self.ca}\nserver a = {v6}",
            sni=f"tls = ca={self.ca} sni=other.example\nserver a = {v4}",
            none=f"tls = ca={self.ca} name={HOST} sni=no\nserver a = {v4}",
            any=f"tls = verify=no\nserver a = {v6}",
        )
        for pool, sni in (
            ("name", HOST),
            ("own", HOST),
            ("four", ""),
            ("six", ""),
            ("sni", "other.example"),
            ("none", ""),
            ("any", ""),
        ):
            for datapath in DATAPATHS:
                seen = await self.fetch(f"{pool}-{datapath}")
                self.assertEqual((seen["sni"], seen["version"], seen["client"]), (sni, "TLSv1.3", ""), pool)

    async def test_found_by_name(self) -> None:
        """A server that is found by a name is verified by that, whichever of its addresses is reached."""
        v6 = self.stage.tcp6()
        await self.web(OURS.issue(HOST), place=v6)
        hosts = self.stage.folder / "hosts"
        hosts.write_text(f"{self.stage.tcp().host} {HOST}\n::1 {HOST}\n")
        await self.serve(
            f"resolvers = system hosts={hosts}", name=f"tls = ca={self.ca}\nserver a = {HOST}:{v6.port}"
        )
        for datapath in DATAPATHS:
            self.assertEqual((await self.fetch(f"name-{datapath}"))["sni"], HOST)

    async def test_alpn_and_version(self) -> None:
        """HTTP/2 in clear goes on as HTTP/2 within TLS; the oldest version is as it is configured."""
        web = await self.web(OURS.issue(HOST))
        old = await self.web(OURS.issue(HOST), "old", "ssl_protocols TLSv1.2;")
        start = f"tls = ca={self.ca} name={HOST}"
        daemon = await self.serve(
            h2=f"{start} alpn=h2\nserver a = {web}",
            h1=f"{start} alpn=http/1.1 minimum=1.3\nserver a = {web}",
            old=f"{start}\nserver a = {old}",
            new=f"{start} minimum=1.3\nserver a = {old}",
        )
        for datapath in DATAPATHS:
            seen = await self.fetch(f"h2-{datapath}", "--http2-prior-knowledge")
            self.assertEqual((seen["alpn"], seen["over"]), ("h2", "HTTP/2.0"))
            seen = await self.fetch(f"h1-{datapath}")
            self.assertEqual((seen["alpn"], seen["version"]), ("http/1.1", "TLSv1.3"))
            self.assertEqual((await self.fetch(f"old-{datapath}"))["version"], "TLSv1.2")
        self.assertIn("protocol version", await self.refused(daemon, "new-lane"))

    async def test_a_certificate_of_ours(self) -> None:
        """A server that lets in only those with a certificate lets us in, with those between in the file."""
        clients = CLIENTS.write(self.stage.folder / "clients.pem")
        ours = Authority("Staff CA", CLIENTS).issue("proxyd", purpose=FOR_CLIENTS)
        pem = ours.write(self.stage.folder / "ours.pem")
        wants = f"ssl_verify_client on; ssl_verify_depth 3; ssl_client_certificate {clients};"
        web = await self.web(OURS.issue(HOST), lines=wants)
        await self.serve(ours=f"tls = ca={self.ca} name={HOST} certificate={pem}\nserver a = {web}")
        for datapath in DATAPATHS:
            self.assertEqual((await self.fetch(f"ours-{datapath}"))["client"], "CN=proxyd")

    async def test_header(self) -> None:
        """The PROXY header comes before TLS, in clear."""
        web = await self.web(OURS.issue(HOST), listen="ssl proxy_protocol")
        start = f"tls = ca={self.ca} name={HOST}\nserver a = {web}"
        daemon = await self.serve(
            v1=f"{start}\nproxy_protocol = v1\ncheck = tcp", v2=f"{start}\nproxy_protocol = v2 unique_id"
        )
        await daemon.child.says(rb"\[pool v1\] server a \S+ is up: check passed")
        for front in self.fronts:
            self.assertEqual((await self.fetch(front))["address"], "127.0.0.1")

    async def test_unix_socket(self) -> None:
        """A server on a unix socket is verified by the name that is given."""
        place = self.stage.unix("web.sock")
        await self.web(OURS.issue(HOST), place=place)
        await self.serve(unix=f"tls = ca={self.ca}\nserver a = {place} tls_name={HOST}")
        for datapath in DATAPATHS:
            self.assertEqual((await self.fetch(f"unix-{datapath}"))["sni"], HOST)

    async def test_sessions(self) -> None:
        """From the second connection on sessions are taken up, with either version, unless that is off."""
        start = f"tls = ca={self.ca} name={HOST}"
        new = await self.web(OURS.issue(HOST), lines="ssl_protocols TLSv1.3;")
        old = await self.web(OURS.issue(HOST), "old", "ssl_protocols TLSv1.2;")
        lines = "ssl_protocols TLSv1.2; ssl_session_tickets off; ssl_session_cache builtin;"
        cached = await self.web(OURS.issue(HOST), "cached", lines)
        await self.serve(
            new=f"{start}\nserver a = {new}",
            old=f"{start}\nserver a = {old}",
            cached=f"{start}\nserver a = {cached}",
            never=f"{start} reuse=no\nserver a = {new}",
        )
        for pool, often in (("new", "r"), ("old", "r"), ("cached", "r"), ("never", ".")):
            # The two datapaths of a listener have the same sessions.
            seen = [(await self.fetch(f"{pool}-{DATAPATHS[turn % 2]}"))["reused"] for turn in range(6)]
            self.assertEqual(seen, [".", *often * 5], pool)

    async def test_the_end_of_one_half(self) -> None:
        """A client that has said all, and closes its half, still gets its answer."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        pem = OURS.issue(HOST).write(self.stage.folder / "server.pem")
        context.use_certificate_chain_file(pem)
        context.use_privatekey_file(pem)

        class AtTheEnd(Protocol):
            """Says what it has heard when that has come to its end."""

            transport: Any

            def connectionMade(self) -> None:
                self.heard = b""
                self.ssl = SSL.Connection(context, None)
                self.ssl.set_accept_state()

            def dataReceived(self, data: bytes) -> None:
                self.ssl.bio_write(data)
                try:
                    while True:
                        self.heard += self.ssl.recv(65536)
                except SSL.ZeroReturnError:
                    self.ssl.send(b"heard " + self.heard)
                    self.ssl.shutdown()
                    self.transport.write(self.ssl.bio_read(65536))
                    self.transport.loseConnection()
                except SSL.WantReadError:
                    try:
                        self.transport.write(self.ssl.bio_read(65536))
                    except SSL.WantReadError:
                        pass

        await self.serve(half=f"tls = ca={self.ca} name={HOST}\nserver a = {self.listen(AtTheEnd)}")
        for datapath in DATAPATHS:
            peer = self.stage.connect(self.fronts[f"half-{datapath}"])
            peer.send(b"question")
            peer.finish()
            self.assertEqual(await peer.sees_end(), b"heard question")

    async def test_tls_on_both_sides(self) -> None:
        """The name that a client asks for is asked of the server, and judged; another name is refused."""
        names = ("a.example", "b.example")
        web = await self.web(OURS.issue(*names))
        certs = self.stage.subfolder("certs")
        OURS.issue(*names, "c.example").write(certs / "ours.pem")
        for datapath in DATAPATHS:
            front = self.fronts[datapath] = self.stage.tcp()
            daemon = await self.start(
                f"[listener l]\nbind = {front.bind}\ndatapath = {datapath}\ntls = {certs}\npool = p\n"
                f"[pool p]\ntls = ca={self.ca} sni=client\ncheck = http host=b.example:443\nserver a = {web}",
                front,
            )
            await daemon.child.says(rb"server a \S+ is up: check passed")
            where = ("--cacert", self.ca, "--connect-to", f"::{front}")
            curl = (program("curl", "curl"), "--silent", "--show-error", "--fail", *where)
            for _ in range(2):
                for name in names:
                    out = await self.stage.check(*curl, f"https://{name}/")
                    self.assertIn(f"sni={name} ", out.decode())
            refused = await self.stage.run(*curl, "https://c.example/")
            self.assertNotEqual(refused.status, 0)
            records = await daemon.records(5)
            # Each name has a session of its own.
            resumed = [record["server_tls"].endswith("/resumed") for record in records]
            self.assertEqual(sorted(resumed), [False] * 3 + [True] * 2)
            [failed] = [record for record in records if record["reason"] == "connect_tls"]
            why = "its certificate is for a.example, b.example, not for c.example"
            self.assertEqual((failed["detail"], failed["sni"]), (why, "c.example"))
            await self._settle(daemon)
            (self.stage.folder / "daemon").rename(self.stage.folder / datapath)

    async def test_kept_by_name(self) -> None:
        """With sni=client, connections are kept for those who ask for the same name."""
        names = ("a.example", "b.example")
        pem = OURS.issue(*names).write(self.stage.folder / "both.pem")
        lines = (
            f'ssl_certificate {pem}; ssl_certificate_key {pem}; return 200 "$ssl_server_name:$connection ";'
        )
        server = await nginx_http(self.stage, lines, "ssl")
        daemon = await self.relay(
            server.place,
            listener=f"protocol = http\ntls = {pem}",
            pool=f"tls = ca={self.ca} sni=client",
        )
        where = ("--silent", "--fail", "--cacert", self.ca, "--connect-to", f"::{daemon.front}")
        said = []
        for _ in range(3):
            for name in names:
                said.append(
                    (await self.stage.check(program("curl", "curl"), *where, f"https://{name}/")).decode()
                )
        self.assertEqual(len(set(said)), 2, said)
        self.assertEqual([word.partition(":")[0] for word in said], [*names] * 3)
        await daemon.stop()  # it would keep both for long

    async def test_bulk(self) -> None:
        """Megabytes go through in both directions, and are whole."""
        files = self.stage.subfolder("files")
        lines = f"root {files}; dav_methods PUT; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate"
        pem = OURS.issue(HOST).write(self.stage.folder / "bulk.pem")
        web = (await nginx_http(self.stage, f"{lines} {pem}; ssl_certificate_key {pem};", "ssl")).place
        await self.serve(bulk=f"tls = ca={self.ca} name={HOST}\nserver a = {web}")
        sent = self.stage.folder / "sent"
        sent.write_bytes(os.urandom(LARGE))
        for datapath in DATAPATHS:
            url = f"http://{self.fronts[f'bulk-{datapath}']}/{datapath}"
            curl = (program("curl", "curl"), "--silent", "--show-error", "--fail")
            await self.stage.check(*curl, "--upload-file", sent, url)
            self.assertEqual((files / datapath).read_bytes(), sent.read_bytes())
            self.assertEqual(await self.stage.check(*curl, url), sent.read_bytes())

    async def test_down(self) -> None:
        """A server that goes down loses its connections, where the pool wants that; clients find another."""
        one, two = await self.web(OURS.issue(HOST)), await self.web(OURS.issue(HOST), "two")
        watched = self.stage.tcp()
        listening = self.stage.reactor.listenTCP(
            watched.port, Factory.forProtocol(Protocol), interface=watched.host
        )
        self.addCleanup(listening.stopListening)
        daemon = await self.serve(
            down=f"tls = ca={self.ca} name={HOST}\nserver a = {one}\nserver b = {two}\non_down = close\n"
            f"affinity = source\ncheck = tcp address={watched} interval=1s timeout=900ms fall=1"
        )
        await daemon.child.says(rb"server a \S+ is up: check passed")
        peers = [self.stage.connect(self.fronts[f"down-{datapath}"]) for datapath in DATAPATHS]
        self.clients += 2
        for peer in peers:
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await peer.receives(1)
        listening.stopListening()
        for peer in peers:
            await peer.sees_either()
        records = await daemon.records(self.clients)
        self.assertEqual([(each["server"], each["reason"]) for each in records], [("a", "server_down")] * 2)

    async def test_requests(self) -> None:
        """Requests of HTTP go to servers with TLS as well; a client is told if none of them is meant."""
        good, bad = await self.web(OURS.issue(HOST)), await self.web(THEIRS.issue(HOST), "bad")
        start = f"idle_connection_timeout = 1s\ntls = ca={self.ca} name={HOST}\nserver a ="
        daemon = await self.serve(listener="protocol = http", good=f"{start} {good}", bad=f"{start} {bad}")
        for datapath in DATAPATHS:
            front = f"http://{self.fronts[f'good-{datapath}']}/"
            curl = (program("curl", "curl"), "--silent", "--show-error", "--fail")
            out = await self.stage.check(*curl, front, front, front)
            self.assertEqual(out.count(f"sni={HOST} alpn= version=TLSv1.3".encode()), 3)
            out = await self.stage.check(
                program("curl", "curl"), "--silent", "--output", "/dev/null", "--write-out", "%{http_code}",
                f"http://{self.fronts[f'bad-{datapath}']}/",
            )  # fmt: skip
            self.assertEqual(out, b"502")
        records = await daemon.records(8)
        self.assertEqual({record["reason"] for record in records}, {"answered", "connect_tls"})
        for record in records:
            self.assertEqual(bool(record["server_tls"]), record["reason"] == "answered")

    async def test_redis(self) -> None:
        """Redis with TLS serves a client that has none, and knows us by our certificate."""
        ours = OURS.issue("proxyd", purpose=FOR_CLIENTS).write(self.stage.folder / "ours.pem")
        server = await redis_tls(self.stage, OURS.issue(HOST), self.ca)
        tls = f"tls = ca={self.ca} name={HOST} certificate={ours}"
        daemon = await self.serve(redis=f"{tls}\nserver a = {server.place}\ncheck = redis")
        await daemon.child.says(rb"server a \S+ is up: check passed")
        for datapath in DATAPATHS:
            front = self.fronts[f"redis-{datapath}"]
            cli = [program("redis-cli", "redis-tools"), "-h", front.host, "-p", str(front.port)]
            self.assertEqual(await self.stage.check(*cli, "SET", "key", "value"), b"OK\n")
            self.assertEqual(await self.stage.check(*cli, "GET", "key"), b"value\n")


class NotMeant(ServerTlsCase):
    """Servers that are not those that are meant."""

    async def test_certificates(self) -> None:
        """No client gets to a server with a wrong certificate, and the record says what is wrong with it."""
        wrong = {
            "expired": (
                OURS.issue(HOST, since=NOW - 3 * DAY, until=NOW - DAY),
                f"its certificate expired on {NOW - DAY:%Y-%m-%d %H:%M} UTC",
            ),
            "other": (OURS.issue("a.example"), f"its certificate is for a.example, not for {HOST}"),
            "theirs": (
                THEIRS.issue(HOST),
                "its certificate is from an authority that is not in ca, or one between is missing: Their CA",
            ),
            "own": (self_signed(HOST), "its certificate is signed by itself, and not in ca"),
        }
        good = await self.web(OURS.issue(HOST), "good")
        pools = {}
        for name, (issued, _) in wrong.items():
            server = await self.web(issued, name)
            pools[name] = f"tls = ca={self.ca} name={HOST}\nserver a = {server}"
            pools[f"{name}2"] = f"{pools[name]}\nserver b = {good}"
        daemon = await self.serve(**pools)
        for name, (_, why) in wrong.items():
            for datapath in DATAPATHS:
                self.assertEqual(await self.refused(daemon, f"{name}-{datapath}"), why)
                await self.fetch(f"{name}2-{datapath}")
                record = await self.latest(daemon, f"{name}2-{datapath}")
                self.assertEqual((record["server"], record["retries"]), ("b", 1))
        metrics = await daemon.metrics()
        for name in wrong:
            for pool in (name, f"{name}2"):
                labels = f'{{pool="{pool}",server="a"}}'
                self.assertEqual(metrics[f"proxyd_server_tls_failures_total{labels}"], 2.0)
        self.assertEqual(metrics['proxyd_server_tls_failures_total{pool="own2",server="b"}'], 0.0)
        self.assertNotIn("Traceback", daemon.log)

    async def test_no_certificate_of_ours(self) -> None:
        """A server that wants a certificate of ours and gets none refuses, which is said."""
        clients = CLIENTS.write(self.stage.folder / "clients.pem")
        server = await s_server_of(
            self.stage,
            OURS.issue(HOST),
            "-tls1_2",
            "-Verify",
            "3",
            "-verify_return_error",
            "-CAfile",
            clients,
        )
        daemon = await self.serve(none=f"tls = ca={self.ca} name={HOST}\nserver a = {server.place}")
        for datapath in DATAPATHS:
            self.assertIn("handshake failure", await self.refused(daemon, f"none-{datapath}"))

    async def test_no_certificate_of_ours_with_tls_1_3(self) -> None:
        """With TLS 1.3 such a server refuses after the handshake: the record of the connection has it."""
        clients = CLIENTS.write(self.stage.folder / "clients.pem")
        server = await s_server_of(
            self.stage, OURS.issue(HOST), "-Verify", "3", "-verify_return_error", "-CAfile", clients
        )
        daemon = await self.serve(none=f"tls = ca={self.ca} name={HOST}\nserver a = {server.place}")
        for datapath in DATAPATHS:
            self.clients += 1
            peer = self.stage.connect(self.fronts[f"none-{datapath}"])
            await peer.sees_either()
            record = await self.latest(daemon, f"none-{datapath}")
            self.assertEqual(record["reason"], "server_reset")
            self.assertEqual(record["detail"], "TLS: certificate required (alert from the server)")

    async def test_no_tls(self) -> None:
        """A server that resets, closes, says something else or nothing is passed over, and blamed."""

        class Resetting(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.abortConnection()  # type: ignore[union-attr]

        class Closing(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.loseConnection()  # type: ignore[union-attr]

        class Greeting(Protocol):
            def connectionMade(self) -> None:
                self.transport.write(b"220 mail.example ESMTP\r\n")  # type: ignore[union-attr]

        good = await self.web(OURS.issue(HOST))
        start = f"tls = ca={self.ca} name={HOST}\nconnect_timeout = 500ms\neject = 4"
        pools, details = {}, {}
        for protocol, why in (
            (Resetting, "."),
            (Closing, "."),
            (Greeting, "."),
            (Protocol, "no end of the handshake within 0.5 s"),
        ):
            name = protocol.__name__.lower()
            place = self.listen(protocol)
            pools[name] = f"{start}\nserver a = {place}"
            pools[f"{name}2"] = f"{start}\nserver a = {place}\nserver b = {good}"
            details[name] = why
        daemon = await self.serve(**pools)
        for name, why in details.items():
            for datapath in DATAPATHS:
                self.assertRegex(await self.refused(daemon, f"{name}-{datapath}"), why)
                for _ in range(2):
                    await self.fetch(f"{name}2-{datapath}")
                    record = await self.latest(daemon, f"{name}2-{datapath}")
                    self.assertEqual((record["server"], record["retries"]), ("b", 1))
            await daemon.child.says(rb"\[pool %s2\] server a \S+ is ejected" % name.encode())

    async def test_checks(self) -> None:
        """Checks go as clients do, so a server with a wrong certificate is down before anybody comes."""
        bad, good = await self.web(THEIRS.issue(HOST), "bad"), await self.web(OURS.issue(HOST), "good")
        start = f"tls = ca={self.ca} name={HOST}\nserver a = {bad}\nserver b = {good}"
        kinds = {
            "tcp": "tcp",
            "tls": "tls",
            "http": "http",
            "https": "https",
            "script": "script send=x expect=400",
        }
        daemon = await self.serve(**{name: f"{start}\ncheck = {kind}" for name, kind in kinds.items()})
        why = rb"its certificate is from an authority that is not in ca, or one between is missing: Their CA"
        for name in kinds:
            await daemon.child.says(rb"\[pool %s\] server a \S+ is down: %s" % (name.encode(), why))
            await daemon.child.says(rb"\[pool %s\] server b \S+ is up: check passed" % name.encode())

    async def test_files(self) -> None:
        """Authorities that are replaced are in force without a restart; what is not fit for use is not."""
        web = await self.web(THEIRS.issue(HOST))
        daemon = await self.serve(files=f"tls = ca={self.ca} name={HOST}\nserver a = {web}")
        await self.refused(daemon, "files-lane")
        THEIRS.write(self.ca)
        await daemon.child.says(rb"TLS towards servers: \S+/ca\.pem read again")
        await self.fetch("files-lane")
        with open(self.ca, "wb"):
            pass
        await daemon.child.says(rb"ca\.pem: has no certificate .*; what was read before holds")
        await self.fetch("files-lane")

    async def test_start(self) -> None:
        """Nothing is started with files that cannot be used, and each is named with its line."""
        config = self.stage.folder / "proxy.ini"
        config.write_text(
            f"[listener front]\nbind = {self.stage.tcp().bind}\npool = p\n[pool p]\ntls = ca=no.pem\n"
            "server a = 10.0.0.1:1\n"
        )
        child = twistd(self.stage, "-n", "--pidfile=", "tcpproxy", "--config", config)
        self.assertEqual(await child.exits(), 1)
        self.assertRegex(
            bytes(child.err).decode(),
            re.escape(f"{config}:5: [pool p] tls: {self.stage.folder}/no.pem: cannot be read: No such file"),
        )
