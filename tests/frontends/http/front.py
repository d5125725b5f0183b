"""What do tests of HTTP stand on?  A listener that speaks it, and servers that the test drives."""

from __future__ import annotations

from random import Random as Dice
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred

from proxyd.config.address import Address, TcpAddress
from proxyd.config.http import HttpSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.errors import Reason
from proxyd.frontends.http.factory import HttpFactory
from proxyd.policy.balance import RoundRobin, make_balancer
from proxyd.policy.pool import Pool
from proxyd.records import RequestRecord
from proxyd.relay.dial import told_of_dial
from proxyd.relay.pair import ProxyClient
from tests.relay.test_session import FakeDatapath, SessionCase
from tests.support.admission import admission
from tests.support.streams import FakePeer

GET = b"GET /x HTTP/1.1\r\nHost: example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 5\r\n\r\nhello"
ANSWERED = b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 5\r\nVia: 1.1 proxyd\r\n\r\nhello"
BY_DEFAULT = HttpSpec()
TOLD = b"X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Proto: http\r\n"


class NotedDatapath(FakeDatapath):
    """The same, that knows which peer is whose."""

    def dial(
        self, address: Address, side: ProxyClient, tcp: Any = None, client: str = "", tls: Any = None
    ) -> Deferred[None]:
        before = len(self.peers)
        dialing = super().dial(address, side, tcp, client, tls)
        if len(self.peers) > before:
            assert isinstance(address, TcpAddress)
            self.hosts.append(address.host)
        return dialing

    def reach(self, address: Any, side: Any, asker: Any, tcp: Any = None) -> Any:
        return told_of_dial(self.dial(address, side), asker)

    def __init__(self, network: Any) -> None:
        super().__init__(network)
        self.hosts: list[str] = []


class HttpCase(SessionCase):
    """
    Requests on the verified fake, with a clock that the test moves.

    Servers are called a, b and c; their ports say how they behave (`FakeDatapath`).
    """

    factory: HttpFactory
    datapath: NotedDatapath

    def setUp(self) -> None:
        super().setUp()
        self.datapath = NotedDatapath(self.network)

    def listen(
        self, *ports: int, http: HttpSpec = BY_DEFAULT, pool: Any = None, cache: Any = None, **listener: Any
    ) -> None:
        """
        A listener before servers at these ports; ``pool`` has further values of theirs.

        ``cache`` is where it has answers stored.
        """
        servers = tuple(
            ServerSpec(name, TcpAddress(f"10.0.0.{place}", port), max_connections=0)
            for place, (name, port) in enumerate(zip("abc", ports or (1,)), 1)
        )
        spec = PoolSpec("web", servers, **{"connect_timeout": 5.0, **(pool or {})})
        asked = "balance" in (pool or {})
        balancer = (
            make_balancer(spec.balance, Dice(1).random, self.clock.seconds)
            if asked
            else RoundRobin(lambda: 0.0)
        )
        self.pool = Pool(spec, balancer)
        self.factory = HttpFactory(
            ListenerSpec("front", (), "web", protocol="http", http=http, **listener),
            {"web": self.pool},
            self.datapath,
            self.wheel,
            self.clock.seconds,
            self.wall,
            self.capacity,
            [self.notebook],
            admission(),
            cache=cache,
        )

    def client(self, said: bytes = b"", host: str = "10.9.9.9", **how: Any) -> FakePeer:
        """A client that has said this."""
        side = self.factory.buildProtocol(IPv4Address("TCP", host, 4711))
        peer = self.network.connect(side, **how)
        if said:
            peer.send(said)
        self.network.flush()
        return peer

    def say(self, peer: FakePeer, data: bytes) -> None:
        """Have a peer say something, and let it arrive."""
        peer.send(data)
        self.network.flush()

    @property
    def server(self) -> FakePeer:
        """The server that was dialed last."""
        self.network.flush()
        return self.datapath.peers[-1]

    def heard(self, peer: FakePeer) -> bytes:
        """What a peer has received since this was last asked."""
        self.network.flush()
        before = getattr(peer, "heard", 0)
        peer.heard = peer.count  # type: ignore[attr-defined]
        return peer.received[before:]

    def the_request(self) -> RequestRecord:
        """The one record of a request."""
        self.network.flush()
        self.assertEqual(len(self.notebook.requests), 1)
        return self.notebook.requests[0]

    def outcomes(self) -> list[tuple[int, Reason]]:
        """The status and the reason of each request that is over."""
        self.network.flush()
        return [(record.status, record.reason) for record in self.notebook.requests]

    def over(self) -> None:
        """Let the listener close; then nothing is left."""
        self.factory.stopFactory()
        self.network.flush()
        for peer in self.network._peers:
            if not peer.closed:
                peer.close()
        self.pass_time(2)
        self.assertEqual(self.network.open(), [])
        self.assertEqual((len(self.wheel), self.clock.getDelayedCalls()), (0, []))
        self.assertEqual([server.open for server in self.pool.servers], [0] * len(self.pool.servers))
        self.assertEqual((self.pool.open, self.capacity.open, self.factory.sessions), (0, 0, set()))
