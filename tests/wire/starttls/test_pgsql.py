"""How do PostgreSQL's clients come to TLS, and how do we with a server?"""

from __future__ import annotations

from random import Random

from proxyd.wire.refusal import GSSENC_REQUEST, SSL_REQUEST
from proxyd.wire.starttls.pgsql import PgsqlOffer, PgsqlRequest
from proxyd.wire.starttls.step import NONE, OPTIONAL, REQUIRED
from tests.support.agreeing import Play, played
from tests.support.case import Case
from tests.support.mutations import mutations

STARTUP = b"\0\0\0\x11\0\x03\0\0user\0me\0\0"
CANCEL = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02"
HELLO = b"\x16\x03\x01\x00\x05hello"


class Offers(Case):
    def test_asks(self) -> None:
        """One that asks gets TLS, and its startup packet is the server's as it is."""
        for offer in (OPTIONAL, REQUIRED):
            for piece in (0, 1, 3):
                play = played(PgsqlOffer(offer), [("client", SSL_REQUEST), ("client", STARTUP)], piece)
                self.assertEqual(play.log, [("client", b"S"), "TLS client"])
                self.assertEqual((play.end, play.held["client"]), ("joined", STARTUP))

    def test_gssapi_first(self) -> None:
        """Encryption by GSSAPI is declined, once; then TLS may be asked for."""
        play = played(PgsqlOffer(REQUIRED), [("client", GSSENC_REQUEST), ("client", SSL_REQUEST)])
        self.assertEqual(play.log, [("client", b"NS"), "TLS client"])
        twice = played(PgsqlOffer(REQUIRED), [("client", GSSENC_REQUEST), ("client", GSSENC_REQUEST)])
        self.assertEqual(twice.end, "starttls_malformed: asks for encryption again")

    def test_at_once(self) -> None:
        """TLS may begin with the first byte, but not after a wish, and not unless it is offered."""
        for offer in (OPTIONAL, REQUIRED):
            play = played(PgsqlOffer(offer), [("client", HELLO), ("client", STARTUP)])
            self.assertEqual((play.log, play.early, play.end), (["TLS client"], HELLO, "joined"))
        late = played(PgsqlOffer(REQUIRED), [("client", GSSENC_REQUEST), ("client", HELLO)])
        self.assertTrue(late.end.startswith("starttls_malformed: a startup packet of"), late.end)
        never = played(PgsqlOffer(NONE), [("client", HELLO)])
        self.assertTrue(never.end.startswith("starttls_malformed: a startup packet of"), never.end)

    def test_plain(self) -> None:
        """One that goes on without TLS is refused where it is required, and where it is not, goes on."""
        play = played(PgsqlOffer(REQUIRED), [("client", STARTUP)], 1)
        self.assertEqual((play.log, play.end), ([], "tls_required: sends its startup packet without TLS"))
        self.assertEqual(play.held["client"], STARTUP)
        for offer in (NONE, OPTIONAL):
            play = played(PgsqlOffer(offer), [("client", STARTUP)], 1)
            self.assertEqual((play.log, play.end, play.held["client"]), ([], "joined", STARTUP))

    def test_not_offered(self) -> None:
        """Where there is no TLS, wishes for it are declined, each once."""
        script = [("client", SSL_REQUEST), ("client", GSSENC_REQUEST), ("client", STARTUP)]
        play = played(PgsqlOffer(NONE), script, 1)
        self.assertEqual((play.log, play.end), ([("client", b"NN")], "joined"))

    def test_cancel(self) -> None:
        """A wish to cancel goes to the server, with or without TLS."""
        for script in ([("client", CANCEL)], [("client", SSL_REQUEST), ("client", CANCEL)]):
            play = played(PgsqlOffer(REQUIRED), script)
            self.assertEqual((play.end, play.held["client"]), ("joined", CANCEL))

    def test_injected(self) -> None:
        """What comes behind the wish in plaintext is never taken for what comes inside (CVE-2021-23214)."""
        play = Play(PgsqlOffer(REQUIRED))
        self.assertEqual(play("client", SSL_REQUEST + STARTUP), [])
        self.assertEqual(play.end, "starttls_malformed: 17 bytes behind its wish for TLS, and before TLS")

    def test_within(self) -> None:
        """There is no TLS within TLS."""
        for again in (SSL_REQUEST, GSSENC_REQUEST):
            play = played(PgsqlOffer(REQUIRED), [("client", SSL_REQUEST), ("client", again)])
            self.assertEqual(play.end, "starttls_malformed: asks for encryption again")

    def test_too_long(self) -> None:
        """A startup packet has at most the length that PostgreSQL takes."""
        for data in (b"\0\0\x27\x15\0\x03\0\0", b"\0\0\0\x07\0\x03\0\0", b"GET / HTTP/1.1"):
            play = played(PgsqlOffer(OPTIONAL), [("client", data)])
            self.assertTrue(play.end.startswith("starttls_malformed: a startup packet of"), play.end)

    def test_broken(self) -> None:
        """However it is broken, nothing but a wish to cancel gets through without TLS."""
        random = Random(1)
        seeds = [SSL_REQUEST, GSSENC_REQUEST + SSL_REQUEST, STARTUP, CANCEL, HELLO]
        for data in mutations(random, seeds, 3000):
            play = played(PgsqlOffer(REQUIRED), [("client", data)], random.choice((0, 1, 5)))
            if play.end == "joined" and "TLS client" not in play.log:
                self.assertEqual(play.held["client"][4:8], CANCEL[4:8], data)


class Requests(Case):
    def test_agrees(self) -> None:
        """A server that agrees has TLS, and is then said what its client says."""
        play = Play(PgsqlRequest())
        self.assertEqual(play("client", STARTUP), [("server", SSL_REQUEST)])
        self.assertEqual(play("server", b"S"), ["TLS server"])
        self.assertEqual((play.end, play.held["client"]), ("joined", STARTUP))

    def test_declines(self) -> None:
        """A server without TLS is given up; nobody goes on without it."""
        for answer, why in (
            (b"N", "answers that it has no TLS (N)"),
            (b"E\0\0\0\x08oops", "answers b'E' to SSLRequest, and not S"),
            (b"Sx", "said 1 bytes more before TLS began"),
        ):
            play = Play(PgsqlRequest())
            play("client", b"")
            self.assertEqual(play("server", answer), [])
            self.assertEqual(play.end, f"starttls_refused: {why}")
