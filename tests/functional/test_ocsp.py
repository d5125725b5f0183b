"""Do clients get what a real responder says of a certificate?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.support.authority import FOR_OCSP, Authority, Issued
from tests.support.daemon import Daemon, DaemonCase, twistd
from tests.support.stage import Stage, program

reactor: Any = installed_reactor


class Responder(Resource):
    """
    OpenSSL's responder, for one certificate, which it says is valid (V) or revoked (R).

    Its own port would be one of all addresses, so HTTP is ours; what is asked and answered is its business.
    """

    isLeaf = True

    def __init__(self, stage: Stage, authority: Authority) -> None:
        super().__init__()
        self.folder = stage.subfolder("responder")
        self._stage = stage
        authority.write(self.folder / "ca.pem")
        authority.issue("responder", purpose=FOR_OCSP).write(self.folder / "responder.pem")

    def knows(self, issued: Issued, flag: str) -> None:
        """What it knows, as an authority of OpenSSL's has it in its index."""
        serial = f"{issued.certificate.serial_number:X}"
        serial = serial if len(serial) % 2 == 0 else f"0{serial}"
        revoked = "250101000000Z" if flag == "R" else ""
        line = "\t".join((flag, "350101000000Z", revoked, serial, "unknown", "/CN=www.example"))
        (self.folder / "index.txt").write_text(f"{line}\n")

    def render_POST(self, request: Request) -> int:
        assert request.content is not None
        (self.folder / "request").write_bytes(request.content.read())
        Deferred.fromCoroutine(self._answer(request))
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        folder = self.folder
        await self._stage.check(
            program("openssl", "openssl"), "ocsp", "-reqin", folder / "request",
            "-respout", folder / "response", "-index", folder / "index.txt",
            "-CA", folder / "ca.pem", "-nmin", "60",
            "-rsigner", folder / "responder.pem", "-rkey", folder / "responder.pem",
        )  # fmt: skip
        request.setHeader("Content-Type", "application/ocsp-response")
        request.write((folder / "response").read_bytes())
        request.finish()


class OcspTests(DaemonCase):
    """An authority with its responder, and a daemon with a certificate of that."""

    async def begin(self, flag: str = "V", away: bool = False) -> Daemon:
        """Start all of them; the responder says what the flag says, or is away."""
        authority = Authority()
        self.responder = Responder(self.stage, authority)
        place = self.stage.tcp()
        site = Site(self.responder)
        site.noisy = False
        self.port = reactor.listenTCP(place.port, site, interface=place.host)
        if away:
            await self.port.stopListening()
        else:
            self.addCleanup(self.port.stopListening)
        issued = authority.issue("www.example", responder_url=f"http://{place}/")
        self.responder.knows(issued, flag)
        certificates = self.stage.subfolder("certificates")
        issued.write(certificates / "www.pem")
        authority.write(certificates / "ca.pem")
        front = self.stage.tcp()
        return await self.start(
            f"[listener front]\nbind = {front.bind}\npool = servers\n"
            f"tls = {certificates} ocsp=fetch\n"
            "[pool servers]\nserver a = 127.0.0.1:9",
            front,
            proxyd=f"state = {self.stage.subfolder('state')}",
        )

    async def seen(self, daemon: Daemon) -> str:
        """What a client sees."""
        finished = await self.stage.run(
            program("openssl", "openssl"), "s_client", "-connect", str(daemon.front), "-status",
            "-servername", "www.example", "-CAfile", self.responder.folder / "ca.pem",
        )  # fmt: skip
        return finished.out.decode(errors="replace")  # its end is that of the server, which there is none of

    async def test_good(self) -> None:
        """It is fetched, sent to clients, and kept for the next process, whose responder may be away."""
        daemon = await self.begin()
        await daemon.child.says(
            rb"www.pem: its authority says that it is good, for 1\.0 h; asked again in 0\.5"
        )
        seen = await self.seen(daemon)
        self.assertIn("OCSP Response Status: successful", seen)
        self.assertIn("Cert Status: good", seen)
        metrics = await daemon.metrics()
        name = f'proxyd_ocsp_expiry_timestamp_seconds{{file="{self.stage.folder}/certificates/www.pem"}}'
        self.assertGreater(metrics[name], 0)
        await daemon.stop()
        await self.port.stopListening()
        child = twistd(
            self.stage, "-n", "--pidfile=", "tcpproxy", "--config", Path(daemon.folder, "proxy.ini")
        )
        await child.says(rb"proxyd [^:]+: \d+ listener")
        self.assertIn("Cert Status: good", await self.seen(daemon))

    async def test_revoked(self) -> None:
        """A certificate that is revoked is told of, and nothing is sent with it."""
        daemon = await self.begin("R")
        await daemon.child.says(rb"www.pem: ITS AUTHORITY SAYS THAT IT IS REVOKED")
        self.assertIn("OCSP response: no response sent", await self.seen(daemon))

    async def test_away(self) -> None:
        """While the responder is away TLS works without its word."""
        daemon = await self.begin(away=True)
        await daemon.child.says(
            rb"www.pem: http://.* cannot be reached: .*; asked again in \d\d s, none is sent"
        )
        seen = await self.seen(daemon)
        self.assertIn("OCSP response: no response sent", seen)
        self.assertIn("Verify return code: 0 (ok)", seen)
