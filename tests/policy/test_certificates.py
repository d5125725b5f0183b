"""Does a client get the certificate that it should?"""

from __future__ import annotations

from typing import Optional

from attrs import frozen

from proxyd.policy.certificates import NEVER, Certificates, normal
from tests.support.case import Case

NOW = 1000.0


@frozen
class Card:
    """What is known of a certificate; ``title`` is for the tables here."""

    title: str
    names: tuple[str, ...] = ()
    key_type: str = "ECDSA"
    not_before: float = 0.0
    not_after: float = 2000.0
    self_signed: bool = False


WWW = Card("www", ("www.example.com", "example.com"))
WILD = Card("wild", ("*.example.com",))
DEEP = Card("deep", ("*.eu.example.com",))
ADDRESS = Card("address", ("192.0.2.1", "2001:db8::1"))
BUECHER = Card("bücher", ("xn--bcher-kva.example",))


class CertificatesTests(Case):
    def titles(self, found: Optional[tuple[Card, ...]]) -> Optional[list[str]]:
        return None if found is None else [one.title for one in found]

    def test_by_name(self) -> None:
        """The name itself comes before a wildcard, and that stands for one label."""
        table = Certificates([WWW, WILD, DEEP, ADDRESS, BUECHER], NOW)
        for name, titles in (
            ("www.example.com", ["www"]),
            ("WWW.Example.COM", ["www"]),
            ("www.example.com.", ["www"]),
            ("example.com", ["www"]),
            ("api.example.com", ["wild"]),
            ("a.b.example.com", None),
            ("a.eu.example.com", ["deep"]),
            ("eu.example.com", ["wild"]),
            ("com", None),
            (".example.com", None),
            ("*.example.com", ["wild"]),
            ("192.0.2.1", ["address"]),
            ("2001:DB8:0::1", ["address"]),
            ("192.0.2.2", None),
            ("xn--bcher-kva.example", ["bücher"]),
            ("bücher.example", ["bücher"]),
            ("other.example", None),
            ("", None),
            ("\udcff.example", None),
        ):
            self.assertEqual(self.titles(table.choose(name)), titles, name)

    def test_several_for_a_name(self) -> None:
        """One for each type of key: of those that are valid, the one that is valid longest."""
        old = Card("old", ("a",), not_after=1500.0)
        new = Card("new", ("a",), not_before=900.0, not_after=3000.0)
        renewed = Card("renewed", ("a",), not_before=950.0, not_after=3000.0)
        rsa = Card("rsa", ("a",), "RSA")
        expired = Card("expired", ("a",), not_after=999.0)
        gone = Card("gone", ("a",), "RSA", not_after=NOW)
        future = Card("future", ("a",), not_before=1001.0, not_after=9000.0)
        for cards, titles in (
            ([old, new], ["new"]),
            ([new, old], ["new"]),
            ([new, renewed], ["renewed"]),
            ([old, rsa], ["old", "rsa"]),
            ([rsa, old, new], ["new", "rsa"]),
            ([old, expired], ["old"]),
            ([old, future], ["old"]),
            ([old, gone], ["old"]),
            ([expired], ["expired"]),
            ([expired, gone], ["expired", "gone"]),
            ([expired, future], ["future"]),
            ([old, Card("from now", ("a",), not_before=NOW, not_after=5000.0)], ["from now"]),
        ):
            self.assertEqual(self.titles(Certificates(cards, NOW).choose("a")), titles, cards)

    def test_placeholders(self) -> None:
        """One that has issued itself gives way to any that an authority has issued, of whatever type."""
        own = Card("own", ("www.example.com",), not_after=9000.0, self_signed=True)
        rsa = Card("rsa", ("www.example.com",), "RSA")
        expired = Card("expired", ("www.example.com",), not_after=10.0)
        for cards, titles in (
            ([own], ["own"]),
            ([own, WWW], ["www"]),
            ([own, rsa], ["rsa"]),
            ([own, WILD], ["wild"]),
            ([own, expired], ["own"]),
            ([own, Card("stars", ("*.example.com",), self_signed=True)], ["own"]),
        ):
            self.assertEqual(self.titles(Certificates(cards, NOW).choose("www.example.com")), titles)

    def test_a_wildcard_for_a_name_that_is_not_valid(self) -> None:
        """Where the name's own certificate is not valid and the wildcard's is, that is better."""
        expired = Card("expired", ("www.example.com",), not_after=10.0)
        dead = Card("dead", ("*.example.com",), not_after=20.0)
        for cards, titles in (
            ([expired, WILD], ["wild"]),
            ([expired, dead], ["expired"]),
            ([WWW, WILD], ["www"]),
        ):
            self.assertEqual(self.titles(Certificates(cards, NOW).choose("www.example.com")), titles)

    def test_default(self) -> None:
        """The default is the first, with those of the same name, or the one of the name that is said."""
        rsa = Card("www rsa", ("www.example.com",), "RSA")
        nameless = Card("nameless")
        for cards, default, titles in (
            ([WILD, WWW], "", ["wild"]),
            ([WWW, WILD, rsa], "", ["www", "www rsa"]),
            ([nameless, WWW], "", ["nameless"]),
            ([WILD, WWW], "Example.com", ["www"]),
            ([WWW, WILD], "api.example.com", ["wild"]),
            ([], "", []),
        ):
            self.assertEqual(self.titles(Certificates(cards, NOW, default).default), titles)
        self.assertRaises(LookupError, Certificates, [WWW], NOW, "api.example.com")

    def test_until(self) -> None:
        """It is known when another choice may be right."""
        for cards, until in (
            ([], NEVER),
            ([Card("a", not_after=900.0)], NEVER),
            ([Card("a"), Card("b", not_after=1500.0)], 1500.0),
            ([Card("a"), Card("b", not_before=1200.0, not_after=9000.0)], 1200.0),
        ):
            self.assertEqual(Certificates(cards, NOW).until, until)

    def test_normal(self) -> None:
        """Names and addresses are compared in one form."""
        for name, expected in (
            ("Example.COM", "example.com"),
            ("[::1]", "[::1]"),
            ("0:0::1", "::1"),
            ("Bücher.example", "xn--bcher-kva.example"),
            ("é" * 70, ""),
        ):
            self.assertEqual(normal(name), expected)
