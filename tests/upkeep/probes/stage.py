"""How does a test play the server of a probe?  On a reactor that only pretends, a message at a time."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any, Callable, ClassVar, Coroutine, Optional

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from proxyd.config.address import Address, TcpAddress
from proxyd.errors import Malformed
from proxyd.relay.stock import Stock
from proxyd.upkeep.probes.conversation import Call, Failed
from tests.support.case import Case
from tests.support.driven import driven
from tests.support.walltime import SetTime


class FakeTransport(StringTransport):
    """A transport that takes its time to close, unless it ``closes``; with a clock it is never at once."""

    def __init__(self, closes: bool, clock: Optional[Clock] = None) -> None:
        super().__init__()
        self.closes = closes
        self.clock = clock
        self.aborted = False
        self.lost = False
        self.protocol: Any = None

    def getHandle(self) -> Any:
        """A socket of which nothing can be asked that is TCP's alone."""
        return SimpleNamespace(family=socket.AF_UNIX)

    def loseConnection(self) -> None:
        super().loseConnection()
        if self.closes:
            self._lose_soon()

    def abortConnection(self) -> None:
        self.aborted = True
        self._lose_soon()

    def _lose_soon(self) -> None:
        if self.clock is not None:
            self.clock.callLater(0, self.lose, ConnectionDone())
        else:
            self.lose(ConnectionDone())

    def lose(self, reason: Exception) -> None:
        """Tell that the connection is lost, once."""
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(reason))


class ProbeCase(Case):
    """A test of a probe; what the server says reaches it byte by byte."""

    probe: ClassVar[Callable[[Call, Any], Coroutine[Any, Any, str]]]
    address: Address = TcpAddress("10.0.0.1", 80)

    def begin(self, ask: Any, greeting: bytes = b"") -> None:
        """Start the probe, and accept its connection."""
        self.reactor = MemoryReactorClock()
        self.call = Call(
            self.reactor, SetTime(self.reactor.seconds), Stock(self.reactor), self.address, greeting=greeting
        )
        self.outcome: Deferred[str] = driven(type(self).probe(self.call, ask))
        factory: Any = self.reactor.tcpClients[-1][2] if self.reactor.tcpClients else None
        factory = factory or self.reactor.unixClients[-1][1]
        self.transport = FakeTransport(closes=True, clock=self.reactor)
        self.transport.protocol = factory.buildProtocol(None)
        self.transport.protocol.makeConnection(self.transport)

    def said(self) -> bytes:
        """What the probe has said since this was asked last."""
        said: bytes = self.transport.value()
        self.transport.clear()
        return said

    def answer(self, data: bytes) -> None:
        """The server says something, for as long as somebody listens."""
        for place in range(len(data)):
            if not self.transport.disconnecting and not self.transport.lost:
                self.transport.protocol.dataReceived(data[place : place + 1])

    def close(self, reason: Optional[Exception] = None) -> None:
        """The server closes the connection."""
        self.transport.lose(reason or ConnectionDone())

    def assertPassed(self, farewell: bytes = b"") -> str:
        """The probe has passed, with these last words; what it remarks is returned."""
        self.reactor.advance(0)
        remark: str = self.successResultOf(self.outcome)
        self.assertEqual(self.said(), farewell)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        return remark

    def assertFailed(self, why: str, farewell: bytes = b"") -> None:
        """The server has failed, for this reason, and the probe has taken its leave all the same."""
        self.reactor.advance(0)
        failed = self.failureResultOf(self.outcome, Failed, Malformed).value
        self.assertEqual(str(failed), why)
        self.assertEqual(self.said(), farewell)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
