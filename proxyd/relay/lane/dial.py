"""How does the lane reach a server?"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Optional

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from proxyd.config.address import TcpAddress
from proxyd.config.tcp import TcpSpec
from proxyd.errors import DialFailed, Reason
from proxyd.interfaces import ITLSClient
from proxyd.relay.lane.connection import LaneConnection
from proxyd.relay.lane.loop import ERROR, Loop
from proxyd.relay.lane.tls import TLSConnection
from proxyd.relay.streams import OUT_OF_DESCRIPTORS, Socket
from proxyd.relay.tcp import prepare
from proxyd.relay.tls.arriving import Arriving

_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK

_REASONS = {
    errno.ECONNREFUSED: Reason.CONNECT_REFUSED,
    errno.ETIMEDOUT: Reason.CONNECT_TIMEOUT,
    errno.EADDRNOTAVAIL: Reason.LOCAL_PORTS,
}


class Dial:
    """One attempt to connect a side to an address; ``arrived`` fires with its outcome."""

    __slots__ = ("_address", "_connection", "_done", "_loop", "_side", "_socket", "_tls", "arrived")

    def __init__(
        self,
        loop: Loop,
        family: int,
        address: Any,
        side: Any,
        tcp: Optional[TcpSpec] = None,
        client: str = "",
        tls: Optional[ITLSClient] = None,
    ) -> None:
        """
        ``address`` is what connect(2) takes for the family; raises `DialFailed` if it fails at once.

        ``tcp``, ``client`` and ``tls`` are as in `proxyd.interfaces.IDatapath.dial`.
        """
        self._loop = loop
        self._address = address
        self._side = side
        self._tls = tls
        self._done = False
        self._connection: Optional[LaneConnection] = None
        self.arrived: Deferred[Optional[TcpAddress]] = Deferred(self._give_up)
        try:
            self._socket = skt = Socket(family, _STREAM)
        except OSError as error:
            raise failed(error.errno or 0) from None
        if tcp is not None and family != socket.AF_UNIX:
            try:
                prepare(skt, family, tcp, client)
            except DialFailed:
                skt.close()
                raise
        try:
            code = skt.connect_ex(address)
        except OSError as error:  # the address itself is wrong, such as an interface that has gone
            skt.close()
            raise DialFailed(Reason.CONNECT_FAILED, error.strerror or str(error), error.errno or 0) from None
        if code not in (0, errno.EINPROGRESS):
            skt.close()
            raise failed(code)
        loop.watch(skt.fileno(), self)

    def event(self, mask: int) -> None:
        """The connection is there, or is not to be had."""
        if self._done:
            return
        self._done = True
        if mask & ERROR:
            self._loop.bury(self._socket)
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.arrived.errback(failed(code))
            return
        if isinstance(self._address, tuple):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._connection = self._made()
        connection.event(mask)  # this edge may tell of bytes too, and there is no second one

    def _made(self) -> LaneConnection:
        """What serves the side, or, until TLS stands, who stands in for it."""
        loop, skt, tls = self._loop, self._socket, self._tls
        if tls is None:
            connection = LaneConnection(loop, skt, self._address, self._side)
            self._side.makeConnection(connection)
            self.arrived.callback(None)
            return connection
        stand_in = Arriving(self._side, tls, self.arrived, _give_way)
        secured = TLSConnection(loop, skt, self._address, stand_in, tls.connection(skt), tls, tls.preface)
        stand_in.makeConnection(secured)
        return secured

    def go_on(self) -> None:
        """A dial never asks to be served again."""

    def fail(self, failure: Failure) -> None:
        """Whatever has failed, nobody waits in vain."""
        if self._connection is not None:
            self._connection.fail(failure)
        else:
            self._loop.bury(self._socket)
        if not self.arrived.called:
            self.arrived.errback(failure)

    def _give_up(self, _: Deferred[Optional[TcpAddress]]) -> None:
        if not self._done:
            self._done = True
            self._loop.bury(self._socket)
        elif self._connection is not None:
            self._connection.abortConnection()  # it was shaking hands


def _give_way(transport: TLSConnection, side: Any) -> None:
    transport.protocol = side


def failed(code: int) -> DialFailed:
    """Why a connection could not be made, from the system's error number."""
    if code in OUT_OF_DESCRIPTORS:
        return DialFailed(Reason.DESCRIPTORS, os.strerror(code), code)
    return DialFailed(_REASONS.get(code, Reason.CONNECT_FAILED), os.strerror(code), code)
