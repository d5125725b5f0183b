"""Is a server refused that is not the one that is meant, and is it said why?"""

from __future__ import annotations

from typing import Any

from cryptography import x509
from OpenSSL import SSL

from proxyd.config.address import TcpAddress
from proxyd.relay.tls.verification import why
from tests.relay.tls.serving import HOST, OURS, Peer, ServerTlsCase, talk
from tests.support.authority import DAY, FOR_CLIENTS, NOW, Authority, Issued, self_signed


class NameTests(ServerTlsCase):
    def test_another_name(self) -> None:
        """A certificate that is for somebody else is refused, and the reason has both names."""
        towards = self.towards()
        self.assertEqual(
            self.refusal(towards, self.peer("a.example")), f"its certificate is for a.example, not for {HOST}"
        )
        many = self.peer(*(f"{letter}.example" for letter in "abcde"), "10.0.0.1")
        self.assertEqual(
            self.refusal(towards, many),
            f"its certificate is for a.example, b.example, c.example and 3 more, not for {HOST}",
        )
        nameless = Peer(OURS.issue(), self.folder)
        self.assertEqual(
            self.refusal(towards, nameless),
            f"its certificate is for no name (it has no subjectAltName), not for {HOST}",
        )

    def test_addresses_are_no_names(self) -> None:
        """A server that is given by its address must have a certificate for the address itself."""
        for host, names in (
            ("10.0.0.1", ["10.0.0.2", HOST]),
            ("fd00::1", ["10.0.0.1"]),
            (HOST, ["10.0.0.1"]),
        ):
            towards = self.towards(TcpAddress(host, 1))
            self.assertIn(f"not for {host}", self.refusal(towards, self.peer(*names)))


class ChainTests(ServerTlsCase):
    def refused(self, issued: Issued, **what: Any) -> str:
        return self.refusal(self.towards(**what), Peer(issued, self.folder))

    def test_dates(self) -> None:
        """A certificate that has expired, or is not good yet, is refused with its date."""
        self.assertEqual(
            self.refused(OURS.issue(HOST, since=NOW - 3 * DAY, until=NOW - DAY)),
            f"its certificate expired on {NOW - DAY:%Y-%m-%d %H:%M} UTC",
        )
        self.assertEqual(
            self.refused(OURS.issue(HOST, since=NOW + DAY, until=NOW + 2 * DAY)),
            f"its certificate is not good before {NOW + DAY:%Y-%m-%d %H:%M} UTC",
        )
        between = Authority("Old CA", OURS, until=NOW - DAY)
        self.assertEqual(
            self.refused(between.issue(HOST)),
            f"the certificate of Old CA above its own expired on {NOW - DAY:%Y-%m-%d %H:%M} UTC",
        )

    def test_who_has_issued_it(self) -> None:
        """A certificate whose authority is not trusted is refused with the authority's name."""
        self.assertEqual(
            self.refused(Authority("Their CA").issue(HOST)),
            "its certificate is from an authority that is not in ca, or one between is missing: Their CA",
        )
        self.assertEqual(
            self.refused(self_signed(HOST)), "its certificate is signed by itself, and not in ca"
        )
        between = Authority("Issuing CA", OURS)
        talk(self.towards().handshake(), Peer(between.issue(HOST), self.folder))
        self.assertEqual(
            self.refused(between.issue(HOST, whole=False)),
            "its certificate is from an authority that is not in ca, or one between is missing: Issuing CA",
        )

    def test_the_system_s_authorities(self) -> None:
        """Without ca those of the system are trusted, and our own are not among them."""
        self.assertIn("not in ca", self.refused(OURS.issue(HOST), ca=""))

    def test_a_self_signed_one_can_be_trusted(self) -> None:
        """A certificate that is itself in ca is trusted for the name in it, and for no other."""
        issued = self_signed(HOST)
        path = self.folder / "own.pem"
        path.write_bytes(issued.chain)
        talk(self.towards(ca=str(path)).handshake(), Peer(issued, self.folder))
        self.assertIn("not for other.example", self.refused(issued, ca=str(path), name="other.example"))

    def test_not_for_servers(self) -> None:
        """A certificate for clients is none for a server."""
        self.assertEqual(
            self.refused(OURS.issue(HOST, purpose=FOR_CLIENTS)), "its certificate is not for servers"
        )

    def test_no_verification(self) -> None:
        """With verify = no anybody will do."""
        towards = self.towards(verify=False)
        for issued in (self_signed("x.example"), OURS.issue(HOST, since=NOW - 3 * DAY, until=NOW - DAY)):
            talk(towards.handshake(), Peer(issued, self.folder))


class OddTests(ServerTlsCase):
    def test_what_no_library_expects(self) -> None:
        """A certificate that cannot be understood is refused, whatever is in it, and nothing is raised."""
        names = x509.ObjectIdentifier("2.5.29.17")
        for content in (
            b"",
            b"garbage",
            b"\x30\x03\x82\x01\xff",
            b"\x30\x04\x87\x02\x01\x02",
            b"\x30\x06\xa3\x04\x30\x02\x05\x00",
        ):
            odd = OURS.issue(extension=x509.UnrecognizedExtension(names, content))
            why = self.refusal(self.towards(), Peer(odd, self.folder))
            self.assertRegex(why, "^its certificate ")


class FailureTests(ServerTlsCase):
    def test_no_tls(self) -> None:
        """A server that speaks something else is said not to speak TLS."""
        for words in (b"220 mail.example ESMTP\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"):
            connection = self.towards().handshake().connection(None)
            with self.assertRaises(SSL.WantReadError):
                connection.do_handshake()
            connection.bio_write(words)
            with self.assertRaises(SSL.Error) as caught:
                connection.do_handshake()
            self.assertRegex(why(connection, caught.exception), r"^TLS: the server does not speak it \(")

    def test_closed(self) -> None:
        """A server that closes in the midst of it is said to have done so."""
        connection = self.towards().handshake().connection(None)
        with self.assertRaises(SSL.WantReadError):
            connection.do_handshake()
        connection.bio_shutdown()
        with self.assertRaises(SSL.Error) as caught:
            connection.do_handshake()
        self.assertEqual(why(connection, caught.exception), "TLS: it ended without close_notify")
