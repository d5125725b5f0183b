"""What do real clients say that get no server, and what do those notice who may not come in?"""

from __future__ import annotations

import ftplib
import smtplib
from typing import Any, Callable

from twisted.internet.threads import deferToThread

from tests.support.daemon import Daemon, DaemonCase
from tests.support.peer import Ended
from tests.support.services import postgres_program, redis
from tests.support.stage import program


class Refused(DaemonCase):
    """The only server of the pool is Redis, takes one connection, and somebody has that."""

    async def full(self, speaks: str) -> Daemon:
        server = await redis(self.stage)
        front = self.stage.tcp()
        daemon = await self.start(
            f"[listener front]\nbind = {front.bind}\npool = servers\nspeaks = {speaks}\n"
            f"[pool servers]\nserver a = {server.place} max_connections=1\nqueue = length=0\n",
            front,
        )
        holder = self.stage.connect(front)
        holder.send(b"PING\r\n")
        await self.stage.until(lambda: holder.count, "an answer")
        return daemon

    async def was_refused(self, daemon: Daemon) -> None:
        records = await daemon.records(1)
        self.assertEqual({record["reason"] for record in records}, {"queue_full"})

    async def test_psql(self) -> None:
        """psql says that there are too many connections, whether or not it would like TLS."""
        daemon = await self.full("pgsql")
        for mode in ("disable", "prefer"):
            said = await self.stage.run(
                postgres_program("psql"), "-c", "SELECT 1",
                f"host={daemon.front.host} port={daemon.front.port} user=postgres sslmode={mode}",
            )  # fmt: skip
            self.assertEqual(said.status, 2)
            self.assertIn(b"FATAL:  too many connections", said.err)
        await self.was_refused(daemon)

    async def test_mariadb(self) -> None:
        """MariaDB's client says error 1040."""
        daemon = await self.full("mysql")
        said = await self.stage.run(
            program("mariadb", "mariadb-client"), "--no-defaults", "--protocol=tcp",
            f"--host={daemon.front.host}", f"--port={daemon.front.port}", "--user=probe", "-e", "SELECT 1",
        )  # fmt: skip
        self.assertEqual(said.status, 1)
        self.assertRegex(said.err, rb"1040\b.*Too many connections")
        await self.was_refused(daemon)

    async def test_redis(self) -> None:
        """redis-cli shows the error that a full Redis has."""
        daemon = await self.full("redis")
        said = await self.stage.run(
            program("redis-cli", "redis-tools"), "-h", daemon.front.host, "-p", str(daemon.front.port), "PING"
        )
        self.assertIn(b"ERR max number of clients reached", said.out + said.err)
        await self.was_refused(daemon)

    async def test_curl(self) -> None:
        """curl gets a 503 that says when to come again, also while it uploads."""
        daemon = await self.full("http")
        upload = self.stage.folder / "upload"
        upload.write_bytes(b"x" * 1_000_000)
        for more in ([], ["--data-binary", f"@{upload}", "--header", "Expect:"]):
            said = await self.stage.run(
                program("curl", "curl"), "--silent", "--include", *more, f"http://{daemon.front}/"
            )
            self.assertTrue(said.out.startswith(b"HTTP/1.1 503 "), said)
            self.assertIn(b"\r\nRetry-After: 5\r\n", said.out)
        await self.was_refused(daemon)

    async def test_openssl(self) -> None:
        """A TLS client gets an alert."""
        daemon = await self.full("tls")
        said = await self.stage.run(program("openssl", "openssl"), "s_client", "-connect", str(daemon.front))
        self.assertIn(b"alert internal error", said.err)
        await self.was_refused(daemon)

    async def library(self, daemon: Daemon, talk: Callable[[], Any]) -> Exception:
        """What Python's own client raises."""
        try:
            await deferToThread(talk)
        except Exception as raised:  # noqa: BLE001 - the test looks at it
            return raised
        raise AssertionError("it was served")

    async def test_smtplib(self) -> None:
        """A mail client gets 421, and would try again."""
        daemon = await self.full("smtp")
        raised = await self.library(
            daemon, lambda: smtplib.SMTP(daemon.front.host, daemon.front.port, timeout=20)
        )
        assert isinstance(raised, smtplib.SMTPConnectError), raised
        self.assertEqual(raised.smtp_code, 421)
        await self.was_refused(daemon)

    async def test_ftplib(self) -> None:
        """So does an FTP client."""
        daemon = await self.full("ftp")
        raised = await self.library(
            daemon, lambda: ftplib.FTP().connect(daemon.front.host, daemon.front.port, timeout=20)
        )
        self.assertIsInstance(raised, ftplib.error_temp)
        self.assertTrue(str(raised).startswith("421 "), raised)
        await self.was_refused(daemon)


class SentAway(DaemonCase):
    """Clients whom the listener denies."""

    async def denying(self, refuse: str) -> Daemon:
        server = await redis(self.stage)
        return await self.relay(server.place, listener=f"deny = all\nrefuse = {refuse}")

    def knocks(self, daemon: Daemon) -> Callable[[], bool]:
        """A client connects: was it reset?  That may be before it knows that it is connected."""
        try:
            client = self.stage.connect(daemon.front)
        except ConnectionResetError:
            return lambda: True
        return lambda: client.ended is Ended.RESET

    async def test_reset(self) -> None:
        """They are reset, if that is wanted."""
        daemon = await self.denying("reset")
        await self.stage.until(self.knocks(daemon), "a reset")
        self.assertEqual((await daemon.record())["reason"], "denied")

    async def test_tarpit(self) -> None:
        """They wait in the tarpit as long as it says."""
        daemon = await self.denying("tarpit hold=1s")
        was_reset = self.knocks(daemon)
        await daemon.records(1)
        await self.stage.until(was_reset, "a reset")

    async def test_stop(self) -> None:
        """The tarpit takes as many as it says; they cost no session, and a stop lets them go."""
        daemon = await self.denying("tarpit hold=10m most=3")
        were_reset = [self.knocks(daemon) for _ in range(5)]
        await daemon.records(5)
        await self.stage.until(lambda: sum(reset() for reset in were_reset) == 2, "two resets")
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_tarpit_held{listener="front"}'], 3)
        self.assertEqual(metrics['proxyd_connections_open{listener="front"}'], 0)
        await daemon.stop()
        await self.stage.until(lambda: all(reset() for reset in were_reset), "five resets")
