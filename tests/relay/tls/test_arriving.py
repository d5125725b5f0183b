"""A side that waits for TLS is told of its server only when that stands."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from proxyd.errors import DialFailed, Reason
from proxyd.relay.tls.arriving import Arriving
from tests.contracts.stream import Recorder
from tests.support.case import Case
from tests.support.tls import Asking


class ArrivingTests(Case):
    """Without a transport that does anything."""

    def setUp(self) -> None:
        self.side = Recorder()
        self.tls = Asking()
        self.arrived: Deferred[Any] = Deferred()
        self.given: list[tuple[Any, Any]] = []
        self.arriving = Arriving(self.side, self.tls, self.arrived, self.give_way)
        self.transport: Any = object()
        self.arriving.makeConnection(self.transport)

    def give_way(self, transport: Any, side: Any) -> str:
        self.given.append((transport, side))
        return "reached"

    def test_it_gives_way(self) -> None:
        """The side is in its place, and connected, when the dial fires."""
        connected: list[Any] = []
        self.arrived.addCallback(lambda reached: connected.append((reached, self.side.transport)))
        self.assertIsNone(self.side.transport)
        self.arriving.handshakeCompleted()
        self.assertEqual(self.given, [(self.transport, self.side)])
        self.assertEqual(connected, [("reached", self.transport)])

    def test_a_loss_fails_the_dial(self) -> None:
        """With what was lost; and the side hears nothing of it."""
        self.arriving.connectionLost(Failure(ConnectionLost("TLS: no shared cipher")))
        failed = self.failureResultOf(self.arrived, DialFailed).value
        self.assertEqual((failed.reason, failed.detail), (Reason.CONNECT_TLS, "TLS: no shared cipher"))
        self.assertEqual(self.tls.told, ["failed TLS: no shared cipher"])
        self.assertEqual(self.side.events, [])

    def test_a_loss_without_words(self) -> None:
        """It has some all the same."""
        self.arriving.connectionLost(Failure(ConnectionLost()))
        self.assertNotEqual(self.failureResultOf(self.arrived, DialFailed).value.detail, "")

    def test_a_loss_after_it_was_cancelled(self) -> None:
        """That is nobody's any more."""
        self.arrived.cancel()
        self.failureResultOf(self.arrived, CancelledError)
        self.arriving.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.tls.told, [])
