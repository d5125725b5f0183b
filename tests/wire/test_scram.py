"""Is a password proved as the standards have it, and is a server that only pretends found out?"""

from __future__ import annotations

from random import Random

from proxyd.errors import Malformed
from proxyd.wire.scram import Scram, saslprep
from tests.support.case import Case
from tests.support.mutations import mutations

NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


class ScramTests(Case):
    def exchange(self) -> Scram:
        return Scram("pencil", NONCE, user="user")

    def test_rfc(self) -> None:
        """The exchange of RFC 7677, section 3, to the letter."""
        scram = self.exchange()
        self.assertEqual(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
        self.assertEqual(
            scram.final(SERVER_FIRST),
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        scram.verify(SERVER_FINAL)

    def test_names(self) -> None:
        """What has a meaning of its own is written otherwise in a name."""
        self.assertEqual(Scram("", "x", "a=b,c").first(), b"n,,n=a=3Db=2Cc,r=x")

    def test_challenges(self) -> None:
        """A challenge that is not for us, or would cost too much, is refused."""
        other = "a SCRAM challenge that does not answer ours"
        for challenge, why in (
            (b"r=another,s=QQ==,i=4096", other),
            (b"r=rOprNGfwEbeRWgbNEkqO,s=QQ==,i=4096", other),
            (b"s=QQ==,i=4096", other),
            (b"", other),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=QQ=,i=4096", "a SCRAM message with broken base64"),
            (
                b"r=rOprNGfwEbeRWgbNEkqOx,s=QQ==,i=999999999",
                "a SCRAM challenge of 999999999 iterations; 100000 are the most",
            ),
        ):
            failed = self.assertRaises(Malformed, self.exchange().final, challenge)
            self.assertEqual(str(failed), why)

    def test_proofs(self) -> None:
        """A server that does not know the password is no server of ours."""
        scram = self.exchange()
        scram.final(SERVER_FIRST)
        for proof in (b"v=QQ==", b"e=other-error", b"", SERVER_FINAL.replace(b"6", b"7", 1)):
            self.assertRaises(Malformed, scram.verify, proof)
        self.assertRaises(Malformed, self.exchange().verify, b"v=")

    def test_broken(self) -> None:
        """Whatever comes is answered or refused."""
        answered = 0
        for data in mutations(Random(1), [SERVER_FIRST.replace(b"4096", b"1")], 500):
            try:
                answered += self.exchange().final(data).startswith(b"c=biws,r=")
            except Malformed:
                pass
        self.assertGreater(answered, 10)

    def test_saslprep(self) -> None:
        """Passwords are compared as RFC 4013 has it; one that it forbids stays as it is."""
        for text, prepared in (
            ("user", "user"),
            ("I\u00adX", "IX"),
            ("\u00aa", "a"),
            ("\u2168", "IX"),
            ("a\u00a0b", "a b"),
            ("\u0627\u0031", "\u0627\u0031"),  # right to left, then a digit: forbidden
            ("\u0627b\u0627", "\u0627b\u0627"),
            ("\u00e4\u0007", "\u00e4\u0007"),  # a control character: forbidden
        ):
            self.assertEqual(saslprep(text), prepared)
