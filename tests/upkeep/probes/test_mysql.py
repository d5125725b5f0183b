"""Does the check of MySQL log in, ask, and leave as a client should?"""

from __future__ import annotations

from typing import Optional

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from proxyd.config.address import TcpAddress, UnixAddress
from proxyd.config.probes import MysqlAsk
from proxyd.upkeep.probes import mysql
from proxyd.wire.mysql import NATIVE, QUIT, SHA2, framed, login, proof, query, xor
from tests.upkeep.probes.stage import ProbeCase
from tests.wire.test_mysql import NONCE, handshake

OTHER = NONCE[::-1]
OK = b"\x00\x00\x00\x02\x00\x00\x00"
EOF = b"\xfe\x00\x00\x02\x00"
DENIED = b"\xff\x15\x04#28000Access denied for user 'u'"


def proven(plugin: str, nonce: bytes = NONCE) -> bytes:
    found = proof(plugin, "pw", nonce)
    assert found is not None
    return found


class MysqlTests(ProbeCase):
    probe = mysql.probe

    def greet(self, ask: MysqlAsk, plugin: str = NATIVE, answered: Optional[str] = None) -> None:
        """Start the probe, greet it, and see its login."""
        self.begin(ask)
        self.assertEqual(self.said(), b"")
        self.answer(framed(handshake(plugin.encode())))
        answered = answered or plugin
        self.assertEqual(self.said(), framed(login("u", proven(answered), answered, ask.dbname), 1))

    def test_native(self) -> None:
        """A user whom the server lets in passes; we leave with COM_QUIT."""
        self.greet(MysqlAsk("u", password="pw"))
        self.answer(framed(OK, 2))
        self.assertPassed(QUIT)

    def test_database(self) -> None:
        """A database is asked for along with the login."""
        self.greet(MysqlAsk("u", "db", "pw"))
        self.answer(framed(OK, 2))
        self.assertPassed(QUIT)

    def test_cached(self) -> None:
        """caching_sha2_password that has cached the password says so, then lets us in."""
        self.greet(MysqlAsk("u", password="pw"), SHA2)
        self.answer(framed(b"\x01\x03", 2) + framed(OK, 3))
        self.assertPassed(QUIT)

    def test_not_cached(self) -> None:
        """Otherwise it gets the password itself, encrypted with its key."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.greet(MysqlAsk("u", password="pw"), SHA2)
        self.answer(framed(b"\x01\x04", 2))
        self.assertEqual(self.said(), framed(b"\x02", 3))
        self.answer(framed(b"\x01" + pem, 4))
        said = self.said()
        self.assertEqual(said[:4], b"\x00\x01\x00\x05")
        how = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        self.assertEqual(xor(key.decrypt(said[4:], how), NONCE), b"pw\x00")
        self.answer(framed(OK, 6))
        self.assertPassed(QUIT)

    def test_bad_key(self) -> None:
        """A key that is none fails the check."""
        for answer, why in (
            (b"\x01no key", "a public key that cannot be used"),
            (b"\x00", "something else than its public key"),
        ):
            self.greet(MysqlAsk("u", password="pw"), SHA2)
            self.answer(framed(b"\x01\x04", 2))
            self.said()
            self.answer(framed(answer, 4))
            self.assertFailed(why)

    def test_unix_socket(self) -> None:
        """On a unix socket, where nobody listens, the password is given as it is."""
        self.address = UnixAddress("/run/mysqld.sock")
        self.addCleanup(setattr, self, "address", TcpAddress("10.0.0.1", 80))
        self.greet(MysqlAsk("u", password="pw"), SHA2)
        self.answer(framed(b"\x01\x04", 2))
        self.assertEqual(self.said(), framed(b"pw\x00", 3))
        self.answer(framed(OK, 4))
        self.assertPassed(QUIT)

    def test_switch(self) -> None:
        """The server may want another plugin for this user than for most."""
        for first, answered, then in ((NATIVE, NATIVE, SHA2), (SHA2, SHA2, NATIVE), ("dialog", NATIVE, SHA2)):
            self.greet(MysqlAsk("u", password="pw"), first, answered)
            self.answer(framed(b"\xfe" + then.encode() + b"\x00" + OTHER + b"\x00", 2))
            self.assertEqual(self.said(), framed(proven(then, OTHER), 3))
            self.answer(framed(OK, 4))
            self.assertPassed(QUIT)

    def test_other_plugins(self) -> None:
        """A plugin that the check does not speak is named."""
        for body, name in ((b"\xfeclient_ed25519\x00xyz", "client_ed25519"), (b"\xfe", "mysql_old_password")):
            self.greet(MysqlAsk("u", password="pw"))
            self.answer(framed(body, 2))
            self.assertFailed(f"asks for authentication by {name}, which a check cannot do")

    def test_refused(self) -> None:
        """The server's own words are told, at the greeting and at the login."""
        self.begin(MysqlAsk("u"))
        self.answer(framed(b"\xff\x10\x04Too many connections"))
        self.assertFailed("answered 1040 Too many connections")
        self.greet(MysqlAsk("u", password="pw"))
        self.answer(framed(DENIED, 2))
        self.assertFailed("answered 1045 28000 Access denied for user 'u'")
        self.assertNotIn("hidden", repr(MysqlAsk("u", password="hidden")))

    def test_strange(self) -> None:
        """What is no answer to a login fails."""
        for body in (b"", b"\x01", b"\x01\x09", b"\x09"):
            self.greet(MysqlAsk("u", password="pw"))
            self.answer(framed(body, 2))
            self.assertFailed("an answer to the login that is none of MySQL's")

    def test_query(self) -> None:
        """The first row of an own query is compared; an error fails, whatever was expected."""
        column = framed(b"\x01", 1) + framed(b"\x03def", 2) + framed(EOF, 3)
        for expect, answer, why in (
            ("0", column + framed(b"\x010", 4) + framed(EOF, 5), ""),
            ("1", column + framed(b"\x010", 4) + framed(EOF, 5), "answered 0 to the query"),
            ("", column + framed(EOF, 4), ""),
            ("1", column + framed(EOF, 4), "answered no row to the query"),
            ("", framed(OK, 1), ""),
            ("1", framed(OK, 1), "answered no row to the query"),
            ("", framed(DENIED, 1), "answered 1045 28000 Access denied for user 'u'"),
            ("", framed(b"\xfb/etc/passwd", 1), "wants data for the query"),
        ):
            self.greet(MysqlAsk("u", password="pw", query="SELECT @@read_only", expect=expect))
            self.answer(framed(OK, 2))
            self.assertEqual(self.said(), framed(query("SELECT @@read_only")))
            self.answer(answer)
            if why:
                self.assertFailed(why, farewell=QUIT)
            else:
                self.assertPassed(QUIT)
