"""How does the lane reach a server?"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Optional, Union

from twisted.internet.defer import CancelledError, Deferred
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


class Attempt:
    """One attempt to connect a side to an address; of what comes of it subclasses tell."""

    __slots__ = ("_address", "_connection", "_done", "_loop", "_side", "_socket")

    def __init__(
        self,
        loop: Loop,
        family: int,
        address: Any,
        side: Any,
        tcp: Optional[TcpSpec] = None,
        client: str = "",
    ) -> None:
        """
        ``address`` is what connect(2) takes for the family; raises `DialFailed` if it fails at once.

        ``tcp`` and ``client`` are as in `proxyd.interfaces.IDatapath.dial`.
        """
        self._loop = loop
        self._address = address
        self._side = side
        self._done = False
        self._connection: Optional[LaneConnection] = None
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
            self._failed(failed(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
            return
        if isinstance(self._address, tuple):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._connection = self._reached()
        connection.event(mask)  # this edge may tell of bytes too, and there is no second one

    def go_on(self) -> None:
        """A dial never asks to be served again."""

    def fail(self, failure: Failure) -> None:
        """Whatever has failed, nobody waits in vain."""
        if self._connection is not None:
            self._connection.fail(failure)
        else:
            self._loop.bury(self._socket)
        self._done = True
        self._failed(failure)

    def _connected(self) -> LaneConnection:
        """Connect the side."""
        connection = LaneConnection(self._loop, self._socket, self._address, self._side)
        self._side.makeConnection(connection)
        return connection

    def _reached(self) -> LaneConnection:
        """Make what serves the socket, and tell of it."""
        raise NotImplementedError

    def _failed(self, error: Union[Exception, Failure]) -> None:
        """Tell that the server was not reached, unless it was told already what came of it."""
        raise NotImplementedError


class Dial(Attempt):
    """One that ``arrived`` tells of, a Deferred; it may have TLS with the server."""

    __slots__ = ("_tls", "arrived")

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
        """``tls`` is as in `proxyd.interfaces.IDatapath.dial`, the others as of an `Attempt`."""
        self._tls = tls
        self.arrived: Deferred[Optional[TcpAddress]] = Deferred(self._give_up)
        super().__init__(loop, family, address, side, tcp, client)

    def _reached(self) -> LaneConnection:
        loop, skt, tls = self._loop, self._socket, self._tls
        if tls is None:
            connection = self._connected()
            self.arrived.callback(None)
            return connection
        # Until TLS stands another one stands in for the side.
        stand_in = Arriving(self._side, tls, self.arrived, _give_way)
        secured = TLSConnection(loop, skt, self._address, stand_in, tls.connection(skt), tls, tls.preface)
        stand_in.makeConnection(secured)
        return secured

    def _failed(self, error: Union[Exception, Failure]) -> None:
        if not self.arrived.called:
            self.arrived.errback(error)

    def _give_up(self, _: Deferred[Optional[TcpAddress]]) -> None:
        if not self._done:
            self._done = True
            self._loop.bury(self._socket)
        elif self._connection is not None:
            self._connection.abortConnection()  # it was shaking hands


class Told(Attempt):
    """One that whoever has asked for it is told of, by calls (`proxyd.interfaces.IAsker`)."""

    __slots__ = ("_asker",)

    def __init__(
        self, loop: Loop, family: int, address: Any, side: Any, asker: Any, tcp: Optional[TcpSpec] = None
    ) -> None:
        self._asker = asker
        super().__init__(loop, family, address, side, tcp)

    def _reached(self) -> LaneConnection:
        asker, self._asker = self._asker, None
        connection = self._connected()
        asker.reached(None)
        return connection

    def _failed(self, error: Union[Exception, Failure]) -> None:
        asker, self._asker = self._asker, None
        if asker is not None:
            asker.unreached(error)

    def cancel(self) -> None:
        """End it at once, and tell so; one that has come to something is left alone."""
        if not self._done:
            self._done = True
            self._loop.bury(self._socket)
            self._failed(CancelledError())


def _give_way(transport: TLSConnection, side: Any) -> None:
    transport.protocol = side


def failed(code: int) -> DialFailed:
    """Why a connection could not be made, from the system's error number."""
    if code in OUT_OF_DESCRIPTORS:
        return DialFailed(Reason.DESCRIPTORS, os.strerror(code), code)
    return DialFailed(_REASONS.get(code, Reason.CONNECT_FAILED), os.strerror(code), code)
