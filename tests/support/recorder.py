"""Which server keeps what it was sent?  One that speaks a little HTTP, so that any client can be answered."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from proxyd.wire import proxyprotocol
from proxyd.wire.proxyprotocol import ProxyHeader
from tests.support.stage import Place, Stage

ANSWER = b"ok\n"


class Recorded(Protocol):
    """One connection: what has come, to a request its answer, and then the end."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.ended = False

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if b" HTTP/1." in self.data and self.data.endswith(b"\r\n\r\n"):
            self.transport.write(b"HTTP/1.0 200 OK\r\n\r\n" + ANSWER)  # the end of which is the connection's
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = True

    @property
    def header(self) -> ProxyHeader:
        """The PROXY header that it began with."""
        header = proxyprotocol.parse(self.data)
        assert header is not None, self.data
        return header

    @property
    def request(self) -> bytes:
        """What came behind the PROXY header, if there is one."""
        return self.data[self.header.length :] if proxyprotocol.could_be(self.data) else self.data


class Recorder(ServerFactory):
    """The server; its connections are in the order in which they came."""

    noisy = False

    def __init__(self, stage: Stage) -> None:
        self.connections: list[Recorded] = []
        self.place: Place = stage.tcp()
        self._stage = stage

    def buildProtocol(self, addr: IAddress) -> Recorded:  # type: ignore[override]
        self.connections.append(Recorded())
        return self.connections[-1]

    @property
    def only(self) -> Recorded:
        """Its only connection."""
        [connection] = self.connections
        return connection

    async def ended(self, count: int) -> list[Recorded]:
        """The connections that have ended, once there are so many."""

        def gone() -> list[Recorded]:
            return [connection for connection in self.connections if connection.ended]

        await self._stage.until(lambda: len(gone()) >= count, f"the end of {count} connections")
        return gone()


async def recorder(stage: Stage) -> Recorder:
    """A recorder that listens, on the reactor of the test."""
    made = Recorder(stage)
    endpoint = TCP4ServerEndpoint(stage.reactor, made.place.port, interface=made.place.host)
    port: Any = await endpoint.listen(made)
    stage.add_cleanup(lambda: Deferred.fromCoroutine(_stop(port)))
    return made


async def _stop(port: Any) -> None:
    await port.stopListening()
