"""On what do the contracts run, where streams speak TLS?"""

from __future__ import annotations

import socket
from typing import Any, Optional

from OpenSSL import SSL

from proxyd.config.address import TcpAddress
from proxyd.relay.stock import Stock
from proxyd.relay.streams import ssl_connection, unsent
from tests.contracts.test_lane import LaneWorld
from tests.contracts.worlds import KERNEL_BUFFER
from tests.support.peer import Peer, SocketPeer, limit_buffers, listening_socket, socket_pair
from tests.support.tls import Asking, TLSPeer, client_part, server_context


class TLSWorld(LaneWorld):
    """Connections of the lane whose clients speak TLS with us."""

    version = 0
    tidy = True  # connections that have gone are no garbage
    speaks = True  # whether peers do
    context: Optional[SSL.Context] = None  # a peer's, if it is another

    async def connect(self, protocol: Any, keep: bool = True) -> Peer:
        self.protocol = protocol
        peer = await super().connect(protocol, keep)
        if isinstance(peer, TLSPeer):
            await peer.shaken()
            ssl = ssl_connection(protocol.transport)
            assert ssl is not None
            while ssl.get_peer_finished() is None or unsent(protocol.transport):
                await self.moment()  # until the tickets are acknowledged
        return peer

    def make_peer(self, theirs: socket.socket, keep: bool) -> Peer:
        theirs.setblocking(False)
        if not self.speaks:
            return SocketPeer(self.reactor, theirs, keep)
        ssl = client_part(theirs, self.version)
        if self.context is not None:
            ssl = SSL.Connection(self.context, theirs)
            ssl.set_connect_state()
        return TLSPeer(self.reactor, theirs, ssl, keep)

    async def make_transport(self, factory: Any) -> socket.socket:
        ours, theirs = socket_pair(self.family, self.kernel_buffer)
        ours.setblocking(False)
        for skt in (ours, theirs):
            skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.datapath().accept(ours, ours.getpeername(), factory, server_context(self.version))
        return theirs

    def datapath(self) -> Any:
        return self.lane


class TLS12World(TLSWorld):
    version = SSL.TLS1_2_VERSION


class DialedTLSWorld(TLSWorld):
    """We are the client of servers that speak TLS."""

    def make_peer(self, theirs: socket.socket, keep: bool) -> Peer:
        return self.peer

    async def make_transport(self, factory: Any) -> socket.socket:
        protocol = factory.buildProtocol(None)
        with listening_socket(self.family, KERNEL_BUFFER) as listener:
            host, port = listener.getsockname()[:2]
            dialed = self.datapath().dial(TcpAddress(host, port), protocol, tls=Asking())
            theirs, _ = listener.accept()
        theirs.setblocking(False)
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ssl = SSL.Connection(server_context(), theirs)
        ssl.set_accept_state()
        self.peer = TLSPeer(self.reactor, theirs, ssl)
        await dialed
        limit_buffers(protocol.transport.getHandle(), KERNEL_BUFFER)
        return theirs


class StockTLSWorld(TLSWorld):
    """The same on Twisted's transports."""

    reads_ahead = True
    tidy = False

    def datapath(self) -> Any:
        return Stock(self.reactor)

    def make_peer(self, theirs: socket.socket, keep: bool) -> Peer:
        peer = super().make_peer(theirs, keep)
        if isinstance(peer, TLSPeer):
            peer.answers = True  # it is waited for
        return peer


class FrontWorld(TLSWorld):
    """Clients speak TLS with us, and servers do not."""

    front_is_next = True

    async def connect(self, protocol: Any, keep: bool = True) -> Peer:
        self.speaks, self.front_is_next = self.front_is_next, not self.front_is_next
        return await super().connect(protocol, keep)

    async def make_transport(self, factory: Any) -> socket.socket:
        if self.speaks:
            return await super().make_transport(factory)
        ours, theirs = socket_pair(self.family, self.kernel_buffer)
        ours.setblocking(False)
        self.datapath().accept(ours, ours.getpeername(), factory)
        return theirs


class BackWorld(DialedTLSWorld, FrontWorld):
    """We speak TLS with servers, and clients do not with us."""

    front_is_next = False

    def make_peer(self, theirs: socket.socket, keep: bool) -> Peer:
        return self.peer if self.speaks else SocketPeer(self.reactor, theirs, keep)

    async def make_transport(self, factory: Any) -> socket.socket:
        if self.speaks:
            return await DialedTLSWorld.make_transport(self, factory)
        return await FrontWorld.make_transport(self, factory)


class StockFrontWorld(StockTLSWorld, FrontWorld):
    """The same as the first on Twisted's transports."""
