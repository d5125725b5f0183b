"""What do mail clients hear of TLS, and what of them gets through without?"""

from __future__ import annotations

from random import Random

from proxyd.wire.starttls.smtp import SmtpOffer, smtp_request
from proxyd.wire.starttls.step import NONE, OPTIONAL, REQUIRED
from tests.support.agreeing import Play, Said, played
from tests.support.case import Case
from tests.support.mutations import mutations

GREETING = b"220 mail.example ESMTP\r\n"
EHLO = b"EHLO client.example\r\n"
PLAIN = b"250-mail.example\r\n250-SIZE 1000\r\n250 HELP\r\n"
WITH = b"250-mail.example\r\n250-SIZE 1000\r\n250-HELP\r\n250 STARTTLS\r\n"
GO = b"220 2.0.0 ready to start TLS\r\n"
MAIL = b"MAIL FROM:<a@example>\r\n"

SECURED: list[Said] = [
    ("server", GREETING),
    ("client", EHLO),
    ("server", PLAIN),
    ("client", b"StartTLS\r\n"),
    ("client", EHLO),
    ("server", PLAIN),
    ("client", MAIL),
]


class Offers(Case):
    def test_secured(self) -> None:
        """A client is offered TLS, begins it, greets anew, is offered it no more, and sends its mail."""
        for offer in (OPTIONAL, REQUIRED):
            for piece in (0, 1):
                play = played(SmtpOffer(offer), SECURED, piece)
                self.assertEqual(
                    play.log,
                    [
                        ("client", GREETING),
                        ("server", EHLO),
                        ("client", WITH + GO),
                        "TLS client",
                        ("server", EHLO),
                        ("client", PLAIN),
                    ],
                )
                self.assertEqual((play.end, play.held["client"]), ("joined", MAIL))

    def test_capabilities(self) -> None:
        """STARTTLS is offered once, whatever the server offers itself, and by us alone."""
        for offer, said, heard in (
            (REQUIRED, b"250 mail.example\r\n", b"250-mail.example\r\n250 STARTTLS\r\n"),
            (REQUIRED, WITH, WITH),
            (REQUIRED, b"250-a\r\n250 starttls\r\n", b"250-a\r\n250 STARTTLS\r\n"),
            (REQUIRED, b"250-a\n250-STARTTLS\n250 SIZE\n", b"250-a\r\n250-SIZE\r\n250 STARTTLS\r\n"),
            (NONE, WITH, PLAIN),
            (NONE, b"250-a\r\n250 STARTTLS\r\n", b"250 a\r\n"),
            (REQUIRED, b"502 what?\r\n", b"502 what?\r\n"),
        ):
            play = played(SmtpOffer(offer), [("server", GREETING), ("client", EHLO)])
            self.assertEqual(play("server", said), [("client", heard)])

    def test_required(self) -> None:
        """Without TLS nobody gets further than a greeting (RFC 3207, 4)."""
        play = played(SmtpOffer(REQUIRED), SECURED[:3])
        for command in (MAIL, b"AUTH PLAIN AGEAYg==\r\n", b"RSET\r\n", b"VRFY root\r\n", b"\r\n"):
            self.assertEqual(
                play("client", command), [("client", b"530 5.7.0 must issue a STARTTLS command first\r\n")]
            )
        self.assertEqual(play("client", b"NOOP\r\n"), [("server", b"NOOP\r\n")])

    def test_begins_anew(self) -> None:
        """After TLS a client has to greet again, and cannot begin TLS again (RFC 3207, 4.2)."""
        play = played(SmtpOffer(REQUIRED), SECURED[:4])
        self.assertEqual(play("client", MAIL), [("client", b"503 5.5.1 send EHLO first\r\n")])
        self.assertEqual(play("client", b"STARTTLS\r\n"), [("client", b"503 5.5.1 TLS cannot begin now\r\n")])

    def test_parameter(self) -> None:
        """STARTTLS takes no parameter; and what is not offered cannot begin."""
        play = played(SmtpOffer(OPTIONAL), SECURED[:3])
        self.assertEqual(
            play("client", b"STARTTLS now\r\n"), [("client", b"501 5.5.4 no parameters allowed\r\n")]
        )
        play = played(SmtpOffer(NONE), SECURED[:3])
        self.assertEqual(play("client", b"STARTTLS\r\n"), [("client", b"503 5.5.1 TLS cannot begin now\r\n")])

    def test_codes(self) -> None:
        """An answer to EHLO whose lines have several codes is no answer."""
        play = played(SmtpOffer(NONE), [*SECURED[:2], ("server", b"250-a\r\nb\r\n250 c\r\n")])
        self.assertEqual(play.end, "starttls_refused: answers EHLO in lines of several codes")

    def test_broken(self) -> None:
        """However it is broken, only greetings and the like reach a server without TLS, each in a line."""
        random = Random(3)
        seeds = [EHLO + b"STARTTLS\r\n", b"HELO a\r\n" + MAIL, b"NOOP\r\nSTARTTLS\r\n" + MAIL, b"QUIT\r\n"]
        for data in mutations(random, seeds, 3000):
            play = Play(SmtpOffer(REQUIRED), lambda said: b"250 ok\r\n")
            play("server", GREETING)
            piece = random.choice((len(data), 1, 7)) or 1
            for place in range(0, len(data), piece):
                play("client", data[place : place + piece])
            sent = play.before_tls("server")
            for line in sent.split(b"\r\n")[:-1]:
                self.assertRegex(line, rb"(?i)\A(EHLO|HELO|LHLO|NOOP|QUIT)( [^\r\n\0]*)?\Z", data)


class Requests(Case):
    def test_request(self) -> None:
        """A server is greeted and asked, and its client hears its greeting."""
        play = Play(smtp_request())
        self.assertEqual(play("server", GREETING), [("server", b"EHLO localhost\r\n")])
        self.assertEqual(play("server", WITH), [("server", b"STARTTLS\r\n")])
        self.assertEqual(play("server", b"220 go ahead\r\n"), ["TLS server"])
        self.assertEqual((play.end, play.heard), ("joined", GREETING))
