"""Are certificates had from a real authority, renewed, and served while that cannot be?"""

from __future__ import annotations

import datetime
import os
import ssl
import stat
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import SkipTest

from proxyd.config.acme import AcmeSpec, CertificateSpec
from proxyd.upkeep.acme import keys
from proxyd.upkeep.acme.folder import AcmeFolder
from tests.support.acme import Door, Issuer, Pebble, pem
from tests.support.daemon import Daemon, DaemonCase, twistd
from tests.support.stage import Child

reactor: Any = installed_reactor

NOBODY = "65534"

THERE = rb"certificate www for .* is there"


class AcmeCase(DaemonCase):
    """Pebble, and a daemon that gets its certificates there."""

    def setUp(self) -> None:
        super().setUp()
        self.pebble = Pebble(self.stage)
        self.state = self.stage.subfolder("state")

    def sections(
        self,
        *lines: str,
        certificates: str = "certificate www = www.example",
        http: bool = True,
        listener: str = "",
    ) -> str:
        """A listener that ends TLS, and the authority, which looks at names by HTTP or by TLS."""
        self.front = self.pebble.tls
        return "\n".join(
            [
                f"[listener front]\nbind = {self.front.bind}\npool = servers\ntls = acme:pebble",
                listener,
                "[pool servers]\nserver a = 127.0.0.1:9",
                f"[acme pebble]\ndirectory = {self.pebble.directory}\nca = {self.pebble.ca}",
                f"agree_to_terms = yes\nbind = {self.pebble.http.bind}"
                if http
                else "agree_to_terms = yes\nchallenge = tls-alpn-01",
                certificates,
                *lines,
            ]
        )

    async def daemon(self, *lines: str, **how: Any) -> Daemon:
        """A daemon with these lines about the authority."""
        return await self.start(self.sections(*lines, **how), self.front, proxyd=f"state = {self.state}")

    def again(self, daemon: Daemon) -> Child:
        """Another process with the same configuration and state; it ends with the test."""
        return twistd(self.stage, "-n", "--pidfile=", "tcpproxy", "--config", daemon.folder / "proxy.ini")

    def path(self, name: str = "www") -> Path:
        return self.state / "acme" / "pebble" / "certificates" / f"{name}.pem"

    def leaf(self, name: str = "www") -> x509.Certificate:
        """The certificate that there is."""
        return x509.load_pem_x509_certificates(self.path(name).read_bytes())[0]

    def held(self, name: str = "www") -> keys.Held:
        return keys.held(self.path(name).read_text())

    def served(self) -> x509.Certificate:
        """The certificate that clients get."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(self.front.socket(), server_hostname="www.example") as skt:
            return x509.load_der_x509_certificate(skt.getpeercert(True) or b"")

    async def ask(self, request: str) -> bytes:
        """What is answered where challenges are."""
        peer = self.stage.connect(self.pebble.http)
        peer.send(f"{request} HTTP/1.0\r\nHost: www.example\r\n\r\n".encode())
        answer = bytes(await peer.sees_end())
        peer.close()
        return answer


class AcmeTests(AcmeCase):
    async def test_http(self) -> None:
        """By http-01, of each kind, though a third of the nonces are not taken; nobody else sees keys."""
        await self.pebble.start("www", "api", PEBBLE_WFE_NONCEREJECT="33")
        daemon = await self.daemon(
            "contact = mailto:admin@example.com",
            certificates="certificate www = www.example api.example\ncertificate rsa = api.example key=rsa",
        )
        await daemon.child.says(rb"certificate rsa for api.example is there, good for \d+.\d days")
        held = self.held()
        self.assertEqual((set(held.names), held.kind), ({"www.example", "api.example"}, "ecdsa"))
        self.assertEqual((self.held("rsa").names, self.held("rsa").kind), (("api.example",), "rsa"))
        self.assertIn("Pebble", self.leaf().issuer.rfc4514_string())
        for path in (self.state / "acme").rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            self.assertEqual(mode, 0o700 if path.is_dir() else 0o600, path)
        metrics = await daemon.metrics()
        labels = 'authority="pebble",certificate="rsa"'
        self.assertEqual(metrics[f'proxyd_acme_renewals_total{{{labels},result="ok"}}'], 1)
        self.assertEqual(
            metrics[f"proxyd_acme_expiry_timestamp_seconds{{{labels}}}"], self.held("rsa").not_after
        )
        moved = await self.ask("GET /path?query")
        self.assertIn(b" 308 ", moved.partition(b"\r\n")[0])
        self.assertIn(b"Location: https://www.example/path?query\r\n", moved)
        self.assertIn(b" 404 ", (await self.ask("GET /.well-known/acme-challenge/x")).partition(b"\r\n")[0])

    async def test_tls(self) -> None:
        """By tls-alpn-01, at the listener itself; what it gets takes the placeholder's place by itself."""
        await self.pebble.start("www", "api")
        names = "certificate www = www.example api.example"
        daemon = await self.daemon(certificates=names, http=False)
        await daemon.child.says(THERE)
        own = self.leaf()
        self.assertIn("Pebble", own.issuer.rfc4514_string())
        await self.stage.until(lambda: self.served() == own, "the certificate to be served")
        looks = [one for one in await daemon.records(2) if one["reason"] == "acme_challenge"]
        self.assertEqual({one["sni"] for one in looks}, {"www.example", "api.example"})
        self.assertEqual({one["server"] for one in looks}, {""})

    async def test_tls_of_http(self) -> None:
        """The same at a listener that speaks HTTP."""
        await self.pebble.start("www")
        daemon = await self.daemon(http=False, listener="protocol = http")
        await daemon.child.says(THERE)
        self.assertEqual({one["reason"] for one in await daemon.records(1)}, {"acme_challenge"})

    async def test_port_80_is_a_listeners(self) -> None:
        """Where port 80 is a listener's already, a route leads authorities to where they are answered."""
        await self.pebble.start("www")
        self.front = self.pebble.tls
        text = f"""
            [listener web]
            bind = {self.pebble.http.bind}
            protocol = http
            pool = servers
            [route challenges]
            listener = web
            path = /.well-known/acme-challenge/
            pool = acme
            [pool acme]
            server own = unix:acme.sock
            [pool servers]
            server a = 127.0.0.1:9
            [listener front]
            bind = {self.front.bind}
            tls = acme:pebble
            pool = servers
            [acme pebble]
            directory = {self.pebble.directory}
            ca = {self.pebble.ca}
            agree_to_terms = yes
            bind = unix:acme.sock
            certificate www = www.example"""
        sections = "\n".join(line.strip() for line in text.splitlines())
        daemon = await self.start(sections, self.front, proxyd=f"state = {self.state}")
        await daemon.child.says(THERE)
        await daemon.stop()  # it may keep the connections to itself for longer than a test would wait

    async def test_at_once(self) -> None:
        """Before the first certificate, and while the authority is away, clients get a placeholder."""
        daemon = await self.daemon()
        await daemon.child.says(rb"certificate www is yet to be had; a placeholder serves that nobody trusts")
        self.assertIn("placeholder", self.served().subject.rfc4514_string())
        await daemon.child.says(rb"could not be had: .* cannot be reached")

    async def test_restart(self) -> None:
        """Another process uses what is there: no order, and the same account for another certificate."""
        await self.pebble.start("www", "api")
        daemon = await self.daemon()
        await daemon.child.says(THERE)
        before = self.path().read_bytes()
        await daemon.stop()
        config = daemon.folder / "proxy.ini"
        config.write_text(config.read_text() + "\ncertificate api = api.example\n")
        child = self.again(daemon)
        await child.says(rb"certificate api for api.example is there")
        self.assertNotIn(b"account https", child.out)
        self.assertEqual(self.path().read_bytes(), before)

    async def test_renewal(self) -> None:
        """One that is about to expire is renewed at the start."""
        await self.pebble.start("www")
        issuer = Issuer(seconds=lambda: datetime.datetime.now().timestamp() - 85 * 86400)
        key = keys.new_key("ecdsa")
        names = x509.SubjectAlternativeName([x509.DNSName("www.example")])
        old = issuer.sign(x509.Name([]), key.public_key(), names)
        sections = self.sections()
        spec = AcmeSpec("pebble", self.pebble.directory, (CertificateSpec("www", ("www.example",)),))
        folder = AcmeFolder(str(self.state), spec)
        self.assertEqual(folder.prepare(1e9), [])
        folder.keep_certificate(spec.certificates[0], keys.pem_of(key) + pem(old, issuer.certificate))
        daemon = await self.start(sections, self.front, proxyd=f"state = {self.state}")
        await daemon.child.says(THERE)
        self.assertIn("Pebble", self.leaf().issuer.rfc4514_string())

    async def test_not_ours(self) -> None:
        """A name that does not lead to us is told, with what the authority saw; a placeholder serves."""
        self.pebble.address = "127.0.0.1"
        await self.pebble.start("www")
        daemon = await self.daemon()
        await daemon.child.says(
            rb"certificate www could not be had: www.example: the authority has not found it to be ours: .*"
            rb"[Cc]onnection refused.*; it is tried again in \d\d s, until then a placeholder serves"
        )
        self.assertTrue(self.held().placeholder)
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_acme_failures{authority="pebble",certificate="www"}'], 1)

    async def test_away(self) -> None:
        """When the authority is away the certificate that there is stays, and nothing is asked in vain."""
        await self.pebble.start("www")
        daemon = await self.daemon()
        await daemon.child.says(THERE)
        before = self.path().read_bytes()
        await daemon.stop()
        assert self.pebble.child is not None
        await self.pebble.child.stop()
        config = daemon.folder / "proxy.ini"
        text = config.read_text().replace("= www.example", "= www.example new.example")
        config.write_text(text)
        child = self.again(daemon)
        await child.says(
            rb"certificate www could not be had: .* cannot be reached: .*until then the one before serves, "
            rb"which expires in \d+.\d days$"
        )
        self.assertEqual(self.path().read_bytes(), before)

    async def test_killed(self) -> None:
        """When a process is killed that has ordered, the next one goes on with its order."""
        await self.pebble.start("www", PEBBLE_WFE_NONCEREJECT="0")
        door = self.stage.tcp()
        # The directory, a nonce, the account, the order.
        listening = reactor.listenTCP(door.port, Door(self.pebble.place, 4), interface=door.host)
        self.addCleanup(listening.stopListening)
        self.pebble.place, behind = door, self.pebble.place
        daemon = await self.daemon()
        ordered = await daemon.child.says(rb"order https://\S+(/\S+) for www.example")
        daemon.child.signal("KILL")
        await daemon.child.ends()
        self.assertTrue(self.held().placeholder)
        await listening.stopListening()
        listening = reactor.listenTCP(door.port, Door(behind, 1000), interface=door.host)
        self.addCleanup(listening.stopListening)
        child = self.again(daemon)
        await child.says(rb"goes on with order https://\S+" + ordered[1])
        await child.says(THERE)
        self.assertFalse(self.held().placeholder)
        self.assertEqual(os.listdir(self.state / "acme" / "pebble" / "orders"), [])

    async def test_privileges(self) -> None:
        """What root has made at the start nobody may replace later, and nobody else may read."""
        if os.geteuid() != 0:
            raise SkipTest("becoming nobody needs root")
        await self.pebble.start("www")
        os.chown(self.state, int(NOBODY), int(NOBODY))
        daemon = await self.start(
            self.sections(),
            self.front,
            proxyd=f"state = {self.state}",
            options=("--uid", NOBODY, "--gid", NOBODY),
        )
        await daemon.child.says(THERE)
        for path in (self.state / "acme", *(self.state / "acme").rglob("*")):
            found = path.stat()
            self.assertEqual((found.st_uid, found.st_mode & 0o077), (int(NOBODY), 0), path)

    async def test_external_account(self) -> None:
        """An authority that wants an account of its own gets it; without it that is told."""
        key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
        self.pebble.config = {
            "externalAccountBindingRequired": True,
            "externalAccountMACKeys": {"kid-1": key},
        }
        await self.pebble.start("www")
        daemon = await self.daemon()
        await daemon.child.says(
            rb"could not be had: the authority wants external_account = KID key_file=PATH"
        )
        await daemon.stop()
        (daemon.folder / "eab.key").write_text(f"{key}\n")
        config = daemon.folder / "proxy.ini"
        config.write_text(f"{config.read_text()}\nexternal_account = kid-1 key_file=eab.key\n")
        (self.state / "acme.json").unlink()  # or it would wait for a minute
        await self.again(daemon).says(THERE)

    async def test_start(self) -> None:
        """What the daemon could not use later fails its start."""
        await self.pebble.start("www")
        sections = self.sections("external_account = kid-1 key_file=eab.key")
        config = self.stage.folder / "proxy.ini"
        config.write_text(f"[proxyd]\nstate = {self.state}/none\n{sections}\n")
        child = twistd(self.stage, "-n", "--pidfile=", "tcpproxy", "--config", config)
        self.assertEqual(await child.ends(), 1)
        self.assertIn(f"[proxyd] state: {self.state}/none: No such file or directory".encode(), child.err)
        (self.state / "acme").write_text("")
        config.write_text(f"[proxyd]\nstate = {self.state}\n{sections}\n")
        child = twistd(self.stage, "-n", "--pidfile=", "tcpproxy", "--config", config)
        self.assertEqual(await child.ends(), 1)
        self.assertEqual(
            child.err.decode().splitlines()[:2],
            [
                f"[acme pebble] external_account: {self.stage.folder}/eab.key: No such file or directory",
                f"[acme pebble] {self.state}/acme is not a folder",
            ],
        )
