"""
What does a test of a stream stand on?

`StreamCase` has one stream: a recording protocol on our side, a peer on the other.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.contracts.worlds import PLENTY, World
from tests.support.case import AsyncCase
from tests.support.peer import Peer


class PlainRecorder(Protocol):
    """A protocol that writes down what its transport tells it, and knows nothing of half-close."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.data = bytearray()
        self.why: Optional[Failure] = None
        self.on_data: Callable[[bytes], None] = lambda data: None
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def happens(self, event: str) -> Deferred[None]:
        """Wait until the transport has told of this."""
        return self._wait(lambda: event in self.events)

    def receives(self, count: int) -> Deferred[None]:
        """Wait until that many bytes have been delivered."""
        return self._wait(lambda: len(self.data) >= count)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self.on_data(data)
        self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.why = reason
        self.note("lost")

    def note(self, event: str) -> None:
        self.events.append(event)
        self._tell()

    def _wait(self, done: Callable[[], bool]) -> Deferred[None]:
        deferred: Deferred[None] = Deferred()
        self._waiting.append((done, deferred))
        self._tell()
        return deferred

    def _tell(self) -> None:
        for wait in list(self._waiting):
            if wait[0]() and wait in self._waiting:
                self._waiting.remove(wait)
                wait[1].callback(None)


@implementer(IHalfCloseableProtocol)
class Recorder(PlainRecorder):
    """The same, for one that goes on after either half has ended."""

    def readConnectionLost(self) -> None:
        self.note("end")

    def writeConnectionLost(self) -> None:
        self.note("finished")


@implementer(IPushProducer)
class Producer:
    """A producer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


@implementer(IPullProducer)
class Pulled:
    """A producer that gives one piece whenever it is asked, until it has none left."""

    def __init__(self, transport: Any, pieces: list[bytes]) -> None:
        self.transport = transport
        self.pieces = pieces

    def resumeProducing(self) -> None:
        if self.pieces:
            self.transport.write(self.pieces.pop(0))
        else:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.pieces.clear()


class StreamCase(AsyncCase):
    """A test with one stream: the protocol and its transport on our side, a peer on the other."""

    make_world: Callable[[Any], World]
    protocol: Any
    transport: Any
    peer: Peer

    def setUp(self) -> None:
        self.world = self.make_world(real_reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.close()))

    async def connect(self, protocol: Optional[PlainRecorder] = None) -> None:
        self.protocol = Recorder() if protocol is None else protocol
        self.peer = await self.world.connect(self.protocol)
        self.transport = self.protocol.transport

    async def happens(self, event: str) -> None:
        await self.world.until(self.protocol.happens(event))

    async def receives(self, count: int) -> None:
        await self.world.until(self.protocol.receives(count))

    async def is_lost(self, why: type[Exception]) -> None:
        await self.happens("lost")
        self.assertEqual(self.protocol.why.type, why)
        self.assertEqual(self.protocol.events.count("lost"), 1)

    async def stall(self) -> None:
        """Fill everything between the transport and a peer that does not read."""
        self.peer.stop_reading()
        self.transport.write(bytes(PLENTY))
        await self.world.turns()
