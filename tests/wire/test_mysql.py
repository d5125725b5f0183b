"""Is MySQL spoken as its documentation has it?"""

from __future__ import annotations

from random import Random

from proxyd.errors import Malformed
from proxyd.wire import mysql
from proxyd.wire.mysql import NATIVE, SHA2, Greeting, Packet
from tests.support.case import Case
from tests.support.mutations import mutations
from tests.support.parsing import outcome, piecemeal

NONCE = b"abcdefghijklmnopqrst"


def handshake(
    plugin: bytes = b"mysql_native_password", flags: int = 0x0008_8200, nonce: bytes = NONCE
) -> bytes:
    """The body of a greeting."""
    low, high = (flags & 0xFFFF).to_bytes(2, "little"), (flags >> 16).to_bytes(2, "little")
    head = b"\x0a8.0.36\x00" + bytes(4) + nonce[:8] + b"\x00" + low + b"\x21\x02\x00" + high
    return head + bytes([len(nonce) + 1]) + bytes(10) + nonce[8:] + b"\x00" + plugin + b"\x00"


PACKETS = [
    (b"\x01\x00\x00\x00\x0a", Packet(0, b"\x0a")),
    (b"\x00\x00\x00\x07", Packet(7, b"")),
    (b"\x03\x00\x00\x02abc", Packet(2, b"abc")),
]


class PacketTests(Case):
    def test_packets(self) -> None:
        """A packet is read, and no byte behind it."""
        for data, packet in PACKETS:
            self.assertEqual(mysql.packet(data + b"next"), (packet, len(data)))
            self.assertEqual(piecemeal(mysql.packet, data), (packet, len(data)))
            self.assertEqual(mysql.framed(packet.body, packet.number), data)

    def test_other_protocols(self) -> None:
        """What is not MySQL would be too long for a packet."""
        for data in (b"HTTP/1.1 400", b"-ERR", b"SSH-2.0"):
            why = f"{data[:4]!r}, which begins no packet of MySQL that we could take"
            self.assertEqual((outcome(mysql.packet, data), piecemeal(mysql.packet, data)), (why, why))

    def test_broken(self) -> None:
        """Broken packets end the same way however they are cut."""
        for data in mutations(Random(1), [data for data, _ in PACKETS], 1000):
            self.assertEqual(outcome(mysql.packet, data), piecemeal(mysql.packet, data), data)

    def test_kinds(self) -> None:
        """The first byte is the kind; an EOF packet is short."""
        self.assertEqual((Packet(0, b"").kind, Packet(0, b"\xffx").kind), (-1, mysql.ERROR))
        self.assertTrue(Packet(0, b"\xfe\x00\x00\x02\x00").ends_rows)
        self.assertFalse(Packet(0, b"\xfe" + bytes(8)).ends_rows)


class GreetingTests(Case):
    def test_greeting(self) -> None:
        """Version, nonce and plugin; without plugins there is only the native one."""
        self.assertEqual(mysql.greeting(handshake()), Greeting(b"8.0.36", NONCE, NATIVE))
        self.assertEqual(
            mysql.greeting(handshake(b"caching_sha2_password")), Greeting(b"8.0.36", NONCE, SHA2)
        )
        self.assertEqual(mysql.greeting(handshake(b"", flags=0x8200)), Greeting(b"8.0.36", NONCE, NATIVE))

    def test_old(self) -> None:
        """A server of before 4.1 has no safe way to log in, and is refused."""
        for body in (handshake(flags=0x0008_0200), handshake(flags=0x0008_8000)):
            self.assertEqual(outcome(mysql.greeting, body), "a handshake of MySQL before 4.1")

    def test_broken(self) -> None:
        """Half a greeting, or another version, is refused, and whatever comes does no harm."""
        why = "a packet that is no handshake of MySQL, version 10"
        for body in (b"", b"\x0a", b"\x09" + handshake()[1:], handshake()[:35]):
            self.assertEqual(outcome(mysql.greeting, body), why)
        for body in mutations(Random(1), [handshake()], 1000):
            found = outcome(mysql.greeting, body)
            self.assertTrue(isinstance(found, str) or len(found.nonce) == 20)


class LoginTests(Case):
    def test_login(self) -> None:
        """The answer to a greeting, byte for byte."""
        head = b"\x01\xa2\x08\x00\x00\x80\x00\x00\x21" + bytes(23)
        self.assertEqual(mysql.login("u", b"xy", NATIVE), head + b"u\x00\x02xymysql_native_password\x00")
        self.assertEqual(
            mysql.login("u", b"", SHA2, "db"),
            b"\x09" + head[1:] + b"u\x00\x00db\x00caching_sha2_password\x00",
        )

    def test_proofs(self) -> None:
        """A proof is what the server can make of its own hash of the password; an empty password has none."""
        import hashlib

        def sha1(data: bytes) -> bytes:
            return hashlib.sha1(data).digest()

        def sha256(data: bytes) -> bytes:
            return hashlib.sha256(data).digest()

        native = mysql.proof(NATIVE, "pw", NONCE) or b""
        stored = sha1(sha1(b"pw"))  # as mysql.user has it
        self.assertEqual(sha1(mysql.xor(native, sha1(NONCE + stored))), stored)
        sha2 = mysql.proof(SHA2, "pw", NONCE) or b""
        stored = sha256(sha256(b"pw"))
        self.assertEqual(sha256(mysql.xor(sha2, sha256(stored + NONCE))), stored)
        self.assertEqual(mysql.proof(NATIVE, "", NONCE), b"")
        self.assertIs(mysql.proof("dialog", "pw", NONCE), None)

    def test_switch(self) -> None:
        """Another plugin with a nonce of its own; one that names none is of before 4.1."""
        self.assertEqual(mysql.switch(b"\xfe" + SHA2.encode() + b"\x00" + NONCE + b"\x00"), (SHA2, NONCE))
        self.assertEqual(mysql.switch(b"\xfe"), ("mysql_old_password", b""))
        why = outcome(mysql.switch, b"\xfe" + SHA2.encode() + b"\x00short")
        self.assertEqual(why, "a nonce of 5 bytes")


class AnswerTests(Case):
    def test_complaint(self) -> None:
        """An error is told in one line, with its SQLSTATE or, before the login, without."""
        self.assertEqual(mysql.complaint(b"\xff\x15\x04#28000Access denied"), b"1045 28000 Access denied")
        self.assertEqual(mysql.complaint(b"\xff\x10\x04Too many connections"), b"1040 Too many connections")
        self.assertEqual(mysql.complaint(b"\xff"), b"0 ")

    def test_rows(self) -> None:
        """Values of any length, and NULL; one that says more than it has is refused."""
        long = b"x" * 300
        self.assertEqual(mysql.row(b"\x01a\xfb\x00\xfc\x2c\x01" + long), (b"a", None, b"", long))
        for body in (b"\x02a", b"\xfc\x01", b"\xff", b"\xfd\x01\x00\x00", b"\xfe\x01"):
            self.assertRaises(Malformed, mysql.row, body)

    def test_columns(self) -> None:
        """The number of columns."""
        self.assertEqual(mysql.columns(b"\x02"), 2)
        self.assertRaises(Malformed, mysql.columns, b"")

    def test_query(self) -> None:
        """What a client asks, and its last word."""
        self.assertEqual(mysql.query("SELECT 1"), b"\x03SELECT 1")
        self.assertEqual(mysql.QUIT, b"\x01\x00\x00\x00\x01")
