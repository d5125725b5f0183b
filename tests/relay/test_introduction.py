"""The introduction: servers that ask for it learn who their client is, before the client's first byte."""

from __future__ import annotations

from random import Random
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from proxyd.config.proxyprotocol import ProxyOut
from proxyd.config.tls import PASSTHROUGH
from proxyd.errors import Malformed
from proxyd.relay.introduction import introduction, own_header
from proxyd.relay.opening import Opening
from proxyd.wire import proxyprotocol
from proxyd.wire.proxyprotocol import End, ProxyHeader, Ssl
from tests.relay.test_opening import BEHIND, CLIENT, FRONT, TRUSTED, OpeningCase
from tests.support.certificate import key_and_certificate
from tests.support.hello import hello
from tests.support.mutations import mutations


class Accepted:
    """As much of a transport as says where the client has connected to."""

    def __init__(self, host: Any) -> None:
        self.getHost = lambda: host


class AcceptedTls(Accepted):
    """The same of one that ends TLS."""

    def __init__(self, host: Any, tls: SSL.Connection) -> None:
        super().__init__(host)
        self.ssl = tls


def tls_server(name: str, alpn: bytes) -> SSL.Connection:
    """The server's end of TLS with a client that asks for these."""
    pem = key_and_certificate()
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, pem))
    context.use_certificate(crypto.load_certificate(crypto.FILETYPE_PEM, pem))
    context.set_alpn_select_callback(lambda _, offered: offered[0])
    asking = SSL.Context(SSL.TLS_CLIENT_METHOD)
    asking.set_alpn_protos([alpn])
    server, client = SSL.Connection(context), SSL.Connection(asking)
    server.set_accept_state()
    client.set_connect_state()
    client.set_tlsext_host_name(name.encode("latin-1"))
    for near, far in ((client, server), (server, client)) * 3:
        try:
            near.do_handshake()
        except SSL.WantReadError:
            pass
        try:
            far.bio_write(near.bio_read(2**16))
        except SSL.WantReadError:
            pass
    return server


class IntroductionTests(OpeningCase):
    """The PROXY header that servers get."""

    def introduce(self, out: ProxyOut, said: bytes = b"question", **listener: Any) -> ProxyHeader:
        """The header that came before what the client has said."""
        peer = self.connect(out=out, **listener)
        self.say(peer, said)
        got = self.at_server()
        header = proxyprotocol.parse(got)
        assert header is not None
        self.assertTrue(said.endswith(got[header.length :]), got)
        self.last = self.record(peer)
        return header

    def test_who_the_client_is(self) -> None:
        """Its address and the one it has connected to, before any byte of its own."""
        for version in (1, 2):
            header = self.introduce(ProxyOut(version))
            self.assertEqual((header.version, header.source), (version, End("10.9.9.9", 4711)))
            self.assertEqual(header.destination, End("192.0.2.1", 5432))

    def test_servers_that_speak_first(self) -> None:
        """The header is sent at once, not with the client's first bytes."""
        self.connect(out=ProxyOut(1))
        self.assertTrue(self.at_server().startswith(b"PROXY TCP4 10.9.9.9 "))

    def test_what_was_told_goes_on(self) -> None:
        """Addresses and TLVs of a header from before us, as far as the pool asks for them."""
        ssl = Ssl(version="TLSv1.3", cn="me")
        told = proxyprotocol.v2(
            BEHIND, FRONT, alpn=b"h2", authority="a.example", unique_id=b"id-7", ssl=ssl, crc32c=True
        )
        everything = ProxyOut(2, alpn=True, authority=True, ssl=True, unique_id=True, crc32c=True)
        header = self.introduce(everything, told + b"question", proxy_protocol=TRUSTED)
        self.assertEqual((header.source, header.destination), (BEHIND, FRONT))
        self.assertEqual((header.alpn, header.authority, header.unique_id), (b"h2", "a.example", b"id-7"))
        self.assertEqual((header.ssl, self.last.unique_id), (ssl, "id-7"))
        header = self.introduce(ProxyOut(2), told, proxy_protocol=TRUSTED)
        self.assertEqual((header.alpn, header.authority, header.unique_id), (b"", "", b""))
        self.assertEqual((header.ssl, self.last.unique_id), (None, ""))

    def test_a_connection_gets_an_id(self) -> None:
        """Each one its own, and the record has it."""
        seen = set()
        for _ in range(2):
            header = self.introduce(ProxyOut(2, unique_id=True))
            self.assertEqual(header.unique_id.decode(), self.last.unique_id)
            seen.add(header.unique_id)
        self.assertEqual((len(seen), {len(one) for one in seen}), (2, {32}))

    def test_the_name_that_was_read(self) -> None:
        """The name in a ClientHello that we have read goes before one that was told."""
        told = proxyprotocol.v2(BEHIND, FRONT, authority="told.example")
        both = {"proxy_protocol": TRUSTED, "tls": PASSTHROUGH}
        header = self.introduce(ProxyOut(2, authority=True), told + hello("read.example"), **both)
        self.assertEqual(header.authority, "read.example")
        header = self.introduce(ProxyOut(2, authority=True), told + hello(""), **both)
        self.assertEqual(header.authority, "told.example")

    def test_families(self) -> None:
        """IPv6 without its scope, unix, and a checksum if one is wanted."""
        opening = Opening(IPv6Address("TCP", "fe80::1%eth0", 7))
        host = Accepted(IPv6Address("TCP", "fe80::2%eth0", 8))
        for out in (ProxyOut(1), ProxyOut(2, crc32c=True)):
            header = proxyprotocol.parse(introduction(out, opening, host, b""))
            assert header is not None
            self.assertEqual((header.source, header.destination), (End("fe80::1", 7), End("fe80::2", 8)))
        unix = Accepted(UNIXAddress(b"/run/front.sock"))
        header = proxyprotocol.parse(introduction(ProxyOut(2), Opening(UNIXAddress(None)), unix, b""))
        assert header is not None
        self.assertEqual((header.source, header.destination), (End(), End(path=b"/run/front.sock")))

    def test_tls_that_ends_here(self) -> None:
        """What is known of the client's TLS is told; but not of a proxy's whose header told of the client."""
        out = ProxyOut(2, alpn=True, authority=True, ssl=True)
        told = ProxyHeader(2, 0, BEHIND, FRONT, alpn=b"told", authority="told.example", ssl=Ssl(cn="told"))
        for name, via, alpn, authority in (
            ("A.example", None, b"h2", "a.example"),
            ("a\nb", None, b"h2", ""),
            ("\xff" * 100, None, b"h2", ""),
            ("a.example", CLIENT, b"told", "told.example"),
        ):
            tls = AcceptedTls(IPv4Address("TCP", "192.0.2.1", 443), tls_server(name, b"h2"))
            opening = Opening(CLIENT, via, told if via is not None else None, ended=True, hop=via is not None)
            header = proxyprotocol.parse(introduction(out, opening, tls, b""))
            assert header is not None and header.ssl is not None
            self.assertEqual((header.alpn, header.authority), (alpn, authority))
            self.assertEqual((header.ssl.client, header.ssl.verify), (proxyprotocol.CLIENT_SSL, 1))
            self.assertEqual(header.ssl.cn, "told" if via is not None else "")
            self.assertEqual(bool(header.ssl.version.startswith("TLSv1.") and header.ssl.cipher), via is None)
            algorithms = ("", "") if via is not None else ("ecdsa-with-SHA256", "EC256")
            self.assertEqual((header.ssl.sig_alg, header.ssl.key_alg), algorithms)

    def test_whatever_was_told_can_be_told_on(self) -> None:
        """A header that was taken never keeps us from writing one; what is too large for it is left out."""
        out = ProxyOut(2, alpn=True, authority=True, ssl=True, unique_id=True, crc32c=True)
        host = Accepted(IPv4Address("TCP", "192.0.2.1", 443))
        large = [
            proxyprotocol.v2(BEHIND, FRONT, ssl=Ssl(cn="c" * 16_000)),
            proxyprotocol.v2(BEHIND, FRONT, ssl=Ssl(cn="c" * 8000, cipher="d" * 8000), authority="a"),
            proxyprotocol.v2(BEHIND, FRONT, alpn=b"p" * 16_000, unique_id=b"7"),
        ]
        large.append(large[0].replace(b"c" * 16_000, b"\xff" * 16_000))
        taken = 0
        for data in (*large, *mutations(Random(2), large, 300)):
            try:
                header = proxyprotocol.parse(data)
            except Malformed:
                continue
            if header is not None and header.source is not None:
                taken += 1
                opening = Opening(CLIENT, CLIENT, header)
                self.assertIsNotNone(proxyprotocol.parse(introduction(out, opening, host, b"i" * 32)))
        self.assertGreaterEqual(taken, len(large))

    def test_a_connection_of_our_own(self) -> None:
        """A check says that it speaks for nobody."""
        for out in (ProxyOut(1), ProxyOut(2), ProxyOut(2, crc32c=True)):
            header = proxyprotocol.parse(own_header(out))
            assert header is not None
            self.assertEqual((header.version, header.local), (out.version, True))
