"""Do clients get what a real responder says of a certificate?"""

from __future__ import annotations

from pathlib import Path

from tests.support.authority import FOR_OCSP, Authority
from tests.support.daemon import Daemon, DaemonCase, twistd
from tests.support.stage import Child, program


class OcspTests(DaemonCase):
    """OpenSSL's responder, an authority of the test's, and a daemon with a certificate of that."""

    async def begin(self, flag: str = "V") -> Daemon:
        """Start all of them; the responder says what the flag says: valid, or revoked."""
        self.folder = self.stage.subfolder("ca")
        self.authority = Authority()
        self.authority.write(self.folder / "ca.pem")
        self.authority.issue("responder", purpose=FOR_OCSP).write(self.folder / "responder.pem")
        index = self.folder / "index.txt"
        index.write_text("")
        self.responder = self.respond("0")
        port = (await self.responder.says(rb"ACCEPT .*:(\d+) PID"))[1].decode()
        issued = self.authority.issue("www.example", responder_url=f"http://127.0.0.1:{port}/")
        self.state, certificates = self.stage.subfolder("state"), self.stage.subfolder("certificates")
        issued.write(certificates / "www.pem")
        self.authority.write(certificates / "ca.pem")
        serial = f"{issued.certificate.serial_number:040X}".lstrip("0")
        serial = serial if len(serial) % 2 == 0 else f"0{serial}"
        revoked = "250101000000Z" if flag == "R" else ""
        line = "\t".join((flag, "350101000000Z", revoked, serial, "unknown", "/CN=www.example"))
        new = self.folder / "new.txt"
        new.write_text(f"{line}\n")
        new.rename(index)
        # The responder looks whether its file has changed when it has answered, and not before.
        await self.stage.check(
            program("openssl", "openssl"), "ocsp", "-issuer", self.folder / "ca.pem", "-cert",
            certificates / "www.pem", "-url", f"http://127.0.0.1:{port}/", "-noverify",
        )  # fmt: skip
        front = self.stage.tcp()
        return await self.start(
            f"[listener front]\nbind = {front.bind}\npool = servers\n"
            f"tls = {certificates} ocsp=fetch\n"
            "[pool servers]\nserver a = 127.0.0.1:9",
            front,
            proxyd=f"state = {self.state}",
        )

    def respond(self, port: str) -> Child:
        """The responder; what it knows is in a file, which it reads again when that is another."""
        folder = self.folder
        return self.stage.spawn(
            program("openssl", "openssl"), "ocsp", "-port", port, "-index", folder / "index.txt",
            "-CA", folder / "ca.pem", "-rsigner", folder / "responder.pem", "-rkey", folder / "responder.pem",
            "-nmin", "60",
        )  # fmt: skip

    async def status(self, daemon: Daemon) -> str:
        """What a client sees."""
        finished = await self.stage.run(
            program("openssl", "openssl"), "s_client", "-connect", str(daemon.front), "-status",
            "-servername", "www.example", "-CAfile", self.folder / "ca.pem",
        )  # fmt: skip
        return finished.out.decode(errors="replace")  # its end is that of the server, which there is none of

    async def test_good(self) -> None:
        """It is fetched, sent to clients, and kept for the next process, whose responder may be away."""
        daemon = await self.begin()
        await daemon.child.says(
            rb"www.pem: its authority says that it is good, for 1\.0 h; asked again in 0\.5"
        )
        seen = await self.status(daemon)
        self.assertIn("OCSP Response Status: successful", seen)
        self.assertIn("Cert Status: good", seen)
        metrics = await daemon.metrics()
        [until] = [
            value
            for name, value in metrics.items()
            if name.startswith("proxyd_ocsp_expiry_timestamp_seconds{")
        ]
        self.assertGreater(until, 0)
        await daemon.stop()
        await self.responder.stop()
        child = twistd(
            self.stage, "-n", "--pidfile=", "tcpproxy", "--config", Path(daemon.folder, "proxy.ini")
        )
        await child.says(rb"proxyd [^:]+: \d+ listener")
        self.assertIn("Cert Status: good", await self.status(daemon))

    async def test_revoked(self) -> None:
        """A certificate that is revoked is told of, and nothing is sent with it."""
        daemon = await self.begin("R")
        await daemon.child.says(rb"www.pem: ITS AUTHORITY SAYS THAT IT IS REVOKED")
        self.assertIn("OCSP response: no response sent", await self.status(daemon))

    async def test_away(self) -> None:
        """While the responder is away TLS works without its word."""
        daemon = await self.begin()
        await self.responder.stop()
        await daemon.child.says(
            rb"www.pem: http://127.0.0.1:\d+/: .*cannot be reached.*none is sent|says that it is good"
        )
        self.assertIn("Verify return code: 0 (ok)", await self.status(daemon))
