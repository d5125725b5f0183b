"""Does an authority see that a name is ours, and does nobody else notice?"""

from __future__ import annotations

from cryptography import x509
from OpenSSL import SSL

from proxyd.policy.acme import Answers
from proxyd.relay.tls.termination import Termination
from proxyd.upkeep.acme.keys import challenge_certificate
from tests.relay.tls.folder import NOW_SECONDS, ROOT, Ends, FolderCase

NAME = b"a.example"
OFFER = (b"acme-tls/1",)
IDENTIFIER = "1.3.6.1.5.5.7.1.31"


class ChallengeTests(FolderCase):
    def setUp(self) -> None:
        super().setUp()
        self.both(ROOT.issue("a.example"), "a.pem")
        self.answers = Answers()

    def termination(self, **given: object) -> Termination:
        spec = self.spec(acme=("ca",), **given)
        termination = Termination("listener front", spec, self.answers)
        termination.begin(NOW_SECONDS)
        return termination

    def answer(self) -> None:
        pem = challenge_certificate("a.example", "token.thumbprint", NOW_SECONDS)
        self.answers.give_tls("a.example", pem.encode())

    def seen(self, ends: Ends) -> bool:
        """Whether the client has got a certificate that answers a challenge; it must have got some."""
        self.assertEqual(ends.errors, [])
        found = ends.client.get_peer_certificate(as_cryptography=True)
        assert found is not None
        return IDENTIFIER in [one.oid.dotted_string for one in found.extensions]

    def test_answered(self) -> None:
        """Who offers acme-tls/1 alone gets the answer for its name, while there is one."""
        front = self.termination().front
        self.answer()
        ends = Ends(front, b"A.example", alpn=OFFER)
        self.assertTrue(self.seen(ends))
        self.assertEqual(ends.client.get_alpn_proto_negotiated(), OFFER[0])
        self.answers.take_back("token", "a.example")
        self.assertTrue(Ends(front, NAME, alpn=OFFER).errors)

    def test_others_notice_nothing(self) -> None:
        """Meanwhile all others get what they always get, whatever they offer beside it."""
        for given in ({}, {"alpn": (b"h2", b"http/1.1")}):
            front = self.termination(**given).front
            self.answer()
            for offer in ((), (b"http/1.1",), (b"acme-tls/1", b"http/1.1")):
                ends = Ends(front, NAME, alpn=offer)
                self.assertFalse(self.seen(ends))
                expected = b"http/1.1" if given and offer else b""
                self.assertEqual(ends.client.get_alpn_proto_negotiated(), expected)

    def test_other_names(self) -> None:
        """Nobody gets an answer for another name, or for none."""
        front = self.termination().front
        self.answer()
        for name in (b"", b"b.example"):
            self.assertTrue(Ends(front, name, alpn=OFFER).errors)

    def test_strict(self) -> None:
        """A name that has no certificate yet can be looked at all the same."""
        front = self.termination(strict_sni=True).front
        pem = challenge_certificate("new.example", "token.thumbprint", NOW_SECONDS)
        self.answers.give_tls("new.example", pem.encode())
        self.assertTrue(self.seen(Ends(front, b"new.example", alpn=OFFER)))
        self.assertTrue(Ends(front, b"new.example").errors)

    def test_clients_with_certificates(self) -> None:
        """Where clients need a certificate of theirs, an authority does not; all others still do."""
        self.write("ca.crt", ROOT.pem)
        front = self.termination(client="required", client_ca=self.path("ca.crt")).front
        self.answer()
        ends = Ends(front, NAME, alpn=OFFER)
        self.assertTrue(self.seen(ends))
        self.assertEqual(ends.server.get_alpn_proto_negotiated(), OFFER[0])
        self.assertTrue(Ends(front, NAME).errors)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        session = Ends(front, NAME, context, alpn=OFFER).tickets()
        self.assertTrue(Ends(front, NAME, context, session=session).errors)

    def test_old_versions(self) -> None:
        """With TLS 1.2, where OpenSSL could not go on, the handshake is refused."""
        front = self.termination().front
        self.answer()
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        self.assertTrue(Ends(front, NAME, context, alpn=OFFER).errors)

    def test_not_ours(self) -> None:
        """Listeners whose certificates come from no authority answer nobody."""
        termination = Termination("listener front", self.spec(), self.answers)
        termination.begin(NOW_SECONDS)
        self.answer()
        ends = Ends(termination.front, NAME, alpn=OFFER)
        self.assertFalse(self.seen(ends))
        self.assertEqual(ends.client.get_alpn_proto_negotiated(), b"")

    def test_it_is_for_that_alone(self) -> None:
        """The certificate has the one name, and nobody could take it for another."""
        front = self.termination().front
        self.answer()
        ends = Ends(front, NAME, alpn=OFFER)
        found = ends.client.get_peer_certificate(as_cryptography=True)
        assert found is not None
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["a.example"])
