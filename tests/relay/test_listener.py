"""Binding says clearly what is wrong; accepting takes a small batch a turn and survives a full process."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from typing import Any, Callable, Optional

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from proxyd.config.address import EndpointBind, FdBind, SystemdBind, TcpBind, UnixBind
from proxyd.errors import StartError
from proxyd.relay.capacity import Capacity
from proxyd.relay.listener import ACCEPTS_PER_TURN, EndpointListener, Listener, bound_listener, open_socket
from proxyd.relay.stock import Stock
from tests.support.case import AsyncCase, Case


class Watch:
    """A reactor that only notes who wants to read, so that a test decides when anything is read."""

    def __init__(self) -> None:
        self.readers: set[object] = set()
        self.clock = Clock()
        self.callLater = self.clock.callLater

    def addReader(self, reader: object) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.discard(reader)


class OpenSocketTests(Case):
    """From a bind to a listening socket."""

    def folder(self) -> str:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return folder.name

    def open(self, bind: Any, environ: Optional[dict[str, str]] = None) -> socket.socket:
        skt = open_socket(bind, environ or {})
        self.addCleanup(skt.close)
        return skt

    def refused(self, bind: Any, environ: Optional[dict[str, str]] = None) -> str:
        (line,) = self.assertRaises(StartError, open_socket, bind, environ or {}).lines
        return str(line)

    def test_tcp(self) -> None:
        """IPv4 and IPv6 listen, with the options that accepted connections inherit."""
        for host, family in ("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6):
            skt = self.open(TcpBind("tcp:0", host, 0))
            self.assertEqual(skt.family, family)
            self.assertTrue(skt.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
            with socket.create_connection(skt.getsockname()[:2]):
                skt.setblocking(True)
                accepted, _ = skt.accept()
                with accepted:
                    self.assertEqual(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)
                    self.assertEqual(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
                    self.assertEqual(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 60)

    def test_both_families_share_a_port(self) -> None:
        """``tcp:80`` and ``tcp6:80`` do not take the port from each other."""
        for _ in range(20):  # somebody else's client may have the port that is free for IPv4
            port = self.open(TcpBind("tcp:0", "0.0.0.0", 0)).getsockname()[1]
            try:
                six = self.open(TcpBind("tcp6", "::", port))
            except StartError:
                continue
            self.assertEqual(six.getsockname()[1], port)
            return
        self.fail("20 ports of IPv4 that could not be had for IPv6, too")

    def test_a_port_in_use(self) -> None:
        """One line names the bind and what is in the way."""
        port = self.open(TcpBind("tcp:0", "127.0.0.1", 0)).getsockname()[1]
        said = self.refused(TcpBind(f"tcp:{port}", "127.0.0.1", port))
        self.assertEqual(
            said,
            f"cannot listen on tcp:{port}: Address already in use (another process listens there)",
        )

    def test_an_address_of_another_host(self) -> None:
        """One line says that no interface has that address."""
        self.assertIn("no interface of this host", self.refused(TcpBind("tcp:1", "192.0.2.1", 0)))

    def test_a_unix_socket(self) -> None:
        """It has the mode that was asked for, and replaces the one that a killed process left."""
        path = os.path.join(self.folder(), "s")
        for mode in 0o600, 0o660:
            skt = self.open(UnixBind("unix:s", path, mode=mode))
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), mode)
            skt.close()

    def test_a_unix_socket_in_use_is_left_alone(self) -> None:
        """Two daemons never fight for one socket."""
        path = os.path.join(self.folder(), "s")
        self.open(UnixBind("unix:s", path))
        self.assertIn("Address already in use", self.refused(UnixBind("unix:s", path)))

    def test_a_file_is_never_removed(self) -> None:
        """What is no socket is left as it is."""
        path = os.path.join(self.folder(), "precious")
        with open(path, "w") as file:
            file.write("data")
        self.assertIn("no socket is in the way", self.refused(UnixBind("unix:precious", path)))
        with open(path) as file:
            self.assertEqual(file.read(), "data")

    def test_an_inherited_descriptor(self) -> None:
        """``fd:N`` listens where the parent did."""
        parent = self.open(TcpBind("tcp:0", "127.0.0.1", 0))
        name, fd = parent.getsockname(), parent.detach()
        child = self.open(FdBind("fd", fd))
        self.assertEqual(child.getsockname(), name)
        self.assertRaises(OSError, os.fstat, fd)

    def test_an_inherited_descriptor_that_does_not_listen(self) -> None:
        """A pipe, a connection, a closed descriptor: each is refused."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        self.assertIn("cannot listen on fd:p", self.refused(FdBind("fd:p", reading)))
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        self.assertIn("no listening stream socket", self.refused(FdBind("fd:c", one.fileno())))
        self.assertIn("Bad file descriptor", self.refused(FdBind("fd:x", 1_000_000)))

    def test_systemd(self) -> None:
        """Without systemd, and with the wrong name or index, the line says what was passed."""
        mine = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0", "LISTEN_FDNAMES": "web:mail"}
        self.assertIn("has passed no socket", self.refused(SystemdBind("systemd:index=0", 0)))
        self.assertIn("no socket named 'ftp'", self.refused(SystemdBind("s", None, "ftp"), mine))
        self.assertIn("passed 0 sockets", self.refused(SystemdBind("s", 2), mine))
        self.assertIn("passed 0 sockets", self.refused(SystemdBind("s", None, "mail"), mine))


class Shedding(Factory):
    """Protocols that do nothing, and a count of clients that were turned away."""

    protocol = Protocol

    def __init__(self) -> None:
        self.turned_away: list[IAddress] = []

    def shed(self, address: IAddress) -> None:
        self.turned_away.append(address)


class Keeping(Stock):
    """A datapath that hands on what was accepted as it is."""

    def __init__(self, watch: Watch, keep: Callable[[socket.socket], None]) -> None:
        super().__init__(watch)
        self.keep = keep

    def accept(self, skt: socket.socket, peer: Any, factory: object, tls: Any = None) -> None:
        self.keep(skt)


class ListenerTests(Case):
    """Accepting, one turn at a time."""

    def setUp(self) -> None:
        self.watch = Watch()
        self.accepted: list[socket.socket] = []
        self.addCleanup(self.close_accepted)
        self.socket = open_socket(TcpBind("tcp:0", "127.0.0.1", 0), {})
        self.capacity = Capacity(self.watch.clock, 1000)
        self.addCleanup(self.capacity.stop)
        self.factory = Shedding()
        self.datapath = Keeping(self.watch, self.keep)
        self.listener = Listener(self.watch, self.datapath, self.socket, self.factory, self.capacity)
        self.addCleanup(self.listener.stopListening)
        self.failing: list[BaseException] = []
        self.counting = False

    def close_accepted(self) -> None:
        for skt in self.accepted:
            skt.close()

    def keep(self, skt: socket.socket) -> None:
        if self.failing:
            raise self.failing.pop()
        self.accepted.append(skt)
        if self.counting:
            self.capacity.enter()

    def clients(self, count: int) -> None:
        for _ in range(count):
            client = socket.create_connection(self.socket.getsockname())
            self.addCleanup(client.close)

    def test_it_is_a_listening_port(self) -> None:
        """Twisted's interface for ports holds, so that services can treat it as one."""
        verifyObject(IListeningPort, self.listener)
        self.assertIsInstance(self.listener.getHost(), IPv4Address)

    def test_a_small_fixed_batch_a_turn(self) -> None:
        """However many knock, a turn takes 16, and the next takes no more than that."""
        self.listener.startListening()
        self.clients(40)
        for expected in ACCEPTS_PER_TURN, 2 * ACCEPTS_PER_TURN, 40, 40:
            self.listener.doRead()
            self.assertEqual(len(self.accepted), expected)

    def test_pausing_in_the_middle_of_a_batch(self) -> None:
        """When the last place is taken, the rest of the batch waits in the backlog."""
        self.capacity.most = 3
        self.counting = True
        self.listener.startListening()
        self.clients(5)
        self.listener.doRead()
        self.assertEqual((len(self.accepted), self.watch.readers), (3, set()))
        self.capacity.leave()
        self.assertEqual(self.watch.readers, {self.listener})

    def test_starting_while_the_process_is_full(self) -> None:
        """A listener that comes late keeps its clients in the backlog like the others."""
        self.capacity.most = 1
        self.capacity.enter()
        self.listener.startListening()
        self.assertEqual(self.watch.readers, set())
        self.capacity.leave()
        self.assertEqual(self.watch.readers, {self.listener})

    def test_a_client_that_cannot_be_served_is_closed(self) -> None:
        """A fault in serving one is logged, its socket closed, and the next is served."""
        self.listener.startListening()
        self.clients(2)
        self.failing.append(ValueError("broken"))
        self.listener.doRead()
        self.assertEqual(len(self.accepted), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_without_descriptors_the_head_of_the_line_is_told(self) -> None:
        """One client is turned away, and counted; the rest wait; then all goes on."""
        self.listener.startListening()
        self.clients(3)
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        try:
            self.listener.doRead()
            self.assertEqual((len(self.factory.turned_away), self.accepted), (1, []))
            self.assertEqual(self.watch.readers, set())
        finally:
            for fd in taken:
                os.close(fd)
        self.watch.clock.advance(1)
        self.assertEqual(self.watch.readers, {self.listener})
        self.listener.doRead()
        self.assertEqual(len(self.accepted), 2)

    def test_stopping(self) -> None:
        """The port is free, nothing is watched, and a second stop does no harm."""
        self.listener.startListening()
        name = self.socket.getsockname()
        self.assertIn("127.0.0.1", repr(self.listener))
        self.listener.stopListening()
        self.listener.stopListening()
        self.assertEqual(repr(self.listener), "<Listener stopped>")
        self.listener.resume()  # capacity knows it still
        self.assertEqual(self.watch.readers, set())
        with socket.socket() as client:
            self.assertNotEqual(client.connect_ex(name), 0)

    def test_a_unix_socket_is_removed_when_it_stops(self) -> None:
        """The file goes with the listener, unless another has taken its place."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            for stolen in False, True:
                skt = open_socket(UnixBind("unix:s", path), {})
                listener = Listener(self.watch, self.datapath, skt, self.factory)
                self.assertEqual(listener.getHost(), UNIXAddress(path))
                listener.startListening()
                if stolen:
                    os.rename(path, path + ".old")
                    with open(path, "w"):
                        pass
                listener.stopListening()
                self.assertEqual(os.path.exists(path), stolen)


class EndpointListenerTests(AsyncCase):
    """Kinds of endpoints that only Twisted knows."""

    async def test_a_stock_endpoint_serves(self) -> None:
        """A string that Twisted understands is bound at once, can pause, and closes."""
        arrived: Deferred[None] = Deferred()

        class Greeting(Protocol):
            def connectionMade(self) -> None:
                arrived.callback(None)
                self.transport.loseConnection()  # type: ignore[union-attr]

        capacity = Capacity(reactor, 10)
        self.addCleanup(capacity.stop)
        bind = EndpointBind("tcp:0:interface=127.0.0.1")
        listener: Any = bound_listener(
            reactor, Stock(reactor), bind, {}, Factory.forProtocol(Greeting), capacity
        )
        self.assertIsInstance(listener, EndpointListener)
        listener.startListening()
        listener.pause()
        listener.resume()
        host: Any = listener.getHost()
        with socket.create_connection((host.host, host.port)):
            await arrived
        await listener.stopListening()

    def test_what_twisted_does_not_understand(self) -> None:
        """The line has the bind and Twisted's own words."""
        for text in "nosuchkind:80", "tcp:nonsense", "ssl:443":
            error = self.assertRaises(StartError, EndpointListener, reactor, EndpointBind(text), Factory())
            self.assertIn(f"cannot listen on {text}: ", error.lines[0])

    def test_a_port_in_use(self) -> None:
        """A stock endpoint that cannot be bound fails the start too."""
        taken = open_socket(TcpBind("tcp:0", "127.0.0.1", 0), {})
        self.addCleanup(taken.close)
        text = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        error = self.assertRaises(StartError, EndpointListener, reactor, EndpointBind(text), Factory())
        self.assertIn("Address already in use", error.lines[0])

    async def test_ipv6_host(self) -> None:
        """A listener on IPv6 says so."""
        skt = open_socket(TcpBind("tcp6:0", "::1", 0), {})
        listener = Listener(reactor, Stock(reactor), skt, Factory())
        self.assertIsInstance(listener.getHost(), IPv6Address)
        listener.stopListening()
