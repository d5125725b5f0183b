"""What is between Twisted's TLS and a side; `tests.contracts` has how it behaves."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from proxyd.relay.tls.stock import give_way, with_tls
from tests.contracts.stream import Recorder
from tests.support.case import Case
from tests.support.tls import Asking, server_context


class Transport(StringTransport):
    """One with a size of its buffer."""

    bufferSize = 1000


class StockTLSTests(Case):
    """On a transport that only remembers."""

    def make(self, tls: Any, **further: Any) -> tuple[Any, Recorder, Transport]:
        side, transport = Recorder(), Transport()
        secured = with_tls(Clock(), side, tls, **further)
        secured.makeConnection(transport)
        return secured, side, transport

    def test_the_buffer_is_the_transports(self) -> None:
        """How much is read at once is the business of who reads."""
        secured, _, transport = self.make(server_context())
        self.assertEqual(secured.bufferSize, 1000)
        secured.bufferSize = 500
        self.assertEqual(transport.bufferSize, 500)

    def test_a_preface(self) -> None:
        """It is said before TLS says anything."""
        _, _, transport = self.make(Asking(), preface=b"first")
        self.assertEqual(transport.value()[:7], b"first\x16\x03")

    def test_one_gives_way(self) -> None:
        """Another side has what comes from then on."""
        secured, side, _ = self.make(server_context())
        other = Recorder()
        give_way(secured, other)
        secured.wrappedProtocol.dataReceived(b"x")
        self.assertEqual((bytes(side.data), bytes(other.data)), (b"", b"x"))

    def test_an_abort_after_the_loss(self) -> None:
        """It does nothing any more."""
        secured, side, _ = self.make(server_context())
        secured.connectionLost(Failure(ConnectionDone()))
        secured.abortConnection()
        self.assertEqual(side.events, ["lost"])
