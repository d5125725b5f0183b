"""Twisted's own protocols run on the lane as on any transport: TLS, and a web server."""

from __future__ import annotations

import hashlib
import io
import socket
from random import Random
from typing import Any, Optional

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, ResponseDone, readBody
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.static import Data
from zope.interface import implementer

from proxyd.relay.lane.connection import LaneConnection
from proxyd.relay.lane.datapath import Lane
from proxyd.relay.listener import bound_listener
from tests.contracts.stream import PlainRecorder
from tests.support.case import AsyncCase
from tests.support.certificate import HOST, key_and_certificate
from tests.support.peer import PATIENCE, SocketPeer
from tests.support.relay import ANY_PORT

MEGABYTE = 1024 * 1024
LARGE = 8 * MEGABYTE
PIECE = 64 * 1024


class ProtocolCase(AsyncCase):
    """A test with a listener on the lane."""

    def setUp(self) -> None:
        self.lane = Lane(reactor)
        self.addCleanup(self.lane.close)

    def listen(self, factory: Any) -> int:
        """Serve the factory's protocols on the lane; return the port."""
        listener = bound_listener(reactor, self.lane, ANY_PORT, {}, factory)
        self.addCleanup(listener.stopListening)
        listener.startListening()
        address: Any = listener.getHost()
        return int(address.port)

    async def within(self, deferred: Deferred[Any]) -> Any:
        """Wait for it, with patience."""
        return await deferred.addTimeout(PATIENCE, reactor)


class Talk(PlainRecorder):
    """A server's protocol that answers each byte it gets with one, and knows its end."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(data)  # type: ignore[union-attr]


class Talks(Factory):
    """Keeps the protocols that it has made."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Talk] = []

    def buildProtocol(self, addr: Any) -> Talk:
        self.made.append(Talk())
        return self.made[-1]


class TLSTests(ProtocolCase):
    """TLS in user space (`twisted.protocols.tls`) over connections of the lane."""

    def setUp(self) -> None:
        super().setUp()
        pem = key_and_certificate()
        self.options = PrivateCertificate.loadPEM(pem).options()
        self.trusted = optionsForClientTLS(HOST, trustRoot=Certificate.loadPEM(pem))
        self.talks = Talks()

    async def connect(self) -> PlainRecorder:
        """A client that has connected, with the server's certificate checked."""
        port = self.listen(TLSMemoryBIOFactory(self.options, False, self.talks))
        endpoint = wrapClientTLS(self.trusted, HostnameEndpoint(reactor, "127.0.0.1", port))
        client = PlainRecorder()
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: client  # type: ignore[method-assign]
        await self.within(endpoint.connect(factory))
        return client

    async def test_a_megabyte_both_ways(self) -> None:
        """Handshake, a megabyte there and back, and an end that each side sees as one."""
        client = await self.connect()
        data = Random(1).randbytes(MEGABYTE)
        transport: Any = client.transport
        for start in range(0, len(data), PIECE):
            transport.write(data[start : start + PIECE])
        await self.within(client.receives(len(data)))
        (server,) = self.talks.made
        self.assertIsInstance(server.transport.transport, LaneConnection)  # type: ignore[union-attr]
        self.assertEqual(bytes(server.data), data)
        self.assertEqual(bytes(client.data), data)
        transport.loseConnection()
        for side in (client, server):
            await self.within(side.happens("lost"))
            assert side.why is not None
            self.assertIsNotNone(side.why.check(ConnectionDone), side.why)

    async def test_the_server_closes(self) -> None:
        """What the server said last arrives before the end, which is an orderly one."""
        client = await self.connect()
        transport: Any = client.transport
        transport.write(b"hello")
        await self.within(client.receives(5))
        (server,) = self.talks.made
        ending: Any = server.transport
        ending.write(bytes(MEGABYTE))
        ending.loseConnection()
        for side in (server, client):
            await self.within(side.happens("lost"))
            assert side.why is not None
            self.assertIsNotNone(side.why.check(ConnectionDone), side.why)
        self.assertEqual(len(client.data), 5 + MEGABYTE)

    async def test_an_abort(self) -> None:
        """An abort on either side of TLS ends the connection of the lane beneath."""
        client = await self.connect()
        transport: Any = client.transport
        transport.write(b"hello")
        await self.within(client.receives(5))
        (server,) = self.talks.made
        aborting: Any = server.transport
        aborting.abortConnection()
        await self.within(server.happens("lost"))
        await self.within(client.happens("lost"))

    async def test_bytes_that_are_no_handshake(self) -> None:
        """A client that speaks no TLS is closed, and nobody else notices."""
        first = await self.connect()
        stranger = PlainRecorder()
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: stranger  # type: ignore[method-assign]
        peer: Any = first.transport.getPeer()  # type: ignore[union-attr]
        await self.within(HostnameEndpoint(reactor, "127.0.0.1", peer.port).connect(factory))
        stranger.transport.write(b"GET / HTTP/1.0\r\n\r\n")  # type: ignore[union-attr]
        await self.within(stranger.happens("lost"))
        first.transport.write(b"hello")  # type: ignore[union-attr]
        await self.within(first.receives(5))
        first.transport.loseConnection()  # type: ignore[union-attr]
        await self.within(first.happens("lost"))
        await self.within(self.talks.made[0].happens("lost"))


@implementer(IPushProducer)
class Poured(Resource):
    """A large body, given in pieces for as long as it is not paused."""

    isLeaf = True

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body
        self.pauses = 0
        self.stopped: Deferred[None] = Deferred()
        self._request: Any = None
        self._at = 0
        self._paused = False

    def render_GET(self, request: Any) -> int:
        self._request = request
        self._at = 0
        request.registerProducer(self, True)
        self.resumeProducing()
        return NOT_DONE_YET

    def pauseProducing(self) -> None:
        self.pauses += 1
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while not self._paused and self._at < len(self.body):
            piece = self.body[self._at : self._at + PIECE]
            self._at += len(piece)
            self._request.write(piece)
        if self._at >= len(self.body) and self._request is not None:
            request, self._request = self._request, None
            request.unregisterProducer()
            request.finish()

    def stopProducing(self) -> None:
        self._paused = True
        self.stopped.callback(None)


class Upload(Resource):
    """Answers with the checksum of what was sent."""

    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        return hashlib.sha256(request.content.read()).hexdigest().encode()


class Slow(Protocol):
    """Reads a body with a pause after each piece, until all of it has come."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.done: Deferred[type] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.digest.update(data)
        transport: Any = self.transport
        transport.pauseProducing()
        reactor.callLater(0, self.go_on)

    def go_on(self) -> None:
        transport: Optional[Any] = self.transport
        if transport is not None and not self.done.called:
            transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(type(reason.value))


class WebTests(ProtocolCase):
    """twisted.web's server on the lane, and its client on Twisted's own transports."""

    def setUp(self) -> None:
        super().setUp()
        self.body = Random(2).randbytes(LARGE)
        self.poured = Poured(self.body)
        root = Resource()
        root.putChild(b"poured", self.poured)
        root.putChild(b"data", Data(self.body, "application/octet-stream"))
        root.putChild(b"small", Data(b"small", "text/plain"))
        root.putChild(b"upload", Upload())
        site = Site(root, reactor=reactor)
        site.displayTracebacks = False
        site.noisy = False
        self.port = self.listen(site)
        self.pool = HTTPConnectionPool(reactor, persistent=True)
        self.addCleanup(self.pool.closeCachedConnections)
        self.agent = Agent(reactor, pool=self.pool)

    async def get(self, path: str) -> Any:
        """The response to a request, whose body is still to come."""
        url = f"http://127.0.0.1:{self.port}/{path}".encode()
        response = await self.within(self.agent.request(b"GET", url))
        self.assertEqual(response.code, 200)
        return response

    async def test_a_large_response(self) -> None:
        """Written at once, it arrives whole."""
        body = await self.within(readBody(await self.get("data")))
        self.assertEqual(hashlib.sha256(body).digest(), hashlib.sha256(self.body).digest())

    async def test_a_slow_reader_holds_the_server_back(self) -> None:
        """The producer of a response is paused and resumed, and every byte arrives."""
        slow = Slow()
        (await self.get("poured")).deliverBody(slow)
        self.assertIs(await self.within(slow.done), ResponseDone)
        self.assertEqual(slow.digest.digest(), hashlib.sha256(self.body).digest())
        self.assertGreater(self.poured.pauses, 1)

    async def test_many_requests_on_few_connections(self) -> None:
        """Connections are kept alive, and used again by the next request."""
        for _ in range(5):
            bodies = await gatherResults([Deferred.fromCoroutine(self.small()) for _ in range(20)])
            self.assertEqual(set(bodies), {b"small"})

    async def small(self) -> bytes:
        return bytes(await self.within(readBody(await self.get("small"))))

    async def test_an_upload(self) -> None:
        """A large request body arrives whole."""
        url = f"http://127.0.0.1:{self.port}/upload".encode()
        producer = FileBodyProducer(io.BytesIO(self.body))
        response = await self.within(self.agent.request(b"POST", url, bodyProducer=producer))
        self.assertEqual(
            await self.within(readBody(response)), hashlib.sha256(self.body).hexdigest().encode()
        )

    async def test_a_client_that_leaves(self) -> None:
        """A response whose client has gone is stopped, and the next is served."""
        peer = SocketPeer(reactor, socket.create_connection(("127.0.0.1", self.port)))
        self.addCleanup(peer.close)
        peer.send(b"GET /poured HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await peer.receives(1)
        peer.reset()
        await self.within(self.poured.stopped)
        self.assertEqual(await self.small(), b"small")
