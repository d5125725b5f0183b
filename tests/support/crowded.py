"""
A server that does ``KNEE`` things at a time, and gets in its own way when it is asked for more.

``python -m tests.support.crowded HOST PORT`` runs it.  Whoever sends a byte is told, in a line of `LINE`
bytes, how many connections the server has, and that the later the more there are: it does most in a second
with ``KNEE`` of them, and less with each one more, as where processes share a lock, a disk or a cache.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.protocol import Factory, Protocol

KNEE = 12
SECONDS = 0.04  # that an answer takes with so many or fewer
LINE = 5  # bytes


class Crowded(Protocol):
    """One client, who is answered once."""

    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        self.factory.open += 1

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.open -= 1

    def dataReceived(self, data: bytes) -> None:
        count = self.factory.open
        self.factory.reactor.callLater(SECONDS * max(1.0, count / KNEE) ** 2, self._answer, count)

    def _answer(self, count: int) -> None:
        self.transport.write(b"%4d\n" % count)
        self.transport.loseConnection()


class CrowdedFactory(Factory):
    """Knows how many there are."""

    noisy = False
    protocol = Crowded

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.open = 0


def main(host: str, port: str) -> None:
    """Serve until it is ended."""
    from twisted.internet import reactor

    loop: Any = reactor
    loop.listenTCP(int(port), CrowdedFactory(loop), 200, host)
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
