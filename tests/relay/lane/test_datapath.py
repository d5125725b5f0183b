"""The lane as the relay sees it: who is accepted, from which sockets, and what is left of ten thousand."""

from __future__ import annotations

import gc
import os
import socket
import tempfile
from itertools import count
from typing import Any, Optional

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure

from proxyd.config.address import Bind, FdBind, SystemdBind, TcpAddress, TcpBind, UnixAddress, UnixBind
from proxyd.errors import Reason
from proxyd.relay.lane.connection import LaneConnection
from proxyd.relay.lane.datapath import Lane, can_run_on
from proxyd.relay.listener import Listener, bound_listener, open_socket
from proxyd.relay.pair import Pair, Side
from tests.support.case import AsyncCase, Case
from tests.support.descriptors import open_files, open_files_before
from tests.support.echo import EchoFactory
from tests.support.peer import SocketPeer, listening_socket
from tests.support.relay import Relay

CONNECTIONS = 10_000
AT_ONCE = 64
MANY_TURNS = 2000


class Noting(Factory):
    """Builds the protocols that it is given, and notes for which addresses."""

    noisy = False

    def __init__(self, *protocols: Optional[Protocol]) -> None:
        self.protocols = list(protocols)
        self.addresses: list[IAddress] = []

    def buildProtocol(self, addr: Any) -> Optional[Protocol]:
        self.addresses.append(addr)
        return self.protocols.pop(0)


class Closing(Protocol):
    """Says goodbye and closes."""

    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(b"bye")  # type: ignore[union-attr]
        self.transport.loseConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


class Stillborn(Protocol):
    """Fails before it has begun."""

    def __init__(self) -> None:
        self.lost: list[Failure] = []

    def connectionMade(self) -> None:
        raise ZeroDivisionError("on purpose")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)


class CanRunTests(Case):
    """Where the lane serves, and where Twisted's transports do."""

    def test_a_reactor_that_watches_descriptors(self) -> None:
        """This host's reactor can run the lane; one that has only a clock cannot."""
        self.assertTrue(can_run_on(reactor))
        self.assertFalse(can_run_on(Clock()))


class LaneCase(AsyncCase):
    """A test with a lane on the real reactor."""

    def setUp(self) -> None:
        self.lane = Lane(reactor)
        self.addCleanup(self.lane.close)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "s")

    def binds(self) -> list[Bind]:
        """A place to listen on, of each family."""
        return [
            TcpBind("tcp:0", "127.0.0.1", 0),
            TcpBind("tcp6:0", "::1", 0),
            UnixBind("unix:s", self.path),
        ]

    def listen(self, factory: Any, bind: Bind, environ: Optional[dict[str, str]] = None) -> Any:
        """A listener on the lane."""
        listener = bound_listener(reactor, self.lane, bind, environ or {}, factory)
        self.addCleanup(listener.stopListening)
        listener.startListening()
        return listener

    def connect(self, address: Any) -> SocketPeer:
        """A client of a listener's."""
        if isinstance(address, UNIXAddress):
            skt = socket.socket(socket.AF_UNIX)
            skt.connect(address.name or b"")
        else:
            skt = socket.create_connection((address.host, address.port))
        peer = SocketPeer(reactor, skt)
        self.addCleanup(peer.close)
        return peer

    async def turns(self, times: int = 10) -> None:
        """Let the reactor turn."""
        for _ in range(times):
            await deferLater(reactor, 0)

    async def echoes(self, address: Any) -> None:
        """What is sent there comes back, and the end too."""
        peer = self.connect(address)
        peer.send(b"hello")
        await peer.receives(5)
        peer.finish()
        self.assertEqual(await peer.sees_end(), b"hello")


class AcceptTests(LaneCase):
    """From an accepted socket to a protocol that runs."""

    async def test_each_family(self) -> None:
        """The factory is told who comes, and the protocol talks to them."""
        kinds = [IPv4Address, IPv6Address, UNIXAddress]
        for bind, kind in zip(self.binds(), kinds):
            protocol = Closing()
            factory = Noting(protocol)
            peer = self.connect(self.listen(factory, bind).getHost())
            self.assertEqual(await peer.sees_end(), b"bye")
            await protocol.gone
            (address,) = factory.addresses
            self.assertIsInstance(address, kind)
            self.assertIsInstance(protocol.transport, LaneConnection)

    def test_a_client_that_is_not_wanted(self) -> None:
        """When the factory builds nothing, the socket is closed at once."""
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.lane.accept(other, "", Noting(None))
        self.assertEqual((one.recv(1), other.fileno()), (b"", -1))

    async def test_a_protocol_that_fails_at_once(self) -> None:
        """It is told that it is lost, its client is closed, and those who get its descriptor are served."""
        stillborn = [Stillborn() for _ in range(3)]
        closing = [Closing() for _ in range(3)]
        listener = self.listen(Noting(*stillborn, *closing), self.binds()[0])
        for _ in stillborn:
            peer = self.connect(listener.getHost())
            await peer.sees_either()
            peer.close()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertEqual([len(protocol.lost) for protocol in stillborn], [1, 1, 1])
        for _ in closing:
            self.assertEqual(await self.connect(listener.getHost()).sees_end(), b"bye")

    async def test_a_listener_that_pauses(self) -> None:
        """Clients wait while it is paused, and are served when it goes on."""
        listener: Listener = self.listen(EchoFactory(), self.binds()[0])
        listener.pause()
        peer = self.connect(listener.getHost())
        peer.send(b"hello")
        await self.turns()
        self.assertEqual(peer.count, 0)
        listener.resume()
        await peer.receives(5)
        await self.echoes(listener.getHost())

    async def test_nothing_is_left_with_the_reactor(self) -> None:
        """When the last one is gone, the reactor watches nothing of the lane's."""
        await self.turns()
        before = set(_registered())
        listener = self.listen(EchoFactory(), self.binds()[0])
        await self.echoes(listener.getHost())
        self.assertNotEqual(set(_registered()), before)
        listener.stopListening()
        await self.turns()
        self.assertEqual(set(_registered()), before)


class InheritedTests(LaneCase):
    """Listening sockets that somebody else has opened."""

    async def test_a_descriptor(self) -> None:
        """``fd:N`` is served, whatever its family."""
        for bind in self.binds():
            skt = open_socket(bind, {})
            listener = self.listen(EchoFactory(), FdBind("fd:N", skt.detach()))
            await self.echoes(listener.getHost())

    async def test_sockets_from_systemd(self) -> None:
        """``systemd:NAME`` is served."""
        skt = listening_socket(socket.AF_INET, 64 * 1024)
        count = skt.detach() - 2  # systemd's begin with number 3; those before ours are not asked for
        names = ":".join(["other"] * (count - 1) + ["web"])
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": names}
        listener = self.listen(EchoFactory(), SystemdBind("systemd:web", name="web"), environ)
        await self.echoes(listener.getHost())


class RelayTests(LaneCase):
    """A whole relay on the lane: listener, session, dial and pump."""

    def relay(self, server: Any, **how: Any) -> Relay:
        """A relay that leads to a server."""
        relay = Relay(reactor, server, lane=self.lane, **how)
        self.addCleanup(relay.stop)
        return relay

    async def ends(self, relay: Relay, records: int) -> None:
        """Wait until so many connections have ended, and nothing is left of them."""
        for _ in range(MANY_TURNS):
            if len(relay.notebook.records) >= records and not relay.left():
                break
            await deferLater(reactor, 0)
        self.assertEqual((len(relay.notebook.records), relay.left()), (records, []))

    async def test_every_family_to_every_family(self) -> None:
        """IPv4, IPv6 and unix clients reach IPv4, IPv6 and unix servers."""
        servers: list[Any] = []
        for bind in self.binds():
            host = self.listen(EchoFactory(), bind).getHost()
            if isinstance(host, UNIXAddress):
                servers.append(UnixAddress(self.path))
            else:
                servers.append(TcpAddress(host.host, host.port))
        self.path += ".front"
        for server in servers:
            for bind in self.binds():
                relay = self.relay(server, bind=bind)
                await self.echoes(relay.address)
                await self.ends(relay, 1)
                (record,) = relay.notebook.records
                self.assertEqual((record.bytes_in, record.bytes_out), (5, 5))
                self.assertIs(record.reason, Reason.CLIENT_FINISHED)
                relay.listener.stopListening()

    async def test_a_server_that_is_not_there(self) -> None:
        """The client is closed, and the record has the reason."""
        with listening_socket(socket.AF_INET, 64 * 1024) as skt:
            port = skt.getsockname()[1]
        relay = self.relay(TcpAddress("127.0.0.1", port))
        await self.connect(relay.address).sees_either()
        await self.ends(relay, 1)
        self.assertIs(relay.notebook.records[0].reason, Reason.CONNECT_REFUSED)

    async def test_ten_thousand_connections(self) -> None:
        """Whichever way they end, nothing is left of them: no socket, no entry, no timer, no object."""
        listener = self.listen(EchoFactory(), self.binds()[0])
        server = listener.getHost()
        relay = self.relay(TcpAddress(server.host, server.port))
        await self.one(relay, 0)
        await self.turns()
        before = set(_registered())
        descriptors = open_files_before()
        objects = _objects()
        numbers = count(1)

        async def some() -> None:
            for number in numbers:
                if number >= CONNECTIONS:
                    break
                await self.one(relay, number)

        await gatherResults([Deferred.fromCoroutine(some()) for _ in range(AT_ONCE)])
        await self.ends(relay, CONNECTIONS)
        await self.turns()
        self.assertEqual(set(_registered()), before)
        self.assertEqual(open_files(), descriptors)
        reasons = {record.reason for record in relay.notebook.records}
        self.assertLessEqual(reasons, {Reason.CLIENT_FINISHED, Reason.CLIENT_RESET, Reason.CLIENT_GONE})
        self.assertIn(Reason.CLIENT_FINISHED, reasons)
        self.assertIn(Reason.CLIENT_RESET, reasons)
        self.assertLessEqual(_objects(), objects)
        relay.listener.stopListening()
        listener.stopListening()
        self.assertEqual([one for one in _registered() if type(one).__module__.startswith("proxyd")], [])

    async def test_nothing_is_left_to_the_garbage_collector(self) -> None:
        """What has ended is gone at once: cycles would pile up between two collections."""
        server = self.listen(EchoFactory(), self.binds()[0]).getHost()
        relay = self.relay(TcpAddress(server.host, server.port))
        await self.one(relay, 0)
        await self.turns()
        before = _objects()
        gc.disable()
        self.addCleanup(gc.enable)
        for number in range(1, 21):
            await self.one(relay, number)
        await self.ends(relay, 21)
        await self.turns()
        self.assertLessEqual(_objects(collect=False), before)

    async def one(self, relay: Relay, number: int) -> None:
        """A connection that ends in one of four ways."""
        address = relay.address
        peer = SocketPeer(reactor, socket.create_connection((address.host, address.port)))
        way = number % 4
        if way == 3:
            peer.reset()  # before anything was said
            return
        peer.send(b"hello")
        if way == 0:
            peer.finish()
        await peer.receives(5)
        if way == 1:
            peer.finish()
        elif way == 2:
            peer.reset()
            return
        await peer.sees_end()
        peer.close()


def _registered() -> list[object]:
    return [*reactor.getReaders(), *reactor.getWriters(), *reactor.getDelayedCalls()]


def _objects(collect: bool = True) -> int:
    if collect:
        gc.collect()
    return sum(isinstance(one, (LaneConnection, Pair, Side)) for one in gc.get_objects())
