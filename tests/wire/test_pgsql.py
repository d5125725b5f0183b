"""Is PostgreSQL spoken as its documentation has it?"""

from __future__ import annotations

from random import Random

from proxyd.errors import Malformed
from proxyd.wire import pgsql
from proxyd.wire.pgsql import Message
from tests.support.case import Case
from tests.support.mutations import mutations
from tests.support.parsing import both_ways

MESSAGES = [
    (b"R\x00\x00\x00\x08\x00\x00\x00\x00", Message(b"R", bytes(4))),
    (b"Z\x00\x00\x00\x05I", Message(b"Z", b"I")),
    (b"I\x00\x00\x00\x04", Message(b"I", b"")),
]

MALFORMED = [
    (b"y", "b'y', which begins no message of PostgreSQL"),
    (b"HTTP/1.1", "b'HTTP/', which begins no message that we could take"),
    (
        b"R\x00\x00\x00\x03",
        "b'R\\x00\\x00\\x00\\x03', which begins no message that we could take",
    ),
]


outcome, piecemeal = both_ways(pgsql.message)


class PgsqlTests(Case):
    def test_messages(self) -> None:
        """A message is read, and no byte behind it."""
        for data, message in MESSAGES:
            self.assertEqual(outcome(data + b"next"), (message, len(data)))
            self.assertEqual(piecemeal(data), (message, len(data)))

    def test_malformed(self) -> None:
        """What is not PostgreSQL is known by its first bytes."""
        for data, why in MALFORMED:
            self.assertEqual((outcome(data), piecemeal(data)), (why, why))

    def test_broken(self) -> None:
        """Broken messages end the same way however they are cut."""
        for data in mutations(Random(1), [data for data, _ in MESSAGES], 1000):
            self.assertEqual(outcome(data), piecemeal(data), data)

    def test_said(self) -> None:
        """What a client says, byte for byte."""
        self.assertEqual(
            pgsql.startup("u", "d"),
            b"\x00\x00\x00\x48\x00\x03\x00\x00user\x00u\x00database\x00d\x00"
            b"application_name\x00proxyd\x00client_encoding\x00UTF8\x00\x00",
        )
        self.assertEqual(pgsql.query("SELECT 1"), b"Q\x00\x00\x00\x0dSELECT 1\x00")
        self.assertEqual(pgsql.password("p\xe4"), b"p\x00\x00\x00\x08p\xc3\xa4\x00")
        self.assertEqual(pgsql.sasl_first("S", b"xy"), b"p\x00\x00\x00\x0cS\x00\x00\x00\x00\x02xy")
        self.assertEqual(pgsql.sasl(b"xy"), b"p\x00\x00\x00\x06xy")

    def test_md5(self) -> None:
        """The hash is that of pg_authid, and of the salt."""
        hashed = pgsql.md5("probe", "secret", b"\x01\x02\x03\x04")
        self.assertEqual(hashed, "md5549d201a36e0ebb5f0dfdc4a36b362b2")

    def test_complaint(self) -> None:
        """An error is told in one line."""
        body = b"SFATAL\x00VFATAL\x00C28P01\x00Mpassword authentication failed\x00Fauth.c\x00\x00"
        self.assertEqual(pgsql.complaint(body), b"FATAL 28P01 password authentication failed")
        self.assertEqual(pgsql.complaint(b""), b"")

    def test_rows(self) -> None:
        """A row is its values; one that says more than it has is refused."""
        row = b"\x00\x03\x00\x00\x00\x01t\xff\xff\xff\xff\x00\x00\x00\x00"
        self.assertEqual(pgsql.row(row), (b"t", None, b""))
        self.assertEqual(pgsql.row(b""), ())
        for length in range(2, len(row)):
            self.assertRaises(Malformed, pgsql.row, row[:length])

    def test_authentication(self) -> None:
        """What is asked for, and the mechanisms of SASL."""
        self.assertEqual(pgsql.authentication(b"\x00\x00\x00\x05salt"), (pgsql.MD5, b"salt"))
        self.assertRaises(Malformed, pgsql.authentication, b"\x00\x00\x05")
        self.assertEqual(
            pgsql.mechanisms(b"SCRAM-SHA-256-PLUS\x00SCRAM-SHA-256\x00\x00"),
            ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"],
        )
