"""Is known of a certificate whom it is for, and what goes with it?"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519

from proxyd.relay.tls.certificate import Certificate, Trouble, is_authority, kind_of, make_certificate
from tests.relay.tls.folder import BETWEEN, NOW_SECONDS, ROOT, RSA_KEY
from tests.support.authority import DAY, NOW, Authority, Issued, self_signed
from tests.support.case import Case


class CertificateTests(Case):
    def made(self, issued: Issued, *beside: Authority) -> Certificate:
        authorities = {one.certificate.subject: [one.certificate] for one in beside}
        troubles: list[Trouble] = []
        leaf, *rest = issued.certificates
        made = make_certificate(leaf, issued.private, rest, authorities, ("a.pem",), troubles, [])
        self.assertEqual(troubles, [])
        assert made is not None
        return made

    def test_names(self) -> None:
        """It is for the names and the addresses that it says, in one form."""
        issued = ROOT.issue("WWW.Example.com", "*.example.com", "192.0.2.1", "2001:db8::1")
        names = ("www.example.com", "*.example.com", "192.0.2.1", "2001:db8::1")
        self.assertEqual(self.made(issued).names, names)
        self.assertEqual(self.made(ROOT.issue()).names, ("nobody",))

    def test_times(self) -> None:
        """It is valid for as long as all that is sent with it."""
        brief = Authority("Brief", ROOT, NOW + DAY)
        made = self.made(brief.issue("a", since=NOW - 2 * DAY, until=NOW + 9 * DAY))
        self.assertEqual(
            (made.not_before, made.not_after),
            tuple(int(time) for time in (NOW_SECONDS - 2 * 86400, NOW_SECONDS + 86400)),
        )

    def test_chain(self) -> None:
        """Its chain is what leads to the root, which is not sent; who has issued it is known."""
        for issued, beside, chain, issuer in (
            (BETWEEN.issue("a"), (), ["Between"], "Between"),
            (BETWEEN.issue("a", whole=False), (BETWEEN, ROOT), ["Between"], "Between"),
            (ROOT.issue("a"), (ROOT,), [], "Root"),
            (ROOT.issue("a"), (Authority("Root"),), [], ""),
            (self_signed("a"), (), [], "a"),
        ):
            made = self.made(issued, *beside)
            common = [str(next(iter(one.subject)).value) for one in made.chain]
            self.assertEqual(common, chain)
            self.assertEqual(str(next(iter(made.issuer.subject)).value) if made.issuer else "", issuer)

    def test_kinds(self) -> None:
        """Of all kinds of keys those are known that TLS has a use for."""
        for key, kind in (
            (RSA_KEY, "RSA"),
            (ec.generate_private_key(ec.SECP384R1()), "ECDSA"),
            (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
            (ed448.Ed448PrivateKey.generate(), "Ed448"),
            (dsa.generate_private_key(1024), ""),
        ):
            self.assertEqual(kind_of(key.public_key()), kind)

    def test_authorities(self) -> None:
        """An authority's certificate says that it is one."""
        self.assertTrue(is_authority(ROOT.certificate))
        self.assertFalse(is_authority(ROOT.issue("a").certificate))

    def test_what_it_says(self) -> None:
        """It knows who has issued it, and whether clients are to insist on a staple."""
        made = self.made(BETWEEN.issue("a", must_staple=True))
        self.assertEqual((made.issued_by, made.must_staple, made.path), ("Between", True, "a.pem"))
        self.assertFalse(self.made(BETWEEN.issue("a")).must_staple)
