"""Does the check of PostgreSQL log in, ask, and leave as a client should?"""

from __future__ import annotations

from typing import Any

from proxyd.config.probes import PgsqlAsk
from proxyd.upkeep.probes import pgsql
from proxyd.upkeep.probes.conversation import Call
from proxyd.wire.pgsql import TERMINATE, md5, password, query, sasl, startup
from tests.upkeep.probes.stage import ProbeCase
from tests.wire.test_scram import NONCE, SERVER_FIRST

ROLE = query("SELECT pg_is_in_recovery()")


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def wants(code: int, data: bytes = b"") -> bytes:
    """A request for authentication."""
    return message(b"R", code.to_bytes(4, "big") + data)


def row(*values: bytes) -> bytes:
    fields = b"".join(len(value).to_bytes(4, "big") + value for value in values)
    return message(b"T", b"\x00\x00") + message(b"D", len(values).to_bytes(2, "big") + fields)


READY = message(b"Z", b"I")
IN = wants(0) + message(b"S", b"server_version\x0015\x00") + message(b"K", bytes(8)) + READY
DONE = message(b"C", b"SELECT 1\x00") + READY
REFUSED = message(b"E", b"SFATAL\x00C28P01\x00Mno such user\x00\x00")


async def probe(call: Call, ask: Any) -> str:
    return await pgsql.probe(call, ask, nonce=lambda: NONCE)


class PgsqlTests(ProbeCase):
    probe = probe

    def test_asks_for_a_password(self) -> None:
        """Without a password it is enough that the server asks for one; we leave without a word."""
        self.begin(PgsqlAsk("u"))
        self.assertEqual(self.said(), startup("u", "u"))
        self.answer(wants(10, b"SCRAM-SHA-256\x00\x00"))
        self.assertPassed()

    def test_trusted(self) -> None:
        """A server that lets us in must be ready for queries; we leave in order."""
        self.begin(PgsqlAsk("u", "d"))
        self.assertEqual(self.said(), startup("u", "d"))
        self.answer(IN)
        self.assertPassed(TERMINATE)

    def test_passwords(self) -> None:
        """A password is given in clear or as a hash, as the server wants it."""
        for request, given in (
            (wants(3), password("pw")),
            (wants(5, b"salt"), password(md5("u", "pw", b"salt"))),
        ):
            self.begin(PgsqlAsk("u", password="pw"))
            self.said()
            self.answer(request)
            self.assertEqual(self.said(), given)
            self.answer(IN)
            self.assertPassed(TERMINATE)

    def begin_scram(self) -> None:
        self.begin(PgsqlAsk("u", password="pencil"))
        self.said()
        self.answer(wants(10, b"SCRAM-SHA-256-PLUS\x00SCRAM-SHA-256\x00\x00"))
        self.assertIn(b"n,,n=,r=" + NONCE.encode(), self.said())
        self.answer(wants(11, SERVER_FIRST))
        self.assertEqual(self.said()[:20], sasl(b"x" * 106)[:5] + b"c=biws,r=rOprNG")

    def test_scram(self) -> None:
        """SCRAM-SHA-256 goes on until the server has proved that it knows the password, too."""
        self.begin_scram()
        self.answer(wants(12, b"v=AAAA"))
        self.assertFailed("a SCRAM proof that is wrong: it does not know the password")

    def test_refused(self) -> None:
        """The server's own words are told, and not the password."""
        self.begin_scram()
        self.answer(REFUSED)
        self.assertFailed("answered FATAL 28P01 no such user")
        self.assertNotIn("pencil", repr(PgsqlAsk("u", password="pencil")))

    def test_starting_up(self) -> None:
        """A server that refuses everybody fails, though it speaks."""
        self.begin(PgsqlAsk("u"))
        self.said()
        self.answer(message(b"E", b"SFATAL\x00C57P03\x00Mthe database system is starting up\x00\x00"))
        self.assertFailed("answered FATAL 57P03 the database system is starting up")

    def test_no_such_database(self) -> None:
        """A login that fails at the database is no login; we leave in order."""
        self.begin(PgsqlAsk("u"))
        self.said()
        self.answer(wants(0) + REFUSED)
        self.assertFailed("answered FATAL 28P01 no such user", farewell=TERMINATE)

    def test_methods(self) -> None:
        """A way to log in that the check does not know is named."""
        for request, how in ((wants(7), "GSSAPI"), (wants(99), "method 99"), (wants(11), "method 11")):
            self.begin(PgsqlAsk("u", password="pw"))
            self.said()
            self.answer(request)
            self.assertFailed(f"asks for authentication by {how}, which a check cannot do")

    def test_role(self) -> None:
        """Only a server with the role that is asked for passes."""
        for role, answer, why in (
            ("primary", row(b"f"), ""),
            ("replica", row(b"t"), ""),
            ("primary", row(b"t"), "is replica, not primary"),
            ("replica", row(b"f"), "is primary, not replica"),
            ("primary", row(b"x"), "answered x to SELECT pg_is_in_recovery()"),
            ("primary", b"", "answered no row to SELECT pg_is_in_recovery()"),
        ):
            self.begin(PgsqlAsk("u", role=role))
            self.said()
            self.answer(IN)
            self.assertEqual(self.said(), ROLE)
            self.answer(answer + DONE)
            if why:
                self.assertFailed(why, farewell=TERMINATE)
            else:
                self.assertPassed(TERMINATE)

    def test_role_needs_a_login(self) -> None:
        """What can only be asked inside fails when the server asks for a password and there is none."""
        self.begin(PgsqlAsk("u", role="primary"))
        self.said()
        self.answer(wants(3))
        self.assertFailed("asks for a password, and the check has none")

    def test_query(self) -> None:
        """The first row of an own query is compared; an error fails, whatever was expected."""
        error = message(b"E", b"SERROR\x00C42P01\x00Mno table\x00\x00") + READY
        for expect, answer, why in (
            ("1 two", row(b"1", b"two") + DONE, ""),
            ("1", row(b"1") + row(b"2") + DONE, ""),
            ("", DONE, ""),
            ("1", row(b"2") + DONE, "answered 2 to the query"),
            ("1", DONE, "answered no row to the query"),
            ("", error, "answered ERROR 42P01 no table"),
            ("", message(b"G", b"\x00\x00\x00"), "wants data for the query"),
        ):
            self.begin(PgsqlAsk("u", query="SELECT x", expect=expect))
            self.said()
            self.answer(IN)
            self.assertEqual(self.said(), query("SELECT x"))
            self.answer(answer)
            if why:
                self.assertFailed(why, farewell=TERMINATE)
            else:
                self.assertPassed(TERMINATE)

    def test_closed(self) -> None:
        """A server that closes instead of answering fails; what it owed is named."""
        self.begin(PgsqlAsk("u"))
        self.said()
        self.close()
        self.assertFailed("closed the connection with no answer to the login")
