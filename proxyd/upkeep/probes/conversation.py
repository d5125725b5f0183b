"""
How does a check talk with a server?

A `Call` is one check of one server, a `Conversation` one connection of it: what is said, and what is heard,
a whole message at a time.  What is held of a server's words is bounded; the time is the caller's matter, who
cancels a probe that takes too long.  However a probe ends, it takes its leave as the protocol wants it, and
nothing of it stays behind.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Callable, Optional, TypeVar

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyd.config.address import Address, Addresses, named
from proxyd.config.tcp import TcpSpec
from proxyd.config.words import printable
from proxyd.errors import DialFailed
from proxyd.interfaces import IAsker, IDatapath
from proxyd.relay.dial import client_endpoint, told_of_dial
from proxyd.relay.prepared import prepared
from proxyd.relay.starttls import MYSQL, request
from proxyd.relay.streams import leave
from proxyd.relay.tls.verification import why
from proxyd.upkeep.probes.wait import Wait
from proxyd.walltime import WallTime
from proxyd.wire.starttls.step import Step

MOST_HELD = 64 * 1024  # bytes of an answer; the parsers of proxyd.wire are content with less
MOST_SHOWN = 120  # letters of it in a message
CLOSING_SECONDS = 1.0  # a healthy transport with nothing to send closes at once

T = TypeVar("T")


class Failed(Exception):
    """A server does not do its work; the text says in a few words what it did instead, and no secret."""


class Unable(Exception):
    """A check cannot be made, for a reason of our own, so it says nothing about the server."""


class Call:
    """
    One check of one server: where, which bytes it begins with, and what the server is called.

    It goes by the datapath, with what ``tcp`` asks of its sockets.  ``awaited`` is what the server owes us at
    the moment, so that one who gives up can name it.  ``pool`` and ``server`` are names; of ``processes``
    whoever starts one takes one.  ``tls`` makes what TLS begins with, if clients' connections to the server
    have it, and ``starttls`` is the protocol in whose way it begins, if it is not with the first byte.
    """

    __slots__ = (
        "address",
        "awaited",
        "called",
        "datapath",
        "greeting",
        "named",
        "pool",
        "processes",
        "reactor",
        "server",
        "starttls",
        "tcp",
        "tls",
        "wall",
    )

    def __init__(
        self,
        reactor: Any,
        wall: WallTime,
        datapath: IDatapath,
        address: Address,
        tcp: Optional[TcpSpec] = None,
        greeting: bytes = b"",
        called: Optional[Address] = None,
        pool: str = "",
        server: str = "",
        processes: Optional[DeferredSemaphore] = None,
        tls: Optional[Callable[[], IOpenSSLClientConnectionCreator]] = None,
        starttls: str = "",
    ) -> None:
        """``called`` is the name and port that the address was found for, if it was."""
        self.reactor = reactor
        self.wall = wall
        self.datapath = datapath
        self.address = address
        self.named = named(address)
        self.tcp = tcp
        self.greeting = greeting
        self.called = called or address
        self.pool = pool
        self.server = server
        self.processes = processes or DeferredSemaphore(1)
        self.tls = tls
        self.starttls = starttls
        self.awaited = "answer"

    @property
    def place(self) -> Address:
        """The address, and of several the first: for those who connect by themselves."""
        return self.address.each[0] if isinstance(self.address, Addresses) else self.address

    def dial(self, protocol: Any) -> Deferred[Any]:
        """Connect a protocol to the server; the connection begins with the greeting."""
        side = _Greeting(protocol, self.greeting) if self.greeting else protocol
        if self.named:
            endpoint = client_endpoint(prepared(self.reactor, self.tcp), self.address, None)
            return endpoint.connect(_Factory(side))
        reached: Deferred[Any] = self.datapath.dial(self.address, side, self.tcp)
        return reached

    def reach(self, talk: Conversation) -> Any:
        """The same, as `IDatapath.reach` does it."""
        if self.greeting or self.named:
            return told_of_dial(self.dial(talk), talk)
        return self.datapath.reach(self.address, talk, talk, self.tcp)

    def endpoint(self, tls: Optional[IOpenSSLClientConnectionCreator] = None) -> IStreamClientEndpoint:
        """
        The same as an endpoint, with TLS behind the greeting.

        That is what is given, or else that of clients' connections, if they have it.
        """
        tls = self.tls() if tls is None and self.tls is not None else tls
        endpoint = _Endpoint(self)
        return endpoint if tls is None else wrapClientTLS(tls, endpoint)

    def connect(self, tls: Optional[IOpenSSLClientConnectionCreator] = None) -> Conversation:
        """
        A connection, to be used as ``async with call.connect() as talk``.

        Where there is TLS, as `endpoint` says, it is agreed on when that begins.
        """
        return Conversation(self, self.tls() if tls is None and self.tls is not None else tls)


@implementer(IHandshakeListener, IAsker)
class Conversation(Wait, Protocol):
    """
    One connection of a probe; to await it is to wait until something has come, or it is closed.

    ``farewell`` are the last words, which are said in every case; a probe sets it when there is someone to
    hear it.  ``closed`` tells that the connection is closed on our side.
    """

    transport: Any

    def __init__(self, call: Call, tls: Optional[IOpenSSLClientConnectionCreator] = None) -> None:
        self.closed = False
        self.farewell = b""
        self._call = call
        self._tls = tls
        self._shaken = False
        self._heard = bytearray()
        self._ended: Optional[Failure] = None
        self._in_tls: Optional[SSL.Connection] = None  # in which TLS has failed
        self._told = None
        self._attempt: Any = None  # to reach the server, while it is waited for
        self._unreached: Any = None  # why it was not

    async def __aenter__(self) -> Conversation:
        if self._tls is None or self.starttls:
            self._attempt = self._call.reach(self)
            if self._attempt is not None:
                await self
            error = self._unreached
            if error is not None:
                raise error.value if isinstance(error, Failure) else error  # type: ignore[misc]
        else:
            await self._call.endpoint(self._tls).connect(_Factory(self))
        try:
            if self.starttls and self.starttls != MYSQL:
                await self._agree()
            elif self._tls is not None and not self.starttls:
                await self._handshake()
        except BaseException:
            await take_leave(self, self._call.reactor)
            raise
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        """Say farewell, and close the connection."""
        if self.farewell:
            self.say(self.farewell)
        if leave(self.transport):
            self.closed = True
        else:
            await take_leave(self, self._call.reactor)

    def say(self, data: bytes) -> None:
        """Send these bytes."""
        self.transport.write(data)

    async def hear(self, parse: Callable[[bytes], Optional[tuple[T, int]]], awaited: str) -> T:
        """
        The next message of the server, as ``parse`` makes it of all bytes so far: the value and its length.

        ``awaited`` names it for people ("answer to PING").  Raises `Failed` when it does not come, and what
        ``parse`` raises.
        """
        self._call.awaited = awaited
        while True:
            found = parse(bytes(self._heard))
            if found is not None:
                value, length = found
                del self._heard[:length]
                return value
            if len(self._heard) >= MOST_HELD:
                raise Failed(f"sent more than {MOST_HELD // 1024} KiB in place of its {awaited}")
            self._still_there()
            self.transport.resumeProducing()
            await self

    @property
    def starttls(self) -> str:
        """In the way of which protocol TLS begins; MySQL's is a matter of whoever logs in."""
        return self._call.starttls if self._tls is not None else ""

    async def start_tls(self) -> None:
        """Begin TLS now, and wait until it is agreed on.  Raises `Failed`."""
        assert self._tls is not None
        plain, factory = self.transport, TLSMemoryBIOFactory(self._tls, True, Factory(), self._call.reactor)
        self.transport = plain.protocol = TLSMemoryBIOProtocol(factory, self, False)
        self.transport.makeConnection(plain)
        await self._handshake()

    async def _agree(self) -> None:
        """Ask for TLS in the way of the protocol; what was heard before it is heard again within."""
        agreement = request(self.starttls)

        def next_step(data: bytes) -> Optional[tuple[Step, int]]:
            step = agreement.step(b"", data)
            return (step, step.from_server) if step is not None else None

        try:
            while True:
                step = await self.hear(next_step, "consent to TLS")
                self.say(step.to_server)
                if step.tls:
                    await self.start_tls()
                if step.joined:
                    self._heard[:0] = step.heard
                    return
        except DialFailed as failed:
            raise Failed(failed.detail) from None

    async def _handshake(self) -> None:
        """Wait until TLS is agreed on.  Raises `Failed`."""
        self._call.awaited = "end of the TLS handshake"
        while not self._shaken:
            self._still_there()
            await self

    def _still_there(self) -> None:
        """Raise `Failed` if the server has gone."""
        if self._ended is not None:
            raise Failed(ending(self._ended, self._call.awaited, self._in_tls))

    def change(self) -> Wait:
        """What to await for something to come, or for the connection to be closed."""
        return self

    def cancel(self) -> None:
        """Wait no more; an attempt to reach the server ends in its own words."""
        if self._attempt is not None:
            self._attempt.cancel()
        else:
            super().cancel()

    # What the datapath calls

    def reached(self, address: Any) -> None:
        self._attempt = None
        self.over()

    def unreached(self, error: Any) -> None:
        self._attempt = None
        self._unreached = error
        self.over()

    # What Twisted calls

    def handshakeCompleted(self) -> None:
        # Twisted 25.5 says so as well when it has just refused the certificate.
        if not self.transport.disconnecting:
            self._shaken = True
            self.over()

    def dataReceived(self, data: bytes) -> None:
        self._heard += data
        if len(self._heard) >= MOST_HELD:
            self.transport.pauseProducing()
        self.over()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        self._ended, self._in_tls = reason, failed_in(reason, self.transport)
        self.over()


class _Factory(Factory):
    """Gives one protocol its connection, without a log line for each."""

    noisy = False

    def __init__(self, protocol: Any) -> None:
        self._made = protocol

    def buildProtocol(self, addr: Optional[IAddress]) -> Any:
        return self._made


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """The server of a call, for those who want an endpoint."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        protocol = protocolFactory.buildProtocol(None)  # nobody here asks for the address
        return self._call.dial(protocol).addCallback(lambda _: protocol)


class _Greeting(Protocol):
    """Says the greeting on a new connection, which then is the protocol's."""

    def __init__(self, protocol: Any, greeting: bytes) -> None:
        self._protocol = protocol
        self._greeting = greeting

    def makeConnection(self, transport: Any) -> None:
        transport.write(self._greeting)
        transport.protocol = self._protocol
        self._protocol.makeConnection(transport)


async def take_leave(connection: Any, reactor: Any) -> None:
    """
    Close a connection, and wait until it is closed: ``closed`` says so, `change` tells when to look again.

    One that does not close in time is aborted, and so it is for one who has no time and cancels.
    """
    transport = connection.transport
    timer = reactor.callLater(CLOSING_SECONDS, transport.abortConnection)
    transport.loseConnection()
    while not connection.closed:
        try:
            await connection.change()
        except CancelledError:
            transport.abortConnection()
    if timer.active():
        timer.cancel()


def failed_in(reason: Failure, transport: Any) -> Optional[SSL.Connection]:
    """In what TLS has failed, if it was TLS; to be asked while the loss of the transport is told."""
    return transport.getHandle() if isinstance(reason.value, SSL.Error) else None


def ending(reason: Failure, awaited: str, tls: Optional[SSL.Connection] = None) -> str:
    """How a connection ended that still owed us something; ``tls`` is what `failed_in` has told."""
    if isinstance(reason.value, SSL.Error):
        return why(tls, reason.value)
    how = "closed" if reason.check(error.ConnectionDone) else "broke"
    return f"{how} the connection with no {awaited}"


def shown(data: bytes) -> str:
    """What a server has said, as a message shows it: on one line, and not too long."""
    return printable(data.decode("utf-8", "backslashreplace"), MOST_SHOWN)
