"""Is each request that of the client whom a trusted proxy tells of, and of nobody else's?"""

from __future__ import annotations

from ipaddress import ip_network

from proxyd.config.http import FORWARDED, HttpSpec
from proxyd.config.limits import RateSpec
from proxyd.config.lists import Clients
from proxyd.config.proxyprotocol import ProxyIn, ProxyOut
from proxyd.errors import Reason
from tests.frontends.http.client2 import Http2Client
from tests.frontends.http.front import GET, OK, HttpCase
from tests.frontends.http.test_routed import RoutedCase, route

NET = (ip_network("10.9.9.0/24"),)
TRUSTED = HttpSpec(trusted=NET)
PROXY = "10.9.9.9:4711"


def of(client: bytes, field: bytes = b"X-Forwarded-For: %s") -> bytes:
    """A request of this client, as the proxy passes it on."""
    return GET.replace(b"\r\n\r\n", b"\r\n%s\r\n\r\n" % (field % client))


class SpokenFor(HttpCase):
    """A proxy that asks for many clients on one connection."""

    def test_each_by_itself(self) -> None:
        """Each record names its client, and the proxy as via; what names nobody is the proxy's own."""
        self.listen(http=TRUSTED)
        proxy = self.client()
        for request in (of(b"192.0.2.1"), of(b"192.0.2.1, 2001:db8::7"), GET, of(b"192.0.2.2")):
            self.say(proxy, request)
            self.say(self.server, OK)
        self.say(proxy, b"nonsense\r\n\r\n")
        self.assertEqual(
            [(record.client, record.via) for record in self.notebook.requests],
            [
                ("192.0.2.1:0", PROXY),
                ("[2001:db8::7]:0", PROXY),
                (PROXY, ""),
                ("192.0.2.2:0", PROXY),
                (PROXY, ""),  # who has sent what nobody can read is not the one before
            ],
        )
        self.assertIn(b"X-Forwarded-For: 192.0.2.1, 2001:db8::7, 10.9.9.9\r\n", self.server.received)
        self.over()

    def test_late(self) -> None:
        """Nor is who does not come to the end of a head."""
        self.listen(http=HttpSpec(trusted=NET, header_timeout=5.0))
        proxy = self.client(of(b"192.0.2.1"))
        self.say(self.server, OK)
        self.say(proxy, GET[:9])
        self.pass_time(8)
        self.assertEqual([record.client for record in self.notebook.requests], ["192.0.2.1:0", PROXY])
        self.over()

    def test_stranger(self) -> None:
        """Who is not trusted speaks for itself."""
        self.listen(http=TRUSTED)
        self.client(of(b"192.0.2.1"), host="10.8.8.8")
        self.say(self.server, OK)
        self.assertEqual((self.the_request().client, self.the_request().via), ("10.8.8.8:4711", ""))
        self.over()

    def test_forwarded(self) -> None:
        """The field is that by which servers are told; the other one may be anybody's."""
        self.listen(http=HttpSpec(trusted=NET, forwarded=FORWARDED))
        proxy = self.client(of(b"192.0.2.1"))
        self.say(self.server, OK)
        self.say(proxy, of(b"192.0.2.2", b"Forwarded: for=%s;proto=https"))
        self.say(self.server, OK)
        self.assertEqual([record.client for record in self.notebook.requests], [PROXY, "192.0.2.2:0"])
        self.over()

    def test_http2(self) -> None:
        """Each stream has its own client."""
        self.listen(http=TRUSTED)
        proxy = Http2Client(self)
        for host in ("192.0.2.1", "192.0.2.2"):
            proxy.ask(("x-forwarded-for", host))
        for server in self.datapath.peers:
            self.say(server, OK)
        proxy.ask()
        self.say(self.server, OK)
        proxy.hear()
        self.assertEqual(
            sorted(record.client for record in self.notebook.requests), [PROXY, "192.0.2.1:0", "192.0.2.2:0"]
        )
        self.over()

    def test_proxy_protocol(self) -> None:
        """A connection that begins with a client's PROXY header is for nobody else, nor is that made anew."""
        self.listen(http=TRUSTED, pool={"proxy_protocol": ProxyOut(1)})
        proxy = self.client()
        for host in (b"192.0.2.1", b"192.0.2.2", b"192.0.2.1"):
            self.say(proxy, of(host))
            (server,) = (peer for peer in self.datapath.peers if self.heard(peer))
            self.assertTrue(server.received.startswith(b"PROXY TCP4 %s " % host))
            self.say(server, OK)
        self.assertEqual(len(self.datapath.peers), 2)
        self.over()

    def test_two_proxies(self) -> None:
        """Nor is it for that client where it has come another way, of which the server is told, too."""
        self.listen(http=TRUSTED, proxy_protocol=ProxyIn(NET), pool={"proxy_protocol": ProxyOut(1)})
        for port, end in ((1, b"192.0.2.80"), (2, b"192.0.2.81"), (3, b"192.0.2.80")):
            header = b"PROXY TCP4 10.9.9.8 %s %d 80\r\n" % (end, port)
            proxy = self.client(header + of(b"192.0.2.1"))
            (server,) = (peer for peer in self.datapath.peers if self.heard(peer))
            self.assertTrue(server.received.startswith(b"PROXY TCP4 192.0.2.1 %s 0 80\r\n" % end))
            self.say(server, OK)
            proxy.close()
        self.assertEqual(len(self.datapath.peers), 2)
        self.over()


class Routed(RoutedCase):
    """The same where routes go by clients."""

    def test_conditions_and_limits(self) -> None:
        """Routes see the client, and not the proxy, which may be within what they let in."""
        office = Clients(NET)
        self.routes(
            route("intern", condition={"client": office}),
            route("all", "api", request_rate_per_client=RateSpec(1, 3600.0)),
            http=TRUSTED,
        )
        proxy = self.client()
        for request in (of(b"192.0.2.1"), of(b"192.0.2.1"), of(b"192.0.2.2"), of(b"10.9.9.4"), GET):
            self.say(proxy, request)
            self.say(self.server, OK)
        self.assertEqual(
            [(record.route, record.status) for record in self.notebook.requests],
            [("all", 200), ("all", 429), ("all", 200), ("intern", 200), ("intern", 200)],
        )
        self.assertEqual(self.notebook.requests[1].reason, Reason.ROUTE_RATE)
        self.over()
