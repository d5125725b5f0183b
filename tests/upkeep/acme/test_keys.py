"""Are keys and certificates made as ACME has them, and is what we get what it should be?"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxyd.upkeep.acme import keys
from proxyd.upkeep.acme.keys import Held, UnfitCertificate
from proxyd.wire.acme import from_base64url
from tests.support.acme import Issuer, pem
from tests.support.case import Case

NOW = 1e9
NAMES = ("www.example", "example.org")


class KeysTests(Case):
    def test_jwk(self) -> None:
        """The public half of a key is the coordinates of its point, each 32 bytes."""
        key = keys.new_account_key()
        found = keys.jwk(key)
        self.assertEqual((found["kty"], found["crv"]), ("EC", "P-256"))
        x, y = (int.from_bytes(from_base64url(found[name]), "big") for name in ("x", "y"))
        numbers = key.public_key().public_numbers()
        self.assertEqual((x, y), (numbers.x, numbers.y))
        self.assertEqual([len(from_base64url(found[name])) for name in ("x", "y")], [32, 32])

    def test_sign(self) -> None:
        """A signature is two numbers of 32 bytes, and OpenSSL takes it."""
        key = keys.new_account_key()
        for data in (b"", b"any", b"x" * 10_000):
            signature = keys.sign(key, data)
            self.assertEqual(len(signature), 64)
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            key.public_key().verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))

    def test_pem(self) -> None:
        """Keys are read as they were written; what is none, or of another kind, is told."""
        for kind in ("ecdsa", "rsa"):
            key = keys.new_key(kind)
            self.assertEqual(keys.pem_of(keys.key_in(keys.pem_of(key))), keys.pem_of(key))
            self.assertIsInstance(key, rsa.RSAPrivateKey if kind == "rsa" else ec.EllipticCurvePrivateKey)
        other = ed25519.Ed25519PrivateKey.generate()
        text = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.assertRaises(ValueError, keys.key_in, text)
        self.assertRaises(ValueError, keys.key_in, "no key")
        self.assertRaises(ValueError, keys.account_key_in, keys.pem_of(keys.new_key("rsa")))

    def test_request(self) -> None:
        """A request has the names, and nothing else that somebody would have to judge."""
        key = keys.new_key("ecdsa")
        request = x509.load_der_x509_csr(keys.request_for(NAMES, key))
        self.assertTrue(request.is_signature_valid)
        self.assertEqual(len(request.subject.rdns), 0)
        [extension] = request.extensions
        self.assertTrue(extension.critical)
        assert isinstance(extension.value, x509.SubjectAlternativeName)
        self.assertEqual(extension.value.get_values_for_type(x509.DNSName), list(NAMES))

    def test_challenge(self) -> None:
        """The answer to tls-alpn-01 is for the one name, and has the digest where RFC 8737, 3 wants it."""
        text = keys.challenge_certificate("www.example", "token.thumbprint", NOW)
        [certificate] = x509.load_pem_x509_certificates(text.encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["www.example"])
        oid = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
        proof = certificate.extensions.get_extension_for_oid(oid)
        assert isinstance(proof.value, x509.UnrecognizedExtension)
        digest = hashlib.sha256(b"token.thumbprint").digest()
        self.assertEqual((proof.critical, proof.value.value), (True, b"\x04\x20" + digest))
        certificate.verify_directly_issued_by(certificate)
        self.assertTrue(keys.held(text))


class HeldTests(Case):
    def setUp(self) -> None:
        self.issuer = Issuer(seconds=lambda: NOW)
        self.key = keys.new_key("ecdsa")
        names = x509.SubjectAlternativeName([x509.DNSName("WWW.example"), x509.DNSName("example.org")])
        self.leaf = self.issuer.sign(x509.Name([]), self.key.public_key(), names)

    def refused(self, text: str) -> str:
        """Why a chain is refused."""
        return str(self.assertRaises(UnfitCertificate, keys.checked, text, self.key))

    def test_held(self) -> None:
        """A chain that is right: its names, its times, its kind, and what the authority calls it."""
        found = keys.checked(pem(self.leaf, self.issuer.certificate), self.key)
        self.assertEqual(found.id.count("."), 1)
        expected = Held(NAMES, NOW, NOW + 90 * 86400, "ecdsa", False, found.id)
        self.assertEqual(found, expected)
        text = keys.pem_of(self.key) + pem(self.leaf, self.issuer.certificate)
        self.assertEqual(keys.held(text), expected)

    def test_placeholder(self) -> None:
        """What we make to have something is known as that, and is for the right names."""
        for kind in ("ecdsa", "rsa"):
            found = keys.held(keys.placeholder(NAMES, kind, NOW))
            self.assertTrue(found.placeholder)
            self.assertEqual((found.names, found.kind), (NAMES, kind))
            self.assertTrue(found.not_before < NOW < found.not_after)

    def test_refused(self) -> None:
        """What is not for our key, or not a chain, is refused with what is wrong."""
        other = Issuer("another", seconds=lambda: NOW)
        stranger = self.issuer.sign(x509.Name([]), keys.new_key("ecdsa").public_key())
        self.assertEqual(self.refused(pem(stranger)), "the certificate is for another key")
        broken = "a certificate of the chain was not signed by the next"
        self.assertEqual(self.refused(pem(self.leaf, other.certificate)), broken)
        many = pem(self.leaf, *[self.issuer.certificate] * 10)
        self.assertEqual(self.refused(many), "there are 11 certificates in the chain")
        for text in ("", "none", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            self.assertIn("there is no certificate that can be read", self.refused(text))
        self.assertRaises(UnfitCertificate, keys.held, pem(self.leaf))
