"""Is sent to clients only what they would believe of a certificate?"""

from __future__ import annotations

from typing import Optional

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from OpenSSL import SSL

from proxyd.relay.tls.certificate import Certificate
from proxyd.relay.tls.staple import LIFETIME, Unfit, checked
from tests.relay.tls.folder import BETWEEN, NOW_SECONDS, ROOT, RSA_KEY, Ends, FolderCase
from tests.support.authority import DAY, FOR_OCSP, NOW, Authority


class StapleTests(FolderCase):
    def setUp(self) -> None:
        super().setUp()
        self.issued = BETWEEN.issue("a.example")
        self.both(self.issued, "a.pem")

    def certificate(self) -> Certificate:
        return self.begun().loaded.certificates[0]

    def test_good(self) -> None:
        """A response of the issuer, or of one to whom it has given that, is good until it says."""
        certificate = self.certificate()
        for responder in (
            None,
            BETWEEN.issue("ocsp", purpose=FOR_OCSP),
            BETWEEN.issue("o", purpose=FOR_OCSP, key=RSA_KEY),
        ):
            staple = checked(BETWEEN.vouch(self.issued, responder=responder), certificate, NOW_SECONDS)
            self.assertEqual(staple.until, int(NOW_SECONDS) + 86400)
        der = BETWEEN.vouch(self.issued, until=None, since=NOW)
        self.assertEqual(checked(der, certificate, NOW_SECONDS).until, int(NOW_SECONDS) + LIFETIME)

    def test_unfit(self) -> None:
        """Everything else is refused with its reason."""
        certificate = self.certificate()
        other = Authority("Between", ROOT)
        refused = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
        good = BETWEEN.vouch(self.issued)
        for der, why in (
            (b"rubbish", "is no OCSP response in DER"),
            (refused.public_bytes(Encoding.DER), "is no answer, the authority said try_later"),
            (BETWEEN.vouch(self.issued, ocsp.OCSPCertStatus.REVOKED), "says that the certificate is revoked"),
            (BETWEEN.vouch(self.issued, ocsp.OCSPCertStatus.UNKNOWN), "says that the certificate is unknown"),
            (BETWEEN.vouch(self.issued, until=NOW), "is too old"),
            (BETWEEN.vouch(self.issued, since=NOW + DAY / 2), "begins to hold only at"),
            (BETWEEN.vouch(BETWEEN.issue("b.example")), "is about another certificate"),
            (other.vouch(self.issued), "is about another certificate"),
            (good[:-1] + bytes([good[-1] ^ 1]), 'is not signed by "Between"'),
            (
                good.replace(b"\x06\x05\x2b\x0e\x03\x02\x1a", b"\x06\x05\x2b\x0e\x03\x02\x7f"),
                "cannot be read",
            ),
            (BETWEEN.vouch(self.issued, responder=BETWEEN.issue("ocsp")), 'is not signed by "Between"'),
            (BETWEEN.vouch(self.issued, responder=ROOT.issue("ocsp", purpose=FOR_OCSP)), "is not signed by"),
        ):
            error = self.assertRaises(Unfit, checked, der, certificate, NOW_SECONDS)
            self.assertIn(why, str(error))

    def test_of_an_unknown_issuer(self) -> None:
        """Without the issuer's certificate a response cannot be checked."""
        alone = ROOT.issue("b.example")
        self.both(alone, "a.pem")
        error = self.assertRaises(Unfit, checked, ROOT.vouch(alone), self.certificate(), NOW_SECONDS)
        self.assertIn("who has issued the certificate is not known", str(error))

    def test_sent(self) -> None:
        """The file beside a certificate is sent to clients that ask for it, each with its own."""
        second = ROOT.issue("a.example", key=RSA_KEY)
        self.both(second, "b.pem")
        self.write("root.crt", ROOT.pem)
        self.write("a.ocsp", BETWEEN.vouch(self.issued))
        self.write("b.pem.ocsp", ROOT.vouch(second))
        termination = self.begun()
        for ciphers, serial in (
            (b"ECDHE-ECDSA-AES128-GCM-SHA256", self.issued.certificate.serial_number),
            (b"ECDHE-RSA-AES128-GCM-SHA256", second.certificate.serial_number),
        ):
            self.assertEqual(self.told(termination.front, ciphers), serial)
        self.assertIsNone(self.told(self.begun(ocsp="off").front, b"ECDHE-RSA-AES128-GCM-SHA256"))

    def test_replaced(self) -> None:
        """A newer file is sent from then on; one that cannot be used is told of, and the old one holds."""
        termination = self.begun()
        self.assertIsNone(self.told(termination.front))
        self.write("a.ocsp", BETWEEN.vouch(self.issued))
        self.assertEqual(termination.load(NOW_SECONDS).until, int(NOW_SECONDS) + 86400)
        self.assertIsNotNone(self.told(termination.front))
        self.write("a.ocsp", b"rubbish")
        warnings = [self.local(one) for one in termination.load(NOW_SECONDS).warnings]
        self.assertIn("a.ocsp: is no OCSP response in DER; it is not sent", warnings)
        self.assertIsNotNone(self.told(termination.front))
        termination.load(NOW_SECONDS + 90000)
        self.assertIsNone(self.told(termination.front))

    def told(self, front: SSL.Context, ciphers: bytes = b"ECDHE+AESGCM") -> Optional[int]:
        """Which certificate, by its number, a client is told about in the handshake."""
        found: list[bytes] = []
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(ciphers)

        def heard(connection: SSL.Connection, data: bytes, nothing: None) -> bool:
            found.append(data)
            return True

        context.set_ocsp_client_callback(heard)
        self.assertEqual(Ends(front, b"a.example", context, ocsp=True).errors, [])
        return ocsp.load_der_ocsp_response(found[0]).serial_number if found[0] else None
