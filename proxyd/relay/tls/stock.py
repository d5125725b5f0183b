"""
How is TLS spoken on Twisted's own transports?

By Twisted's `TLSMemoryBIOProtocol`, between the transport and the side.  What it tells the side of handshakes
and losses goes by way of `_Inner`, so that it is told as on the lane.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Union

from OpenSSL.SSL import Connection, Context, Error
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IReactorTime,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyd.errors import DialFailed
from proxyd.interfaces import ITLSClient
from proxyd.relay.tls.parts import server_part
from proxyd.relay.tls.words import CUT_SHORT, lost_by


@implementer(IOpenSSLServerConnectionCreator)
class _Serving:
    """Makes the server's part."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> Connection:
        return server_part(self._context, None)


@implementer(IOpenSSLClientConnectionCreator)
class _Asking:
    """Makes the client's part."""

    def __init__(self, client: ITLSClient) -> None:
        self._client = client

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> Connection:
        made: Connection = self._client.connection(None)
        return made


def _too_late(data: bytes) -> None:
    """Nobody is there any more."""


@implementer(IHandshakeListener)
class _Inner:
    """Between TLS and the side: judges the server, and finds the words for a loss."""

    def __init__(self, side: Any, client: Optional[ITLSClient]) -> None:
        self._client = client
        self._stands = False
        self._tls: Any = None
        self.serve(side)

    def serve(self, side: Any) -> None:
        """From now on speak with this one."""
        self._side = side
        self.dataReceived: Callable[[bytes], None] = side.dataReceived

    def attach(self, tls: StockTLS) -> None:
        """Work for this transport, which the side need not be told of."""
        self._tls = tls

    def makeConnection(self, transport: Any) -> None:
        self._tls = transport
        self._side.makeConnection(transport)

    def connectionMade(self) -> None:
        """The transport is connected."""

    def handshakeCompleted(self) -> None:
        self._stands = True
        if self._client is not None:
            try:
                self._client.established(self._tls.getHandle())
            except DialFailed:
                self._stands = False
                self._tls.failVerification(Failure())
                return
        if IHandshakeListener.providedBy(self._side):
            self._side.handshakeCompleted()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        side, self._side = self._side, None
        tls, self._tls = self._tls, None
        self.dataReceived = _too_late
        if self._client is not None and self._stands:
            self._client.ended(tls.getHandle())
        side.connectionLost(_in_words(reason, tls.lost_with, self._client))


class StockTLS(TLSMemoryBIOProtocol):
    """TLS on a transport of Twisted's."""

    lost_with: Optional[Failure] = None  # with what the transport beneath was

    def __init__(self, factory: Any, inner: _Inner, connect: bool = True, preface: bytes = b"") -> None:
        super().__init__(factory, inner, connect)
        self._preface = preface
        if not connect:
            inner.attach(self)

    def makeConnection(self, transport: Any) -> None:
        if self._preface:
            transport.write(self._preface)
        super().makeConnection(transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost_with = reason
        super().connectionLost(reason)

    def abortConnection(self) -> None:
        if self.connected:  # Twisted's fails when it is lost
            super().abortConnection()

    @property
    def bufferSize(self) -> int:
        """As of the transport beneath, where it is the bytes of TLS."""
        beneath: Any = self.transport
        return int(beneath.bufferSize)

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        beneath: Any = self.transport
        beneath.bufferSize = size


def with_tls(
    clock: IReactorTime,
    side: Any,
    tls: Union[Context, ITLSClient],
    connect: bool = True,
    preface: bytes = b"",
) -> StockTLS:
    """What stands between a transport and a side; without ``connect`` the side knows it already."""
    if isinstance(tls, Context):
        factory = TLSMemoryBIOFactory(_Serving(tls), False, Factory(), clock)
        return StockTLS(factory, _Inner(side, None), connect, preface)
    factory = TLSMemoryBIOFactory(_Asking(tls), True, Factory(), clock)
    return StockTLS(factory, _Inner(side, tls), connect, preface)


def begin(clock: IReactorTime, side: Any, tls: Union[Context, ITLSClient]) -> None:
    """Put TLS between a side and its transport; what the side holds is the beginning of it."""
    transport, held = side.transport, side.held
    side.held = b""
    producer, streaming = transport.producer, transport.streamingProducer
    transport.unregisterProducer()
    secured = with_tls(clock, side, tls, connect=False)
    transport.protocol = side.transport = secured
    secured.makeConnection(transport)
    if producer is not None:
        secured.registerProducer(producer, streaming)
    if held:
        secured.dataReceived(held)


def hand_over(transport: Any, side: Any) -> None:
    """Connect a side to a transport, in the place of the one that it has served."""
    if isinstance(transport, StockTLS):
        give_way(transport, side)
    else:
        transport.protocol = side
    side.makeConnection(transport)


def give_way(transport: StockTLS, side: Any) -> Any:
    """Put the side in the place of whoever the transport serves; returns what is beneath TLS."""
    inner = transport.wrappedProtocol
    assert isinstance(inner, _Inner)
    inner.serve(side)
    return transport.transport


def _in_words(reason: Failure, beneath: Optional[Failure], client: Optional[ITLSClient]) -> Failure:
    """The loss as the lane tells it."""
    error = reason.value
    if isinstance(error, Error):
        return Failure(ConnectionLost(str(lost_by(error, "client" if client is None else "server"))))
    if beneath is None or not isinstance(error, ConnectionLost):
        return reason
    if isinstance(beneath.value, (ConnectionLost, ConnectionAborted)):
        return beneath  # it was no end that lacked a close_notify, but a reset
    return Failure(ConnectionLost(CUT_SHORT))
