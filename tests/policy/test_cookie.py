"""Is a sealed cookie good for the server that it was made for, and for nothing else?"""

from __future__ import annotations

from random import Random

from proxyd.policy.cookie import NONCE, Sealed
from tests.support.case import Case

SECRET = b"correct horse battery staple"


class SealedCookies(Case):
    """Cookies that are made and read."""

    def setUp(self) -> None:
        super().setUp()
        self.sealed = Sealed(SECRET, "web")
        self.dice = Random(1)

    def nonce(self) -> bytes:
        return bytes(self.dice.randrange(256) for _ in range(NONCE))

    def test_read_again(self) -> None:
        """Also by another process with the same secret."""
        for server in ("a", "b", "web-10.0.0.1", "ü"):
            value = self.sealed.seal(server, self.nonce())
            self.assertRegex(value, rb"^[A-Za-z0-9_-]{43}$")
            self.assertEqual(Sealed(SECRET, "web").open(value), self.sealed.mark(server))
        self.assertEqual(len({self.sealed.mark(str(number)) for number in range(10_000)}), 10_000)

    def test_nothing_is_told(self) -> None:
        """Two cookies for the same server have no more in common than two for others: half of their bits."""
        values = [self.sealed.seal("a", self.nonce()) for _ in range(200)]
        others = [self.sealed.seal(f"s{number}", self.nonce()) for number in range(200)]
        self.assertEqual(len({*values, *others}), 400)
        for some in (values, others):
            places = [len({value[place] for value in some}) for place in range(42)]
            self.assertGreater(min(places), 40)  # of 64 letters

    def test_made_by_others(self) -> None:
        """A bit that was changed, another secret, another pool, and what is no value at all."""
        value = self.sealed.seal("a", self.nonce())
        for other in (Sealed(b"other", "web"), Sealed(SECRET, "api")):
            self.assertEqual(other.open(value), "")
        for place in range(42):  # of the last letter two bits say nothing
            letter = b"A" if value[place : place + 1] != b"A" else b"B"
            self.assertEqual(self.sealed.open(value[:place] + letter + value[place + 1 :]), "", place)
        for wrong in (b"", b"a", value[:-1], value + b"A", value + b"=", b"." + value[1:], value + b"\n"):
            self.assertEqual(self.sealed.open(wrong), "", wrong)
        for _ in range(2000):
            guess = bytes(self.dice.choice(b"ABCDEFGHabcdefgh01234567-_") for _ in range(43))
            self.assertEqual(self.sealed.open(guess), "")
