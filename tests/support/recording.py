"""A server that keeps what each client has sent, and answers when the client has finished."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from tests.support.stage import Place, Stage


@implementer(IHalfCloseableProtocol)
class Recording(Protocol):
    """One client's bytes."""

    factory: Any
    transport: Any

    def __init__(self) -> None:
        self._said = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._said += data

    def readConnectionLost(self) -> None:
        self.factory.heard.append(bytes(self._said))
        self.transport.write(self.factory.answer)
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """There is nothing more to say."""


class RecordingFactory(Factory):
    """What a port needs to serve so; ``heard`` has what was sent, in the order in which clients finished."""

    noisy = False
    protocol = Recording

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.heard: list[bytes] = []


def recording(stage: Stage, answer: bytes = b"") -> tuple[Place, RecordingFactory]:
    """Serve on a stage so: where, and what was heard."""
    place = stage.tcp()
    factory = RecordingFactory(answer)
    port = stage.reactor.listenTCP(place.port, factory, interface=place.host)
    stage.add_cleanup(port.stopListening)
    return place, factory
