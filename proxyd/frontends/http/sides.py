"""What are the two ends of a connection that speaks HTTP?  The protocols on its transports."""

from __future__ import annotations

from typing import Any, Callable, Optional

from twisted.internet.interfaces import IHandshakeListener
from twisted.python.failure import Failure
from zope.interface import classImplements

from proxyd.policy.server import Server
from proxyd.relay.bandwidth import Meter
from proxyd.relay.pair import Pair, ProxyClient, ProxyServer, Side
from proxyd.relay.streams import CHUNK
from proxyd.relay.tls.server import Handshake
from proxyd.wire.http1 import Memory
from proxyd.wire.httpfields import Lines


class HttpServer(ProxyServer):
    """The side that faces the client; it has a meter if its listener has a bandwidth."""

    __slots__ = ("meter",)

    def __init__(self, pair: Pair) -> None:
        ProxyServer.__init__(self, pair)
        self.meter: Optional[Meter] = None

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if self.meter is not None:
            self.meter.passed(len(data))
        peer = self.peer
        if peer is None:
            self.pair.client_said(data)
        else:
            peer.transport.write(data)  # it has become a tunnel

    def portion_sent(self, more: bool) -> None:
        """The rest of a body has left; ``more`` begins the next request."""
        self.pair.upload_sent()

    def resumeProducing(self) -> None:
        if self.meter is not None and self.meter.held:
            self.paused = False
        else:
            super().resumeProducing()

    def readable(self) -> bool:
        if self.peer is not None:
            return super().readable()
        return self.connected and not (self.paused or self.finished) and bool(self.pair.hears())

    def held_back(self) -> bool:
        return self.paused or (self.meter is not None and self.meter.was_held())

    def connectionLost(self, reason: Failure) -> None:
        meter, self.meter = self.meter, None
        if meter is not None:
            meter.end()
        ProxyServer.connectionLost(self, reason)


class HttpTLSServer(HttpServer):
    """The same where TLS may end here (`proxyd.relay.pair.TLSProxyServer`)."""

    __slots__ = ()

    def handshakeCompleted(self) -> None:
        self.pair.client_shook_hands()


classImplements(HttpTLSServer, IHandshakeListener)


class Shelf(Side):
    """The side from which an answer comes that is held here, so that a `Meter` says how fast it is read."""

    __slots__ = ("_reading", "bufferSize")

    def __init__(self, pair: Pair, reading: Any) -> None:
        super().__init__(pair)
        self.bufferSize = CHUNK
        self._reading = reading  # a `proxyd.frontends.http.bodies.Reading`
        self.transport = self
        self.connected = True

    def pauseProducing(self) -> None:
        """Who reads asks the meter."""

    def resumeProducing(self) -> None:
        self._reading.go_on()

    def readable(self) -> bool:
        return self.connected

    def end(self) -> None:
        """All is read that will be."""
        self.connected = False
        self.transport = self._reading = None


class Upstream(ProxyClient):
    """
    The side that faces a server.  It outlives the request it was dialed for, and serves others.

    ``pair`` is whose request it carries now, or `proxyd.frontends.http.kept.Kept`.  ``address`` is where it
    was dialed, ``born`` when, and ``whom`` it is for (`HttpConnection.whom`); ``requests`` how many it has
    carried before, and ``until`` when it may be used.  ``handshake`` is what its
    TLS began with.  ``unread``, of one that was kept, asks whether anything has come meanwhile.  ``where`` is
    its far end as records have it, "" until there was one.
    """

    __slots__ = (
        "address",
        "born",
        "handshake",
        "memory",
        "meter",
        "requests",
        "server",
        "unread",
        "until",
        "where",
        "whom",
    )

    def __init__(self, pair: Any, server: Server, lines: Lines, born: float, whom: Any = None) -> None:
        super().__init__(pair)
        self.server = server
        self.address: Any = server.address
        self.handshake: Optional[Handshake] = None
        self.memory = Memory(lines)
        self.born = born
        self.whom = whom
        self.requests = 0
        self.where = ""
        self.until = 0.0
        self.unread: Optional[Callable[[], object]] = None
        self.meter: Optional[Meter] = None  # while it is for a client with a bandwidth

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if self.meter is not None:
            self.meter.passed(len(data))
        peer = self.peer
        if peer is None:
            self.pair.server_said(self, data)
        else:
            peer.transport.write(data)

    def portion_sent(self, more: bool) -> None:
        """The rest of a body has left; nobody has asked for ``more``."""
        self.pair.download_sent(more)

    def pace(self, meter: Optional[Meter]) -> None:
        """Send no faster than this from now on."""
        self.meter = meter
        if meter is not None:
            meter.begin()

    def let_loose(self) -> None:
        """It is for that client no more."""
        meter, self.meter = self.meter, None
        if meter is not None:
            held = meter.held
            meter.end()
            if self.connected:
                meter.read_at_most(CHUNK)
                if held and not (self.paused or self.finished):
                    self.transport.resumeProducing()

    def resumeProducing(self) -> None:
        if self.meter is not None and self.meter.held:
            self.paused = False
        else:
            super().resumeProducing()

    def readable(self) -> bool:
        if self.peer is not None:
            return super().readable()
        return self.connected and not (self.paused or self.finished)

    def held_back(self) -> bool:
        return self.paused or (self.meter is not None and self.meter.held)

    def connectionLost(self, reason: Failure) -> None:
        self.connected = False
        self.let_loose()
        super().connectionLost(reason)
