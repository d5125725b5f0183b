"""Is TLS with a server agreed on as it is asked for, and are sessions taken up?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL import SSL

from proxyd.config.address import Addresses, TcpAddress, UnixAddress
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.servertls import ServerTlsSpec
from proxyd.policy.server import Server
from proxyd.relay.tls.server import (
    JUDGED_SECONDS,
    MOST_SESSIONS,
    ServerTls,
    Towards,
    Unfit,
    make_context,
)
from tests.relay.tls.serving import HOST, OURS, Peer, ServerTlsCase, talk
from tests.support.authority import DAY, FOR_CLIENTS, NOW, Authority


class NameTests(ServerTlsCase):
    def test_who_is_asked_for_and_verified(self) -> None:
        """A server is called by its host, or by the name it was found by, unless it is said otherwise."""
        found = TcpAddress("10.0.0.1", 1)
        for address, origin, what, names, asked in (
            (TcpAddress(HOST, 1), None, {}, [HOST], HOST),
            (TcpAddress("DB.Example.com.", 1), None, {}, [HOST], HOST),
            (found, None, {}, ["10.0.0.1"], None),
            (TcpAddress("fd00::1", 1), None, {}, ["fd00::1"], None),
            (found, TcpAddress(HOST, 1), {}, [HOST], HOST),
            (Addresses((found, found)), TcpAddress(HOST, 1), {}, ["*.example.com"], HOST),
            (found, None, {"name": HOST}, [HOST], HOST),
            (TcpAddress(HOST, 1), None, {"name": "10.0.0.1"}, ["10.0.0.1"], None),
            (UnixAddress("/run/db"), None, {"name": HOST}, [HOST], HOST),
            (UnixAddress("/run/db"), None, {"verify": False}, ["other.example"], None),
            (found, None, {"verify": False}, ["other.example"], None),
            (found, None, {"verify": False, "sni": HOST}, ["other.example"], HOST),
            (TcpAddress(HOST, 1), None, {"sni": "other.example"}, [HOST], "other.example"),
            (TcpAddress(HOST, 1), None, {"sni": "no"}, [HOST], None),
        ):
            peer = self.peer(*names)
            talk(self.towards(address, origin, **what).handshake(), peer)
            self.assertEqual(peer.asked, asked.encode() if asked else None, (address, what))

    def test_nobody(self) -> None:
        """Without a name to verify there is no TLS, rather than TLS with anybody."""
        self.assertRaises(AssertionError, self.towards(UnixAddress("/run/db")).handshake)
        self.assertTrue(self.towards(UnixAddress("/run/db"), verify=False).handshake())

    def test_the_name_that_the_client_asks_for(self) -> None:
        """With sni = client the server is asked, and judged, by the name that its client has asked for."""
        towards = self.towards(sni="client")
        for asked, name in (("web.example", "web.example"), ("", HOST)):
            peer = self.peer(name)
            talk(towards.handshake(asked), peer)
            self.assertEqual(peer.asked, name.encode())
        self.assertIn("not for web.example", self.refusal(towards, self.peer(HOST), "web.example"))
        named = self.towards(sni="client", name=HOST)
        peer = self.peer(HOST)
        talk(named.handshake("web.example"), peer)
        self.assertEqual(peer.asked, b"web.example")
        long = 64 * "a" + ".example"  # as no name of DNS is
        talk(named.handshake(long), peer)
        self.assertEqual(peer.asked, long.encode())


class AgreementTests(ServerTlsCase):
    def test_alpn(self) -> None:
        """What is said to be spoken is what is configured, and a server takes it or not."""
        peer = self.peer(alpn=b"http/1.1")
        connection = talk(self.towards(alpn=(b"h2", b"http/1.1")).handshake(), peer)
        self.assertEqual(peer.offered, [b"h2", b"http/1.1"])
        self.assertEqual(connection.get_alpn_proto_negotiated(), b"http/1.1")
        peer.offered = []
        talk(self.towards().handshake(), peer)
        self.assertEqual(peer.offered, [])

    def test_a_certificate_of_ours(self) -> None:
        """A server that wants to know who we are is shown our certificate, with those between."""
        clients = Authority("Clients' CA")
        between = Authority("Staff CA", clients)
        ours = between.issue("proxy", purpose=FOR_CLIENTS)
        path = ours.write(self.folder / "ours.pem")
        peer = self.peer(clients=clients, most=SSL.TLS1_2_VERSION)
        talk(self.towards(certificate=path).handshake(), peer)
        self.assertRegex(self.refusal(self.towards(), peer), r"^TLS: .* \(alert from the server\)$")
        Path(self.folder / "only.pem").write_bytes(ours.chain)
        Path(self.folder / "only.key").write_bytes(ours.key)
        apart: Any = {"certificate": str(self.folder / "only.pem"), "key": str(self.folder / "only.key")}
        talk(self.towards(**apart).handshake(), peer)

    def test_versions_and_ciphers(self) -> None:
        """A server that has no version, or no cipher, in common with us is said to have refused."""
        old = self.peer(most=SSL.TLS1_2_VERSION)
        talk(self.towards().handshake(), old)
        self.assertRegex(
            self.refusal(self.towards(minimum="1.3"), old), r"TLS: protocol version \(alert from the server\)"
        )
        old = self.peer(most=SSL.TLS1_2_VERSION, ciphers=b"ECDHE-ECDSA-AES256-GCM-SHA384")
        talk(self.towards(ciphers="ECDHE-ECDSA-AES256-GCM-SHA384").handshake(), old)
        refusal = self.refusal(self.towards(ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"), old)
        self.assertRegex(refusal, r"TLS: handshake failure \(alert from the server\)")


class ToldTests(ServerTlsCase):
    def test_what_was_agreed_on(self) -> None:
        """The version, the cipher and whether a session was taken up are told for the record."""
        towards, peer = self.towards(), self.peer(most=SSL.TLS1_2_VERSION)
        agreed = []
        for _ in range(2):
            handshake = towards.handshake()
            self.assertEqual(handshake.agreed, "")
            talk(handshake, peer)
            agreed.append(handshake.agreed)
        self.assertRegex(agreed[0], r"^TLSv1\.2/ECDHE-ECDSA-[A-Z0-9-]+$")
        self.assertEqual(agreed[1], f"{agreed[0]}/resumed")


class SessionTests(ServerTlsCase):
    """A handshake in which the certificate is not judged takes up a session."""

    def judged(self, towards: Towards, peer: Peer, asked: str = "", **how: Any) -> bool:
        return talk(towards.handshake(asked), peer, **how).judged

    def test_taken_up(self) -> None:
        """The second connection takes up the session of the first, with either version."""
        for most in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            towards, peer = self.towards(), self.peer(most=most)
            self.assertEqual([self.judged(towards, peer) for _ in range(4)], [True, False, False, False])

    def test_not_wanted(self) -> None:
        """With reuse = no each connection begins anew."""
        towards, peer = self.towards(reuse=False), self.peer()
        self.assertEqual([self.judged(towards, peer) for _ in range(3)], [True] * 3)

    def test_no_ticket(self) -> None:
        """A connection of TLS 1.3 to which no ticket has come leaves the session that there was."""
        towards, peer = self.towards(), self.peer()
        self.assertTrue(self.judged(towards, peer, heard=False))
        self.assertTrue(self.judged(towards, peer))
        self.assertFalse(self.judged(towards, peer, heard=False))
        self.assertFalse(self.judged(towards, peer))

    def test_failed(self) -> None:
        """When TLS with a server has failed, nothing of before is taken up."""
        towards, peer = self.towards(), self.peer()
        self.assertTrue(self.judged(towards, peer))
        self.refusal(towards, self.peer("other.example"))
        self.assertTrue(self.judged(towards, peer))
        self.assertFalse(self.judged(towards, peer))

    def test_checks(self) -> None:
        """A handshake that is to begin anew takes up nothing, and leaves nothing."""
        towards, peer = self.towards(), self.peer()
        self.assertTrue(talk(towards.handshake(anew=True), peer).judged)
        self.assertTrue(self.judged(towards, peer))
        self.assertTrue(talk(towards.handshake(anew=True), peer).judged)
        self.assertFalse(self.judged(towards, peer))

    def test_an_hour(self) -> None:
        """However often a session is taken up, the certificate is judged again after an hour."""
        towards, peer = self.towards(), self.peer()
        self.assertTrue(self.judged(towards, peer))
        for _ in range(3):
            self.clock.advance(JUDGED_SECONDS / 4)
            self.assertFalse(self.judged(towards, peer))
        self.clock.advance(JUDGED_SECONDS / 4)
        self.assertTrue(self.judged(towards, peer))
        self.assertFalse(self.judged(towards, peer))

    def test_one_for_each_name(self) -> None:
        """Names that clients ask for have sessions of their own, and only so many."""
        towards, peer = self.towards(sni="client", name=HOST), self.peer()
        self.assertTrue(self.judged(towards, peer, "0.example"))
        self.assertFalse(self.judged(towards, peer, "0.example"))
        for number in range(1, MOST_SESSIONS + 1):
            self.assertTrue(self.judged(towards, peer, f"{number}.example"))
        self.assertTrue(self.judged(towards, peer, "0.example"))
        self.assertFalse(self.judged(towards, peer, f"{MOST_SESSIONS}.example"))

    def test_one_for_each_server(self) -> None:
        """Two servers of a pool have sessions of their own."""
        spec = ServerTlsSpec(ca=self.ca)
        tls = self.loaded(spec)
        servers = [Server(name, TcpAddress(HOST, 1), tls=spec) for name in "ab"]
        peer = self.peer()
        first, second = (tls.towards(server) for server in servers)
        self.assertEqual([self.judged(one, peer) for one in (first, second, first)], [True, True, False])
        self.assertIs(tls.towards(servers[0]), first)

    def test_another_name(self) -> None:
        """A server that is found by another name, or at another address, is judged again."""
        spec = ServerTlsSpec(ca=self.ca)
        tls, peer = self.loaded(spec), self.peer("10.0.0.1", "10.0.0.2")
        server = Server("a", TcpAddress("10.0.0.1", 1), tls=spec)
        self.assertEqual([self.judged(tls.towards(server), peer) for _ in range(2)], [True, False])
        server.address = TcpAddress("10.0.0.2", 1)
        self.assertEqual([self.judged(tls.towards(server), peer) for _ in range(2)], [True, False])

    def test_another_context(self) -> None:
        """When files have changed, the sessions of before are not taken up."""
        spec = ServerTlsSpec(ca=self.ca)
        tls, peer = self.loaded(spec), self.peer()
        server = Server("a", TcpAddress(HOST, 1), tls=spec)
        towards = tls.towards(server)
        self.assertTrue(self.judged(towards, peer))
        self.assertFalse(self.judged(towards, peer))
        before = towards.handshake()
        under_way = talk(before, peer, ended=False)
        self.assertEqual(tls.load(), [])
        before.ended(under_way)
        self.assertTrue(self.judged(towards, peer))
        self.assertFalse(self.judged(towards, peer))


class FileTests(ServerTlsCase):
    def unfit(self, **what: Any) -> str:
        with self.assertRaises(Unfit) as caught:
            make_context(ServerTlsSpec(**what))
        return str(caught.exception).replace(f"{self.folder}/", "")

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def test_files_that_are_not_fit(self) -> None:
        """What is wrong with a file is said with its name, and what would be right."""
        ours, other = OURS.issue("proxy"), OURS.issue("proxy")
        old = OURS.issue("proxy", since=NOW - 3 * DAY, until=NOW - DAY)
        key, broken = self.file("our.key", ours.key), OURS.pem.replace(b"MII", b"AAA", 1)
        certificate = self.file("our.pem", ours.chain)
        for what, said in (
            ({"ca": str(self.folder / "no.pem")}, "no.pem: cannot be read: No such file or directory"),
            ({"ca": str(self.folder)}, f"{self.folder}: cannot be read: Is a directory"),
            (
                {"ca": self.file("a", b"x")},
                "a: has no certificate in PEM (-----BEGIN CERTIFICATE-----)",
            ),
            ({"ca": self.file("b", OURS.pem + broken)}, "b: has a certificate that cannot be read: "),
            (
                {"certificate": certificate},
                "our.pem: has no private key in PEM (-----BEGIN PRIVATE KEY-----)",
            ),
            (
                {"certificate": certificate, "key": self.file("d", other.key)},
                "d: the private key does not belong to the first certificate in our.pem",
            ),
            (
                {"certificate": certificate, "key": self.file("e", ours.encrypted)},
                "e: has a key that is encrypted, and nobody is here to give the passphrase; ",
            ),
            (
                {"certificate": certificate, "key": self.file("f", ours.key.replace(b"MI", b"!!"))},
                "f: has a private key that cannot be read: ",
            ),
            (
                {"certificate": self.file("g", old.chain), "key": key},
                f"g: expired on {NOW - DAY:%Y-%m-%d}",
            ),
            (
                {"ciphers": "NONE-SUCH"},
                "ciphers=NONE-SUCH leaves no cipher that OpenSSL knows; see ciphers(1)",
            ),
        ):
            self.assertTrue(self.unfit(**what).startswith(said), self.unfit(**what))

    def test_load(self) -> None:
        """At the start each file is named with the line that wants it, once; later, what was good stays."""
        spec = ServerTlsSpec(ca=self.ca, path="proxy.ini", line=7)
        wrong = ServerTlsSpec(ca=str(self.folder / "no.pem"), path="proxy.ini", line=9)
        pools = [
            PoolSpec("p", (ServerSpec("a", TcpAddress(HOST, 1), tls=spec),)),
            PoolSpec("q", tuple(ServerSpec(name, TcpAddress(HOST, 1), tls=wrong) for name in "ab")),
            PoolSpec("r", (ServerSpec("a", TcpAddress(HOST, 1)),)),
        ]
        tls = ServerTls(pools, self.clock.seconds)
        said = f"proxy.ini:9: [pool q] tls: {self.folder}/no.pem: cannot be read: No such file or directory"
        self.assertEqual(tls.load(), [said])
        self.assertEqual(tls.files, (self.ca, str(self.folder / "no.pem")))
        Path(self.ca).write_bytes(b"")
        self.assertEqual(len(tls.load()), 2)
        server = Server("a", TcpAddress(HOST, 1), tls=spec)
        talk(tls.towards(server).handshake(), self.peer())
