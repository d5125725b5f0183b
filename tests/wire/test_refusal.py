"""What are clients told that get no server, and when do they understand it?"""

from __future__ import annotations

from proxyd.errors import Malformed
from proxyd.wire import mysql, pgsql, resp
from proxyd.wire.refusal import (
    FTP,
    HTTP,
    IMAP,
    MYSQL,
    NO_LOGIN,
    NO_TLS,
    PGSQL,
    REDIS,
    SMTP,
    TLS,
    TOO_MANY,
    UNAVAILABLE,
    before,
    refusal,
)
from tests.support.case import Case

SSL = b"\0\0\0\x08\x04\xd2\x16\x2f"
GSS = b"\0\0\0\x08\x04\xd2\x16\x30"
STARTUP = b"\0\0\0\x11\0\x03\0\0user\0me\0\0"


class Words(Case):
    def test_texts(self) -> None:
        """Those who read lines get one, with the code that says: later."""
        for speaks, why, expected in (
            (REDIS, TOO_MANY, b"-ERR max number of clients reached\r\n"),
            (REDIS, UNAVAILABLE, b"-ERR service unavailable\r\n"),
            (SMTP, TOO_MANY, b"421 4.3.2 too many connections, try again later\r\n"),
            (IMAP, TOO_MANY, b"* BYE [UNAVAILABLE] too many connections, try again later\r\n"),
            (FTP, UNAVAILABLE, b"421 service unavailable, try again later\r\n"),
            (TLS, TOO_MANY, b"\x15\x03\x03\x00\x02\x02\x50"),
        ):
            self.assertEqual(refusal(speaks, why, 5), expected)

    def test_http(self) -> None:
        """A whole answer, which says when to try again, and of whose length there is no doubt."""
        head, _, body = refusal(HTTP, TOO_MANY, 7).partition(b"\r\n\r\n")
        self.assertEqual(head.split(b"\r\n")[0], b"HTTP/1.1 503 Service Unavailable")
        self.assertIn(b"\r\nRetry-After: 7\r\n", head)
        self.assertIn(b"\r\nContent-Length: %d\r\n" % len(body), head)
        self.assertEqual(body, b"503 too many connections\n")

    def test_pgsql(self) -> None:
        """The error that a full server has, as our own checks read it."""
        for why, code in ((TOO_MANY, b"53300"), (UNAVAILABLE, b"57P03"), (NO_TLS, b"28000")):
            data = refusal(PGSQL, why, 5)
            found = pgsql.message(data)
            assert found is not None
            message, length = found
            self.assertEqual((message.kind, length), (b"E", len(data)))
            self.assertIn(b"SFATAL\0VFATAL\0C" + code, message.body)

    def test_mysql(self) -> None:
        """Errors as our own checks read them; only after a greeting with a number and an SQL state."""
        for why, number, body in (
            (TOO_MANY, 0, b"\xff\x10\x04Too many connections"),
            (NO_TLS, 2, b"\xff\x57\x0c#HY000Connections using insecure transport are prohibited"),
            (NO_LOGIN, 258, b"\xff\x15\x04#28000this way to log in needs TLS all the way"),
        ):
            data = refusal(MYSQL, why, 5, number)
            self.assertEqual(mysql.packet(data), (mysql.Packet(number % 256, body), len(data)))

    def test_redis(self) -> None:
        """A reply that is an error, as our own checks read it."""
        data = refusal(REDIS, TOO_MANY, 5)
        self.assertEqual(resp.reply(data), (resp.Error(b"ERR max number of clients reached"), len(data)))


class Before(Case):
    def test_others(self) -> None:
        """Whoever does not speak PostgreSQL's protocol understands at once."""
        for speaks in (MYSQL, REDIS, SMTP, FTP, HTTP, TLS):
            for data in (b"", b"anything"):
                self.assertEqual(before(speaks, data), (b"", 0))

    def test_pgsql(self) -> None:
        """Wishes for encryption are declined, and the startup packet is waited for, to its last byte."""
        self.assertEqual(before(PGSQL, SSL), (b"N", 8))
        self.assertEqual(before(PGSQL, GSS + b"more"), (b"N", 8))
        for length in range(len(STARTUP)):
            self.assertIsNone(before(PGSQL, STARTUP[:length]), length)
        self.assertEqual(before(PGSQL, STARTUP), (b"", 0))
        for length in range(8):
            self.assertIsNone(before(PGSQL, SSL[:length]), length)

    def test_no_startup(self) -> None:
        """What cannot be a startup packet is not waited for."""
        for data in (b"GET / HTTP/1.1\r\n", b"\0\0\0\x07\0\x03\0\0", b"\0\0\x27\x15\0\x03\0\0"):
            with self.assertRaises(Malformed):
                before(PGSQL, data)
