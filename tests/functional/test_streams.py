"""Do ssh, iperf3 and mail notice that the daemon is between: bulk, half-close, a server that speaks first?"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Optional

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.mail import smtp
from zope.interface import implementer

from tests.support.daemon import Daemon, DaemonCase
from tests.support.services import Service, iperf3, sshd
from tests.support.stage import PATIENCE, program

SOME = 5 * 1024 * 1024
LARGE = 100 * 1024 * 1024

# iperf3 says on its control connection that it is done, and what is then in the kernel's buffers of the
# data connection is not counted by the receiver: two hops have more of these than one.
UNDER_WAY = 64 * 1024 * 1024


class Ssh(DaemonCase):
    """OpenSSH; both sides speak at once."""

    async def serve(self) -> None:
        self.server: Service = await sshd(self.stage)
        self.daemon: Daemon = await self.relay(self.server.place)

    async def ssh(self, command: str, **how: Any) -> bytes:
        front = self.daemon.front
        return await self.stage.check(
            program("ssh", "openssh-client"), "-F", "none", "-i", self.server.folder / "user",
            "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.stage.folder}/known",
            "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-p", str(front.port), front.host, command, **how,
        )  # fmt: skip

    async def test_command(self) -> None:
        """A command's output and its end come back."""
        await self.serve()
        self.assertEqual(await self.ssh("echo here; exit 0"), b"here\n")

    async def test_pipe(self) -> None:
        """5 MB go through a remote cat and come back, and the end of the input ends it."""
        await self.serve()
        data = os.urandom(SOME)
        self.assertEqual(
            hashlib.sha256(await self.ssh("cat", feed=data)).digest(), hashlib.sha256(data).digest()
        )

    async def test_end_of_input(self) -> None:
        """The answer to all that was sent comes after the end of the input."""
        await self.serve()
        data = os.urandom(SOME)
        self.assertEqual(
            await self.ssh("sha256sum", feed=data), hashlib.sha256(data).hexdigest().encode() + b"  -\n"
        )


class Iperf(DaemonCase):
    """iperf3; it makes a connection for control and one for the data."""

    async def transfer(self, *direction: str) -> None:
        server = await iperf3(self.stage)
        daemon = await self.relay(server.place)
        out = await self.stage.check(
            program("iperf3", "iperf3"), "--client", daemon.front.host, "--port", str(daemon.front.port),
            "--bytes", "100M", "--json", *direction,
        )  # fmt: skip
        end = json.loads(out)["end"]
        self.assertGreaterEqual(end["sum_sent"]["bytes"], LARGE)
        self.assertGreaterEqual(end["sum_received"]["bytes"], LARGE - UNDER_WAY)
        records = await daemon.records(2)
        field = "bytes_out" if direction else "bytes_in"
        self.assertGreaterEqual(max(record[field] for record in records), LARGE - UNDER_WAY)

    async def test_to_server(self) -> None:
        """100 MB to the server."""
        await self.transfer()

    async def test_to_client(self) -> None:
        """100 MB to the client."""
        await self.transfer("--reverse")


@implementer(smtp.IMessageDelivery, smtp.IMessage)
class Mailbox:
    """Takes any mail."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.complete = False

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: yes"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        return lambda: self

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        self.complete = True
        return succeed(None)

    def connectionLost(self) -> None:
        """The mail was not sent to its end."""


class MailFactory(ServerFactory):
    """Mail servers that deliver into one mailbox."""

    noisy = False

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.timeout = PATIENCE

    def buildProtocol(self, addr: Optional[IAddress]) -> smtp.ESMTP:
        server = smtp.ESMTP()
        server.factory = self
        server.delivery = self.mailbox
        server.host = b"mail.example"
        return server


class Mail(DaemonCase):
    """SMTP, where the client waits for the server's greeting."""

    async def test_delivery(self) -> None:
        """A mail is delivered: greeting, dialogue, text and goodbye."""
        mailbox = Mailbox()
        place = self.stage.tcp()
        server = TCP4ServerEndpoint(self.stage.reactor, place.port, interface=place.host)
        port = await server.listen(MailFactory(mailbox))
        self.addCleanup(port.stopListening)
        daemon = await self.relay(place)
        await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--mail-from", "a@example.com",
            "--mail-rcpt", "b@example.com", "--upload-file", "-", f"smtp://{daemon.front}",
            feed=b"Subject: greeting\r\n\r\nGood day\r\n",
        )  # fmt: skip
        self.assertTrue(mailbox.complete)
        self.assertIn(b"Good day", mailbox.lines)
