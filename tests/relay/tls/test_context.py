"""Is agreed on with clients what the operator wants?"""

from __future__ import annotations

from OpenSSL import SSL

from proxyd.relay.tls.context import fault
from tests.relay.tls.folder import ROOT, RSA_KEY, Ends, FolderCase

FFDHE2048 = b"""-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""  # RFC 7919, appendix A.1


class SettingsTests(FolderCase):
    """What is agreed on with clients."""

    def setUp(self) -> None:
        super().setUp()
        self.both(ROOT.issue("a.example"), "a.pem")

    def test_alpn(self) -> None:
        """Our order decides; who offers nothing goes without; who offers other things is refused."""
        front = self.begun(alpn=(b"h2", b"http/1.1")).front
        for offered, agreed in (
            ((b"http/1.1", b"h2"), b"h2"),
            ((b"spdy/1", b"http/1.1"), b"http/1.1"),
            ((), b""),
        ):
            self.assertEqual(Ends(front, alpn=offered).server.get_alpn_proto_negotiated(), agreed)
        error = Ends(front, alpn=(b"spdy/1",)).errors[0]
        self.assertEqual(fault(error), "it offers spdy/1")
        self.assertEqual(Ends(self.begun().front, alpn=(b"h2",)).server.get_alpn_proto_negotiated(), b"")

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken, and less or more if it is said so."""
        for given, most, version in (
            ({}, SSL.TLS1_3_VERSION, "TLSv1.3"),
            ({}, SSL.TLS1_2_VERSION, "TLSv1.2"),
            ({"maximum": "1.2"}, SSL.TLS1_3_VERSION, "TLSv1.2"),
            ({"minimum": "1.3"}, SSL.TLS1_2_VERSION, ""),
            ({}, SSL.TLS1_1_VERSION, ""),
        ):
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_min_proto_version(SSL.TLS1_VERSION)
            context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
            context.set_max_proto_version(most)
            ends = Ends(self.begun(**given).front, context=context)
            self.assertEqual(bool(ends.errors), not version)
            if version:
                self.assertEqual(ends.server.get_protocol_version_name(), version)

    def test_ciphers_and_curves(self) -> None:
        """Ciphers and the curve are those that are asked for, in our order."""
        front = self.begun(
            ciphersuites="TLS_CHACHA20_POLY1305_SHA256", curves="P-384", ciphers="ECDHE+AESGCM"
        ).front
        ends = Ends(front)
        self.assertEqual(ends.server.get_cipher_name(), "TLS_CHACHA20_POLY1305_SHA256")
        self.assertIn(ends.server.get_group_name(), ("secp384r1", "SECP384R1", "P-384"))
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"ECDHE-ECDSA-CHACHA20-POLY1305")
        self.assertEqual(len(Ends(front, context=context).errors), 1)

    def test_diffie_hellman(self) -> None:
        """With parameters there are ciphers with DHE, if they are asked for; by default there are none."""
        self.both(ROOT.issue("a.example", key=RSA_KEY), "a.pem")
        given = {"dhparam": self.write("dh", FFDHE2048), "ciphers": "DHE+AESGCM:ECDHE+AESGCM"}
        for front, fits in ((self.begun(**given).front, True), (self.begun().front, False)):
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
            context.set_cipher_list(b"DHE-RSA-AES128-GCM-SHA256")
            self.assertEqual(not Ends(front, context=context).errors, fits)

    def test_a_default_without_weakness(self) -> None:
        """By default there is no cipher without forward secrecy, or that does not authenticate."""
        front = self.begun().front
        for cipher in (
            b"AES128-SHA",
            b"ECDHE-ECDSA-AES128-SHA",
            b"AES128-GCM-SHA256",
            b"ECDHE-ECDSA-AES256-SHA384",
        ):
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
            context.set_cipher_list(cipher)
            self.assertEqual(len(Ends(front, context=context).errors), 1, cipher)
