"""Each kind of address leads to the endpoint that fits."""

from __future__ import annotations

from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from proxyd.config.address import Address, TcpAddress, UnixAddress
from proxyd.relay.dial import client_endpoint
from tests.support.case import Case


class ClientEndpointTests(Case):
    """From an address to an endpoint."""

    def test_each_kind(self) -> None:
        """Literals need no name service, and unix sockets no port."""
        cases: list[tuple[Address, type]] = [
            (TcpAddress("10.0.0.1", 80), TCP4ClientEndpoint),
            (TcpAddress("::1", 80), TCP6ClientEndpoint),
            (TcpAddress("db.example.com", 80), HostnameEndpoint),
            (UnixAddress("/run/db.sock"), UNIXClientEndpoint),
        ]
        for address, kind in cases:
            self.assertIs(type(client_endpoint(MemoryReactorClock(), address, None)), kind)

    def test_the_caller_may_keep_the_time(self) -> None:
        """The timeout is handed on as it is, None included."""
        for timeout in None, 5.0:
            reactor = MemoryReactorClock()
            client_endpoint(reactor, TcpAddress("10.0.0.1", 80), timeout).connect(Factory())
            self.assertEqual([call[3] for call in reactor.tcpClients], [timeout])
