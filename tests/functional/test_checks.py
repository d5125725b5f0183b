"""Do real servers pass the checks that speak their protocol, and are those that do no work found out?"""

from __future__ import annotations

import os
import shutil
import signal
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.mail.smtp import ESMTP
from twisted.protocols.ftp import FTP

from tests.support.daemon import Daemon, DaemonCase
from tests.support.services import (
    Service,
    mariadb,
    nginx,
    nginx_https,
    postgres_program,
    postgresql,
    redis,
    slapd,
)
from tests.support.stage import PYTHONPATH, Place, program

# What is awaited is what the server says, however late: on a busy machine that may take a second.
EVERY = "interval=2s timeout=1900ms fast=100ms slow=100ms fall=2"
# What is awaited is that nothing is said.
SOON, LATE = "interval=600ms timeout=500ms fast=100ms fall=2", rb"within 0.5s"


class ChecksCase(DaemonCase):
    """A daemon whose pool has a check."""

    async def checking(self, check: str, *servers: Place, every: str = EVERY) -> Daemon:
        """Start one that checks these servers often."""
        return await self.relay(*servers, pool=f"check = {check} {every}")

    async def is_up(self, daemon: Daemon) -> None:
        """Wait until the first server is up, and is not down again in the same breath."""
        await daemon.child.says(rb"server a \S+ is up: check passed")

    async def is_down(self, daemon: Daemon, why: bytes) -> None:
        """Wait until the first server is down for this reason."""
        await daemon.child.says(rb"server a \S+ is down: " + why)

    async def stops_and_goes_on(self, service: Service, check: str, awaited: bytes) -> Daemon:
        """A process that is stopped still accepts, and is down; when it goes on it is up."""
        daemon = await self.checking(check, service.place, every=SOON)
        await self.is_up(daemon)
        service.child.signal("STOP")
        await self.is_down(daemon, rb"no %s %s" % (awaited, LATE))
        os.kill(service.child.pid, signal.SIGCONT)  # Twisted has no name for it
        await daemon.child.says(rb"server a \S+ is up: check passed \(2 checks in a row\)")
        return daemon


class RedisChecks(ChecksCase):
    async def cli(self, service: Service, *words: str) -> None:
        await self.stage.check(
            program("redis-cli", "redis-tools"),
            "-h",
            service.place.host,
            "-p",
            str(service.place.port),
            *words,
        )

    async def test_stopped(self) -> None:
        """Redis that is stopped is down, though its port accepts; and up when it goes on."""
        service = await redis(self.stage)
        await self.stops_and_goes_on(service, "redis role=master", b"answer to (PING|ROLE)")

    async def test_login(self) -> None:
        """A user with a password passes; a wrong password is told by Redis's own words, and never shown."""
        service = await redis(self.stage)
        await self.cli(service, "ACL", "SETUSER", "probe", "on", ">sesame", "+ping", "+role")
        await self.cli(service, "CONFIG", "SET", "requirepass", "other")
        daemon = await self.checking("redis user=probe password=sesame", service.place)
        await self.is_up(daemon)
        await self.cli(service, "-a", "other", "ACL", "SETUSER", "probe", "resetpass", ">changed")
        await self.is_down(daemon, rb"answered -WRONGPASS invalid username-password pair")
        self.assertNotIn("sesame", daemon.log)

    async def test_without_password(self) -> None:
        """A server that wants a password, and gets none, is down."""
        service = await redis(self.stage)
        await self.cli(service, "CONFIG", "SET", "requirepass", "sesame")
        daemon = await self.checking("redis", service.place)
        await self.is_down(daemon, rb"answered -NOAUTH")

    async def test_replica(self) -> None:
        """Of a master and its replica only the one with the role passes."""
        master, replica = await redis(self.stage), await redis(self.stage)
        await self.cli(replica, "REPLICAOF", master.place.host, str(master.place.port))
        daemon = await self.checking("redis role=master", replica.place, master.place)
        await self.is_down(daemon, rb"is replica, not master")
        await daemon.child.says(rb"server b \S+ is up")


HBA = """
host all postgres 0.0.0.0/0 trust
host all clear 0.0.0.0/0 password
host all hashed 0.0.0.0/0 md5
host all salted 0.0.0.0/0 scram-sha-256
"""

USERS = """
SET password_encryption = 'scram-sha-256'; CREATE ROLE clear LOGIN PASSWORD 'sesame';
CREATE ROLE salted LOGIN PASSWORD 'sesame'; SET password_encryption = 'md5';
CREATE ROLE hashed LOGIN PASSWORD 'sesame'; SELECT pg_reload_conf();
"""


class PgsqlChecks(ChecksCase):
    async def sql(self, service: Service, sql: str) -> None:
        await self.stage.check(
            postgres_program("psql"), "--no-psqlrc", "-q", "-v", "ON_ERROR_STOP=1", "-h", service.place.host,
            "-p", str(service.place.port), "-U", "postgres", feed=sql.encode(),
        )  # fmt: skip

    async def serve(self) -> Service:
        """PostgreSQL with a user for each way to log in."""
        service = await postgresql(self.stage)
        (service.folder / "data" / "pg_hba.conf").write_text(HBA)
        await self.sql(service, USERS)
        return service

    async def passes(self, service: Service, check: str) -> None:
        """The check brings the server up, and the server does not complain about it."""
        daemon = await self.checking(check, service.place)
        await self.is_up(daemon)
        # Now: a stop ends the check that is under way.
        self.assertNotRegex(service.child.err.decode(), "FATAL|ERROR|unexpected|could not|protocol")
        self.assertNotIn("sesame", await daemon.stop())

    async def test_stopped(self) -> None:
        """PostgreSQL that is stopped is down, though its port accepts; and up when it goes on."""
        service = await postgresql(self.stage)
        await self.stops_and_goes_on(service, "pgsql user=postgres", b"answer to the login")

    async def test_clear(self) -> None:
        """A user whose password goes in clear text gets in, and may ask."""
        await self.passes(await self.serve(), "pgsql user=clear dbname=postgres password=sesame role=primary")

    async def test_hashed(self) -> None:
        """So does one whose password is hashed by MD5."""
        await self.passes(await self.serve(), "pgsql user=hashed dbname=postgres password=sesame")

    async def test_salted(self) -> None:
        """So does one by SCRAM-SHA-256; the query's first row is what was expected."""
        query = 'query="SELECT 1, current_user" expect="1 salted"'
        await self.passes(await self.serve(), f"pgsql user=salted dbname=postgres password=sesame {query}")

    async def test_asks(self) -> None:
        """Without a password it is enough that the server asks for one, and its log stays clean."""
        await self.passes(await self.serve(), "pgsql user=salted")

    async def test_wrong(self) -> None:
        """A wrong password, role or answer is told by what the server did, and the password is not."""
        service = await self.serve()
        for check, why in (
            ("user=salted dbname=postgres password=guessed", rb"answered FATAL 28P01 password auth"),
            ("user=clear dbname=nowhere password=sesame", rb'answered FATAL 3D000 database "nowhere" does'),
            ("user=postgres role=replica", rb"is primary, not replica"),
            ("user=postgres query='SELECT 2' expect=1", rb"answered 2 to the query"),
        ):
            daemon = await self.checking(f"pgsql {check}", service.place)
            await self.is_down(daemon, why)
            self.assertNotRegex(await daemon.stop(), "guessed|sesame")
            shutil.rmtree(daemon.folder)


class MysqlChecks(ChecksCase):
    async def sql(self, service: Service, sql: str) -> None:
        await self.stage.check(
            program("mariadb", "mariadb-client"), "--no-defaults", f"--socket={service.folder}/sock",
            "--user=root", feed=sql.encode(),
        )  # fmt: skip

    async def test_stopped(self) -> None:
        """MariaDB that is stopped is down, though its port accepts; and up when it goes on."""
        service = await mariadb(self.stage)
        await self.stops_and_goes_on(service, "mysql user=probe password=secret", b"greeting")

    async def test_never_blocked(self) -> None:
        """However often it is checked, the server has no aborted connection to count against us."""
        service = await mariadb(self.stage)
        await self.sql(service, "SET GLOBAL max_connect_errors = 1; SET GLOBAL log_warnings = 9;")
        query = """query="SHOW GLOBAL STATUS WHERE Variable_name = 'Aborted_connects'" """
        check = f"mysql user=probe password=secret dbname=test {query} expect='Aborted_connects 0'"
        daemon = await self.checking(check, service.place, every="interval=1s timeout=900ms")
        await self.is_up(daemon)
        await self.sql(service, "SELECT SLEEP(2.5)")  # two checks go by, at least
        # Now: a stop ends the check that is under way.
        self.assertNotIn(b"Aborted", service.child.err)
        self.assertNotRegex(await daemon.stop(), "secret|is down")

    async def test_wrong(self) -> None:
        """A wrong password, database or answer is told by what the server did, and the password is not."""
        service = await mariadb(self.stage)
        odd = "INSTALL SONAME 'auth_ed25519'; CREATE USER odd IDENTIFIED VIA ed25519 USING PASSWORD('secret')"
        await self.sql(service, odd)
        for check, why in (
            ("user=probe password=guessed", rb"answered 1045 28000 Access denied for user 'probe'"),
            ("user=probe password=secret dbname=nowhere", rb"answered 1044 42000 Access denied for user"),
            ("user=probe password=secret query='SELECT @@read_only' expect=1", rb"answered 0 to the query"),
            ("user=odd password=secret", rb"asks for authentication by client_ed25519"),
        ):
            daemon = await self.checking(f"mysql {check}", service.place)
            await self.is_down(daemon, why)
            self.assertNotRegex(await daemon.stop(), "guessed|secret")
            shutil.rmtree(daemon.folder)


class TlsChecks(ChecksCase):
    async def test_stopped(self) -> None:
        """A server of TLS that is stopped is down, though its port accepts; and up when it goes on."""
        service = await nginx_https(self.stage, "www.example.com")
        ca = self.stage.folder / "nginx.pem"
        daemon = await self.stops_and_goes_on(
            service, f"tls verify=www.example.com ca={ca} expiry=7d", b"end of the TLS handshake"
        )
        await daemon.child.says(rb"server a \S+ passes its check, but its certificate expires in 0 days")

    async def test_wrong(self) -> None:
        """Another name, an authority that nobody knows, and no TLS at all are told apart."""
        service = await nginx_https(self.stage, "www.example.com")
        ca = self.stage.folder / "nginx.pem"
        plain = await redis(self.stage)
        for check, place, why in (
            (
                f"verify=example.com ca={ca}",
                service.place,
                rb"its certificate is for www.example.com, not for e",
            ),
            ("verify=www.example.com", service.place, rb"its certificate is signed by itself, and not in ca"),
            ("", plain.place, rb"\w+ .*TLS"),
        ):
            daemon = await self.checking(f"tls {check}", place)
            await self.is_down(daemon, why)
            await daemon.stop()
            shutil.rmtree(daemon.folder)


class HttpChecks(ChecksCase):
    async def web(self) -> Service:
        """nginx with a page that says whether it is well."""
        service = await nginx(self.stage)
        (service.folder / "files" / "health").write_bytes(b"all is well\n")
        return service

    async def test_stopped(self) -> None:
        """A web server that is stopped is down, though its port accepts; and up when it goes on."""
        service = await self.web()
        daemon = await self.stops_and_goes_on(
            service, "http path=/health body='^all is well$$'", b"answer to the request"
        )
        self.assertNotIn("factory", await daemon.stop())

    async def test_wrong(self) -> None:
        """A page that is not there, and one that says something else, are told apart from what is no web."""
        service, plain = await self.web(), await redis(self.stage)
        for check, place, why in (
            ("path=/nowhere", service.place, rb"answered with status 404"),
            ("path=/health body=ill", service.place, rb"answered with another body: all is well"),
            ("", plain.place, rb"(answered what is not HTTP|closed the connection)"),
        ):
            daemon = await self.checking(f"http {check}", place)
            await self.is_down(daemon, why)
            await daemon.stop()
            shutil.rmtree(daemon.folder)

    async def test_https(self) -> None:
        """Over TLS the page is asked for, and the certificate judged; on another port, if told to."""
        service, plain = await nginx_https(self.stage, "www.example.com"), await redis(self.stage)
        (service.folder / "files" / "health").write_bytes(b"all is well\n")
        ca = self.stage.folder / "nginx.pem"
        asked = f"https path=/health host=www.example.com ca={ca} expiry=7d port={service.place.port}"
        daemon = await self.checking(f"{asked} verify=www.example.com", plain.place)
        await daemon.child.says(rb"server a \S+ passes its check, but its certificate expires in 0 days")
        await self.is_up(daemon)
        await daemon.stop()
        shutil.rmtree(daemon.folder)
        daemon = await self.checking(f"{asked} verify=example.com", plain.place)
        await self.is_down(daemon, rb"its certificate is for www.example.com, not for example.com")


class DialogueChecks(ChecksCase):
    """Twisted's own servers of SMTP and FTP, and a script for one that has a check anyway."""

    async def serve(self, protocol: type[Any]) -> Place:
        place = self.stage.tcp()
        server = TCP4ServerEndpoint(self.stage.reactor, place.port, interface=place.host)
        factory: Any = Factory.forProtocol(protocol)
        factory.timeOut, factory.welcomeMessage, factory.allowAnonymous = 60, "Welcome", True
        port = await server.listen(factory)
        self.addCleanup(port.stopListening)
        return place

    async def test_smtp(self) -> None:
        """A mail server that greets and answers EHLO is up."""
        await self.is_up(await self.checking("smtp", await self.serve(ESMTP)))

    async def test_no_smtp(self) -> None:
        """A server that greets as one of mail does, but does not know EHLO, is down."""
        daemon = await self.checking("smtp", await self.serve(FTP))
        await self.is_down(daemon, rb"answered 530 ")

    async def test_ftp(self) -> None:
        """An FTP server that greets is up."""
        await self.is_up(await self.checking("ftp", await self.serve(FTP)))

    async def test_script(self) -> None:
        """A dialogue of one's own is as good as a check that knows the protocol."""
        service = await redis(self.stage)
        check = r"send='PING\r\n' expect_regex='^\+PONG\r\n' send_hex=494e464f0d0a expect='role:master\r\n'"
        await self.stops_and_goes_on(service, f"script {check}", b"match of step [24]")

    async def test_script_mismatch(self) -> None:
        """A server that says something else, and closes, is down; the step and its words are told."""
        service = await redis(self.stage)
        daemon = await self.checking(r"script send='QUIT\r\n' expect=PONG", service.place)
        await self.is_down(daemon, rb"said \+OK\\r\\n, which does not match step 2")


class LdapChecks(ChecksCase):
    async def test_stopped(self) -> None:
        """OpenLDAP that is stopped is down, though its port accepts; and up when it goes on."""
        service = await slapd(self.stage)
        await self.stops_and_goes_on(service, "ldap", b"answer to the bind")
        await service.child.says(rb"UNBIND\n")

    async def test_login(self) -> None:
        """A user with the right password passes; a wrong one is told by the result, and never shown."""
        service = await slapd(self.stage)
        for password, outcome in (
            ("sesame", rb"up: check passed"),
            ("guessed", rb"down: answered invalidCredentials \(first check\)"),
        ):
            user = "user=cn=probe,dc=example,dc=com"
            daemon = await self.checking(f"ldap {user} password={password}", service.place)
            await daemon.child.says(rb"server a \S+ is " + outcome)
            self.assertNotIn(password, await daemon.stop())
            shutil.rmtree(daemon.folder)


CLASS = """
from twisted.internet.defer import Deferred

class Flag:
    def __init__(self, reactor, address, parameters):
        self.path = parameters["path"]

    async def probe(self):
        try:
            with open(self.path) as file:
                text = file.read()
        except FileNotFoundError:
            raise ValueError("no flag") from None
        if text:
            await Deferred()
"""


class OwnChecks(ChecksCase):
    """Checks that operators have written themselves; the server is up while there is a file."""

    async def follows(self, check: str, why: bytes, every: str = EVERY, **how: Any) -> Daemon:
        """The server is up, down when the file is gone, and up when it is back."""
        server = await redis(self.stage)
        self.flag = self.stage.folder / "flag"
        self.flag.write_text("")
        daemon = await self.relay(server.place, pool=f"check = {check} {every}", **how)
        await self.is_up(daemon)
        self.flag.unlink()
        await self.is_down(daemon, why)
        self.flag.write_text("")
        await daemon.child.says(rb"server a \S+ is up: check passed \(2 checks in a row\)")
        return daemon

    async def test_command(self) -> None:
        """A program of one's own decides, and its last line is the reason."""
        script = self.stage.folder / "probe"
        script.write_text(
            '#!/bin/sh\n[ -e "$1" ] && exit 0\necho "no flag for $PROXYD_SERVER_NAME"; exit 3\n'
        )
        script.chmod(0o755)
        check = f"command path={script} arg={self.stage.folder}/flag"
        await self.follows(check, rb"exited with 3: no flag for a \(2 checks in a row\)")

    async def test_class(self) -> None:
        """So does a class of one's own; one that does not end in time is down, and the daemon serves."""
        (self.stage.folder / "ourprobes.py").write_text(CLASS)
        check = f"python probe=ourprobes.Flag parameter=path={self.stage.folder}/flag"
        paths = {"PYTHONPATH": f"{self.stage.folder}:{PYTHONPATH}"}
        daemon = await self.follows(check, rb"no flag \(2 checks in a row\)", SOON, environment=paths)
        self.flag.write_text("hang")
        await self.is_down(daemon, rb"no end of the probe " + LATE)

    async def test_both(self) -> None:
        """Of two checks that must both pass, one that fails takes the server down, and is named."""
        server = await redis(self.stage)
        flag = self.stage.folder / "flag"
        checks = f"check one = redis {SOON}\ncheck two = command path=/bin/ls arg={flag} {EVERY}"
        daemon = await self.relay(server.place, pool=checks)
        await daemon.child.says(rb"server a \S+ is down: two: exited with 2: .*flag': No such file")
        flag.write_text("")
        await daemon.child.says(rb"server a \S+ is up: two: check passed \(2 checks in a row\)")
        service = server.child
        service.signal("STOP")
        await daemon.child.says(rb"server a \S+ is down: one: no answer to PING " + LATE)
        os.kill(service.pid, signal.SIGCONT)
        await daemon.child.says(rb"server a \S+ is up: one: check passed")


class AgentChecks(ChecksCase):
    async def test_agent(self) -> None:
        """What an agent says in HAProxy's words is done within its interval; it is asked for its server."""
        line, asked = [b"up 50%\n"], []

        class Answering(Protocol):
            transport: Any

            def dataReceived(self, data: bytes) -> None:
                asked.append(data)
                self.transport.write(line[0])
                self.transport.loseConnection()

        server = await redis(self.stage)
        agent = self.stage.tcp()
        endpoint = TCP4ServerEndpoint(self.stage.reactor, agent.port, interface=agent.host)
        port = await endpoint.listen(Factory.forProtocol(Answering))
        self.addCleanup(port.stopListening)
        daemon = await self.relay(
            server.place,
            pool=f"check = redis {EVERY}\n"
            f"agent_check = address={agent} interval=1s timeout=900ms send='a\\n'",
        )
        await self.is_up(daemon)
        for said, awaited in (
            (b"drain\n", rb"is draining: agent: drain"),
            (b"ready\n", rb"is up: agent: ready"),
            (b"down #moving house\n", rb"is down: agent: down \(moving house\)"),
            (b"up\n", rb"is up: agent: up"),
            (b"maint\n", rb"is in maintenance: agent: maint"),
            (b"ready 300% maxconn:30\n", rb"has weight 3: agent: 300%"),
        ):
            line[0] = said
            await daemon.child.says(rb"server a \S+ " + awaited)
        self.assertEqual(set(asked), {b"a\n"})
        await self.is_up(daemon)
