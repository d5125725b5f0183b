"""What do IMAP's clients hear of TLS, and what of them gets through without?"""

from __future__ import annotations

from random import Random

from proxyd.wire.starttls.imap import ImapOffer, ImapRequest
from proxyd.wire.starttls.step import MOST_COMMANDS, NONE, OPTIONAL, REQUIRED
from tests.support.agreeing import Play, Said, played
from tests.support.case import Case
from tests.support.mutations import mutations

GREETING = b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready.\r\n"
PLAIN = b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\n"
OWED = b"* CAPABILITY IMAP4rev1 SASL-IR LOGINDISABLED STARTTLS\r\n"
NO = b" NO [PRIVACYREQUIRED] use STARTTLS first\r\n"

BEGUN: list[Said] = [("server", GREETING), ("client", b"a STARTTLS\r\n")]


class Offers(Case):
    def test_secured(self) -> None:
        """A client is told that it cannot log in without TLS, begins it, and asks anew what there is."""
        script: list[Said] = [
            ("server", GREETING),
            ("client", b"a1 capability\r\n"),
            ("server", PLAIN + b"a1 OK done\r\n"),
            ("client", b"a2 starttls\r\n"),
            ("client", b"a3 CAPABILITY\r\n"),
            ("server", b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\na3 OK done\r\n"),
            ("client", b"a4 LOGIN me {2}\r\n"),
        ]
        for piece in (0, 1):
            play = played(ImapOffer(REQUIRED), script, piece)
            self.assertEqual(
                play.log,
                [
                    ("client", b"* OK [CAPABILITY IMAP4rev1 SASL-IR LOGINDISABLED STARTTLS] ready.\r\n"),
                    ("server", b"a1 capability\r\n"),
                    ("client", OWED + b"a1 OK done\r\na2 OK begin TLS now\r\n"),
                    "TLS client",
                    ("server", b"a3 CAPABILITY\r\n"),
                    ("client", b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na3 OK done\r\n"),
                ],
            )
            self.assertEqual((play.end, play.held["client"]), ("joined", script[-1][1]))

    def test_capabilities(self) -> None:
        """STARTTLS is among them once, where it is offered, and by us alone."""
        for offer, said, heard in (
            (
                REQUIRED,
                b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n",
                b"* CAPABILITY IMAP4rev1 LOGINDISABLED STARTTLS\r\n",
            ),
            (OPTIONAL, PLAIN, b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN STARTTLS\r\n"),
            (
                NONE,
                b"* capability IMAP4rev1 starttls AUTH=PLAIN\r\n",
                b"* capability IMAP4rev1 AUTH=PLAIN\r\n",
            ),
            (NONE, b"b OK [CAPABILITY IMAP4rev1 STARTTLS] in\r\n", b"b OK [CAPABILITY IMAP4rev1] in\r\n"),
            (NONE, b"* OK say [CAPABILITY STARTTLS]\r\n", b"* OK say [CAPABILITY STARTTLS]\r\n"),
            (NONE, b"* LIST {14}\r\n* CAPABILITY x\r\n", b"* LIST {14}\r\n* CAPABILITY x\r\n"),
        ):
            play = played(ImapOffer(offer), [("server", b"* OK\r\n"), ("client", b"b NOOP\r\n")])
            self.assertEqual(play("server", said), [("client", heard)])

    def test_required(self) -> None:
        """Without TLS nobody logs in, and what is in a literal is no command."""
        play = played(ImapOffer(REQUIRED), [("server", GREETING)])
        for command in (
            b"x LOGIN me it\r\n",
            b"x AUTHENTICATE PLAIN\r\n",
            b"x LOGIN {2}\r\n",
            b"x LOGIN {12+}\r\nx CAPABILITY {4+}\r\nabcd\r\n",
            b"x ID {2}\r\n",
        ):
            self.assertEqual(play("client", command), [("client", b"x" + NO)])
        self.assertEqual(play("client", b"x ID NIL\r\n"), [("server", b"x ID NIL\r\n")])

    def test_not_required(self) -> None:
        """Where it is not, the first command that matters goes on as it is."""
        for offer in (NONE, OPTIONAL):
            play = played(ImapOffer(offer), [("server", GREETING), ("client", b"x LOGIN me it\r\n")])
            self.assertEqual((play.end, play.held["client"]), ("joined", b"x LOGIN me it\r\n"))

    def test_once(self) -> None:
        """TLS begins once, and where it is offered."""
        for script in (BEGUN, [("server", GREETING)]):
            play = played(ImapOffer(NONE if len(script) == 1 else REQUIRED), script)
            self.assertEqual(
                play("client", b"c STARTTLS\r\n"), [("client", b"c BAD TLS cannot begin now\r\n")]
            )

    def test_injected(self) -> None:
        """What is behind the wish for TLS in plaintext is passed on to nobody."""
        play = played(ImapOffer(REQUIRED), [("server", GREETING), ("client", b"a STARTTLS\r\nb NOOP\r\n")])
        self.assertEqual(play.end, "starttls_malformed: 8 bytes behind its wish for TLS, and before TLS")
        self.assertEqual(play.sent("server"), b"")

    def test_leaves(self) -> None:
        """It is over when LOGOUT is answered, and when the server says that it closes."""
        play = played(ImapOffer(REQUIRED), [("server", GREETING), ("client", b"z LOGOUT\r\n")])
        self.assertEqual(
            play("server", b"* BYE then\r\nz OK done\r\n"), [("client", b"* BYE then\r\nz OK done\r\n")]
        )
        self.assertEqual(play.end, "over")
        for script in (
            [("server", b"* BYE busy\r\n")],
            [("server", GREETING), ("server", b"* BYE late\r\n")],
        ):
            self.assertEqual(played(ImapOffer(REQUIRED), script).end, "over")

    def test_preauth(self) -> None:
        """A server that lets everybody in has no place for TLS."""
        greeting: list[Said] = [("server", b"* PREAUTH welcome\r\n")]
        play = played(ImapOffer(REQUIRED), greeting)
        self.assertEqual(play.end, "starttls_refused: greets with PREAUTH, after which TLS cannot begin")
        self.assertEqual(played(ImapOffer(OPTIONAL), greeting).log, greeting_heard(greeting))

    def test_bounded(self) -> None:
        """Lines, literals and what comes before TLS have bounds."""
        for data, why in (
            (b"x" * 9000, "a line of more than 8192 bytes"),
            (b"x LOGIN {99999+}\r\n", "more than 16384 bytes in one command or answer"),
            (b"\r\n", "a line that is no command of IMAP"),
            (b"GET / HTTP/1.1\r\n", "a line that is no command of IMAP"),
            (b"x LOGIN a b\r\n" * (MOST_COMMANDS + 1), f"more than {MOST_COMMANDS} commands without TLS"),
        ):
            play = played(ImapOffer(REQUIRED), [("server", GREETING), ("client", data)])
            self.assertEqual(play.end, f"starttls_malformed: {why}")
        play = played(ImapOffer(REQUIRED), [("server", b"* OK {99999}\r\n")])
        self.assertEqual(play.end, "starttls_refused: more than 16384 bytes in one command or answer")

    def test_broken(self) -> None:
        """However it is broken, only what is harmless reaches a server without TLS, each in a line."""
        random = Random(4)
        seeds = [
            b"a CAPABILITY\r\na STARTTLS\r\n",
            b"b LOGIN me it\r\nb NOOP\r\n",
            b"c LOGIN {3+}\r\nabc d\r\nc NOOP\r\n",
            b'd ID ("a" "b")\r\n',
        ]
        for data in mutations(random, seeds, 3000):
            play = Play(ImapOffer(REQUIRED), lambda said: said.split(b" ")[0] + b" OK\r\n")
            play("server", GREETING)
            piece = random.choice((len(data), 1, 7)) or 1
            for place in range(0, len(data), piece):
                play("client", data[place : place + piece])
            sent = play.before_tls("server")
            for line in sent.split(b"\r\n")[:-1]:
                self.assertRegex(line, rb"(?i)\A[^ ]+ (CAPABILITY|NOOP|ID|LOGOUT)( [^\r\n\0]*)?\Z", data)


def greeting_heard(greeting: list[Said]) -> list[Said]:
    return [("client", said) for _, said in greeting]


class Requests(Case):
    def test_request(self) -> None:
        """A server is asked, and its client hears the greeting without what the server could do before."""
        play = Play(ImapRequest())
        self.assertEqual(play("server", GREETING), [("server", b"proxyd STARTTLS\r\n")])
        self.assertEqual(play("server", b"* OK soon\r\nproxyd OK"), [])
        self.assertEqual(play("server", b" go\r\n"), ["TLS server"])
        self.assertEqual((play.end, play.heard), ("joined", b"* OK ready.\r\n"))

    def test_refused(self) -> None:
        """A server that would not, that says more, or that never answers is given up."""
        for script, why in (
            ((b"* BYE busy\r\n",), "greets with * BYE busy"),
            ((b"* PREAUTH in\r\n",), "greets with * PREAUTH in"),
            ((b"220 mail\r\n",), "greets with 220 mail"),
            ((GREETING, b"proxyd BAD what?\r\n"), "answers STARTTLS with proxyd BAD what?"),
            ((GREETING, b"proxyd OK go\r\n* OK x\r\n"), "said 8 bytes more before TLS began"),
            ((GREETING, b"* OK\r\n" * (MOST_COMMANDS + 1)), "does not answer STARTTLS"),
        ):
            play = played(ImapRequest(), [("server", said) for said in script])
            self.assertEqual(play.end, f"starttls_refused: {why}")
