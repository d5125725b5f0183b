"""Do many protocols share one port, each with its own programs and none noticing the others?"""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred, gatherResults

from tests.functional.test_streams import Mailbox, MailFactory
from tests.support.daemon import DaemonCase
from tests.support.services import (
    nginx,
    nginx_https,
    postgres_program,
    postgresql,
    redis,
    s_server,
    sshd,
)
from tests.support.stage import Place, program

ROUTES = {
    "web": "speaks = http",
    "shell": "speaks = ssh",
    "database": "speaks = postgresql",
    "mail": "speaks = silent",
    "named": "sni = named.example",
    "secure": "speaks = tls",
}
# Who is silent for so long is taken for a client who waits for a greeting; the others begin sooner.
SILENCE = "opening_timeout = 3s"

SEND_MAIL = """
import smtplib, sys
with smtplib.SMTP(sys.argv[1], int(sys.argv[2])) as server:
    server.sendmail("a@example.com", ["b@example.com"], "Subject: greeting\\r\\n\\r\\nGood day\\r\\n")
"""


class OnePort(DaemonCase):
    """Real servers behind one port, and their own clients before it."""

    async def web(self) -> Place:
        """nginx, with a page."""
        server = await nginx(self.stage)
        (server.folder / "files" / "page").write_bytes(b"served\n")
        return server.place

    async def mail(self) -> Place:
        """A server that speaks first."""
        self.mailbox = Mailbox()
        place = self.stage.tcp()
        port = self.stage.reactor.listenTCP(place.port, MailFactory(self.mailbox), interface=place.host)
        self.addCleanup(port.stopListening)
        return place

    async def curl(self, front: Place, *options: str) -> None:
        out = await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--fail", *options, f"http://{front}/page"
        )
        self.assertEqual(out, b"served\n")

    async def send_mail(self, front: Place) -> None:
        await self.stage.check(sys.executable, "-c", SEND_MAIL, front.host, str(front.port))
        self.assertTrue(self.mailbox.complete)
        self.assertIn(b"Good day", self.mailbox.lines)

    async def test_every_protocol(self) -> None:
        """All at the same time: HTTP, SSH, PostgreSQL, TLS with and without a name, SMTP and Redis."""
        database, shell, rest = await postgresql(self.stage), await sshd(self.stage), await redis(self.stage)
        pools = {
            "web": await self.web(),
            "shell": shell.place,
            "database": database.place,
            "mail": await self.mail(),
            "named": (await s_server(self.stage, "named.example", "named")).place,
            "secure": (await nginx_https(self.stage, "secure.example", name="secure")).place,
            "rest": rest.place,
        }
        daemon = await self.route(pools, ROUTES, listener=f"pool = rest\n{SILENCE}")
        front = daemon.front

        async def ssh() -> None:
            out = await self.stage.check(
                program("ssh", "openssh-client"), "-F", "none", "-i", shell.folder / "user", "-o",
                "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.stage.folder}/known", "-o",
                "BatchMode=yes", "-o", "LogLevel=ERROR", "-p", str(front.port), front.host, "echo here",
            )  # fmt: skip
            self.assertEqual(out, b"here\n")

        async def psql(*settings: str) -> None:
            out = await self.stage.check(
                postgres_program("psql"), "--no-psqlrc", "-qAt", "-c", "SELECT 6 * 7",
                " ".join(["user=postgres", f"host={front.host}", f"port={front.port}", *settings]),
            )  # fmt: skip
            self.assertEqual(out, b"42\n")

        async def s_client(server: str, *options: str) -> None:
            out = await self.stage.check(
                program("openssl", "openssl"), "s_client", "-connect", str(front), *options, "-CAfile",
                self.stage.folder / f"{server}.pem", "-verify_return_error",
            )  # fmt: skip
            self.assertIn(f"subject=CN = {server}.example".encode(), out)

        async def redis_cli() -> None:
            out = await self.stage.check(
                program("redis-cli", "redis-tools"), "-h", front.host, "-p", str(front.port), "PING"
            )
            self.assertEqual(out, b"PONG\n")

        clients = [
            self.curl(front),
            ssh(),
            psql("sslmode=prefer"),  # begins with an SSLRequest, which this server declines
            psql("sslmode=disable"),  # begins with the StartupMessage
            s_client("named", "-servername", "named.example"),
            s_client("secure", "-servername", "other.example"),
            s_client("secure", "-noservername"),
            self.send_mail(front),
            redis_cli(),
        ]
        await gatherResults([Deferred.fromCoroutine(client) for client in clients], consumeErrors=True)
        records = await daemon.records(len(clients))
        led = sorted((record["pool"], record["route"], record["sni"]) for record in records)
        self.assertEqual(
            led,
            [
                ("database", "database", ""),
                ("database", "database", ""),
                ("mail", "mail", ""),
                ("named", "named", "named.example"),
                ("rest", "", ""),
                ("secure", "secure", ""),
                ("secure", "secure", "other.example"),
                ("shell", "shell", ""),
                ("web", "web", ""),
            ],
        )

    async def test_proxy_header(self) -> None:
        """With proxy_protocol = optional the same clients come with a PROXY header, or without one."""
        daemon = await self.route(
            {"web": await self.web(), "mail": await self.mail()},
            {"web": ROUTES["web"], "mail": ROUTES["mail"]},
            listener=f"{SILENCE}\nproxy_protocol = optional 127.0.0.0/8",
        )
        await self.curl(daemon.front, "--haproxy-protocol")
        await self.curl(daemon.front)
        await self.send_mail(daemon.front)
        records = {(one["pool"], bool(one["via"])): one for one in await daemon.records(3)}
        self.assertEqual(set(records), {("web", True), ("web", False), ("mail", False)})
        told = records["web", True]
        self.assertEqual(told["client"], told["via"])  # curl tells its own address

    async def test_nobody_fits(self) -> None:
        """What no route fits is closed where the listener has no pool, and the access log says what came."""
        daemon = await self.route({"web": await self.web()}, {"web": ROUTES["web"]}, listener="")
        await self.curl(daemon.front)
        client = self.stage.connect(daemon.front)
        client.send(b"SSH-2.0-client\r\n")
        await client.sees_either()
        (record,) = [one for one in await daemon.records(2) if not one["pool"]]
        self.assertEqual((record["reason"], record["detail"]), ("no_route", "it speaks ssh"))
