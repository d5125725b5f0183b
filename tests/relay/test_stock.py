"""Twisted's transports as the relay uses them: accepted, dialed, and what goes wrong in our own words."""

from __future__ import annotations

import os
import resource
import socket
import tempfile
from typing import Any, Optional

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from proxyd.config.address import Address, Addresses, SrvAddress, TcpAddress, TcpBind, UnixAddress, UnixBind
from proxyd.config.tcp import KEEPALIVE
from proxyd.errors import DialFailed, Reason
from proxyd.interfaces import IDatapath
from proxyd.relay.deadlines import Wheel
from proxyd.relay.listener import open_socket
from proxyd.relay.pair import Pair, ProxyClient
from proxyd.relay.stock import Stock
from proxyd.relay.streams import CHUNK, buffered, unacknowledged, unsent
from tests.support.case import AsyncCase
from tests.support.lane import Asked


class Noting(Factory):
    """Builds one protocol, and notes for which address."""

    def __init__(self, protocol: Optional[Protocol]) -> None:
        self.made = protocol
        self.address: Optional[IAddress] = None

    def buildProtocol(self, addr: Any) -> Optional[Protocol]:
        self.address = addr
        return self.made


class Closing(Protocol):
    """Says goodbye and closes."""

    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(b"bye")  # type: ignore[union-attr]
        self.transport.loseConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


class Lonely(Pair):
    """A pair of which only the server's side is connected."""

    def __init__(self) -> None:
        super().__init__(Wheel(Clock()), 60, 60)
        self.gone: Deferred[None] = Deferred()

    def ended(self, reason: Reason, detail: str) -> None:
        self.gone.callback(None)


class StockTests(AsyncCase):
    """Real sockets on loopback."""

    def setUp(self) -> None:
        self.stock = Stock(reactor)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "s")

    def listening(self) -> list[tuple[socket.socket, Address]]:
        """A listening socket of each family, and the address that leads to it."""
        v4 = open_socket(TcpBind("tcp:0", "127.0.0.1", 0), {})
        v6 = open_socket(TcpBind("tcp6:0", "::1", 0), {})
        unix = open_socket(UnixBind("unix:s", self.path), {})
        found: list[tuple[socket.socket, Address]] = [
            (v4, TcpAddress("127.0.0.1", v4.getsockname()[1])),
            (v6, TcpAddress("::1", v6.getsockname()[1])),
            (v4, Addresses((TcpAddress("127.0.0.1", v4.getsockname()[1]),) * 2)),
            (unix, UnixAddress(self.path)),
        ]
        for skt, _ in found:
            skt.setblocking(True)
            self.addCleanup(skt.close)
        return found

    async def dial(self, address: Address) -> ProxyClient:
        """A side that has been connected, and is closed again after the test."""
        side = Lonely().server
        await self.stock.dial(address, side)
        self.addCleanup(self.close, side)
        return side

    def close(self, side: ProxyClient) -> Deferred[None]:
        side.transport.abortConnection()
        assert isinstance(side.pair, Lonely)
        return side.pair.gone

    async def failure(self, address: Address) -> DialFailed:
        """What dialing says that cannot succeed."""
        side = Lonely().server
        try:
            await self.stock.dial(address, side)
        except DialFailed as failed:
            self.assertFalse(side.connected)
            return failed
        raise AssertionError(f"{address} was reached")

    def test_it_is_a_datapath(self) -> None:
        """Whatever takes one takes this one."""
        verifyObject(IDatapath, self.stock)

    async def test_dialing_each_family(self) -> None:
        """IPv4, IPv6, a name and a unix socket are reached, with bounded reads and live keepalive."""
        for skt, address in self.listening():
            side = await self.dial(address)
            accepted, _ = skt.accept()
            self.addCleanup(accepted.close)
            self.assertEqual(side.transport.bufferSize, CHUNK)
            if not isinstance(address, UnixAddress):
                handle = side.transport.getHandle()
                self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)
                self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), KEEPALIVE.idle)

    async def test_telling_by_calls(self) -> None:
        """Who is told by calls hears of a server that was reached, of one that was not, and of a cancel."""
        found = self.listening()
        for _, address in found:
            side = Lonely().server
            await Asked(self.stock, address, side).arrived
            self.assertTrue(side.connected)
            await self.close(side)
        for skt, _ in found:
            skt.close()
        for _, address in found:
            for cancels in False, True:
                arriving = Asked(self.stock, address, Lonely().server).arrived
                if cancels:
                    arriving.cancel()
                with self.assertRaises(CancelledError if cancels else DialFailed):
                    await arriving

    async def test_what_is_unsent(self) -> None:
        """Bytes in user space and bytes that the peer has not taken count, until it has."""
        for skt, address in self.listening():
            side = await self.dial(address)
            accepted, _ = skt.accept()
            self.addCleanup(accepted.close)
            side.transport.write(b"x" * 1000)
            self.assertEqual((buffered(side.transport), unsent(side.transport)), (1000, 1000))
            while buffered(side.transport):
                await deferLater(reactor, 0)
            self.assertEqual(len(accepted.recv(1000, socket.MSG_WAITALL)), 1000)
            while unsent(side.transport):
                await deferLater(reactor, 0)
            self.assertEqual(unacknowledged(side.transport), 0)

    async def test_a_refused_connection(self) -> None:
        """Nobody listens: connect_refused, in the system's words."""
        skt = open_socket(TcpBind("tcp:0", "127.0.0.1", 0), {})
        port = skt.getsockname()[1]
        skt.close()
        failed = await self.failure(TcpAddress("127.0.0.1", port))
        self.assertEqual((failed.reason, failed.detail), (Reason.CONNECT_REFUSED, "Connection refused"))

    async def test_a_unix_socket_that_is_not_there(self) -> None:
        """The system's word for it is the detail."""
        failed = await self.failure(UnixAddress(self.path + ".missing"))
        self.assertEqual((failed.reason, failed.detail), (Reason.CONNECT_FAILED, "No such file or directory"))

    async def test_a_name_that_does_not_resolve(self) -> None:
        """What has never resolved is not dialed: name_failed, and the name is in the detail."""
        for address in TcpAddress("no-such-name.invalid", 80), SrvAddress("_db._tcp.invalid"):
            failed = await self.failure(address)
            self.assertEqual(failed.reason, Reason.NAME_FAILED)
            self.assertIn(str(address), failed.detail)

    async def test_no_descriptor_left(self) -> None:
        """That is our fault and not the server's."""
        (_, address), *_ = self.listening()
        await deferLater(reactor, 0)  # the reactor itself needs some to start
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            failed = await self.failure(address)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual((failed.reason, failed.detail), (Reason.DESCRIPTORS, "Too many open files"))

    async def test_giving_up_a_dial(self) -> None:
        """A dial that is cancelled leaves no socket and no timer behind."""
        full = socket.socket()
        self.addCleanup(full.close)
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(3):  # nobody accepts: once the backlog is full, the kernel does not answer
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        dialing = self.stock.dial(TcpAddress("127.0.0.1", port), Lonely().server)
        await deferLater(reactor, 0)
        dialing.cancel()
        try:
            await dialing
        except (CancelledError, DialFailed) as error:
            self.assertIsInstance(error, CancelledError)

    async def test_accepting_each_family(self) -> None:
        """The factory is told who comes, and the protocol talks to them."""
        kinds = [IPv4Address, IPv6Address, IPv4Address, UNIXAddress]
        for (skt, address), kind in zip(self.listening(), kinds):
            family = socket.AF_UNIX if isinstance(address, UnixAddress) else skt.family
            with socket.socket(family) as client:
                client.connect(skt.getsockname())
                accepted, peer = skt.accept()
                accepted.setblocking(False)
                protocol = Closing()
                factory = Noting(protocol)
                self.stock.accept(accepted, peer, factory)
                self.assertIsInstance(factory.address, kind)
                self.assertIn("Server for", repr(protocol.transport))
                await protocol.gone
                self.assertEqual(client.recv(10), b"bye")

    def test_a_client_that_is_not_wanted(self) -> None:
        """When the factory builds nothing, the socket is closed at once."""
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.stock.accept(other, "", Noting(None))
        self.assertEqual((one.recv(1), other.fileno()), (b"", -1))
