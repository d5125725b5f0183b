"""The opening: a client's first bytes decide where it is led, and nobody waits longer than need be."""

from __future__ import annotations

from ipaddress import ip_network
from random import Random
from typing import Any, Optional, Sequence

from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock

from proxyd.config.address import TcpAddress
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.proxyprotocol import ProxyIn, ProxyOut
from proxyd.config.route import RouteSpec
from proxyd.config.tls import PASSTHROUGH, TlsSpec
from proxyd.errors import Reason
from proxyd.policy.balance import RoundRobin
from proxyd.policy.pool import Pool
from proxyd.records import Record
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.factory import ProxyFactory
from proxyd.relay.opening import trusts
from proxyd.relay.pair import HELD
from proxyd.wire import clienthello, proxyprotocol
from proxyd.wire.proxyprotocol import End
from tests.relay.test_session import FakeDatapath, Notebook
from tests.support.admission import admission
from tests.support.case import Case
from tests.support.hello import fragmented, hello
from tests.support.mutations import mutations
from tests.support.openings import KINDS, Kind, verdict
from tests.support.streams import FakePeer, Network
from tests.support.walltime import SetTime

CLIENT = IPv4Address("TCP", "10.9.9.9", 4711)
BEHIND = End("192.0.2.7", 5555)
FRONT = End("192.0.2.1", 443)
TRUSTED = ProxyIn((ip_network("10.9.0.0/16"),))
OPTIONAL = ProxyIn((ip_network("10.9.0.0/16"),), optional=True)
ELSEWHERE = ProxyIn((ip_network("10.8.0.0/16"), ip_network("fd00::/8")))

ANSWERS = 1  # the port of a server that answers (FakeDatapath)

SNIFFED = (
    RouteSpec("plain", ("front",), "http", speaks=("http",)),
    RouteSpec("shell", ("front",), "ssh", speaks=("ssh",)),
    RouteSpec("database", ("front",), "postgresql", speaks=("postgresql",)),
    RouteSpec("mail", ("front",), "silent", speaks=("silent",)),
    RouteSpec("named", ("front",), "named", sni=("a.example",)),
    RouteSpec("anything", ("front",), "tls", speaks=("tls",)),
)
SERVER_CONTEXT = SSL.Context(SSL.TLS_SERVER_METHOD)
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


class OpeningCase(Case):
    """Clients of a listener that reads their first bytes; every pool has one server, which answers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds)
        self.network = Network(self.clock)
        self.datapath = FakeDatapath(self.network)
        self.capacity = Capacity(self.clock, 100)
        self.addCleanup(self.capacity.stop)
        self.notebook = Notebook()
        self.wheel = Wheel(self.clock)
        self.admission = admission()

    def connect(
        self,
        pool: str = "rest",
        address: Any = CLIENT,
        out: Optional[ProxyOut] = None,
        front: Any = None,
        **listener: Any,
    ) -> FakePeer:
        """A client of such a listener, where TLS begins with ``front`` when its header was read."""
        spec = ListenerSpec("front", listener.pop("binds", ()), pool, **listener)
        self.pools = {name: self.pool(name, out) for name in spec.pools}
        self.factory = ProxyFactory(
            spec,
            self.pools,
            self.datapath,
            self.wheel,
            self.clock.seconds,
            self.wall,
            self.capacity,
            [self.notebook],
            self.admission,
        )
        self.factory.front = front
        self.datapath.peers.clear()
        self.notebook.records.clear()
        peer = self.network.connect(self.factory.buildProtocol(address))
        self.network.flush()
        return peer

    def pool(self, name: str, out: Optional[ProxyOut]) -> Pool:
        servers = (ServerSpec("a", TcpAddress("10.0.0.1", ANSWERS)),)
        return Pool(PoolSpec(name, servers, proxy_protocol=out), RoundRobin(lambda: 0.0))

    def say(self, peer: FakePeer, data: bytes, step: int = 0) -> None:
        """Send it whole, or in pieces of so many bytes."""
        for place in range(0, len(data), step or len(data) or 1):
            peer.send(data[place : place + (step or len(data))])
            self.network.flush()

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.25)):
            self.clock.advance(0.25)
            self.network.flush()

    def led(self) -> str:
        """The pool that the one client was led to; "" as long as there is none."""
        (session,) = self.factory.sessions
        return session.pool.name if session.pool is not None else ""

    def at_server(self) -> bytes:
        """What the server got."""
        (server,) = self.datapath.peers
        return bytes(server.received)

    def record(self, peer: FakePeer) -> Record:
        """The record, once both have ended and nothing is left."""
        for one in (peer, *self.datapath.peers):
            one.finish()
            self.network.flush()
        self.assertEqual((self.network.open(), len(self.wheel), self.capacity.open), ([], 0, 0))
        (record,) = self.notebook.records
        return record

    def check_refused(self, reason: Reason, detail: str = "") -> Record:
        """The client was closed, and no server has heard of it."""
        self.network.flush()
        (record,) = self.notebook.records
        self.assertEqual((record.reason, record.server, self.datapath.peers), (reason, "", []))
        self.assertIn(detail, record.detail)
        self.assertEqual((self.network.open(), len(self.wheel), self.capacity.open), ([], 0, 0))
        return record


class WaitingTests(OpeningCase):
    """Who waits, and for how long."""

    def test_nobody_waits_without_need(self) -> None:
        """A listener that needs nothing of it leads a client on at once, so that servers may speak first."""
        self.connect()
        self.assertEqual(self.led(), "rest")
        self.datapath.peers[0].send(b"220 hello")
        self.network.flush()

    def test_one_who_owes_bytes_and_is_silent(self) -> None:
        """After opening_timeout it is closed, and the record says how far it came."""
        header = proxyprotocol.v1(BEHIND, FRONT)
        for settings, said, detail in (
            ({"tls": PASSTHROUGH}, b"", "it said nothing"),
            ({"tls": PASSTHROUGH}, hello("a.example")[:20], "20 bytes of a ClientHello"),
            ({"proxy_protocol": TRUSTED}, header[:9], "9 bytes of a PROXY header"),
            ({"proxy_protocol": OPTIONAL}, header[:9], "9 bytes of a PROXY header"),
            ({"proxy_protocol": TRUSTED, "tls": PASSTHROUGH}, header, "it said nothing"),
            ({"routes": SNIFFED}, hello("a.example")[:20], "20 bytes of a ClientHello"),
        ):
            peer = self.connect(opening_timeout=2.0, **settings)
            self.say(peer, said)
            self.wait(1.75)
            self.assertEqual(self.notebook.records, [])
            self.wait(1)
            self.check_refused(Reason.OPENING_TIMEOUT, detail)

    def test_the_deadline_is_one_for_all(self) -> None:
        """Who sends a byte now and then has no more time than others, and no server hears of it."""
        for settings, opening in (
            ({"tls": PASSTHROUGH}, hello("a.example")),
            ({"proxy_protocol": TRUSTED}, proxyprotocol.v1(BEHIND, FRONT)),
            ({"routes": SNIFFED}, hello("a.example")),
        ):
            peer = self.connect(opening_timeout=2.0, **settings)
            for byte in opening[:11]:
                self.say(peer, bytes([byte]))
                self.wait(0.25)
            self.check_refused(Reason.OPENING_TIMEOUT)

    def test_one_who_leaves_first(self) -> None:
        """A client that closes without a word was no client; one that stops within its bytes is malformed."""
        for said, reason in ((b"", Reason.CLIENT_GONE), (hello("a")[:9], Reason.TLS_MALFORMED)):
            peer = self.connect(tls=PASSTHROUGH)
            self.say(peer, said)
            peer.finish()
            self.check_refused(reason, "closed its side")

    def test_one_who_closes_where_many_protocols_are_spoken(self) -> None:
        """Who says nothing and closes its side waits for no server, and gets none."""
        peer = self.connect(routes=SNIFFED)
        peer.finish()
        self.check_refused(Reason.CLIENT_GONE, "said nothing")

    def test_one_who_resets(self) -> None:
        """A reset while its bytes are waited for ends it, like at any other time."""
        peer = self.connect(tls=PASSTHROUGH)
        self.say(peer, b"\x16\x03")
        peer.reset()
        self.assertEqual(self.check_refused(Reason.CLIENT_GONE).pool, "")

    def test_being_cut(self) -> None:
        """A drain ends those too whose bytes are waited for."""
        self.connect(tls=PASSTHROUGH)
        (session,) = self.factory.sessions
        session.cut(Reason.DRAINED)
        self.check_refused(Reason.DRAINED)

    def test_abort_on_close(self) -> None:
        """With abort_on_close a client that closes its side has gone."""
        peer = self.connect(routes=SNIFFED, abort_on_close=True)
        peer.finish()
        self.check_refused(Reason.CLIENT_GONE)


class PassthroughTests(OpeningCase):
    """TLS that we do not end."""

    ROUTES = (
        RouteSpec("api", ("front",), "api", sni=("api.example", "*.api.example")),
        RouteSpec("h2", ("front",), "h2", alpn=(b"h2",)),
    )

    def test_names_and_protocols_lead(self) -> None:
        """By the name, by ALPN, and to the listener's pool when no route fits; with the very same bytes."""
        for sni, alpn, pool, route in (
            ("api.example", (), "api", "api"),
            ("v1.api.example", (b"h2",), "api", "api"),
            ("other.example", (b"h2", b"http/1.1"), "h2", "h2"),
            ("other.example", (), "rest", ""),
            ("", (), "rest", ""),
        ):
            for step in (0, 1, 7):
                for size in (40, 50, 2**14):
                    said = fragmented(hello(sni, alpn=alpn), size)
                    peer = self.connect(tls=PASSTHROUGH, routes=self.ROUTES)
                    self.say(peer, said + b"what follows", step)
                    self.assertEqual(self.led(), pool)
                    self.assertEqual(self.at_server(), said + b"what follows")
                    record = self.record(peer)
                    self.assertEqual((record.pool, record.route, record.sni), (pool, route, sni))

    def test_what_is_no_tls(self) -> None:
        """Anything else is closed, and the record says what it was."""
        for said, detail in (
            (b"GET / HTTP/1.1\r\n\r\n", "http"),
            (b"SSH-2.0-x\r\n", "ssh"),
            (b"\x80\x2e\x01\x00\x02", "sslv2"),
            (b"\x16\x03\x01\x00\x00", ""),
            (b"\x16\x03\x01\xff\xff", ""),
            (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", ""),
        ):
            self.say(self.connect(tls=PASSTHROUGH), said)
            self.assertIn(detail, self.check_refused(Reason.TLS_MALFORMED).detail.lower())

    def test_no_route(self) -> None:
        """Without a pool for the rest, a name that no route knows is closed, and named."""
        self.say(self.connect("", tls=PASSTHROUGH, routes=self.ROUTES), hello("other.example"))
        record = self.check_refused(Reason.NO_ROUTE, "other.example")
        self.assertEqual((record.sni, record.pool), ("other.example", ""))


class SniffingTests(OpeningCase):
    """One port, many protocols."""

    def test_each_protocol(self) -> None:
        """Each is led to its own pool, as soon as it is known, and its server gets what it said."""
        for said, pool in (
            (b"GET / HTTP/1.1\r\n\r\n", "http"),
            (b"SSH-2.0-OpenSSH_9\r\n", "ssh"),
            (SSL_REQUEST, "postgresql"),
            (hello("a.example"), "named"),
            (hello("b.example"), "tls"),
            (b"EHLO me\r\n", "rest"),
        ):
            for step in (0, 1):
                peer = self.connect(routes=SNIFFED)
                self.say(peer, said, step)
                self.assertEqual((self.led(), self.at_server()), (pool, said))
                self.assertEqual(self.record(peer).pool, pool)

    def test_one_who_is_silent(self) -> None:
        """Who waits for the server to speak first is led to the silent's pool after opening_timeout."""
        peer = self.connect(routes=SNIFFED, opening_timeout=0.5)
        self.assertEqual(self.led(), "")
        self.wait(1)
        self.assertEqual(self.led(), "silent")
        self.datapath.peers[0].send(b"220 hello")
        self.network.flush()
        self.say(peer, b"EHLO me\r\n")
        self.assertEqual((bytes(peer.received), self.at_server()), (b"220 hello", b"EHLO me\r\n"))
        self.assertEqual(self.record(peer).route, "mail")

    def test_one_who_falls_silent(self) -> None:
        """What is not known by then is something else, and what was said is not lost."""
        peer = self.connect(routes=SNIFFED, opening_timeout=0.5)
        self.say(peer, b"GE")
        self.wait(1)
        self.assertEqual((self.led(), self.at_server()), ("rest", b"GE"))

    def test_a_name_is_only_waited_for_if_a_route_asks(self) -> None:
        """Where all TLS goes the same way, its first bytes are enough."""
        peer = self.connect(routes=(RouteSpec("t", ("front",), "tls", speaks=("tls",)),))
        self.say(peer, b"\x16\x03\x01")
        self.assertEqual(self.led(), "tls")

    def test_what_looks_like_tls_and_is_not(self) -> None:
        """A ClientHello that cannot be read goes to no server."""
        self.say(self.connect(routes=SNIFFED), b"\x16\x03\x01\x00\x04\x02\x00\x00\x00")
        self.check_refused(Reason.TLS_MALFORMED)


class ProxyProtocolTests(OpeningCase):
    """A PROXY header from before us."""

    HEADERS = (
        proxyprotocol.v1(BEHIND, FRONT),
        proxyprotocol.v2(BEHIND, FRONT),
        proxyprotocol.v2(BEHIND, FRONT, authority="a.example", unique_id=b"7", crc32c=True),
    )

    def test_the_client_is_whom_the_header_names(self) -> None:
        """The server gets what follows the header, and the record has both addresses; whole or in pieces."""
        for wanted in (TRUSTED, OPTIONAL):
            for header in self.HEADERS:
                for step in (0, 1, 13):
                    peer = self.connect(proxy_protocol=wanted)
                    self.say(peer, header + b"question", step)
                    self.assertEqual(self.at_server(), b"question")
                    record = self.record(peer)
                    self.assertEqual((record.client, record.via), ("192.0.2.7:5555", "10.9.9.9:4711"))

    def test_other_families(self) -> None:
        """IPv6 and unix clients are named as well."""
        for source, destination, named in (
            (End("2001:db8::1", 1), End("2001:db8::2", 2), "[2001:db8::1]:1"),
            (End(path=b"/run/x"), End(path=b"/run/y"), "unix:/run/x"),
        ):
            peer = self.connect(proxy_protocol=TRUSTED)
            self.say(peer, proxyprotocol.v2(source, destination))
            self.assertEqual(self.record(peer).client, named)

    def test_a_header_that_names_nobody(self) -> None:
        """LOCAL and UNKNOWN leave the connection its own address, as for the checks of a balancer."""
        for header in (b"PROXY UNKNOWN\r\n", proxyprotocol.v2_local()):
            peer = self.connect(proxy_protocol=TRUSTED)
            self.say(peer, header + b"x")
            self.assertEqual(self.at_server(), b"x")
            record = self.record(peer)
            self.assertEqual((record.client, record.via), ("10.9.9.9:4711", ""))

    def test_one_who_is_not_trusted(self) -> None:
        """It is closed at once, before it can say anything, with a reason of its own."""
        for address in (CLIENT, IPv6Address("TCP", "fe80::1%lo", 1), UNIXAddress(None)):
            self.connect(proxy_protocol=ELSEWHERE, address=address)
            self.check_refused(Reason.PROXY_UNTRUSTED)

    def test_an_optional_header(self) -> None:
        """Without one a client is itself, trusted or not; a header from one who is not trusted is refused."""
        anybody = ProxyIn(ELSEWHERE.trusted, optional=True)
        for wanted in (OPTIONAL, anybody):
            for said in (b"question", b"P", b"PROXIMITY", b"\r\n\r\nquit"):
                if said == b"P" and wanted is anybody:
                    continue
                peer = self.connect(proxy_protocol=wanted, opening_timeout=1.0)
                self.say(peer, said)
                self.wait(2)
                self.assertEqual(self.at_server(), said)
                record = self.record(peer)
                self.assertEqual((record.client, record.via), ("10.9.9.9:4711", ""))
        for header in self.HEADERS:
            peer = self.connect(proxy_protocol=anybody, opening_timeout=1.0)
            self.say(peer, header[:5])
            self.wait(2)
            self.check_refused(Reason.OPENING_TIMEOUT, "may begin a PROXY header")
            self.say(self.connect(proxy_protocol=anybody), header)
            self.check_refused(Reason.PROXY_UNTRUSTED)

    def test_what_is_no_header(self) -> None:
        """Anything else is closed, and reaches no server."""
        for said in (b"question\r\n", b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 " + b"1" * 107, hello("a")):
            self.say(self.connect(proxy_protocol=TRUSTED), said)
            self.check_refused(Reason.PROXY_MALFORMED)

    def test_who_is_refused_after_its_header(self) -> None:
        """Whatever follows the header, the record has the client that the header named."""
        for after, reason in ((b"GET / HTTP/1.1", Reason.TLS_MALFORMED), (b"", Reason.OPENING_TIMEOUT)):
            peer = self.connect(proxy_protocol=TRUSTED, tls=PASSTHROUGH, opening_timeout=1.0)
            self.say(peer, self.HEADERS[1] + after)
            self.wait(2)
            record = self.check_refused(reason)
            self.assertEqual((record.client, record.via), ("192.0.2.7:5555", "10.9.9.9:4711"))

    def test_before_tls(self) -> None:
        """A header before a ClientHello: both are read, and only the hello goes on."""
        for step in (0, 1):
            peer = self.connect(proxy_protocol=TRUSTED, tls=PASSTHROUGH, routes=PassthroughTests.ROUTES)
            self.say(peer, self.HEADERS[2] + hello("api.example"), step)
            self.assertEqual((self.led(), self.at_server()), ("api", hello("api.example")))
            self.assertEqual(self.record(peer).client, "192.0.2.7:5555")

    def test_before_tls_that_ends_here(self) -> None:
        """Of a header before TLS that ends here nothing is read but itself, however it comes."""
        began: list[Any] = []

        def start_tls(side: Any, tls: Any, early: bool) -> None:
            began.append((tls, side.held, side.received))
            self.assertEqual(early, bool(side.held))

        self.patch(self.datapath, "start_tls", start_tls)
        for header in self.HEADERS:
            for step in (0, 1, 20):
                peer = self.connect(front=SERVER_CONTEXT, proxy_protocol=TRUSTED, tls=TlsSpec(("/certs",)))
                self.say(peer, header + hello("api.example"), step)
                self.assertEqual(began.pop(), (SERVER_CONTEXT, b"", len(header)))
                # What would be TLS is relayed here, as TLS was not really begun.
                self.assertEqual(self.at_server(), hello("api.example"))
                self.record(peer)
        peer = self.connect(front=SERVER_CONTEXT, proxy_protocol=TRUSTED, tls=TlsSpec(("/certs",)))
        self.say(peer, hello("api.example"))
        self.check_refused(Reason.PROXY_MALFORMED)
        self.assertEqual(began, [])
        for step in (0, 1):
            peer = self.connect(front=SERVER_CONTEXT, proxy_protocol=OPTIONAL, tls=TlsSpec(("/certs",)))
            self.say(peer, hello("api.example"), step)
            [(_, held, received)] = began
            self.assertEqual(held, hello("api.example")[:received])
            self.record(peer)
            began.clear()

    def test_an_optional_header_and_many_protocols(self) -> None:
        """On one port: with a header or without, each protocol, and the silent client, find their pools."""
        for before in (b"", self.HEADERS[1]):
            for said, pool in ((b"SSH-2.0-x\r\n", "ssh"), (hello("a.example"), "named"), (b"", "silent")):
                peer = self.connect(proxy_protocol=OPTIONAL, routes=SNIFFED, opening_timeout=1.0)
                self.say(peer, before + said)
                self.wait(0 if said else 2)
                self.assertEqual((self.led(), self.at_server()), (pool, said))
                self.record(peer)

    def test_large_headers_and_hellos_together(self) -> None:
        """The largest of both do not stop each other: what is held makes room when the header is read."""
        spare = proxyprotocol.LONGEST_V2 - len(proxyprotocol.v2(BEHIND, FRONT, tlvs=[(0xE0, b"")]))
        header = proxyprotocol.v2(BEHIND, FRONT, tlvs=[(0xE0, bytes(spare))])
        spare = clienthello.MAX_MESSAGE - 5 - len(hello("api.example", extensions=[(60000, b"")]))
        large = fragmented(hello("api.example", extensions=[(60000, bytes(spare))]), 1000)
        self.assertGreater(len(header + large), HELD)
        for last in (1, 100, 20_000):
            peer = self.connect(proxy_protocol=TRUSTED, tls=PASSTHROUGH, routes=PassthroughTests.ROUTES)
            said = header + large
            self.say(peer, said[:-last])
            self.say(peer, said[-last:] + bytes(100_000))
            self.assertEqual(self.at_server(), large + bytes(100_000))
            self.record(peer)


class TrustTests(Case):
    """Whose word counts."""

    def test_addresses(self) -> None:
        """An IPv4 address may be written as IPv6, scopes do not matter, and unix has its own word."""
        wanted = ProxyIn((ip_network("10.0.0.0/8"), ip_network("fe80::/10"), ip_network("192.0.2.1/32")))
        for host, trusted in (
            ("10.1.2.3", True),
            ("11.1.2.3", False),
            ("192.0.2.1", True),
            ("192.0.2.2", False),
            ("::ffff:10.1.2.3", True),
            ("::ffff:11.1.2.3", False),
            ("fe80::1%eth0", True),
            ("2001:db8::1", False),
        ):
            kind = IPv6Address if ":" in host else IPv4Address
            self.assertEqual(trusts(wanted, kind("TCP", host, 1)), trusted, host)
        for unix in (True, False):
            self.assertEqual(trusts(ProxyIn(unix=unix), UNIXAddress(None)), unix)


class MutationTests(OpeningCase):
    """Broken openings: each ends for the right reason, and no server hears of it unless it was right."""

    def test_broken_openings(self) -> None:
        """What the parsers say of all of it is what comes of it, in however many pieces it arrives."""
        self.check(Random(1), 900)

    def check(self, random: Random, count: int) -> None:
        """Send so many broken openings, whole or in two pieces, to listeners of every kind."""
        for kind in KINDS:
            for broken in mutations(random, kind.seeds, count // len(KINDS)):
                cut = random.randrange(len(broken) + 1)
                self.check_one(kind, [broken[:cut], broken[cut:]], finished=random.random() < 0.5)

    def check_one(self, kind: Kind, pieces: Sequence[bytes], finished: bool) -> None:
        """Send one, with an end behind it or not, and see that the right thing comes of it."""
        self.network = Network(self.clock)  # the old one would have more and more to look at
        self.datapath = FakeDatapath(self.network)
        peer = self.connect(
            opening_timeout=1.0,
            proxy_protocol=TRUSTED if kind.header else None,
            tls=PASSTHROUGH if kind.tls else "",
        )
        for piece in pieces:
            self.say(peer, piece)
        if finished:
            peer.finish()
            self.network.flush()
        else:
            self.wait(1.5)
        expected = verdict(kind, b"".join(pieces), finished)
        if isinstance(expected, Reason):
            self.check_refused(expected)
        else:
            self.assertEqual(self.at_server(), expected)
            self.assertIs(self.record(peer).reason, Reason.CLIENT_FINISHED)
