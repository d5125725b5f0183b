"""
How is a socket of Twisted's prepared before it connects?

Twisted's ``connectTCP`` makes the socket and connects it in one go, and all of Twisted's endpoints go by it.
So `Prepared` is a reactor whose ``connectTCP`` sets in between what is asked of TCP (`proxyd.relay.tcp`); all
else is the real reactor's.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, Optional

from twisted.internet import tcp
from zope.interface import directlyProvides, providedBy

from proxyd.config.tcp import TcpSpec
from proxyd.errors import DialFailed, Reason
from proxyd.relay.tcp import prepare


class Prepared:
    """The reactor, for connections of which something is asked; ``client`` is whom they are for."""

    def __init__(self, reactor: Any, spec: TcpSpec, client: str = "") -> None:
        self._reactor = reactor
        self._spec = spec
        self._client = client
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: Any = 30, bindAddress: Any = None
    ) -> tcp.Connector:
        """As `twisted.internet.interfaces.IReactorTCP` has it."""
        connector = _Connector(host, port, factory, timeout, bindAddress, self._reactor)
        connector.spec, connector.client = self._spec, self._client
        connector.connect()
        return connector


class _Client(tcp.Client):
    def createInternetSocket(self) -> socket.socket:
        skt: socket.socket = super().createInternetSocket()
        connector = self.connector
        try:
            prepare(skt, self.addressFamily, connector.spec, connector.client)
        except DialFailed as refused:
            skt.close()
            # Twisted makes a ConnectBindError of it.
            code = errno.EMFILE if refused.reason is Reason.DESCRIPTORS else None
            raise OSError(code, refused.detail) from None
        return skt


class _Connector(tcp.Connector):
    spec: TcpSpec
    client: str

    def _makeTransport(self) -> tcp.Client:
        return _Client(self.host, self.port, self.bindAddress, self, self.reactor)


def prepared(reactor: Any, spec: Optional[TcpSpec], client: str = "") -> Any:
    """The reactor to connect with: as it is, if nothing is asked."""
    return reactor if spec is None else Prepared(reactor, spec, client)
