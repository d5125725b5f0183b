"""Do the two ends of a connection count what they hear, and pass it to whoever is to hear it?"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.task import Clock

from proxyd.config.address import TcpAddress
from proxyd.frontends.http.sides import HttpServer, HttpTLSServer, Upstream
from proxyd.policy.server import Server
from proxyd.relay.deadlines import Wheel
from proxyd.relay.pair import Pair
from proxyd.wire.httpfields import Lines
from tests.support.case import Case


class Listening(Pair):
    """Whoever hears of it."""

    def __init__(self) -> None:
        super().__init__(Wheel(Clock()), 60.0, 60.0)
        self.heard: list[Any] = []

    def client_said(self, data: bytes) -> None:
        self.heard.append(data)

    def server_said(self, upstream: Upstream, data: bytes) -> None:
        self.heard.append((upstream, data))

    def client_shook_hands(self) -> None:
        self.heard.append("hands")

    def upload_sent(self) -> None:
        self.heard.append("up")

    def download_sent(self, more: bool) -> None:
        self.heard.append(("down", more))


class Sides(Case):
    """The protocols on the transports."""

    def test_client(self) -> None:
        """The client's side."""
        pair = Listening()
        side = HttpTLSServer(pair)
        side.dataReceived(b"abc")
        side.portion_sent(True)
        side.handshakeCompleted()
        self.assertEqual((pair.heard, side.received), ([b"abc", "up", "hands"], 3))
        self.assertTrue(IHandshakeListener.providedBy(side) and IHalfCloseableProtocol.providedBy(side))
        self.assertFalse(IHandshakeListener.providedBy(HttpServer(pair)))

    def test_server(self) -> None:
        """The server's side, and that it is another's when it was passed on."""
        pair = Listening()
        other = Listening()
        side = Upstream(pair, Server("a", TcpAddress("10.0.0.1", 80)), Lines(), 0.0)
        side.dataReceived(b"abc")
        side.pair = other
        side.dataReceived(b"de")
        side.portion_sent(True)
        self.assertEqual(
            (pair.heard, other.heard, side.received), ([(side, b"abc")], [(side, b"de"), ("down", True)], 5)
        )
