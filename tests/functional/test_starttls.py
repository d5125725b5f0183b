"""Do real clients find TLS where their protocol has it, and does the daemon find it at real servers?"""

from __future__ import annotations

import ftplib
import imaplib
import smtplib
import ssl
from pathlib import Path
from typing import Any, Callable, Optional

import pymysql
from twisted.internet.threads import deferToThread

from proxyd.wire import pgsql
from tests.support.authority import Authority
from tests.support.daemon import Daemon, DaemonCase
from tests.support.services import Service, postgres_program
from tests.support.stage import Finished, program
from tests.support.starttls import (
    PASSWORD,
    USER,
    ftp_server,
    imap_server,
    mariadb_server,
    postgresql_server,
    smtp_server,
)

MAIL = "From: a@example\nTo: b@example\nSubject: tried\n\nThis was sent.\n"


class StartTlsCase(DaemonCase):
    """A daemon that shows ``front.pem``, servers that show ``server.pem``, and who has issued both."""

    speaks = ""

    def setUp(self) -> None:
        super().setUp()
        authority = Authority()
        folder = self.stage.folder
        self.front = self.stage.tcp()
        self.ca = folder / "ca.pem"
        authority.write(self.ca)
        self.pem = folder / "server.pem"
        authority.issue("localhost", self.front.host).write(self.pem)
        (folder / "certificates").mkdir()
        authority.issue("localhost", self.front.host, "::1").write(folder / "certificates" / "front.pem")

    async def offload(self, server: Service, listener: str = "", pool: str = "", **how: Any) -> Daemon:
        """TLS from clients."""
        return await self.relay(
            server.place,
            front=how.pop("front", self.front),
            listener=f"speaks = {self.speaks}\ntls = {self.stage.folder}/certificates\n{listener}",
            pool=pool,
            **how,
        )

    async def onload(self, server: Service, check: str = "") -> Daemon:
        """TLS to the server; if it is checked, it has passed."""
        daemon = await self.relay(
            server.place,
            front=self.front,
            listener=f"speaks = {self.speaks}",
            pool=f"{self.towards()}\n{check and f'check = {check}'}",
        )
        if check:
            await daemon.child.says(rb"server a \S+ is up: check passed")
        return daemon

    def towards(self) -> str:
        return f"tls = ca={self.ca} starttls={self.speaks}"

    async def library(self, talk: Callable[[], Any]) -> Any:
        """What becomes of blocking calls: a result, or what they raise."""
        return await deferToThread(talk)

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


class PostgreSql(StartTlsCase):
    """psql."""

    speaks = "pgsql"

    async def psql(
        self, where: str, sql: str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    ) -> Finished:
        return await self.stage.run(
            postgres_program("psql"), "--no-psqlrc", "-qAt", "-c", sql,
            self.where(where),
        )  # fmt: skip

    def where(self, how: str) -> str:
        return f"host=localhost hostaddr={self.front.host} port={self.front.port} user=postgres {how}"

    def verifying(self) -> str:
        return f"sslmode=verify-full sslrootcert={self.ca}"

    async def test_offload(self) -> None:
        """psql verifies us, and the server has no TLS; without TLS it is told that it must have it."""
        daemon = await self.offload(await postgresql_server(self.stage))
        said = await self.psql(self.verifying())
        self.assertEqual((said.out, said.err), (b"f\n", b""))
        refused = await self.psql("sslmode=disable")
        self.assertIn(b"FATAL:  TLS is required", refused.err)
        reasons = {record["reason"] for record in await daemon.records(2)}
        self.assertEqual(reasons, {"client_finished", "tls_required"})

    async def test_optional(self) -> None:
        """Where it is optional, both get in."""
        await self.offload(await postgresql_server(self.stage), "starttls = optional")
        for where in (self.verifying(), "sslmode=disable"):
            self.assertEqual((await self.psql(where)).out, b"f\n")

    async def test_cancel(self) -> None:
        """A query is cancelled, although clients say so without TLS."""
        await self.offload(await postgresql_server(self.stage))
        child = self.stage.spawn(
            postgres_program("psql"), "--no-psqlrc", "-qAt",
            "-c", "DO $$ BEGIN RAISE NOTICE 'begun'; PERFORM pg_sleep(60); END $$",
            self.where(self.verifying()),
        )  # fmt: skip
        await child.says(rb"begun")
        child.signal("INT")
        await child.says(rb"canceling statement due to user request")
        self.assertEqual(await child.ends(), 1)

    async def test_onload(self) -> None:
        """The server lets in nobody without TLS, and clients without it get in by way of us."""
        await self.onload(await postgresql_server(self.stage, self.pem), "pgsql user=postgres role=primary")
        for mode in ("disable", "prefer"):
            self.assertEqual((await self.psql(f"sslmode={mode}")).out, b"t\n")

    async def test_both(self) -> None:
        """TLS ends here and begins again."""
        await self.offload(await postgresql_server(self.stage, self.pem), pool=self.towards())
        self.assertEqual((await self.psql(self.verifying())).out, b"t\n")

    async def test_at_once(self) -> None:
        """TLS may begin with the first byte, as it may since version 17, if ALPN says that it is for this."""
        daemon = await self.offload(await postgresql_server(self.stage))

        def talk(*protocols: str) -> bytes:
            context = self.trust()
            context.set_alpn_protocols(protocols)
            plain = self.front.socket()
            with context.wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(pgsql.startup("postgres", "postgres"))
                return client.recv(1)

        self.assertEqual(await deferToThread(talk, "postgresql"), b"R")
        self.assertEqual(await deferToThread(talk), b"E")
        self.assertIn("tls_handshake", [record["reason"] for record in await daemon.records(2)])

    async def test_names(self) -> None:
        """Routes go by the name in TLS that a client has asked for; psql asks for one since version 14."""
        server = await postgresql_server(self.stage)
        certificates = self.stage.folder / "certificates"
        daemon = await self.route(
            {"named": server.place},
            {"named": "sni = localhost"},
            front=self.front,
            listener=f"speaks = pgsql\ntls = {certificates}",
        )
        self.assertEqual((await self.psql(self.verifying())).out, b"f\n")
        self.assertEqual((await daemon.record())["sni"], "localhost")

    async def test_ipv6_and_stock(self) -> None:
        """The same on Twisted's transports, and by IPv6."""
        self.front = self.stage.tcp6()
        await self.offload(await postgresql_server(self.stage, self.pem), "datapath = stock", self.towards())
        self.assertEqual((await self.psql(self.verifying())).out, b"t\n")

    async def test_checked(self) -> None:
        """A check asks for TLS as well, and says what is wrong."""
        server = await postgresql_server(self.stage)
        pool = f"{self.towards()}\ncheck = tcp"
        daemon = await self.relay(server.place, front=self.front, listener="speaks = pgsql", pool=pool)
        await daemon.child.says(rb"server a \S+ is down: answers that it has no TLS \(N\)")

    async def test_no_tls_there(self) -> None:
        """A server without TLS was not reached, and the client is told."""
        daemon = await self.onload(await postgresql_server(self.stage))
        said = await self.psql("sslmode=disable")
        self.assertIn(b"FATAL:  service unavailable", said.err)
        record = await daemon.record()
        self.assertEqual(
            (record["reason"], record["detail"]), ("starttls_refused", "answers that it has no TLS (N)")
        )


class MariaDb(StartTlsCase):
    """MariaDB's client, and PyMySQL."""

    speaks = "mysql"

    async def ask(self, *options: str, password: str = PASSWORD) -> Finished:
        return await self.stage.run(
            program("mariadb", "mariadb-client"), "--no-defaults", "--protocol=tcp",
            f"--host={self.front.host}", f"--port={self.front.port}", f"--user={USER}",
            f"--password={password}", *options,
            "-N", "-e", "SHOW STATUS LIKE 'Ssl_version'", "test",
        )  # fmt: skip

    def verifying(self) -> tuple[str, ...]:
        return ("--ssl", f"--ssl-ca={self.ca}", "--ssl-verify-server-cert")

    async def test_offload(self) -> None:
        """The client verifies us, and the server has no TLS; a client without is told why it is refused."""
        daemon = await self.offload(await mariadb_server(self.stage))
        said = await self.ask(*self.verifying())
        self.assertEqual((said.out, said.err), (b"Ssl_version\t\n", b""))
        refused = await self.ask("--skip-ssl")
        self.assertRegex(refused.err, rb"3159\b.*insecure transport are prohibited")
        wrong = await self.ask(*self.verifying(), password="guessed")
        self.assertIn(b"Access denied for user 'probe'", wrong.err)
        self.assertIn("tls_required", [record["reason"] for record in await daemon.records(3)])

    async def test_pymysql(self) -> None:
        """PyMySQL logs in as well, by another plugin than the server's first, and gets megabytes."""
        await self.offload(
            await mariadb_server(self.stage, None, "--default-auth=mysql_native_password"),
            "starttls = optional",
        )

        def talk(tls: Optional[ssl.SSLContext]) -> Any:
            with (
                pymysql.connect(
                    host=self.front.host, port=self.front.port, user=USER, password=PASSWORD, ssl=tls
                ) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute("SELECT REPEAT('x', 3000000)")
                return cursor.fetchone()

        for tls in (self.trust(), None):
            self.assertEqual(await deferToThread(talk, tls), ("x" * 3_000_000,))

    async def test_ed25519(self) -> None:
        """A login in several rounds is numbered right on both sides."""
        server = await mariadb_server(self.stage, None, "--plugin-load-add=auth_ed25519")
        await self.offload(server)
        await self.stage.check(
            program("mariadb", "mariadb-client"), "--no-defaults", f"--socket={server.folder}/sock",
            "--user=root", "-e", "CREATE USER signing IDENTIFIED VIA ed25519 USING PASSWORD('secret');"
            "GRANT ALL ON test.* TO signing",
        )  # fmt: skip
        said = await self.ask(*self.verifying(), "--user=signing")
        self.assertEqual((said.out, said.err), (b"Ssl_version\t\n", b""))

    async def test_onload(self) -> None:
        """The server lets in nobody without TLS, and clients without it get in by way of us."""
        check = f"mysql user={USER} password={PASSWORD} dbname=test query='SELECT 1' expect=1"
        await self.onload(await mariadb_server(self.stage, self.pem), check)
        said = await self.ask("--skip-ssl")
        self.assertEqual((said.out, said.err), (b"Ssl_version\tTLSv1.3\n", b""))

    async def test_not_verified(self) -> None:
        """A server whose certificate is another's does not get the login, and its client is told."""
        pem = Path(Authority("Mallory").issue("localhost").write(self.pem))
        daemon = await self.onload(await mariadb_server(self.stage, pem))
        said = await self.ask("--skip-ssl")
        self.assertRegex(said.err, rb"1040\b")
        record = await daemon.record()
        self.assertEqual(record["reason"], "connect_tls")
        self.assertIn("its certificate is from an authority that is not in ca", record["detail"])
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_server_tls_failures_total{pool="servers",server="a"}'], 1)

    async def test_stock(self) -> None:
        """The same on Twisted's transports."""
        await self.offload(await mariadb_server(self.stage, self.pem), "datapath = stock", self.towards())
        self.assertEqual((await self.ask(*self.verifying())).out, b"Ssl_version\tTLSv1.3\n")

    async def test_both(self) -> None:
        """TLS ends here and begins again."""
        await self.offload(await mariadb_server(self.stage, self.pem), pool=self.towards())
        self.assertEqual((await self.ask(*self.verifying())).out, b"Ssl_version\tTLSv1.3\n")


class Smtp(StartTlsCase):
    """swaks and smtplib."""

    speaks = "smtp"

    async def swaks(self, *options: str) -> Finished:
        return await self.stage.run(
            program("swaks", "swaks"), "--server", self.front.host, "--port", str(self.front.port),
            "--ehlo", "client.example", "--from", "a@example", "--to", "b@example", *options,
        )  # fmt: skip

    async def test_offload(self) -> None:
        """swaks sends a mail by TLS; the server has heard its greeting twice, and nothing of TLS."""
        server = await smtp_server(self.stage)
        await self.offload(server)
        said = await self.swaks("--tls", "--tls-verify", "--tls-ca-path", str(self.ca))
        self.assertEqual(said.status, 0, str(said))
        self.assertIn(b"This is a test mailing", server.child.out)
        self.assertEqual(server.child.err.count(b">> b'EHLO client.example'"), 2, server.child)
        self.assertNotIn(b"STARTTLS", server.child.err)

    async def test_required(self) -> None:
        """Without TLS nobody sends mail, and may still begin it."""
        await self.offload(await smtp_server(self.stage))

        def talk() -> Any:
            with smtplib.SMTP(self.front.host, self.front.port, "client.example", timeout=20) as client:
                refused = client.docmd("MAIL FROM:<a@example>")
                client.starttls(context=self.trust())
                client.ehlo()
                return (
                    refused[0],
                    client.has_extn("starttls"),
                    client.sendmail("a@example", "b@example", MAIL),
                )

        self.assertEqual(await self.library(talk), (530, False, {}))

    async def test_onload(self) -> None:
        """The server takes mail by TLS alone, and clients without it send theirs by way of us."""
        server = await smtp_server(self.stage, self.pem)
        await self.onload(server, "smtp")
        said = await self.swaks()
        self.assertEqual(said.status, 0, str(said))
        self.assertIn(b"This is a test mailing", server.child.out)
        self.assertNotIn(b"STARTTLS", said.out)

    async def test_both(self) -> None:
        """TLS ends here and begins again."""
        server = await smtp_server(self.stage, self.pem)
        await self.offload(server, pool=self.towards())
        said = await self.swaks("--tls", "--tls-verify", "--tls-ca-path", str(self.ca))
        self.assertEqual(said.status, 0, str(said))
        self.assertIn(b"This is a test mailing", server.child.out)

    async def test_injected(self) -> None:
        """Commands that are sent in plaintext behind STARTTLS reach no server."""
        server = await smtp_server(self.stage)
        daemon = await self.offload(server)
        client = self.stage.connect(self.front)
        client.send(b"EHLO client.example\r\n")
        await self.stage.until(lambda: b"250 STARTTLS" in client.received, "the offer")
        client.send(b"STARTTLS\r\nRSET\r\n")
        await client.sees_end()
        record = await daemon.record()
        self.assertEqual(record["reason"], "starttls_malformed")
        self.assertEqual(record["detail"], "6 bytes behind its wish for TLS, and before TLS")
        self.assertNotIn(b"RSET", server.child.err)

    async def test_ipv6_and_stock(self) -> None:
        """The same on Twisted's transports, and by IPv6."""
        self.front = self.stage.tcp6()
        server = await smtp_server(self.stage, self.pem)
        await self.offload(server, "datapath = stock", self.towards())
        said = await self.swaks("--tls", "--tls-verify", "--tls-ca-path", str(self.ca))
        self.assertEqual(said.status, 0, str(said))
        self.assertIn(b"This is a test mailing", server.child.out)

    async def test_not_verified(self) -> None:
        """A server whose certificate is another's is not believed, and gets nothing of the mail."""
        server = await smtp_server(self.stage, Path(Authority("Mallory").issue("localhost").write(self.pem)))
        daemon = await self.onload(server)
        said = await self.swaks()
        self.assertIn(b"421 4.3.2 service unavailable", said.out)
        self.assertEqual((await daemon.record())["reason"], "connect_tls")
        self.assertNotIn(b"client.example", server.child.err)

    async def test_silent(self) -> None:
        """One that never begins TLS is let go in time."""
        daemon = await self.offload(await smtp_server(self.stage), "handshake_timeout = 1s")
        client = self.stage.connect(self.front)
        await client.sees_end()
        self.assertEqual((await daemon.record())["reason"], "opening_timeout")


class Imap(StartTlsCase):
    """imaplib at Dovecot."""

    speaks = "imap"

    def talk(self, tls: bool) -> Any:
        client = imaplib.IMAP4(self.front.host, self.front.port, timeout=20)
        before = client.capabilities
        if tls:
            client.starttls(self.trust())
        client.login(USER, PASSWORD)
        selected = client.select()
        client.logout()
        return before, client.capabilities, selected

    async def test_offload(self) -> None:
        """A client begins TLS, logs in, and finds its mailbox; what it can do is told anew."""
        server = await imap_server(self.stage)
        await self.offload(server)
        before, after, selected = await self.library(lambda: self.talk(True))
        self.assertEqual((selected[0], selected[1]), ("OK", [b"0"]))
        self.assertTrue({"STARTTLS", "LOGINDISABLED"} <= set(before))
        self.assertFalse({"STARTTLS", "LOGINDISABLED"} & set(after))
        self.assertNotIn(b"TLS", server.child.err)

    async def test_required(self) -> None:
        """Without TLS nobody logs in."""
        await self.offload(await imap_server(self.stage))

        def talk() -> Any:
            client = imaplib.IMAP4(self.front.host, self.front.port, timeout=20)
            try:
                client.login(USER, PASSWORD)
            except imaplib.IMAP4.error as refused:
                return str(refused), client.logout()[0]

        refused, left = await self.library(talk)
        self.assertIn("PRIVACYREQUIRED", refused)
        self.assertEqual(left, "BYE")

    async def test_onload(self) -> None:
        """Clients without TLS reach a server that is asked for it."""
        server = await imap_server(self.stage, self.pem)
        await self.onload(server, "tls")
        before, _, selected = await self.library(lambda: self.talk(False))
        self.assertEqual(selected[0], "OK")
        self.assertNotIn("STARTTLS", before)
        await server.child.says(rb"Login: user=<probe>.* TLS,")

    async def test_both(self) -> None:
        """TLS ends here and begins again."""
        server = await imap_server(self.stage, self.pem)
        await self.offload(server, pool=self.towards())
        _, _, selected = await self.library(lambda: self.talk(True))
        self.assertEqual(selected[0], "OK")
        await server.child.says(rb"Login: user=<probe>.* TLS,")


class Ftp(StartTlsCase):
    """curl and ftplib at pyftpdlib; what they transfer goes past the daemon."""

    speaks = "ftp"

    async def served(self, pem: Optional[Path] = None) -> Service:
        server = await ftp_server(self.stage, pem)
        (server.folder / "files" / "page").write_bytes(b"what it has\n")
        return server

    async def curl(self, *options: str) -> Finished:
        return await self.stage.run(
            program("curl", "curl"), "--silent", "--show-error", "--user", f"{USER}:{PASSWORD}", *options,
            f"ftp://{self.front}/page",
        )  # fmt: skip

    async def test_offload(self) -> None:
        """curl logs in by TLS and gets a file; one that wants its data encrypted as well gets none."""
        await self.offload(await self.served())
        said = await self.curl("--ftp-ssl-control", "--cacert", str(self.ca))
        self.assertEqual((said.out, said.err), (b"what it has\n", b""))
        encrypted = await self.curl("--ssl-reqd", "--cacert", str(self.ca))
        self.assertEqual((encrypted.status, encrypted.out), (64, b""), str(encrypted))
        plain = await self.curl()
        self.assertEqual((plain.status, plain.out), (67, b""), str(plain))

    async def test_ftplib(self) -> None:
        """ftplib finds TLS among the features."""
        await self.offload(await self.served())

        def talk() -> Any:
            client = ftplib.FTP_TLS(context=self.trust(), timeout=20)
            client.connect(self.front.host, self.front.port)
            features = client.sendcmd("FEAT")
            client.login(USER, PASSWORD)
            client.prot_c()
            listed = client.nlst()
            client.quit()
            return "AUTH TLS" in features, listed

        self.assertEqual(await self.library(talk), (True, ["page"]))

    async def test_onload(self) -> None:
        """Clients without TLS log in at a server that lets in nobody without."""
        await self.onload(await self.served(self.pem), "ftp")
        said = await self.curl()
        self.assertEqual((said.out, said.err), (b"what it has\n", b""))

    async def test_both(self) -> None:
        """TLS ends here and begins again."""
        await self.offload(await self.served(self.pem), pool=self.towards())
        said = await self.curl("--ftp-ssl-control", "--cacert", str(self.ca))
        self.assertEqual((said.out, said.err), (b"what it has\n", b""))
