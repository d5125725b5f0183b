"""Is a client who may not come in closed at once, with one record, and before anything is read or dialed?"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress

from proxyd.config.address import EndpointBind
from proxyd.errors import Reason
from proxyd.policy.bans import Ban, Bans
from proxyd.records import Record
from proxyd.relay.admission import Unwelcome, client_of, cut_banned
from proxyd.wire import proxyprotocol
from tests.relay.test_opening import BEHIND, CLIENT, FRONT, OPTIONAL, TRUSTED, OpeningCase
from tests.support.admission import admission
from tests.support.case import Case
from tests.support.streams import FakePeer

HEADER = proxyprotocol.v2(BEHIND, FRONT)  # the client is 192.0.2.7, and comes by 10.9.9.9
LOCAL = proxyprotocol.v2_local()
STRANGER = IPv4Address("TCP", "10.8.0.1", 4711)


class Transport:
    """A transport that notes whether it was aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Socket:
    """A socket that was accepted, and notes whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


def peer_of(address: Any) -> Any:
    """An address as accept(2) gives it."""
    if isinstance(address, UNIXAddress):
        return ""
    return (address.host, address.port, 0, 0) if ":" in address.host else (address.host, address.port)


class GateCase(OpeningCase):
    def setUp(self) -> None:
        super().setUp()
        self.bans = Bans(10)

    def only(self, *lines: str) -> None:
        """Let in whom these lines let in."""
        self.admission = admission(*lines, bans=self.bans)

    def only_record(self) -> Record:
        """The only record there is."""
        [record] = self.notebook.records
        return record

    def refused(self, reason: Reason, detail: str, client: str) -> None:
        """There is one record, which says so, and no server was dialed."""
        record = self.only_record()
        self.assertEqual((record.reason, record.detail, record.client), (reason, detail, client))
        self.assertEqual((record.listener, record.bytes_in, record.server), ("front", 0, ""))
        self.assertEqual(self.datapath.dialed, [])


class AtAccept(GateCase):
    def begin(self, **listener: Any) -> None:
        """A first client is let in and stays, and then others are denied."""
        self.connect(**listener)
        self.datapath.dialed.clear()
        self.factory.gate.admission = self.denying

    def turned_away(self, address: Any = CLIENT) -> bool:
        """Whether one who connects then is turned away, and closed."""
        self.begin()
        skt = Socket()
        self.assertIs(self.factory.sends_away(skt, peer_of(address)), skt.closed)
        return skt.closed

    def test_denied(self) -> None:
        """No session is made of him, none is counted as open, and the record has no bytes."""
        self.denying = admission("deny 10.9.0.0/16")
        self.assertTrue(self.turned_away())
        self.refused(Reason.DENIED, "deny: its networks", "10.9.9.9:4711")
        self.assertEqual((self.only_record().total_seconds, self.capacity.open), (0.0, 1))

    def test_families(self) -> None:
        """Clients on all kinds of sockets are judged: IPv6, IPv4 that comes to IPv6, and unix."""
        self.denying = admission("deny 10.9.0.0/16 2001:db8::/32 unix")
        for address, in_vain in [
            (IPv6Address("TCP", "2001:db8::1", 1), True),
            (IPv6Address("TCP", "::ffff:10.9.9.9", 1), True),
            (UNIXAddress(None), True),
            (IPv6Address("TCP", "2001:db9::1", 1), False),
            (IPv4Address("TCP", "10.8.0.1", 1), False),
        ]:
            self.assertIs(self.turned_away(address), in_vain, address)

    def test_banned(self) -> None:
        """Who is banned comes in again when the ban has ended."""
        self.denying = admission(bans=self.bans)
        self.bans.add(Ban(ip_network("10.9.9.9"), 60.0, "too loud"))
        self.assertTrue(self.turned_away())
        self.refused(Reason.BANNED, "10.9.9.9 60 too loud", "10.9.9.9:4711")
        self.clock.advance(60)
        self.assertFalse(self.turned_away())

    def test_tls(self) -> None:
        """Where Twisted ends TLS it is given a protocol that closes before the handshake."""
        self.denying = admission("deny all")
        self.begin(binds=(EndpointBind("ssl:443"),))
        protocol, transport = self.factory.buildProtocol(CLIENT), Transport()
        self.assertIsInstance(protocol, Unwelcome)
        protocol.makeConnection(transport)
        self.assertTrue(transport.aborted)


class BehindProxies(GateCase):
    """The client is 192.0.2.7; the balancer that tells of it has 10.9.9.9."""

    def tells(self, header: bytes, *lines: str, address: Any = CLIENT, optional: bool = False) -> FakePeer:
        """A balancer's connection that begins so."""
        self.only(*lines)
        peer = self.connect(address=address, proxy_protocol=OPTIONAL if optional else TRUSTED)
        peer.send(header + b"hello")
        self.network.flush()
        return peer

    def test_told_address(self) -> None:
        """The client that a header tells of is judged, and closed before anything else is read."""
        self.tells(HEADER, "deny 192.0.2.0/24")
        record = self.only_record()
        self.assertEqual((record.reason, record.client), (Reason.DENIED, "192.0.2.7:5555"))
        self.assertEqual((record.via, self.datapath.dialed), ("10.9.9.9:4711", []))

    def test_balancer(self) -> None:
        """Where clients alone are allowed, their balancer need not be, as long as it tells of them."""
        self.tells(HEADER, "allow 192.0.2.0/24")
        self.assertEqual((len(self.datapath.dialed), self.notebook.records), (1, []))

    def test_of_itself(self) -> None:
        """A balancer that tells of nobody is judged itself."""
        for header, optional in ((LOCAL, False), (b"", True)):
            self.tells(header, "allow 192.0.2.0/24", optional=optional)
            record = self.only_record()
            self.assertEqual((record.reason, record.client), (Reason.DENIED, "10.9.9.9:4711"))
            self.tells(header, "allow 10.9.9.9/32", optional=optional)
            self.assertEqual(self.notebook.records, [])

    def test_strangers(self) -> None:
        """Whose header would not be taken is judged at accept, and may not speak at all."""
        self.only("deny 10.8.0.0/16")
        self.connect(proxy_protocol=OPTIONAL)
        self.assertTrue(self.factory.sends_away(Socket(), peer_of(STRANGER)))
        record = self.only_record()
        self.assertEqual((record.reason, record.client), (Reason.DENIED, "10.8.0.1:4711"))

    def test_bans(self) -> None:
        """A ban is for the client that is told of, and for a balancer too."""
        self.bans.add(Ban(ip_network("192.0.2.7"), 60.0))
        self.tells(HEADER)
        self.assertEqual(self.only_record().reason, Reason.BANNED)
        self.bans.remove(ip_network("192.0.2.7"))
        self.bans.add(Ban(ip_network("10.9.9.9"), 60.0))
        self.notebook.records.clear()
        self.assertTrue(self.factory.sends_away(Socket(), peer_of(CLIENT)))
        self.assertEqual(self.only_record().detail, "10.9.9.9 60")


class Cut(GateCase):
    def test_cut(self) -> None:
        """Who is banned with a cut is ended, as a client or as its balancer, and nobody else is."""
        for network, cut in (("192.0.2.7", 1), ("10.9.9.9", 1), ("192.0.2.8", 0), ("10.0.0.0/8", 1)):
            self.only()
            self.connect(proxy_protocol=TRUSTED).send(HEADER)
            self.network.flush()
            ban = Ban(ip_network(network), 60.0, "x")
            self.assertEqual(cut_banned(self.factory.sessions, ban, 0.0), cut, network)
            self.network.flush()
            self.assertEqual([record.reason for record in self.notebook.records], [Reason.BANNED] * cut)
            self.assertEqual(cut_banned(self.factory.sessions, ban, 0.0), 0)


class ClientOf(Case):
    def test_addresses(self) -> None:
        """An address is its bytes, an IPv4 one those of IPv4, and what is no IP address has none."""
        for address, client in [
            (IPv4Address("TCP", "10.9.9.9", 1), b"\x0a\x09\x09\x09"),
            (IPv6Address("TCP", "::ffff:10.9.9.9", 1), b"\x0a\x09\x09\x09"),
            (IPv6Address("TCP", "::1", 1), b"\0" * 15 + b"\x01"),
            (UNIXAddress("/run/x"), b""),
            (HostnameAddress(b"example.com", 1), b""),
            (object(), b""),
        ]:
            self.assertEqual(client_of(address), client)
