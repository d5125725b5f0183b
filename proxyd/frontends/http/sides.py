"""What are the two ends of a connection that speaks HTTP?  The protocols on its transports."""

from __future__ import annotations

from typing import Any, Callable, Optional

from twisted.internet.interfaces import IHandshakeListener
from zope.interface import classImplements

from proxyd.policy.server import Server
from proxyd.relay.pair import Pair, ProxyClient, ProxyServer
from proxyd.wire.http1 import Memory
from proxyd.wire.httpfields import Lines


class HttpServer(ProxyServer):
    """The side that faces the client."""

    __slots__ = ()

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        peer = self.peer
        if peer is None:
            self.pair.client_said(data)
        else:
            peer.transport.write(data)  # it has become a tunnel

    def portion_sent(self) -> None:
        """The rest of a body has left."""
        self.pair.upload_sent()


class HttpTLSServer(HttpServer):
    """The same where TLS may end here (`proxyd.relay.pair.TLSProxyServer`)."""

    __slots__ = ()

    def handshakeCompleted(self) -> None:
        self.pair.client_shook_hands()


classImplements(HttpTLSServer, IHandshakeListener)


class Upstream(ProxyClient):
    """
    The side that faces a server.  It outlives the request it was dialed for, and serves others.

    ``pair`` is whose request it carries now, or `proxyd.frontends.http.kept.Kept`.  ``address`` is where it
    was dialed, ``requests`` how many it has carried before, ``since`` when it was kept and ``until`` when
    it may be used.  ``unread``, of one that was kept, asks whether anything has come meanwhile.
    """

    __slots__ = ("address", "memory", "requests", "server", "since", "unread", "until")

    def __init__(self, pair: Pair, server: Server, lines: Lines) -> None:
        super().__init__(pair)
        self.server = server
        self.address: Any = server.address
        self.memory = Memory(lines)
        self.requests = 0
        self.since = self.until = 0.0
        self.unread: Optional[Callable[[], object]] = None

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        peer = self.peer
        if peer is None:
            self.pair.server_said(self, data)
        else:
            peer.transport.write(data)

    def portion_sent(self) -> None:
        """The rest of a body has left."""
        self.pair.download_sent()
