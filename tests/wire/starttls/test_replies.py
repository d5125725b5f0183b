"""Is each command answered before the next is passed on, and is a server asked as it must be?"""

from __future__ import annotations

from typing import Union

from proxyd.wire.starttls.replies import QUIT, Commands, Script, Turn
from proxyd.wire.starttls.step import MOST_COMMANDS, NONE, OPTIONAL, REQUIRED
from tests.support.agreeing import Play, played
from tests.support.case import Case


class Example(Commands):
    """TLS begins with GO; NOOP and QUIT are harmless."""

    BEGIN = b"200 go\r\n"

    def told(self, verb: bytes, argument: bytes) -> Union[Turn, bytes]:
        if verb == b"GO":
            return Turn.BEGIN if self.offers else b"500 no\r\n"
        if verb in (b"NOOP", QUIT):
            return Turn.PASS
        return b"530 first GO\r\n" if self.owes_tls else Turn.JOIN

    def amended(self, verb: bytes, reply: bytes) -> bytes:
        return reply.lower()


GREETING = b"220-Welcome\r\n220 to this\r\n"


class OneByOne(Case):
    def test_in_turn(self) -> None:
        """A command waits for the reply to the one before it; replies that succeed are amended."""
        play = Play(Example(REQUIRED))
        self.assertEqual(play("client", b"noop X\r\nNOOP\n"), [])
        self.assertEqual(play("server", GREETING), [("client", GREETING), ("server", b"noop X\r\n")])
        self.assertEqual(play("server", b"150 Wait\r\n"), [("client", b"150 Wait\r\n")])
        self.assertEqual(play("server", b"250 OK\r\n"), [("client", b"250 ok\r\n"), ("server", b"NOOP\r\n")])
        self.assertEqual(play("server", b"500 What?\r\n"), [("client", b"500 What?\r\n")])
        self.assertEqual(play("server", b"250 Unasked\r\n"), [("client", b"250 Unasked\r\n")])

    def test_begins(self) -> None:
        """TLS begins behind our answer, and then the first command that matters goes on as it is."""
        for piece in (0, 1):
            script = [
                ("server", GREETING),
                ("client", b"MAIL\r\n"),
                ("client", b"go\r\n"),
                ("client", b"MAIL\r\nx"),
            ]
            play = played(Example(REQUIRED), script, piece)
            self.assertEqual(play.log, [("client", GREETING + b"530 first GO\r\n200 go\r\n"), "TLS client"])
            self.assertEqual((play.end, play.held["client"]), ("joined", b"MAIL\r\nx"))

    def test_injected(self) -> None:
        """What is behind the wish for TLS in plaintext is passed on to nobody (CVE-2011-0411)."""
        play = played(Example(REQUIRED), [("server", GREETING), ("client", b"GO\r\nNOOP\r\n")])
        self.assertEqual(play.log, [("client", GREETING)])
        self.assertEqual(play.end, "starttls_malformed: 6 bytes behind its wish for TLS, and before TLS")

    def test_leaves(self) -> None:
        """It is over when QUIT is answered, and when the server says that it closes."""
        play = played(
            Example(REQUIRED),
            [("server", GREETING), ("client", b"QUIT\r\nMAIL\r\n"), ("server", b"221 Bye\r\n")],
        )
        self.assertEqual((play.sent("server"), play.end), (b"QUIT\r\n", "over"))
        play = played(Example(REQUIRED), [("server", b"421 too busy\r\n")], 1)
        self.assertEqual((play.log, play.end), ([("client", b"421 too busy\r\n")], "over"))

    def test_bounded(self) -> None:
        """One that owes TLS may not go on for ever, nor in lines without an end."""
        play = played(
            Example(REQUIRED), [("server", GREETING), ("client", b"MAIL\r\n" * (MOST_COMMANDS + 1))]
        )
        self.assertEqual(play.end, f"starttls_malformed: more than {MOST_COMMANDS} commands without TLS")
        play = played(Example(NONE), [("server", GREETING), ("client", b"N" * 3000)], 100)
        self.assertEqual(play.end, "starttls_malformed: a line of more than 2048 bytes")
        play = played(Example(NONE), [("server", b"2" * 3000)], 100)
        self.assertEqual(play.end, "starttls_refused: a line of more than 2048 bytes")

    def test_plain(self) -> None:
        """Where TLS is not required, a client may go on without."""
        for offer in (NONE, OPTIONAL):
            play = played(Example(offer), [("server", GREETING), ("client", b"MAIL\r\n")])
            self.assertEqual((play.end, play.held["client"]), ("joined", b"MAIL\r\n"))


class Scripts(Case):
    SCRIPT = ((b"HELLO", 250), (b"GO", 200))

    def test_said(self) -> None:
        """Each command is said when the one before it was answered; the client then hears the greeting."""
        play = Play(Script(self.SCRIPT))
        self.assertEqual(play("server", b"120 Soon\r\n" + GREETING), [("server", b"HELLO\r\n")])
        self.assertEqual(play("server", b"250-hello\r\n"), [])
        self.assertEqual(play("server", b"250 all\r\n"), [("server", b"GO\r\n")])
        self.assertEqual(play("server", b"200 go\r\n"), ["TLS server"])
        self.assertEqual((play.end, play.heard, play.sent("client")), ("joined", GREETING, b""))

    def test_refused(self) -> None:
        """A server that answers otherwise, or more, is given up."""
        for script, why in (
            ((b"554 go away\r\n",), "greets with 554 go away"),
            ((b"HTTP/1.1 400\r\n",), "b'HTTP/1.1 400', which does not begin with three digits"),
            ((GREETING, b"500 what?\r\n"), "answers HELLO with 500 what?"),
            ((GREETING, b"250 hello\r\n", b"502 no TLS\r\n"), "answers GO with 502 no TLS"),
            ((GREETING, b"250 hello\r\n", b"200 go\r\n250 x\r\n"), "said 7 bytes more before TLS began"),
        ):
            play = played(Script(self.SCRIPT), [("server", said) for said in script])
            self.assertEqual(play.end, f"starttls_refused: {why}")
            self.assertNotIn("TLS server", play.log)
