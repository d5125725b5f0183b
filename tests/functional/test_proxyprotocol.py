"""Do HAProxy, nginx and curl, which begin with a PROXY header, lead their clients through the daemon?"""

from __future__ import annotations

import contextlib
from typing import Any, Optional

from OpenSSL import SSL

from proxyd.wire import proxyprotocol
from proxyd.wire.proxyprotocol import CLIENT_SSL, End, Ssl
from tests.support.certificate import HOST, key_and_certificate
from tests.support.daemon import DaemonCase
from tests.support.recorder import ANSWER, Recorded, recorder
from tests.support.services import haproxy, nginx_stream
from tests.support.stage import Place, program

TRUSTING = "proxy_protocol = 127.0.0.0/8"
EVERYTHING = "proxy_protocol = v2 alpn authority ssl unique_id crc32c"
PROXY = "127.0.0.77"  # whence the proxies connect: nobody takes it for a client's address
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


class Before(DaemonCase):
    """A daemon that is led to by other proxies, before a server that keeps what it gets."""

    async def serve(self, listener: str = TRUSTING, pool: str = "", front: Optional[Place] = None) -> None:
        self.recorder = await recorder(self.stage)
        self.daemon = await self.relay(self.recorder.place, listener=listener, pool=pool, front=front)
        self.fetched = 0

    async def fetch(self, *arguments: Any) -> str:
        """Fetch a page with curl; return its own address, as the access log writes one."""
        out = await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--fail", "--http1.1",
            "--write-out", "%{local_ip} %{local_port}", *arguments,
        )  # fmt: skip
        self.assertTrue(out.startswith(ANSWER), out)
        self.fetched += 1
        host, port = out[len(ANSWER) :].decode().split()
        return str(End(host, int(port)))

    async def told(self, client: str, via: str = f"{PROXY}:") -> dict[str, Any]:
        """The newest record; it names the client, and whom its address was heard from."""
        record = (await self.daemon.records(self.fetched))[self.fetched - 1]
        self.assertEqual((record["client"], record["reason"]), (client, "server_finished"))
        self.assertTrue(record["via"].startswith(via), record)
        return record

    @property
    def newest(self) -> Recorded:
        """What the server has got from the newest client."""
        return self.recorder.connections[-1]

    def from_haproxy(self, header: str, *lines: str, front: Optional[Place] = None, **how: Any) -> Place:
        """HAProxy, which leads to the daemon and sends it such a header."""
        where = f"unix@{front.host}" if front else f"{self.daemon.front} source {PROXY}"
        how.setdefault("name", header.replace(" ", "_"))
        return haproxy(self.stage, "mode tcp", *lines, f"server proxyd {where} {header}", **how).place


class Haproxy(Before):
    """HAProxy before the daemon."""

    async def test_both_versions(self) -> None:
        """The record has the client's own address, of either family; the server gets what the client sent."""
        await self.serve()
        for version in ("send-proxy", "send-proxy-v2"):
            for ipv6 in (False, True):
                front = self.from_haproxy(version, ipv6=ipv6, name=f"{version}-{ipv6}")
                client = await self.fetch(f"http://{front}/")
                self.assertEqual(client.startswith("[::1]:"), ipv6)
                await self.told(client)
                self.assertTrue(self.newest.data.startswith(b"GET / HTTP/1.1\r\n"))

    async def test_forwardfor(self) -> None:
        """A proxy of HTTP may tell of each client by X-Forwarded-For instead, if it is trusted."""
        await self.serve("protocol = http\ntrusted = 127.0.0.77")
        front = self.from_haproxy("", "mode http", "option forwardfor", ipv6=True, name="http")
        for spoofed in (), ("--header", "X-Forwarded-For: 192.0.2.1"):
            client = await self.fetch(*spoofed, f"http://{front}/")
            record = (await self.daemon.records(self.fetched))[self.fetched - 1]
            self.assertEqual((record["client"], client.rpartition(":")[0]), ("[::1]:0", "[::1]"))
            self.assertTrue(record["via"].startswith(f"{PROXY}:"), record)

    async def test_requests(self) -> None:
        """A listener of requests hears the header, too, which comes in one segment with the first of them."""
        await self.serve(f"protocol = http\n{TRUSTING}")
        for mode in ("tcp", "http"):
            front = self.from_haproxy("send-proxy", f"mode {mode}", name=f"requests-{mode}")
            client = await self.fetch("--interface", "127.0.0.99", f"http://{front}/")
            self.assertIn(b"X-Forwarded-For: 127.0.0.99\r\n", self.newest.data)
            self.assertEqual((await self.daemon.records(self.fetched))[-1]["client"], client)

    async def test_passed_on(self) -> None:
        """A server that wants a header gets the addresses and the id that HAProxy has told."""
        await self.serve(pool=EVERYTHING)
        front = self.from_haproxy(
            "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority,ssl",
            "unique-id-format id-%ci-%cp",
        )
        client = await self.fetch(f"http://{front}/")
        record = await self.told(client)
        header = self.newest.header
        self.assertEqual((str(header.source), str(header.destination)), (client, str(front)))
        self.assertEqual(header.unique_id.decode(), "id-{}-{}".format(*client.split(":")))
        self.assertEqual(record["unique_id"], header.unique_id.decode())
        assert header.ssl is not None
        self.assertEqual((header.ssl.client, header.authority, header.alpn), (0, "", b""))
        self.assertTrue(self.newest.request.startswith(b"GET / HTTP/1.1\r\n"))

    async def test_tls_that_it_ends(self) -> None:
        """What HAProxy knows of the client's TLS comes to the server as well."""
        await self.serve(pool=EVERYTHING)
        pem = self.stage.folder / "both.pem"
        pem.write_bytes(key_and_certificate())
        front = self.from_haproxy(
            "send-proxy-v2 proxy-v2-options crc32c,authority,ssl,ssl-cipher,cert-key,cert-sig",
            bind=f"ssl crt {pem} alpn h2,http/1.1",
        )
        client = await self.fetch(
            "--cacert", pem, "--connect-to", f"::{front}", "--tlsv1.3", f"https://{HOST}:{front.port}/"
        )
        record = await self.told(client)
        header = self.newest.header
        self.assertEqual(str(header.source), client)
        self.assertEqual((header.authority, header.alpn), (HOST, b"http/1.1"))
        assert header.ssl is not None
        self.assertEqual((header.ssl.client & CLIENT_SSL, header.ssl.version), (CLIENT_SSL, "TLSv1.3"))
        self.assertEqual(header.ssl.key_alg, "EC256")
        self.assertTrue(header.ssl.cipher.startswith("TLS_"), header.ssl)
        # HAProxy has told no id, so the connection gets one here.
        self.assertRegex(record["unique_id"], "^[0-9a-f]{32}$")
        self.assertEqual(header.unique_id.decode(), record["unique_id"])

    async def test_its_checks(self) -> None:
        """They are recorded as HAProxy's own: version 2 calls them LOCAL, version 1 names HAProxy itself."""
        await self.serve(pool="proxy_protocol = v2")
        for version in ("send-proxy", "send-proxy-v2"):
            service = haproxy(
                self.stage,
                "mode http",
                "option httpchk",
                "option log-health-checks",
                f"server proxyd {self.daemon.front} source {PROXY} check check-send-proxy inter 1h {version}",
                name=version,
            )
            await service.child.says(rb"Health check for server front/proxyd succeeded, .*code: 200")
        one, two = await self.daemon.records(2)
        for connection, record in zip(self.recorder.connections, (one, two)):
            self.assertEqual(str(connection.header.source), record["client"])
            self.assertTrue(record["client"].startswith(f"{PROXY}:"), record)
        self.assertEqual((one["via"], two["via"]), (one["client"], ""))

    async def test_unix_socket(self) -> None:
        """On a unix socket it is taken from all who may connect there, if the list says `unix`."""
        place = self.stage.unix("front.sock")
        await self.serve("proxy_protocol = unix", front=place)
        for version in ("send-proxy", "send-proxy-v2"):
            front = self.from_haproxy(version, front=place)
            record = await self.told(await self.fetch(f"http://{front}/"), via="unix:")
            self.assertEqual(record["via"], "unix:")


class Nginx(Before):
    """nginx before the daemon: its stream module sends version 1."""

    async def test_stream(self) -> None:
        """The record has the client's own address, of either family."""
        await self.serve(pool="proxy_protocol = v2")
        lines = f"proxy_pass {self.daemon.front}; proxy_protocol on; proxy_bind {PROXY};"
        for place in (self.stage.tcp(), self.stage.tcp6()):
            await nginx_stream(self.stage, lines, place=place, name=f"nginx-{place.port}")
            client = await self.fetch(f"http://{place}/")
            await self.told(client)
            header = self.newest.header
            self.assertEqual((str(header.source), str(header.destination)), (client, str(place)))


class Curl(Before):
    """curl, which can speak for itself."""

    async def test_header(self) -> None:
        """With --haproxy-protocol curl says its own address twice: in the header, and by connecting."""
        await self.serve()
        client = await self.fetch("--haproxy-protocol", f"http://{self.daemon.front}/")
        record = await self.told(client, via=client)
        self.assertEqual(record["via"], client)

    async def test_optional(self) -> None:
        """Where the header is optional, curl is served with it and without."""
        await self.serve("proxy_protocol = optional 127.0.0.0/8")
        url = f"http://{self.daemon.front}/"
        await self.told(await self.fetch("--haproxy-protocol", url), via="127.0.0.1:")
        record = await self.told(await self.fetch(url), via="")
        self.assertEqual(record["via"], "")


class Raw(Before):
    """Clients of which every byte is known."""

    HEADER = proxyprotocol.v2(
        End("192.0.2.7", 5555), End("192.0.2.1", 443),
        authority="a.example", unique_id=b"id-7", ssl=Ssl(version="TLSv1.3", cn="me"), crc32c=True,
    )  # fmt: skip

    async def test_in_pieces(self) -> None:
        """A header that comes byte by byte, each read before the next is sent, is a header all the same."""
        await self.serve(pool=EVERYTHING)
        client = self.stage.connect(self.daemon.front)
        for byte in self.HEADER[:-1]:
            client.send(bytes([byte]))
            # What the daemon reads after this byte was sent it serves after having read the byte.
            self.assertEqual(await self.daemon.open_connections(), 1)
        self.assertEqual(self.recorder.connections, [])
        client.send(self.HEADER[-1:] + REQUEST)
        self.assertTrue((await client.sees_end()).endswith(ANSWER))
        client.close()
        record = await self.daemon.record()
        self.assertEqual((record["client"], record["unique_id"]), ("192.0.2.7:5555", "id-7"))
        header = self.newest.header
        self.assertEqual((str(header.source), str(header.destination)), ("192.0.2.7:5555", "192.0.2.1:443"))
        self.assertEqual((header.authority, header.unique_id), ("a.example", b"id-7"))
        self.assertEqual(header.ssl, Ssl(version="TLSv1.3", cn="me"))
        self.assertEqual(self.newest.request, REQUEST)

    async def refused(self, said: bytes, reason: str) -> dict[str, Any]:
        """A client that says this is closed for the reason, and no server hears of it."""
        before = len(await self.daemon.records(0))
        client = self.stage.connect(self.daemon.front)
        client.send(said)
        await client.sees_either()
        client.close()
        record = (await self.daemon.records(before + 1))[before]
        self.assertEqual((record["reason"], record["fault"], client.count), (reason, "client", 0))
        self.assertEqual((record["pool"], record["server"], self.recorder.connections), ("", "", []))
        return record

    async def counted(self, reason: str) -> float:
        """How many connections the metrics say have ended for a reason of the client's."""
        metrics = await self.daemon.metrics()
        return metrics[
            f'proxyd_connections_total{{fault="client",listener="front",pool="",reason="{reason}",server=""}}'
        ]

    async def test_not_trusted(self) -> None:
        """Who is not listed is closed, whatever it says, and counted with a reason of its own."""
        await self.serve("proxy_protocol = 192.0.2.0/24 unix")
        for said in (self.HEADER, b"", REQUEST):
            record = await self.refused(said, "proxy_untrusted")
            self.assertTrue(record["client"].startswith("127."), record)
        self.assertEqual(await self.counted("proxy_untrusted"), 3)

    async def test_no_header(self) -> None:
        """A client without a header, or with a broken one, is closed, and the record shows what it said."""
        await self.serve()
        broken = self.HEADER[:-1] + b"?"
        for said, detail in (
            (REQUEST, "no PROXY header: b'GET / HTTP/1.0"),
            (b"PROXY TCP4 192.0.2.7\r\n", "not a PROXY line"),
            (broken, "CRC32C"),
        ):
            record = await self.refused(said, "proxy_malformed")
            self.assertIn(detail, record["detail"])
            self.assertEqual(record["via"], "")
        self.assertEqual(await self.counted("proxy_malformed"), 3)

    async def test_too_slow(self) -> None:
        """A header that is not whole after opening_timeout is waited for no longer."""
        await self.serve(f"{TRUSTING}\nopening_timeout = 1s")
        for said, detail in ((b"", "it said nothing"), (b"PROXY T", "7 bytes of a PROXY header")):
            record = await self.refused(said, "opening_timeout")
            self.assertEqual(record["detail"], detail)
            self.assertGreaterEqual(record["total_seconds"], 1.0)
        self.assertEqual(await self.counted("opening_timeout"), 2)


class InsideTls(Before):
    """TLS that Twisted ends."""

    async def serve_inside(self, listener: str = "") -> Place:
        """A daemon that ends TLS and wants the header inside; where it listens."""
        both = self.stage.folder / "both.pem"
        both.write_bytes(key_and_certificate())
        self.recorder = await recorder(self.stage)
        front = self.stage.tcp()
        self.daemon = await self.start(
            f"[listener front]\nbind = ssl:{front.port}:interface={front.host}:privateKey={both}\n"
            f"pool = servers\nproxy_protocol = inside_tls 127.0.0.0/8\n{listener}\n"
            f"[pool servers]\nserver a = {self.recorder.place}\n",
            front,
        )
        return front

    async def test_one_who_does_not_answer_a_close(self) -> None:
        """A client that is refused and leaves our close_notify unanswered is gone soon all the same."""
        front = await self.serve_inside()
        for more in (b"", bytes(100_000)):
            tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), front.socket())
            self.addCleanup(tls.close)
            tls.setblocking(True)
            tls.set_connect_state()
            tls.do_handshake()
            with contextlib.suppress(SSL.SysCallError):  # it may be refused before it has said all
                tls.sendall(b"no header\r\n" + more)
        records = await self.daemon.records(2)
        self.assertEqual([record["reason"] for record in records], 2 * ["proxy_malformed"])
        await self.daemon.leaves_nothing()

    async def test_one_who_does_not_shake_hands(self) -> None:
        """A client without a TLS handshake is closed after handshake_timeout, and no server hears of it."""
        front = await self.serve_inside("handshake_timeout = 1s")
        with front.socket():
            record = await self.daemon.record()
        self.assertEqual((record["reason"], record["server"]), ("opening_timeout", ""))
        self.assertEqual(self.recorder.connections, [])

    async def test_openssl(self) -> None:
        """With inside_tls the header is the first thing inside the TLS that an ssl: bind ends."""
        front = await self.serve_inside()
        said = b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n" + REQUEST
        out = await self.stage.check(
            program("openssl", "openssl"), "s_client", "-quiet", "-verify_quiet", "-connect", str(front),
            feed=said,
        )  # fmt: skip
        self.assertTrue(out.endswith(ANSWER), out)
        record = await self.daemon.record()
        self.assertEqual(record["client"], "192.0.2.7:5555")
        self.assertTrue(record["via"].startswith("127.0.0.1:"), record)
        self.assertEqual(self.recorder.connections[0].data, REQUEST)
