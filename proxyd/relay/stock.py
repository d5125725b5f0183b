"""
How do the bytes move on Twisted's own transports?

The stock datapath makes a transport of each socket that was accepted, and dials servers.  It works under
every reactor that has ``connectTCP``.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Callable, Optional, Union

from OpenSSL.SSL import Context
from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectBindError, ConnectionRefusedError
from twisted.internet.interfaces import IAddress, IConnector, IProtocolFactory, IReadDescriptor
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyd.config.address import Address, Addresses, TcpAddress, UnixAddress, named
from proxyd.config.tcp import KEEPALIVE, TcpSpec
from proxyd.errors import DialFailed, Reason
from proxyd.interfaces import IDatapath, ITLSClient
from proxyd.relay.dial import reach_one, told_of_dial, unresolved
from proxyd.relay.prepared import prepared
from proxyd.relay.streams import CHUNK, OUT_OF_DESCRIPTORS, keep_alive
from proxyd.relay.tls.arriving import Arriving
from proxyd.relay.tls.parts import refuse_what_is_held
from proxyd.relay.tls.stock import begin, give_way, with_tls


class ProxyClientFactory(ClientFactory):
    """
    Brings one side, such as a `ProxyClient`, to its server.

    ``arrived`` fires with its transport when it is there, or fails when it could not be.
    """

    noisy = False

    def __init__(self, side: Any, clock: Any = None, tls: Optional[ITLSClient] = None) -> None:
        self.side = side
        self._clock = clock
        self._tls = tls
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
        if self._tls is not None:
            stand_in = Arriving(self.side, self._tls, self.arrived, give_way)
            secured = with_tls(self._clock, stand_in, self._tls, preface=self._tls.preface)
            self.stop = secured.abortConnection
            return secured
        return _Arriving(self)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self.failed(reason)


class _Arriving(Protocol):
    """Stands in for the side until there is a transport for it."""

    def __init__(self, factory: ProxyClientFactory) -> None:
        self._factory = factory

    def makeConnection(self, transport: Any) -> None:
        factory = self._factory
        transport.protocol = factory.side
        factory.side.makeConnection(transport)
        factory.arrived.callback(transport)


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

    def accept(
        self, skt: socket.socket, peer: Any, factory: IProtocolFactory, tls: Optional[Context] = None
    ) -> None:
        """
        Run a protocol of the factory on a socket that was accepted from ``peer`` (`IDatapath.accept`).

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
        if tls is not None:
            protocol = with_tls(self._reactor, protocol, tls)
        server = unix.Server if skt.family == socket.AF_UNIX else tcp.Server
        transport = server(skt, protocol, peer, None, 0, self._reactor)  # type: ignore[arg-type]
        transport.repstr = f"<{server.__module__}.Server for {address}>"
        transport.bufferSize = CHUNK
        protocol.makeConnection(transport)

    def start_tls(self, side: Any, tls: Union[Context, ITLSClient], early: bool = False) -> None:
        """Speak TLS from now on, on a plain connection that the side has (`IDatapath.start_tls`)."""
        if not early:
            refuse_what_is_held(side)
        begin(self._reactor, side, tls)

    def close(self) -> None:
        """There is nothing to give up."""

    def dial(
        self,
        address: Address,
        side: Any,
        tcp: Optional[TcpSpec] = None,
        client: str = "",
        tls: Optional[ITLSClient] = None,
    ) -> Deferred[Optional[TcpAddress]]:
        """Connect the side to a server (`IDatapath.dial`)."""
        if isinstance(address, Addresses):
            return reach_one(self._reactor, address, lambda each: self.dial(each, side, tcp, client, tls))
        reactor = prepared(self._reactor, tcp, client)
        factory = ProxyClientFactory(side, self._reactor, tls)
        if isinstance(address, UnixAddress):
            reactor.connectUNIX(address.path, factory, timeout=None)
        elif not isinstance(address, TcpAddress) or named(address):
            return fail(unresolved(address))
        else:
            reactor.connectTCP(address.host, address.port, factory, timeout=None)
        by_default = tcp is None or tcp.keepalive == KEEPALIVE
        return factory.arrived.addCallbacks(lambda made: _tuned(made, by_default), _dial_failed)

    def reach(self, address: Address, side: Any, asker: Any, tcp: Optional[TcpSpec] = None) -> Any:
        """The same of a plain server, for one who is told by calls (`IDatapath.reach`)."""
        return told_of_dial(self.dial(address, side, tcp), asker)


def _tuned(transport: Any, keepalive_by_default: bool) -> None:
    transport.bufferSize = CHUNK
    skt = transport.getHandle()
    if skt.family != socket.AF_UNIX:
        skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if keepalive_by_default:
            keep_alive(skt)


def _dial_failed(failure: Failure) -> None:
    """Say in our words what Twisted says in many."""
    if failure.check(CancelledError):
        raise CancelledError from None
    error = failure.value
    if isinstance(error, DialFailed):
        raise error from None
    code = getattr(error, "osError", None)
    if not isinstance(code, int):
        # A `ConnectBindError` without a number is how `prepared` tells it.
        reason = Reason.SOURCE_FAILED if isinstance(error, ConnectBindError) else Reason.CONNECT_FAILED
        raise DialFailed(reason, str(error)) from None
    if isinstance(error, ConnectionRefusedError):
        reason = Reason.CONNECT_REFUSED
    elif code in OUT_OF_DESCRIPTORS:
        reason = Reason.DESCRIPTORS
    else:
        reason = Reason.LOCAL_PORTS if code == errno.EADDRNOTAVAIL else Reason.CONNECT_FAILED
    raise DialFailed(reason, os.strerror(code), code) from None
