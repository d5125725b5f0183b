"""What do FTP's clients hear of TLS, and what of them gets through without?"""

from __future__ import annotations

from proxyd.wire.starttls.ftp import FtpOffer, ftp_request
from proxyd.wire.starttls.step import NONE, OPTIONAL, REQUIRED
from tests.support.agreeing import Play, Said, played
from tests.support.case import Case

GREETING = b"220-A page\r\n of text\r\n220 ready\r\n"
FEATURES = b"211-Features:\r\n MDTM\r\n UTF8\r\n211 End\r\n"
WITH = b"211-Features:\r\n MDTM\r\n UTF8\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End\r\n"
GO = b"234 AUTH TLS successful\r\n"
NO = b"530 TLS is required: use AUTH TLS first\r\n"

BEGUN: list[Said] = [("server", GREETING), ("client", b"AUTH TLS\r\n")]


class Offers(Case):
    def test_secured(self) -> None:
        """A client logs in with TLS, learns that data is not encrypted, and makes a connection for it."""
        script: list[Said] = [
            *BEGUN,
            ("client", b"USER me\r\n"),
            ("server", b"331 and?\r\n"),
            ("client", b"PASS  it \r\n"),
            ("server", b"230 in\r\n"),
            ("client", b"PBSZ 0\r\n"),
            ("client", b"PROT P\r\n"),
            ("client", b"PROT C\r\n"),
            ("client", b"EPSV\r\n"),
        ]
        for piece in (0, 1):
            play = played(FtpOffer(REQUIRED), script, piece)
            self.assertEqual(
                play.log,
                [
                    ("client", GREETING + GO),
                    "TLS client",
                    ("server", b"USER me\r\n"),
                    ("client", b"331 and?\r\n"),
                    ("server", b"PASS  it \r\n"),
                    (
                        "client",
                        b"230 in\r\n200 PBSZ=0\r\n"
                        b"536 data is sent in clear only\r\n200 data is sent in clear\r\n",
                    ),
                ],
            )
            self.assertEqual((play.end, play.held["client"]), ("joined", b"EPSV\r\n"))

    def test_features(self) -> None:
        """TLS is among the features where it is offered, by us alone."""
        for offer, said, heard in (
            (REQUIRED, FEATURES, WITH),
            (REQUIRED, WITH, WITH),
            (OPTIONAL, b"211 none\r\n", b"211-Features:\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End\r\n"),
            (NONE, WITH, FEATURES),
            (NONE, b"211 none\r\n", b"211 none\r\n"),
            (REQUIRED, b"500 what?\r\n", b"500 what?\r\n"),
        ):
            play = played(FtpOffer(offer), [("server", GREETING), ("client", b"FEAT\r\n")])
            self.assertEqual(play("server", said), [("client", heard)])

    def test_ways(self) -> None:
        """TLS begins by any name under which data stays in clear until it is asked for."""
        for argument in (b"TLS", b"tls-c", b"SSL"):
            play = played(FtpOffer(OPTIONAL), [("server", GREETING), ("client", b"AUTH %s\r\n" % argument)])
            self.assertEqual(play.log[-1], "TLS client")
        for argument in (b"TLS-P", b"GSSAPI", b""):
            play = played(FtpOffer(OPTIONAL), [("server", GREETING)])
            self.assertEqual(
                play("client", b"AUTH %s\r\n" % argument), [("client", b"504 only AUTH TLS is known\r\n")]
            )

    def test_out_of_turn(self) -> None:
        """What belongs to TLS has its time."""
        plain = played(FtpOffer(OPTIONAL), [("server", GREETING)])
        self.assertEqual(plain("client", b"PBSZ 0\r\n"), [("client", b"503 use AUTH TLS first\r\n")])
        secured = played(FtpOffer(REQUIRED), BEGUN)
        for command, answer in (
            (b"AUTH TLS", b"503 there is TLS already\r\n"),
            (b"CCC", b"534 TLS stays on\r\n"),
            (b"PROT X", b"504 not known\r\n"),
            (b"PROT", b"504 not known\r\n"),
        ):
            self.assertEqual(secured("client", command + b"\r\n"), [("client", answer)])
        never = played(FtpOffer(NONE), [("server", GREETING)])
        for command in (b"AUTH TLS", b"PBSZ 0", b"PROT P", b"CCC"):
            self.assertEqual(
                never("client", command + b"\r\n"), [("client", b"502 there is no TLS here\r\n")]
            )

    def test_required(self) -> None:
        """Without TLS nobody logs in."""
        play = played(FtpOffer(REQUIRED), [("server", GREETING)])
        for command in (b"USER me", b"PASS it", b"PASV", b"HOST a", b"ABOR", b""):
            self.assertEqual(play("client", command + b"\r\n"), [("client", NO)])
        self.assertEqual(play("client", b"SYST\r\n"), [("server", b"SYST\r\n")])
        for offer in (NONE, OPTIONAL):
            play = played(FtpOffer(offer), [("server", GREETING), ("client", b"USER me\r\n")])
            self.assertEqual((play.end, play.held["client"]), ("joined", b"USER me\r\n"))


class Requests(Case):
    def test_request(self) -> None:
        """A server is asked at once, and its client hears its greeting."""
        play = Play(ftp_request())
        self.assertEqual(play("server", GREETING), [("server", b"AUTH TLS\r\n")])
        self.assertEqual(play("server", GO), ["TLS server"])
        self.assertEqual((play.end, play.heard), ("joined", GREETING))
