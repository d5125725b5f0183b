"""How do MySQL's clients come to TLS, how do we with a server, and are the packets numbered right?"""

from __future__ import annotations

from random import Random

from proxyd.wire import mysql
from proxyd.wire.mysql import framed
from proxyd.wire.starttls.mysql import MysqlOffer
from proxyd.wire.starttls.step import NONE, OPTIONAL, REQUIRED
from tests.support.agreeing import Said, played
from tests.support.case import Case
from tests.support.mutations import mutations

SSL = 0x800
FLAGS = 0x0008_A205  # plugins, secure, transactions, 4.1, long passwords


def greeting(tls: bool) -> bytes:
    flags = FLAGS | SSL if tls else FLAGS
    low, high = (flags & 0xFFFF).to_bytes(2, "little"), (flags >> 16).to_bytes(2, "little")
    body = b"\x0a11.4.2-MariaDB\0\1\0\0\0" + b"n" * 8 + b"\0" + low + b"\x21\2\0" + high + b"\x15" + bytes(10)
    return framed(body + b"o" * 12 + b"\0mysql_native_password\0", 0)


def login(tls: bool) -> bytes:
    body = mysql.login("probe", b"p" * 20, mysql.NATIVE, "test")
    flags = int.from_bytes(body[:4], "little")
    return (flags | SSL if tls else flags).to_bytes(4, "little") + body[4:]


REQUEST = login(True)[:32]
OK, ERROR = b"\0\0\0\2\0\0\0", b"\xff\x15\x04#28000Access denied"
SWITCH, SCRAMBLE = b"\xfeclient_ed25519\0" + b"n" * 32, b"s" * 64
FAST, FULL = b"\1\3", b"\1\4"

# One with TLS at a server without, and what becomes of it.
SECURED: list[Said] = [
    ("server", greeting(False)),
    ("client", framed(REQUEST, 1)),
    ("client", framed(login(True), 2)),
    ("server", framed(SWITCH, 2)),
    ("client", framed(SCRAMBLE, 4)),
    ("server", framed(FAST, 4)),
    ("server", framed(OK, 5)),
    ("client", framed(b"\x03SELECT 1", 0)),
]


class Offers(Case):
    def test_secured(self) -> None:
        """A client with TLS has sent a packet more: until it is in, both sides count as they would alone."""
        for offer in (OPTIONAL, REQUIRED):
            for piece in (0, 1, 7):
                play = played(MysqlOffer(offer, False), SECURED, piece)
                self.assertEqual(
                    play.log,
                    [
                        ("client", greeting(True)),
                        "TLS client",
                        ("server", framed(login(False), 1)),
                        ("client", framed(SWITCH, 3)),
                        ("server", framed(SCRAMBLE, 3)),
                        ("client", framed(FAST, 5) + framed(OK, 6)),
                    ],
                )
                self.assertEqual((play.end, play.held["client"]), ("joined", framed(b"\x03SELECT 1", 0)))

    def test_hello_behind(self) -> None:
        """TLS begins right behind the wish for it, which is not answered."""
        hello = b"\x16\x03\x01\x00\x05hello"
        play = played(MysqlOffer(REQUIRED, False), [SECURED[0], ("client", framed(REQUEST, 1) + hello)])
        self.assertEqual((play.early, play.log[-1]), (hello, "TLS client"))

    def test_wrong_password(self) -> None:
        """A server's refusal ends the login as well."""
        play = played(MysqlOffer(REQUIRED, False), [*SECURED[:3], ("server", framed(ERROR, 2))], 1)
        self.assertEqual((play.log[-1], play.end), (("client", framed(ERROR, 3)), "joined"))

    def test_plain(self) -> None:
        """One that logs in without TLS is refused where it is required, by the number that it waits for."""
        script: list[Said] = [("server", greeting(True)), ("client", framed(login(False), 1))]
        offer = MysqlOffer(REQUIRED, False)
        play = played(offer, script, 1)
        self.assertEqual(
            (play.log, play.end), ([("client", greeting(True))], "tls_required: logs in without TLS")
        )
        self.assertEqual(offer.number, 2)

    def test_untouched(self) -> None:
        """Where neither side has TLS, nothing is changed, and nothing is looked at after the login."""
        for offer, server in ((OPTIONAL, False), (OPTIONAL, True), (NONE, False), (NONE, True)):
            script: list[Said] = [("server", greeting(server)), ("client", framed(login(False), 1))]
            play = played(MysqlOffer(offer, False), script, 1)
            shown = ("client", greeting(offer != NONE))
            self.assertEqual((play.log, play.end), ([shown, ("server", framed(login(False), 1))], "joined"))

    def test_full(self) -> None:
        """A server that is full says so instead of greeting."""
        said = framed(b"\xff\x10\x04Too many connections", 0)
        play = played(MysqlOffer(REQUIRED, False), [("server", said)], 1)
        self.assertEqual((play.log, play.end), ([("client", said)], "over"))

    def test_password_in_clear(self) -> None:
        """A password that would go over a channel of which one half has no TLS is not asked for."""
        for offer, server_tls, script, why in (
            (REQUIRED, False, SECURED[:3], "the client has TLS, and the server has not"),
            (NONE, True, REQUESTED[:2], "the server has TLS, and the client has not"),
        ):
            number = 2 if offer else 3
            play = played(MysqlOffer(offer, server_tls), [*script, ("server", framed(FULL, number))])
            self.assertEqual(
                play.end, f"starttls_login: caching_sha2_password wants the password itself; {why}"
            )
            self.assertNotIn(FULL, play.sent("client"))

    def test_wrong(self) -> None:
        """What is no login, or comes in another order, is refused."""
        for packet, why in (
            (framed(login(True), 1), "asks for TLS where it may not"),
            (framed(REQUEST, 2), "a packet with number 2 in place of 1"),
            (framed(b"\x85\xa6\x03\0\0user\0", 1), "a login that is older than MySQL 4.1"),
            (framed(b"", 1), "a login that is older than MySQL 4.1"),
            (
                b"\xff\xff\xff\1",
                "b'\\xff\\xff\\xff\\x01', which begins no packet of MySQL that we could take",
            ),
        ):
            play = played(MysqlOffer(OPTIONAL, False), [SECURED[0], ("client", packet)])
            self.assertEqual(play.end, f"starttls_malformed: {why}")
        play = played(MysqlOffer(NONE, False), [SECURED[0], ("client", framed(REQUEST, 1))])
        self.assertEqual(play.end, "starttls_malformed: asks for TLS where it may not")

    def test_no_greeting(self) -> None:
        """A server that greets otherwise is given up."""
        for said in (framed(b"\x09", 0), framed(b"", 0), framed(b"\x0a5.7\0short", 0), b"HTTP/1.1 400\r\n"):
            play = played(MysqlOffer(REQUIRED, False), [("server", said)])
            self.assertTrue(play.end.startswith("starttls_refused: "), play.end)

    def test_broken(self) -> None:
        """However it is broken, nothing of a client without TLS reaches the server where it is required."""
        random = Random(2)
        for data in mutations(
            random, [framed(REQUEST, 1), framed(login(False), 1), framed(login(True), 1)], 3000
        ):
            script: list[Said] = [SECURED[0], ("client", data)]
            play = played(MysqlOffer(REQUIRED, False), script, random.choice((0, 1, 9)))
            self.assertEqual(play.before_tls("server"), b"", data)
            self.assertNotEqual(play.end, "joined")
        for data in mutations(random, [said for side, said in SECURED if side == "server"], 3000):
            script = [*SECURED[:3], ("server", data)]
            whole, cut = (played(MysqlOffer(REQUIRED, False), script, piece) for piece in (0, 1))
            self.assertEqual((whole.log, whole.end), (cut.log, cut.end), data)


# A client without TLS at a server with it.
REQUESTED: list[Said] = [
    ("server", greeting(True)),
    ("client", framed(login(False), 1)),
    ("server", framed(SWITCH, 3)),
    ("client", framed(SCRAMBLE, 3)),
    ("server", framed(OK, 5)),
]


class Requests(Case):
    def test_requested(self) -> None:
        """We ask the server for TLS by the beginning of the client's login, and have sent a packet more."""
        for piece in (0, 1, 7):
            play = played(MysqlOffer(NONE, True), REQUESTED, piece)
            self.assertEqual(
                play.log,
                [
                    ("client", greeting(False)),
                    ("server", framed(login(True)[:32], 1)),
                    "TLS server",
                    ("server", framed(login(True), 2)),
                    ("client", framed(SWITCH, 2)),
                    ("server", framed(SCRAMBLE, 4)),
                    ("client", framed(OK, 4)),
                ],
            )
            self.assertEqual(play.end, "joined")

    def test_both(self) -> None:
        """With TLS on both sides the numbers are the same, and nothing is looked at after the login."""
        script = [("server", greeting(True)), *SECURED[1:3]]
        for piece in (0, 1):
            play = played(MysqlOffer(REQUIRED, True), script, piece)
            self.assertEqual(
                play.log,
                [
                    ("client", greeting(True)),
                    "TLS client",
                    ("server", framed(login(True)[:32], 1)),
                    "TLS server",
                    ("server", framed(login(True), 2)),
                ],
            )
            self.assertEqual(play.end, "joined")

    def test_not_offered(self) -> None:
        """A server that offers no TLS is given up before its client has heard of it."""
        play = played(MysqlOffer(NONE, True), [("server", greeting(False))])
        self.assertEqual((play.log, play.end), ([], "starttls_refused: does not offer TLS in its greeting"))
