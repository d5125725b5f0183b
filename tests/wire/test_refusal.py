"""What are clients told that get no server, and when do they understand it?"""

from __future__ import annotations

from proxyd.errors import Malformed
from proxyd.wire import mysql, pgsql, resp
from proxyd.wire.refusal import FTP, HTTP, MYSQL, PGSQL, REDIS, SMTP, TLS, before, refusal
from tests.support.case import Case

SSL = b"\0\0\0\x08\x04\xd2\x16\x2f"
GSS = b"\0\0\0\x08\x04\xd2\x16\x30"
STARTUP = b"\0\0\0\x11\0\x03\0\0user\0me\0\0"


class Words(Case):
    def test_texts(self) -> None:
        """Those who read lines get one, with the code that says: later."""
        for speaks, too_many, expected in (
            (REDIS, True, b"-ERR max number of clients reached\r\n"),
            (REDIS, False, b"-ERR service unavailable\r\n"),
            (SMTP, True, b"421 4.3.2 too many connections, try again later\r\n"),
            (FTP, False, b"421 service unavailable, try again later\r\n"),
            (TLS, True, b"\x15\x03\x03\x00\x02\x02\x50"),
        ):
            self.assertEqual(refusal(speaks, too_many, 5), expected)

    def test_http(self) -> None:
        """A whole answer, which says when to try again, and of whose length there is no doubt."""
        head, _, body = refusal(HTTP, True, 7).partition(b"\r\n\r\n")
        self.assertEqual(head.split(b"\r\n")[0], b"HTTP/1.1 503 Service Unavailable")
        self.assertIn(b"\r\nRetry-After: 7\r\n", head)
        self.assertIn(b"\r\nContent-Length: %d\r\n" % len(body), head)
        self.assertEqual(body, b"503 too many connections\n")

    def test_pgsql(self) -> None:
        """The error that a full server has, as our own checks read it."""
        for too_many, code in ((True, b"53300"), (False, b"57P03")):
            data = refusal(PGSQL, too_many, 5)
            found = pgsql.message(data)
            assert found is not None
            message, length = found
            self.assertEqual((message.kind, length), (b"E", len(data)))
            self.assertIn(b"SFATAL\0VFATAL\0C" + code, message.body)

    def test_mysql(self) -> None:
        """Error 1040, as our own checks read it."""
        data = refusal(MYSQL, True, 5)
        found = mysql.packet(data)
        assert found is not None
        packet, length = found
        self.assertEqual((packet.number, length), (0, len(data)))
        self.assertEqual(packet.body, b"\xff\x10\x04Too many connections")

    def test_redis(self) -> None:
        """A reply that is an error, as our own checks read it."""
        data = refusal(REDIS, True, 5)
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
