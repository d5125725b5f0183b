"""What can be asked of a connected socket, whatever moves its bytes, and how can it end?"""

from __future__ import annotations

import socket
import struct
from typing import Any, Callable

from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from proxyd.relay.streams import address_of, keep_alive, unread_of_socket

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time

DONE = Failure(CONNECTION_DONE)
ABORTED = Failure(ConnectionAborted())


def lost(error: OSError) -> Failure:
    """The connection is lost, in the system's own word for it."""
    return Failure(ConnectionLost(error.strerror or str(error)))


class ConnectedSocket:
    """The half of Twisted's ITCPTransport that asks and sets, and moves nothing."""

    __slots__ = ("_peer", "_socket")

    def __init__(self, skt: socket.socket, peer: Any) -> None:
        self._socket = skt
        self._peer = peer

    def getHandle(self) -> socket.socket:
        """The socket; the lane reads and writes it, others may look."""
        return self._socket

    @property
    def accepted_from(self) -> Any:
        """The peer, as by accept(2)."""
        return self._peer

    def getPeer(self) -> Any:
        return address_of(self._peer)

    def getHost(self) -> Any:
        return address_of(self._socket.getsockname())

    def unread(self) -> Callable[[], object]:
        """Asks whether anything has come that was not read yet."""
        return unread_of_socket(self._socket.fileno())

    def getTcpNoDelay(self) -> bool:
        return bool(self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        if self._socket.family != socket.AF_UNIX:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        return bool(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        if enabled and self._socket.family != socket.AF_UNIX:
            keep_alive(self._socket)
        else:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)
