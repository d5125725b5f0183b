"""What becomes of a connection whose server is to have TLS?"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from proxyd.config.address import Address, TcpAddress
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.proxyprotocol import ProxyOut
from proxyd.config.servertls import CLIENT, ServerTlsSpec
from proxyd.config.tls import PASSTHROUGH
from proxyd.errors import DialFailed, Reason
from proxyd.policy.balance import RoundRobin
from proxyd.policy.pool import Pool
from proxyd.relay.factory import ProxyFactory
from proxyd.relay.pair import ProxyClient
from proxyd.relay.tls.server import ServerTls
from tests.relay.test_session import FakeDatapath, SessionCase
from tests.support.hello import openssl
from tests.support.streams import FakePeer

SPEC = ServerTlsSpec(verify=False)
SAID = "TLS: handshake failure (alert from the server)"
FOUND = "its certificate is for a.example, not for 10.0.0.1"


class TlsDatapath(FakeDatapath):
    """
    The same under TLS: 1 agrees, 7 fails in the handshake, 8 with its certificate, 9 never ends it.

    Those that are plain are of the ports from 11 on.
    """

    def __init__(self, network: Any) -> None:
        super().__init__(network)
        self.prefaces: list[bytes] = []
        self.asked: list[Any] = []

    def dial(
        self, address: Address, side: ProxyClient, tcp: Any = None, client: str = "", tls: Any = None
    ) -> Deferred[None]:
        assert isinstance(address, TcpAddress)
        assert (tls is None) == (address.port > 10)
        if tls is None:
            return super().dial(TcpAddress(address.host, address.port - 10), side, tcp, client)
        self.prefaces.append(tls.preface)
        if address.port in (2, 3):
            return super().dial(address, side, tcp, client)
        connection = tls.connection(None)
        self.asked.append(connection.get_servername())
        if address.port == 1:
            return super().dial(address, side, tcp, client)
        self.dialed.append(address.port)
        dialing: Deferred[None] = Deferred(self._cancel)
        if address.port == 8:
            connection.problem = FOUND
        if address.port != 9:
            tls.failed(SAID)
            dialing.errback(DialFailed(Reason.CONNECT_TLS, SAID))
        return dialing


class ServerTlsTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.datapath: TlsDatapath = TlsDatapath(self.network)

    def lead(
        self, *ports: int, tls: ServerTlsSpec = SPEC, pool: Any = None, listener_tls: str = ""
    ) -> FakePeer:
        """A client of a pool whose servers behave as their ports say."""
        servers = tuple(
            ServerSpec(f"s{place}", TcpAddress("10.0.0.1", port), tls=tls if port < 10 else None)
            for place, port in enumerate(ports)
        )
        spec = evolve(PoolSpec("web", servers), **(pool or {}))
        self.server_tls = ServerTls([spec], self.clock.seconds)
        self.assertEqual(self.server_tls.load(), [])
        self.front(Pool(spec, RoundRobin(lambda: 0.0)), tls=listener_tls)
        return self.connect()

    def front(self, pool: Pool, **listener: Any) -> None:
        super().front(pool, **listener)
        made = self.factory
        self.factory = ProxyFactory(
            made.spec, made.pools, self.datapath, self.wheel, self.clock.seconds, self.wall, self.capacity,
            made.observers, made.gate.admission, server_tls=self.server_tls,
        )  # fmt: skip

    def test_agreed(self) -> None:
        """The client's bytes go to a server with which TLS stands, and the header was told before TLS."""
        client = self.lead(1, pool={"proxy_protocol": ProxyOut(1)})
        client.send(b"question")
        self.network.flush()
        server = self.datapath.peers[0]
        self.assertEqual(server.received, b"question")
        [preface] = self.datapath.prefaces
        self.assertRegex(preface, rb"^PROXY TCP4 10\.9\.9\.9 ")
        server.finish()
        client.finish()
        self.assertEqual(self.the_record().reason, Reason.CLIENT_FINISHED)

    def test_plain_and_not(self) -> None:
        """Of a pool's servers one may be plain: it is told the header as the first bytes."""
        client = self.lead(11, pool={"proxy_protocol": ProxyOut(1)})
        self.network.flush()
        server = self.datapath.peers[0]
        self.assertRegex(bytes(server.received), rb"^PROXY TCP4 10\.9\.9\.9 ")
        server.finish()
        client.finish()
        self.the_record()

    def test_failed(self) -> None:
        """A server with which TLS does not come about was not reached, is blamed, and another is tried."""
        client = self.lead(7, 8, 1)
        self.network.flush()
        self.assertEqual(self.datapath.dialed, [7, 8, 1])
        self.assertEqual([server.tls_failures for server in self.pool.servers], [1, 1, 0])
        self.assertEqual([server.failures for server in self.pool.servers], [1, 1, 0])
        client.finish()
        self.network.flush()
        self.datapath.peers[0].finish()
        record = self.the_record()
        self.assertEqual((record.server, record.retries), ("s2", 2))

    def test_why(self) -> None:
        """The record says what the certificate lacks, or else what OpenSSL has said."""
        for port, detail in ((7, SAID), (8, FOUND)):
            self.notebook.records.clear()
            self.lead(port)
            record = self.the_record()
            self.assertEqual((record.reason, record.detail), (Reason.CONNECT_TLS, detail))

    def test_late(self) -> None:
        """A server that does not end the handshake in time is told from one that does not answer at all."""
        for port, reason, detail, failures in (
            (9, Reason.CONNECT_TLS, "no end of the handshake within 5 s", 1),
            (3, Reason.CONNECT_TIMEOUT, "no answer within 5 s", 0),
        ):
            self.notebook.records.clear()
            self.lead(port)
            self.pass_time(6)
            record = self.the_record()
            self.assertEqual((record.reason, record.detail), (reason, detail))
            self.assertEqual(self.pool.servers[0].tls_failures, failures)

    def test_client_gone(self) -> None:
        """A client that leaves in the midst of the handshake ends it."""
        client = self.lead(9)
        client.reset()
        self.network.flush()
        self.assertEqual(self.datapath.cancelled, 1)
        self.assertEqual(self.the_record().reason, Reason.CLIENT_GONE)

    def test_the_name_that_the_client_asks_for(self) -> None:
        """Where that is wanted, the server is asked for the name in the client's hello, on each try."""
        client = self.lead(7, 1, tls=evolve(SPEC, sni=CLIENT), listener_tls=PASSTHROUGH)
        client.send(openssl("web.example"))
        self.network.flush()
        self.assertEqual(self.datapath.asked, [b"web.example"] * 2)
        client.reset()
        self.the_record()
