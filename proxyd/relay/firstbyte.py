"""
How long does a server take to its first byte?

Counted from the client's first bytes that were passed on to it; if it speaks first, from its connection.  So
a client that connects in advance, and asks later, does not make its server look slow.

Only sessions of which that is to be known have these sides; they begin to pump when the server has spoken.
"""

from __future__ import annotations

from typing import Callable, Optional

from twisted.internet.interfaces import IHandshakeListener
from zope.interface import classImplements

from proxyd.policy.adaptive import Adaptive
from proxyd.relay.pair import Pair, ProxyClient, ProxyServer


class FirstByte:
    """The time of one connection; ``tell`` gets the seconds, once at most."""

    __slots__ = ("_adaptive", "_asked", "_seconds", "_since", "_tell")

    def __init__(
        self,
        seconds: Callable[[], float],
        asked: bool,
        tell: Callable[[float], None],
        adaptive: Optional[Adaptive] = None,
    ) -> None:
        """
        The server is just connected; ``asked`` is whether the client has spoken already.

        Until a server that was asked answers, ``adaptive`` has one more that is pending.
        """
        self._seconds = seconds
        self._since = seconds()
        self._asked = False
        self._tell: Optional[Callable[[float], None]] = tell
        self._adaptive = adaptive
        if asked:
            self.asked()

    def asked(self) -> None:
        """The client has spoken."""
        if not self._asked and self._tell is not None:
            self._asked = True
            self._since = self._seconds()
            if self._adaptive is not None:
                self._adaptive.pending += 1

    def answered(self) -> None:
        """The server has spoken."""
        tell, self._tell = self._tell, None
        if tell is not None:
            if self._asked and self._adaptive is not None:
                self._adaptive.pending -= 1
            tell(self._seconds() - self._since)

    def ended(self) -> None:
        """The connection has ended; a server that was asked and has not answered has taken until now."""
        if self._asked:
            self.answered()
        self._tell = None


class TimedServer(ProxyServer):
    """The side that faces the client, which may be watched for its first bytes."""

    __slots__ = ("watch",)

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.watch: Optional[FirstByte] = None

    def dataReceived(self, data: bytes) -> None:
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.asked()
        super().dataReceived(data)


class TimedTLSServer(TimedServer):
    """The same where TLS may end here (`proxyd.relay.pair.TLSProxyServer`)."""

    __slots__ = ()

    def handshakeCompleted(self) -> None:
        self.pair.client_shook_hands()


classImplements(TimedTLSServer, IHandshakeListener)


class TimedClient(ProxyClient):
    """The side that faces the server, which may be watched for its first bytes."""

    __slots__ = ("watch",)

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.watch: Optional[FirstByte] = None

    def dataReceived(self, data: bytes) -> None:
        watch, self.watch = self.watch, None
        super().dataReceived(data)
        if watch is not None:
            watch.answered()
