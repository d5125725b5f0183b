"""Who waits for the handshake with a server that was dialed?"""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IProtocol
from twisted.python.failure import Failure
from zope.interface import classImplements

from proxyd.errors import DialFailed, Reason
from proxyd.interfaces import ITLSClient


class Arriving:
    """
    Stands in for a side until its TLS stands, so that a server it fails with is one that was not reached.

    ``arrived`` is a dial's Deferred, and ``give_way`` puts the side in the place of this one, and returns
    with what the dial is to fire.
    """

    __slots__ = ("_arrived", "_give_way", "_side", "_tls", "_transport")

    def __init__(
        self, side: Any, tls: ITLSClient, arrived: Deferred[Any], give_way: Callable[[Any, Any], Any]
    ) -> None:
        self._side = side
        self._tls = tls
        self._arrived = arrived
        self._give_way = give_way
        self._transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        self._transport = transport

    def connectionMade(self) -> None:
        """The transport is connected."""

    def dataReceived(self, data: bytes) -> None:
        """Nothing comes before the handshake stands."""

    def handshakeCompleted(self) -> None:
        transport, self._transport = self._transport, None
        reached = self._give_way(transport, self._side)
        self._side.makeConnection(transport)
        self._arrived.callback(reached)

    def connectionLost(self, reason: Failure) -> None:
        self._transport = None
        if self._arrived.called:
            return  # it was cancelled
        error: Any = reason.value
        if not isinstance(error, DialFailed):
            error = DialFailed(Reason.CONNECT_TLS, " ".join(map(str, error.args)) or str(error))
        self._tls.failed(error.detail)
        self._arrived.errback(error)


classImplements(Arriving, IProtocol, IHandshakeListener)
