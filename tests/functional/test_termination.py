"""Does TLS end here for real clients, with the right certificate, also when that is replaced?"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Optional

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.authority import DAY, FOR_CLIENTS, NOW, Authority, Issued
from tests.support.daemon import TWISTD, Daemon, DaemonCase
from tests.support.recorder import ANSWER, recorder
from tests.support.services import haproxy, nginx, nginx_http
from tests.support.stage import Place, program

ROOT = Authority("Root")
BETWEEN = Authority("Between", ROOT)
CLIENTS = Authority("Clients")

REQUEST = b"GET / HTTP/1.0\r\n\r\n"


class TerminationCase(DaemonCase):
    """A daemon that ends TLS with the certificates of a folder, and clients that trust our authority."""

    def setUp(self) -> None:
        super().setUp()
        self.certs = self.stage.subfolder("certs")
        self.trust = self.stage.folder / "root.pem"
        self.trust.write_bytes(ROOT.pem)

    def put(self, issued: Issued, name: str) -> None:
        """Write a certificate into the folder, in one step."""
        path = self.certs / f".{name}"
        path.write_bytes(issued.key + issued.chain)
        path.chmod(0o640)
        os.replace(path, self.certs / name)

    async def serve(
        self, server: Place, tls: str = "", listener: str = "", front: Optional[Place] = None, pool: str = ""
    ) -> Daemon:
        """A daemon with these parameters of ``tls``."""
        lines = f"tls = {self.certs} {tls}\n{listener}"
        return await self.relay(server, front=front, listener=lines, pool=pool)

    async def s_client(self, front: Place, *arguments: Any, feed: bytes = b"", status: int = 0) -> str:
        """What OpenSSL's client says of a handshake."""
        where = ["-unix", front.host] if not front.port else ["-connect", str(front)]
        done = await self.stage.run(
            program("openssl", "openssl"), "s_client", "-CAfile", self.trust, "-verify_return_error",
            *where, *arguments, feed=feed,
        )  # fmt: skip
        self.assertEqual(done.status, status, done)
        return (done.out + done.err).decode(errors="replace")

    async def curl(self, front: Place, host: str, *arguments: Any) -> str:
        """What curl fetches, which takes only certificates that lead to our authority."""
        out = await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--fail", "--cacert", self.trust,
            "--connect-to", f"::{front}", *arguments, f"https://{host}/hello",
        )  # fmt: skip
        return out.decode()

    async def web(self) -> Place:
        server = await nginx(self.stage)
        (server.folder / "files" / "hello").write_text("hello\n")
        return server.place


class Clients(TerminationCase):
    """Who comes, and what is agreed on."""

    async def test_names(self) -> None:
        """Each name gets its own certificate with its chain; over IPv4, IPv6 and a unix socket."""
        for name in ("a.example", "*.b.example"):
            self.put(BETWEEN.issue(name), f"{name[-9:]}.pem")
        fronts = [self.stage.tcp(), self.stage.tcp6(), self.stage.unix("front.sock")]
        web = await self.web()
        binds = " ".join(front.bind for front in fronts)
        daemon = await self.start(
            f"[listener front]\nbind = {binds}\ntls = {self.certs}\npool = p\n[pool p]\nserver a = {web}\n",
            fronts[0],
        )
        for front in fronts:
            for asked, subject in (("a.example", "a.example"), ("x.b.example", "*.b.example")):
                for version in ("-tls1_2", "-tls1_3"):
                    said = await self.s_client(
                        front, "-servername", asked, "-verify_hostname", asked, version
                    )
                    self.assertIn(f"subject=CN = {subject}", said)
                    self.assertIn(" 1 s:CN = Between", said)
            said = await self.s_client(front, "-noservername")
            self.assertIn("subject=CN = a.example", said)
        self.assertEqual(await self.curl(fronts[0], "a.example"), "hello\n")
        self.assertEqual(await self.curl(fronts[0], "x.b.example"), "hello\n")
        records = await daemon.records(17)
        self.assertEqual({record["sni"] for record in records}, {"a.example", "x.b.example", ""})

    async def test_rsa_and_ecdsa(self) -> None:
        """Each client gets the type of certificate that it can check."""
        self.put(BETWEEN.issue("a.example"), "ecdsa.pem")
        self.put(BETWEEN.issue("a.example", key=rsa.generate_private_key(65537, 2048)), "rsa.pem")
        daemon = await self.serve((await recorder(self.stage)).place)
        for algorithms, found in (
            ("ecdsa_secp256r1_sha256", "id-ecPublicKey"),
            ("rsa_pss_rsae_sha256:rsa_pkcs1_sha256", "rsaEncryption"),
        ):
            for version in ("-tls1_2", "-tls1_3"):
                said = await self.s_client(
                    daemon.front, "-servername", "a.example", "-sigalgs", algorithms, version
                )
                self.assertIn(f"a:PKEY: {found}", said)

    async def test_alpn(self) -> None:
        """What is agreed on is what the server behind speaks; who speaks something else is told so."""
        self.put(BETWEEN.issue("a.example"), "a.pem")
        lines = "location = /hello { return 200 $server_protocol; }"
        h2 = await nginx_http(self.stage, lines, "http2", name="h2")
        daemon = await self.serve(h2.place, "alpn=h2")
        self.assertEqual(await self.curl(daemon.front, "a.example", "--http2"), "HTTP/2.0")
        said = await self.s_client(daemon.front, "-servername", "a.example", "-alpn", "spdy/1", status=1)
        self.assertIn("no application protocol", said)
        records = await daemon.records(2)
        found = [(record["reason"], record["detail"]) for record in records]
        self.assertIn(("tls_handshake", "TLS: it offers spdy/1"), found)

    async def test_routes(self) -> None:
        """Routes go by the name and the protocol that were agreed on, and by what is within."""
        for name in ("a.example", "b.example"):
            self.put(BETWEEN.issue(name), f"{name}.pem")
        pools = {}
        for name in ("names", "h2", "http", "rest"):
            server = await nginx_http(
                self.stage,
                f"location = /hello {{ return 200 {name}; }}",
                "http2" if name == "h2" else "",
                name=name,
            )
            pools[name] = server.place
        conditions = {"names": "sni = b.example", "h2": "alpn = h2", "http": "speaks = http"}
        listener = f"tls = {self.certs} alpn=h2,http/1.1\npool = rest"
        daemon = await self.route(pools, conditions, listener=listener)
        for host, option, pool in (
            ("a.example", "--http2", "h2"),
            ("a.example", "--http1.1", "http"),
            ("b.example", "--http1.1", "names"),
        ):
            self.assertEqual(await self.curl(daemon.front, host, option), pool)
        records = await daemon.records(3)
        self.assertEqual([record["route"] for record in records], ["h2", "http", "names"])

    async def test_affinity(self) -> None:
        """Clients that ask for the same name come back to the same server."""
        for name in ("a.example", "b.example"):
            self.put(BETWEEN.issue(name), f"{name}.pem")
        servers = [await recorder(self.stage) for _ in range(2)]
        daemon = await self.relay(
            *(server.place for server in servers), listener=f"tls = {self.certs}",
            pool="balance = roundrobin\naffinity = sni",
        )  # fmt: skip
        for _ in range(3):
            for name in ("a.example", "b.example"):
                await self.s_client(daemon.front, "-servername", name, "-quiet", feed=REQUEST)
        records = await daemon.records(6)
        led = {(record["sni"], record["server"]) for record in records}
        self.assertEqual(led, {("a.example", "a"), ("b.example", "b")})

    async def test_client_certificates(self) -> None:
        """Only clients with a certificate of our authority come in, and the server is told who they are."""
        self.put(BETWEEN.issue("a.example"), "a.pem")
        authority = CLIENTS.write(self.stage.folder / "clients.pem")
        good, bad = (CLIENTS.issue(name, purpose=FOR_CLIENTS) for name in ("alice", "mallory"))
        crl = self.stage.folder / "crl.pem"
        crl.write_bytes(CLIENTS.revoke(bad))
        server = await recorder(self.stage)
        daemon = await self.serve(
            server.place, f"client=required client_ca={authority} client_crl={crl}",
            pool="proxy_protocol = v2 ssl authority",
        )  # fmt: skip
        for name, issued in (("alice", good), ("mallory", bad)):
            issued.write(self.stage.folder / name)
        said = await self.s_client(
            daemon.front,
            "-servername",
            "a.example",
            "-quiet",
            "-cert",
            self.stage.folder / "alice",
            feed=REQUEST,
        )
        self.assertIn(ANSWER.decode(), said)
        header = server.only.header
        assert header.ssl is not None
        self.assertEqual((header.ssl.cn, header.ssl.verify, header.authority), ("alice", 0, "a.example"))
        self.assertEqual((header.ssl.key_alg, header.ssl.sig_alg), ("EC256", "ecdsa-with-SHA256"))
        self.assertEqual(header.ssl.client, 7)
        for arguments in (["-cert", self.stage.folder / "mallory"], []):
            await self.s_client(
                daemon.front,
                "-servername",
                "a.example",
                "-quiet",
                "-tls1_2",
                *arguments,
                feed=REQUEST,
                status=1,
            )
        records = await daemon.records(3)
        self.assertEqual([record["reason"] for record in records][1:], ["tls_handshake"] * 2)
        self.assertEqual((records[0]["client_cn"], records[0]["tls"][:8]), ("alice", "TLSv1.3/"))
        self.assertEqual(len(server.connections), 1)

    async def test_staple(self) -> None:
        """What the authority says of a certificate is sent along, if it is beside it."""
        issued = BETWEEN.issue("a.example")
        self.put(issued, "a.pem")
        (self.certs / "a.ocsp").write_bytes(BETWEEN.vouch(issued))
        daemon = await self.serve((await recorder(self.stage)).place)
        said = await self.s_client(daemon.front, "-servername", "a.example", "-status")
        self.assertIn("OCSP Response Status: successful (0x0)", said)
        self.assertIn("Cert Status: good", said)

    async def test_handshake_timeout(self) -> None:
        """Who does not shake hands is closed in time, and no server hears of it."""
        self.put(BETWEEN.issue("a.example"), "a.pem")
        server = await recorder(self.stage)
        daemon = await self.serve(server.place, listener="handshake_timeout = 2s\nmax_handshakes = 1")
        with daemon.front.socket(), daemon.front.socket() as second:
            self.assertEqual(second.recv(1), b"")
            records = await daemon.records(2)
        found = {record["reason"] for record in records}
        self.assertEqual(found, {"handshakes", "opening_timeout"})
        self.assertEqual(server.connections, [])

    async def test_who_leaves(self) -> None:
        """Who leaves before the handshake is over has gone; what is no TLS at all has failed in it."""
        self.put(BETWEEN.issue("a.example"), "a.pem")
        daemon = await self.serve((await recorder(self.stage)).place)
        for said, reason, detail in (
            (b"", "client_gone", "it left before the TLS handshake was over"),
            (b"\x16\x03\x01\x02\x00\x01", "client_gone", "it left before the TLS handshake was over"),
            (b"GET / HTTP/1.1\r\n\r\n", "tls_handshake", "TLS: http request"),
        ):
            count = len(daemon.access_log.read_bytes().splitlines()) if daemon.access_log.exists() else 0
            with daemon.front.socket() as client:
                client.sendall(said)
            record = (await daemon.records(count + 1))[-1]
            self.assertEqual((record["reason"], record["detail"]), (reason, detail))

    async def test_header_before_tls(self) -> None:
        """A PROXY header comes before TLS, as HAProxy sends it, in both of its versions."""
        self.put(BETWEEN.issue("a.example"), "a.pem")
        server = await recorder(self.stage)
        daemon = await self.serve(server.place, listener="proxy_protocol = 127.0.0.0/8")
        for version in ("send-proxy", "send-proxy-v2"):
            before = haproxy(self.stage, "mode tcp", f"server s {daemon.front} {version}", name=version)
            said = await self.s_client(before.place, "-servername", "a.example", "-quiet", feed=REQUEST)
            self.assertIn(ANSWER.decode(), said)
        records = await daemon.records(2)
        self.assertEqual([record["sni"] for record in records], ["a.example"] * 2)
        self.assertTrue(all(record["via"] and record["client"] != record["via"] for record in records))
        self.assertEqual([one.data for one in server.connections], [REQUEST] * 2)


class Elsewhere(TerminationCase):
    """Other ways to TLS."""

    async def test_twisteds_transports(self) -> None:
        """On Twisted's transports all is the same: names, ALPN, and who is refused."""
        for name in ("a.example", "b.example"):
            self.put(BETWEEN.issue(name), f"{name}.pem")
        daemon = await self.serve(await self.web(), "alpn=http/1.1", "datapath = stock")
        for name in ("a.example", "b.example"):
            self.assertEqual(await self.curl(daemon.front, name), "hello\n")
        said = await self.s_client(daemon.front, "-servername", "a.example", "-alpn", "h2", status=1)
        self.assertIn("no application protocol", said)
        records = await daemon.records(3)
        found = [(record["sni"], record["reason"]) for record in records]
        self.assertEqual(found[0][0], "a.example")
        self.assertEqual(found[2], ("", "tls_handshake"))

    async def test_addresses(self) -> None:
        """An ssl: and a tls: address end TLS by themselves, beside one that does not; metrics may, too."""
        issued = BETWEEN.issue("a.example")
        self.put(issued, "a.pem")
        plain, ssl, tls, pages = (self.stage.tcp() for _ in range(4))
        web = await self.web()
        certificate = self.certs / "a.pem"
        daemon = await self.start(
            f"[listener front]\nbind = {plain.bind}\n"
            f"  ssl:{ssl.port}:interface={ssl.host}:privateKey={certificate}\n"
            f"  tls:{tls.port}:certificates={self.certs}:interface={tls.host}:alpn=http/1.1\npool = p\n"
            f"[pool p]\nserver a = {web}\n[demo]\nserver a = tls:{pages.port}:certificates={self.certs}:"
            f"interface={pages.host}\n",
            plain,
        )
        for front in (ssl, tls):
            self.assertEqual(await self.curl(front, "a.example"), "hello\n")
        out = await self.stage.check(program("curl", "curl"), "--silent", f"http://{plain}/hello")
        self.assertEqual(out, b"hello\n")
        self.assertIn("a", await self.curl(pages, "a.example"))
        records = await daemon.records(3)
        self.assertEqual([bool(record["tls"]) for record in records], [True, True, False])


class Renewal(TerminationCase):
    """Certificates that are replaced while the daemon serves."""

    async def sent(self, front: Place, *arguments: Any, feed: bytes = b"") -> str:
        """The certificate that a client gets, in PEM."""
        said = await self.s_client(front, "-servername", "a.example", *arguments, feed=feed)
        pem = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", said, re.DOTALL)
        assert pem is not None, said
        return pem[0]

    async def test_renewed(self) -> None:
        """A new certificate is soon served; connections that stand go on, and sessions are resumed."""
        self.put(BETWEEN.issue("a.example"), "a.pem")
        server = await recorder(self.stage)
        daemon = await self.serve(server.place, "ocsp=off")
        sessions = {version: self.stage.folder / version[1:] for version in ("-tls1_2", "-tls1_3")}
        before = [
            # The tickets of TLS 1.3 come behind the handshake, so it is waited for an answer.
            await self.sent(daemon.front, version, "-sess_out", path, "-ign_eof", feed=REQUEST)
            for version, path in sessions.items()
        ]
        stands = self.stage.spawn(
            program("openssl", "openssl"), "s_client", "-connect", str(daemon.front), "-servername",
            "a.example", "-CAfile", self.trust, "-ign_eof", feed=None,
        )  # fmt: skip
        await stands.says(b"Verify return code: 0")
        self.put(BETWEEN.issue("a.example"), "a.pem")
        await self.stage.until(lambda: "is served from now on, for a.example" in daemon.log, "the renewal")
        for version, path in sessions.items():
            self.assertNotIn(await self.sent(daemon.front, version), before)
            said = await self.s_client(daemon.front, "-servername", "a.example", version, "-sess_in", path)
            self.assertIn("Reused, TLSv1", said)
        stands.transport.write(REQUEST)
        await stands.says(ANSWER.strip())
        self.assertEqual(await stands.ends(), 0)
        records = await daemon.records(7)
        self.assertEqual(sum(record["tls"].endswith("/resumed") for record in records), 2)
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_certificate_reloads_total{listener="front",result="taken"}'], 1)
        file = str(self.certs / "a.pem")
        self.assertIn(
            f'proxyd_certificate_expiry_timestamp_seconds{{file="{file}",listener="front"}}', metrics
        )

    async def test_broken(self) -> None:
        """One that cannot be used is refused loudly, and the old one stays; others are renewed."""
        self.put(BETWEEN.issue("a.example"), "a.pem")
        self.put(BETWEEN.issue("b.example"), "b.pem")
        admin = self.stage.folder / "admin.sock"
        daemon = await self.relay(
            (await recorder(self.stage)).place, listener=f"tls = {self.certs}", proxyd=f"admin = unix:{admin}"
        )
        before = await self.sent(daemon.front)
        weak = BETWEEN.issue("a.example", key=rsa.generate_private_key(65537, 1024))
        self.put(weak, "a.pem")
        self.put(BETWEEN.issue("b.example", "c.example"), "b.pem")
        await self.stage.until(lambda: "OpenSSL refuses it: ee key too small" in daemon.log, "the complaint")
        self.assertIn(f"[listener front] tls: {self.certs}/a.pem: ", daemon.log)
        self.assertEqual(await self.sent(daemon.front), before)
        said = await self.s_client(daemon.front, "-servername", "c.example")
        self.assertIn("subject=CN = b.example", said)
        out = await self.stage.check(
            Path(sys.executable).with_name("proxyctl"), "show", "certificates", "--socket", admin, "--json"
        )
        first, second = json.loads(out)["certificates"]
        self.assertEqual((first["trouble"], second["trouble"]), ("OpenSSL refuses it: ee key too small", ""))
        self.assertEqual(second["names"], ["b.example", "c.example"])
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_certificate_reloads_total{listener="front",result="refused"}'], 1)

    async def test_at_the_start(self) -> None:
        """A daemon does not start with certificates that are wrong, and says all that is."""
        self.put(BETWEEN.issue("a.example", since=NOW - 3 * DAY, until=NOW - DAY), "a.pem")
        (self.certs / "b.crt").write_bytes(BETWEEN.issue("b.example").chain)
        config = self.stage.folder / "proxy.ini"
        config.write_text(
            f"[listener front]\nbind = {self.stage.tcp().bind}\ntls = {self.certs}\npool = p\n"
            "[pool p]\nserver a = 127.0.0.1:1\n"
        )
        done = await self.stage.run(TWISTD, "-n", "tcpproxy", "--config", config)
        self.assertEqual(done.status, 1)
        said = done.err.decode()
        self.assertIn(f"{self.certs}/a.pem: has expired on ", said)
        self.assertIn(f"{self.certs}/b.crt: has no private key, and neither has b.key beside it", said)
