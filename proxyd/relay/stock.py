"""
How do the bytes move on Twisted's own transports?

The stock datapath makes a transport of each socket that was accepted, and dials servers.  It works under
every reactor that has ``connectTCP``.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Callable, Optional

from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectBindError, ConnectError, ConnectionRefusedError
from twisted.internet.interfaces import IAddress, IConnector, IProtocolFactory, IReadDescriptor
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyd.config.address import Address, Addresses, TcpAddress, UnixAddress, named
from proxyd.config.tcp import KEEPALIVE, TcpSpec
from proxyd.errors import DialFailed, Reason
from proxyd.interfaces import IDatapath
from proxyd.relay.dial import reach_one, unresolved
from proxyd.relay.pair import ProxyClient
from proxyd.relay.prepared import prepared
from proxyd.relay.streams import CHUNK, OUT_OF_DESCRIPTORS, keep_alive


class ProxyClientFactory(ClientFactory):
    """Brings one `ProxyClient` to its server; ``arrived`` fires when it is there, or could not be."""

    noisy = False

    def __init__(self, side: ProxyClient) -> None:
        self.side = side
        self.arrived: Deferred[Any] = Deferred(lambda _: self.give_up())
        self.given_up = False
        self.stop: Callable[[], object] = lambda: None

    def give_up(self) -> None:
        """End the attempt; whatever Twisted calls that failure then is nobody's concern."""
        self.given_up = True
        self.stop()

    def failed(self, reason: Failure) -> None:
        """The server was not reached."""
        if not self.given_up:
            self.arrived.errback(reason)

    def startedConnecting(self, connector: IConnector) -> None:
        self.stop = connector.stopConnecting

    def buildProtocol(self, addr: Optional[IAddress]) -> Any:
        self.side.arrived = self.arrived
        return self.side

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self.failed(reason)


@implementer(IDatapath)
class Stock:
    """The datapath over Twisted's transports."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def addReader(self, reader: IReadDescriptor) -> None:
        """Have the reactor serve a listener."""
        self._reactor.addReader(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Serve it no more."""
        self._reactor.removeReader(reader)

    def accept(self, skt: socket.socket, peer: Any, factory: IProtocolFactory) -> None:
        """
        Run a protocol of the factory on a socket that was accepted from ``peer``, as accept(2) gave it.

        The socket is closed when the factory does not want it.
        """
        if skt.family == socket.AF_UNIX:
            address: IAddress = UNIXAddress(None)
        elif skt.family == socket.AF_INET6:
            address = IPv6Address("TCP", *peer)
        else:
            address = IPv4Address("TCP", *peer)
        protocol = factory.buildProtocol(address)
        if protocol is None:
            skt.close()
            return
        server = unix.Server if skt.family == socket.AF_UNIX else tcp.Server
        transport = server(skt, protocol, peer, None, 0, self._reactor)  # type: ignore[arg-type]
        transport.repstr = f"<{server.__module__}.Server for {address}>"
        transport.bufferSize = CHUNK
        protocol.makeConnection(transport)

    def close(self) -> None:
        """There is nothing to give up."""

    def dial(
        self, address: Address, side: ProxyClient, tcp: Optional[TcpSpec] = None, client: str = ""
    ) -> Deferred[Optional[TcpAddress]]:
        """Connect the side to a server (`IDatapath.dial`)."""
        if isinstance(address, Addresses):
            return reach_one(self._reactor, address, lambda each: self.dial(each, side, tcp, client))
        reactor = prepared(self._reactor, tcp, client)
        factory = ProxyClientFactory(side)
        if isinstance(address, UnixAddress):
            reactor.connectUNIX(address.path, factory, timeout=None)
        elif not isinstance(address, TcpAddress) or named(address):
            return fail(unresolved(address))
        else:
            reactor.connectTCP(address.host, address.port, factory, timeout=None)
        by_default = tcp is None or tcp.keepalive == KEEPALIVE
        return factory.arrived.addCallbacks(lambda _: _tuned(side, by_default), _dial_failed)


def _tuned(side: ProxyClient, keepalive_by_default: bool) -> None:
    side.transport.bufferSize = CHUNK
    skt = side.transport.getHandle()
    if skt.family != socket.AF_UNIX:
        skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if keepalive_by_default:
            keep_alive(skt)


def _dial_failed(failure: Failure) -> None:
    """Say in our words what Twisted says in many."""
    if failure.check(CancelledError):
        raise CancelledError from None
    error = failure.value
    code = getattr(error, "osError", None)
    detail = os.strerror(code) if isinstance(code, int) else str(error)
    if isinstance(error, ConnectionRefusedError):
        raise DialFailed(Reason.CONNECT_REFUSED, detail) from None
    if isinstance(error, ConnectError) and error.osError in OUT_OF_DESCRIPTORS:
        raise DialFailed(Reason.DESCRIPTORS, detail) from None
    if isinstance(error, ConnectBindError) and code is None:
        raise DialFailed(Reason.SOURCE_FAILED, detail) from None  # as `prepared` tells it
    if code == errno.EADDRNOTAVAIL:
        raise DialFailed(Reason.LOCAL_PORTS, detail) from None
    raise DialFailed(Reason.CONNECT_FAILED, detail) from None
