"""Does TLS reach the server that it asks for, and nothing else do, without being opened?"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from functools import partial
from pathlib import Path
from typing import Any, Callable

from attrs import frozen
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from proxyd.config.address import TcpAddress
from proxyd.config.tls import PASSTHROUGH
from proxyd.relay.lane.datapath import Lane
from proxyd.relay.lane.pipes import CAN_SPLICE
from tests.support.daemon import Daemon, DaemonCase
from tests.support.hello import fragmented, hello, openssl
from tests.support.lane import CountedPipes
from tests.support.peer import SocketPeer
from tests.support.recording import recording
from tests.support.relay import Relay
from tests.support.services import nginx_https, s_server
from tests.support.stage import Place, program

LARGE = 10 * 1024 * 1024
MANY_TURNS = 100_000

NAMES = {"api": "sni = api.example", "apps": "sni = *.apps.example"}
API = {"api": NAMES["api"]}
REST = "tls = passthrough\npool = rest"

EARLY = b"\x17\x03\x03\x00\x20" + bytes(range(32))  # a record that follows the ClientHello at once

# What names lead to: as it is written, below a wildcard at any depth, and the rest.
LEAD = (
    ("api.example", "api"),
    ("API.Example", "api"),
    ("one.apps.example", "apps"),
    ("two.one.apps.example", "apps"),
    ("apps.example", "rest"),
    ("v1.api.example", "rest"),
)


@frozen
class Agreed:
    """What a client and its server have agreed on; the certificate is the server's, in PEM."""

    certificate: bytes
    version: str
    alpn: str


class TlsCase(DaemonCase):
    """A daemon that passes TLS through, and OpenSSL's and curl's clients."""

    async def servers(self, *names: str) -> dict[str, Place]:
        """OpenSSL's server for each pool, with certificates of their own."""
        return {name: (await s_server(self.stage, f"{name}.example", name)).place for name in names}

    async def s_client(self, front: Place, *arguments: str) -> Agreed:
        """Shake hands as OpenSSL's client."""
        out = await self.stage.check(
            program("openssl", "openssl"), "s_client", "-connect", str(front), *arguments
        )
        version = re.search(rb"^New, (.*?),", out, re.MULTILINE)
        alpn = re.search(rb"^ALPN protocol: (.*)", out, re.MULTILINE)
        assert version is not None, out
        return Agreed(certificate(out), version[1].decode(), alpn[1].decode() if alpn else "")

    async def curl(self, front: Place, server: str, *arguments: Any) -> bytes:
        """Fetch as curl, which takes none but the certificate of that server."""
        return await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--fail", "--cacert", self.pem(server),
            "--connect-to", f"::{front}", *arguments,
        )  # fmt: skip

    def pem(self, server: str) -> Path:
        """Where the key and the certificate of a server are."""
        return self.stage.folder / f"{server}.pem"

    def own(self, server: str) -> bytes:
        """The certificate of a server."""
        return certificate(self.pem(server).read_bytes())


def certificate(text: bytes) -> bytes:
    """The one certificate in a text."""
    found: list[bytes] = re.findall(
        rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL
    )
    (only,) = found
    return only


class Names(TlsCase):
    """The name that a client asks for (SNI)."""

    async def test_names(self) -> None:
        """Each name leads to its server, which shows its own certificate, with TLS 1.3 and with 1.2."""
        daemon = await self.route(await self.servers("api", "apps", "rest"), NAMES, listener=REST)
        for name, pool in LEAD:
            for option, version in (("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")):
                agreed = await self.s_client(daemon.front, "-servername", name, option)
                self.assertEqual(agreed, Agreed(self.own(pool), version, ""), name)
        expected = sorted(
            [name.lower(), pool, "" if pool == "rest" else pool] for name, pool in LEAD for _ in range(2)
        )
        records = await daemon.records(len(expected))
        logged = sorted([record[field] for field in ("sni", "pool", "route")] for record in records)
        self.assertEqual(logged, expected)

    async def test_no_name(self) -> None:
        """A client that gives no name is led to the listener's pool."""
        daemon = await self.route(await self.servers("api", "rest"), {"api": "sni = *"}, listener=REST)
        agreed = await self.s_client(daemon.front, "-noservername")
        self.assertEqual(agreed.certificate, self.own("rest"))
        agreed = await self.s_client(daemon.front, "-servername", "any.example")
        self.assertEqual(agreed.certificate, self.own("api"))

    async def test_no_route(self) -> None:
        """Without a pool for the rest it is closed, and the access log has the name that was asked for."""
        daemon = await self.route(
            await self.servers("api"), API, listener="tls = passthrough", proxyd="access_log = text.log"
        )
        for arguments in (["-servername", "other.example"], ["-noservername"]):
            finished = await self.stage.run(
                program("openssl", "openssl"), "s_client", "-connect", str(daemon.front), *arguments
            )
            self.assertNotEqual(finished.status, 0)
            self.assertNotIn(b"BEGIN CERTIFICATE", finished.out)
        await daemon.leaves_nothing()
        await daemon.stop()
        lines = (daemon.folder / "text.log").read_text().splitlines()
        for line, sni in zip(lines, ("other.example", "-")):
            self.assertIn(f" sni={sni} route=- ", line)
            self.assertRegex(line, " pool=- server=- .* reason=no_route fault=client ")
        self.assertEqual(len(lines), 2)

    async def test_ipv6(self) -> None:
        """Names lead to the same servers over IPv6, and to servers that are there."""
        places = await self.servers("api")
        places["rest"] = (await nginx_https(self.stage, "rest.example", self.stage.tcp6(), "rest")).place
        daemon = await self.route(places, API, front=self.stage.tcp6(), listener=REST)
        for name, pool in (("api.example", "api"), ("rest.example", "rest")):
            agreed = await self.s_client(daemon.front, "-servername", name)
            self.assertEqual(agreed.certificate, self.own(pool))
        records = await daemon.records(2)
        self.assertEqual({record["client"].rpartition(":")[0] for record in records}, {"[::1]"})


class Protocols(TlsCase):
    """The protocols that a client asks for (ALPN)."""

    async def serve(self) -> Daemon:
        """HTTP/2 goes to one web server, and the rest to another; both could speak it."""
        places = {}
        for name in ("h2", "rest"):
            server = await nginx_https(self.stage, "www.example", name=name)
            (server.folder / "files" / "name").write_text(name)
            places[name] = server.place
        return await self.route(places, {"h2": "alpn = h2"}, listener=REST)

    async def test_openssl(self) -> None:
        """What the client offers leads it, and is then agreed on with the server."""
        daemon = await self.serve()
        for offered, pool, alpn in (
            ("h2", "h2", "h2"),
            ("http/1.1,h2", "h2", "h2"),
            ("http/1.1", "rest", "http/1.1"),
        ):
            agreed = await self.s_client(daemon.front, "-servername", "www.example", "-alpn", offered)
            self.assertEqual(agreed, Agreed(self.own(pool), "TLSv1.3", alpn))
        agreed = await self.s_client(daemon.front, "-servername", "www.example", "-tls1_2")
        self.assertEqual(agreed, Agreed(self.own("rest"), "TLSv1.2", ""))

    async def test_curl(self) -> None:
        """curl gets its page with HTTP/2 from the one, and with HTTP/1.1 from the other, as it verifies."""
        daemon = await self.serve()
        for option, version, pool in (("--http2", "2", "h2"), ("--http1.1", "1.1", "rest")):
            for tls in ("1.2", "1.3"):
                out = await self.curl(
                    daemon.front, pool, option, "--tls-max", tls, "--write-out", " %{http_version}",
                    "https://www.example/name",
                )  # fmt: skip
                self.assertEqual(out.decode(), f"{pool} {version}")


class Bytes(TlsCase):
    """What the server gets is what the client has sent."""

    def openings(self) -> list[bytes]:
        """A ClientHello in one record, in many, and in odd ones."""
        whole = openssl("api.example", ["h2", "http/1.1"])
        built = hello("api.example", records=[1, 4])
        return [whole, fragmented(whole, 17), fragmented(whole, 40), built]

    def client(self, front: Place) -> SocketPeer:
        """A client whose every piece leaves in a segment of its own."""
        skt = front.socket()
        skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = SocketPeer(self.stage.reactor, skt)
        self.addCleanup(client.close)
        return client

    async def test_the_very_bytes(self) -> None:
        """However the ClientHello is cut into records and segments, it arrives as it was sent."""
        place, server = recording(self.stage, b"heard")
        daemon = await self.route({"api": place}, API, listener="tls = passthrough")
        for opening in self.openings():
            said = opening + EARLY
            for size in (len(said), 1, 99):
                client = self.client(daemon.front)
                for start in range(0, len(said), size):
                    client.send(said[start : start + size])
                client.finish()
                self.assertEqual(await client.sees_end(), b"heard")
                self.assertEqual(server.heard.pop(), said)
        records = await daemon.records(12)
        self.assertEqual({(record["sni"], record["route"]) for record in records}, {("api.example", "api")})

    def relay_here(self, server: Place, pipes: CountedPipes) -> tuple[Relay, Place]:
        """A relay in this process, whose inside can be looked at."""
        lane = Lane(self.stage.reactor, pipes)
        self.addCleanup(lane.close)
        relay = Relay(self.stage.reactor, TcpAddress(server.host, server.port), lane=lane, tls=PASSTHROUGH)
        self.addCleanup(relay.stop)
        return relay, Place(relay.address.host, relay.address.port)

    async def test_each_segment_read_alone(self) -> None:
        """The same when each segment is read before the next one is sent."""
        place, server = recording(self.stage, b"heard")
        relay, front = self.relay_here(place, CountedPipes())
        for opening in self.openings():
            client = self.client(front)
            for sent in range(len(opening)):
                client.send(opening[sent : sent + 1])
                await self.until(partial(self.has_read, relay, sent + 1))
                (session,) = relay.factory.sessions
                self.assertEqual(session.pool is None, sent + 1 < len(opening))
            client.send(EARLY)
            client.finish()
            self.assertEqual(await client.sees_end(), b"heard")
            self.assertEqual(server.heard.pop(), opening + EARLY)
            await self.until(lambda: not relay.left())

    def has_read(self, relay: Relay, count: int) -> bool:
        """Whether the one client of a relay was read so far."""
        return any(session.client.received == count for session in relay.factory.sessions)

    async def until(self, true: Callable[[], Any]) -> None:
        """Let the reactor, which runs the relay too, turn until this is so."""
        for _ in range(MANY_TURNS):
            if true():
                return
            await deferLater(self.stage.reactor, 0)
        raise AssertionError("it is not so")

    async def test_bulk(self) -> None:
        """10 MB within TLS arrive unchanged at the server, and come back unchanged."""
        server = await nginx_https(self.stage, "api.example", name="api")
        daemon = await self.route({"api": server.place}, API, listener="tls = passthrough")
        sent, got = self.stage.folder / "sent", self.stage.folder / "got"
        sent.write_bytes(os.urandom(LARGE))
        await self.curl(daemon.front, "api", "--upload-file", sent, "https://api.example/large")
        self.assertEqual((server.folder / "files" / "large").read_bytes(), sent.read_bytes())
        await self.curl(daemon.front, "api", "--output", got, "https://api.example/large")
        self.assertEqual(got.read_bytes(), sent.read_bytes())
        up, down = await daemon.records(2)
        self.assertGreater(up["bytes_in"], LARGE)
        self.assertGreater(down["bytes_out"], LARGE)

    async def test_pump(self) -> None:
        """After the ClientHello nothing is left of the opening: bulk is spliced as on any connection."""
        pipes = CountedPipes()
        answer = os.urandom(LARGE)
        place, server = recording(self.stage, answer)
        relay, front = self.relay_here(place, pipes)
        client = self.stage.connect(front, keep=False)
        client.send(hello("api.example"))
        await self.until(lambda: relay.pool.servers[0].open)
        (session,) = relay.factory.sessions
        assert session.opening is not None
        self.assertEqual((session.opening.sni, pipes.taken), ("api.example", []))
        said = os.urandom(LARGE)
        client.send(said)
        client.finish()
        await client.sees_end()
        self.assertEqual(server.heard, [hello("api.example") + said])
        self.assertEqual((client.count, client.digest), (LARGE, hashlib.sha256(answer).hexdigest()))
        await self.until(lambda: not relay.left())
        self.assertEqual((len(pipes.taken) >= 2, pipes.in_use), (CAN_SPLICE, 0))


class NotTls(TlsCase):
    """What else comes to such a port."""

    async def test_other_protocols(self) -> None:
        """Whatever is no TLS is closed, reaches no server, and the access log says what it was."""
        place, server = recording(self.stage)
        daemon = await self.route({"rest": place}, {}, listener=REST)
        front = daemon.front
        curl = await self.stage.run(program("curl", "curl"), "--silent", f"http://{front}/")
        self.assertIn(curl.status, (52, 56))  # an empty reply, or a reset
        ssh = await self.stage.run(
            program("ssh", "openssh-client"), "-F", "none", "-o", "BatchMode=yes", "-o",
            "StrictHostKeyChecking=no", "-p", str(front.port), front.host, "true",
        )  # fmt: skip
        self.assertEqual(ssh.status, 255)
        details = ["the client speaks http, unencrypted", "the client speaks ssh, unencrypted"]
        for said, detail in (
            (b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + bytes(39), "a ClientHello of SSLv2"),
            (b"\x00\xff" * 50, r"the client begins with b'\x00\xff\x00"),
            (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", "a TLS handshake message of type 2"),
        ):
            client = self.stage.connect(front)
            client.send(said)
            await client.sees_either()
            self.assertEqual(client.count, 0)
            details.append(detail)
        client = self.stage.connect(front)
        client.send(hello("api.example")[:20])
        client.finish()
        await client.sees_either()
        details.append("20 bytes of a ClientHello, and closed its side")
        records = await daemon.records(len(details))
        for record, detail in zip(records, details):
            self.assertEqual((record["reason"], record["fault"]), ("tls_malformed", "client"))
            self.assertIn(detail, record["detail"])
        self.assertEqual(server.heard, [])

    async def test_silence(self) -> None:
        """A client that owes its ClientHello, or a part of it, is closed after opening_timeout."""
        place, server = recording(self.stage)
        daemon = await self.route({"rest": place}, {}, listener=f"{REST}\nopening_timeout = 2s")
        clients = [self.stage.connect(daemon.front) for _ in range(2)]
        clients[0].send(hello("api.example")[:20])
        await gatherResults([client.sees_either() for client in clients])
        records = await daemon.records(2)
        self.assertEqual(
            {(record["reason"], record["detail"]) for record in records},
            {("opening_timeout", "20 bytes of a ClientHello"), ("opening_timeout", "it said nothing")},
        )
        self.assertEqual(server.heard, [])
