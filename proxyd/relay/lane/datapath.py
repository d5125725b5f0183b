"""What does the rest of the relay see of the lane?  A datapath: it accepts, and it dials."""

from __future__ import annotations

import select
import socket
from functools import lru_cache
from typing import Any, Optional, Union

from OpenSSL.SSL import Context
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProtocolFactory, IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import classImplements

from proxyd.config.address import Address, Addresses, SrvAddress, TcpAddress, UnixAddress
from proxyd.config.tcp import TcpSpec
from proxyd.errors import DialFailed
from proxyd.interfaces import IDatapath, ITLSClient
from proxyd.relay.dial import reach_one, told_of_dial, unresolved
from proxyd.relay.lane.connection import LaneConnection
from proxyd.relay.lane.dial import Dial, Told
from proxyd.relay.lane.loop import Loop
from proxyd.relay.lane.pipes import Pipes
from proxyd.relay.lane.tls import TLSConnection
from proxyd.relay.streams import address_of
from proxyd.relay.tls.parts import refuse_what_is_held, server_part
from proxyd.relay.tls.stock import begin


def can_run_on(reactor: Any) -> bool:
    """Whether this host has epoll, and the reactor can watch a descriptor."""
    return hasattr(select, "epoll") and IReactorFDSet.providedBy(reactor)


@lru_cache(maxsize=1024)
def target_of(address: Address) -> tuple[int, Any]:
    """A server's family and what connect(2) takes for it; what that does not take is left as it is."""
    if isinstance(address, UnixAddress):
        return socket.AF_UNIX, address.path
    if isinstance(address, (Addresses, SrvAddress)):
        return socket.AF_UNSPEC, address
    if isIPAddress(address.host):
        return socket.AF_INET, (address.host, address.port)
    if isIPv6Address(address.host):
        return socket.AF_INET6, (address.host, address.port)
    return socket.AF_UNSPEC, address


class Lane:
    """The datapath over an epoll of our own."""

    def __init__(self, reactor: Any, pipes: Optional[Pipes] = None) -> None:
        """``pipes`` are to be spliced through; the lane closes them."""
        self._reactor = reactor
        self._loop = Loop(reactor, Pipes() if pipes is None else pipes)

    def addReader(self, reader: IReadDescriptor) -> None:
        """Have the lane serve a listener."""
        self._loop.addReader(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Serve it no more."""
        self._loop.removeReader(reader)

    def accept(
        self, skt: socket.socket, peer: Any, factory: IProtocolFactory, tls: Optional[Context] = None
    ) -> None:
        """
        Run a protocol of the factory on a socket that was accepted from ``peer`` (`IDatapath.accept`).

        The socket is closed when the factory does not want it, or when the protocol fails at once.
        """
        protocol = factory.buildProtocol(address_of(peer))
        if protocol is None:
            skt.close()
            return
        if tls is None:
            connection = LaneConnection(self._loop, skt, peer, protocol)
        else:
            connection = TLSConnection(self._loop, skt, peer, protocol, server_part(tls, skt))
        try:
            protocol.makeConnection(connection)
        except Exception:
            connection.fail(Failure())  # or the next one with this descriptor would not be watched
            raise

    def start_tls(self, side: Any, tls: Union[Context, ITLSClient], early: bool = False) -> None:
        """
        Speak TLS from now on, on a plain connection that the side has (`IDatapath.start_tls`).

        OpenSSL reads the socket itself, so where the beginning was read already Twisted's TLS serves.
        """
        if early and side.held:
            begin(self._reactor, side, tls)
            return
        refuse_what_is_held(side)
        plain = side.transport
        assert type(plain) is LaneConnection
        skt, peer = plain.getHandle(), plain.accepted_from
        if isinstance(tls, Context):
            connection = TLSConnection(self._loop, skt, peer, side, server_part(tls, skt))
        else:
            connection = TLSConnection(self._loop, skt, peer, side, tls.connection(skt), tls)
        connection.take_over(plain)
        side.transport = connection

    def dial(
        self,
        address: Address,
        side: Any,
        tcp: Optional[TcpSpec] = None,
        client: str = "",
        tls: Optional[ITLSClient] = None,
    ) -> Deferred[Optional[TcpAddress]]:
        """Connect the side to a server (`IDatapath.dial`)."""
        family, target = target_of(address)
        if family == socket.AF_UNSPEC:
            if isinstance(address, Addresses):
                return reach_one(self._reactor, address, lambda each: self.dial(each, side, tcp, client, tls))
            return fail(unresolved(address))
        try:
            return Dial(self._loop, family, target, side, tcp, client, tls).arrived
        except DialFailed as failed:
            return fail(failed)

    def reach(self, address: Address, side: Any, asker: Any, tcp: Optional[TcpSpec] = None) -> Any:
        """The same of a plain server, for one who is told by calls (`IDatapath.reach`)."""
        family, target = target_of(address)
        if family == socket.AF_UNSPEC:
            return told_of_dial(self.dial(address, side, tcp), asker)
        return Told(self._loop, family, target, side, asker, tcp)

    def close(self) -> None:
        """Give up the epoll and the pipes, once no connection is left."""
        self._loop.close()


classImplements(Lane, IDatapath)
