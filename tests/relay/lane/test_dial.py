"""Dialing on the lane: each family, every way in which it fails, and nothing left of what is given up."""

from __future__ import annotations

import os
import socket
import tempfile
from functools import partial
from typing import Any, Callable

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater

from proxyd.config.address import Address, Addresses, SrvAddress, TcpAddress, TcpBind, UnixAddress, UnixBind
from proxyd.config.tcp import KEEPALIVE
from proxyd.errors import DialFailed, Reason
from proxyd.relay.deadlines import Wheel
from proxyd.relay.lane.datapath import Lane
from proxyd.relay.listener import open_socket
from proxyd.relay.pair import Pair, ProxyClient
from proxyd.relay.streams import buffered, unsent
from tests.support.case import AsyncCase
from tests.support.descriptors import open_files, open_files_before
from tests.support.lane import Asked, no_descriptor_left
from tests.support.peer import PATIENCE

A_FEW = 10  # turns of the reactor

LONG_BACKLOG = 100  # connections that nobody accepts; far more than a backlog of 0 lets in


class Lonely(Pair):
    """A pair of which only the server's side is connected."""

    def __init__(self) -> None:
        super().__init__(Wheel(Clock()), 60, 60)
        self.gone: Deferred[None] = Deferred()

    def ended(self, reason: Reason, detail: str) -> None:
        self.gone.callback(None)


class Failing:
    """A transport that fails at the first bytes it gets."""

    def write(self, data: bytes) -> None:
        raise ZeroDivisionError("on purpose")


def _received(side: ProxyClient, count: int) -> bool:
    return side.received >= count


class DialTests(AsyncCase):
    """Real sockets on loopback."""

    def setUp(self) -> None:
        self.lane = Lane(reactor)
        self.addCleanup(self.lane.close)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "s")

    def begin(self, address: Address, side: Any) -> Deferred[Any]:
        """Begin to dial, in the way that is tested."""
        return self.lane.dial(address, side)

    def listening(self, host: str = "127.0.0.1") -> tuple[socket.socket, int]:
        """A listening socket, and its port."""
        skt = open_socket(TcpBind("tcp:0", host, 0), {})
        self.addCleanup(skt.close)
        skt.setblocking(True)
        return skt, skt.getsockname()[1]

    def unused_port(self) -> int:
        """A port on which nobody listens."""
        skt, port = self.listening()
        skt.close()
        return port

    def silent_port(self) -> int:
        """A port where the kernel does not answer any more: the backlog is full, and nobody accepts."""
        full = socket.socket()
        self.addCleanup(full.close)
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = int(full.getsockname()[1])
        for _ in range(3):
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        return port

    async def dial(self, address: Address, side: Any = None) -> Any:
        """A side that has been connected, and is closed again after the test."""
        side = side or Lonely().server
        await self.begin(address, side).addTimeout(PATIENCE, reactor)
        self.addCleanup(self.close, side)
        return side

    def close(self, side: ProxyClient) -> Deferred[None]:
        assert isinstance(side.pair, Lonely)
        if side.connected:
            side.transport.abortConnection()
        return side.pair.gone

    async def failure(self, address: Address) -> DialFailed:
        """What dialing says that cannot succeed."""
        side = Lonely().server
        try:
            await self.begin(address, side).addTimeout(PATIENCE, reactor)
        except DialFailed as failed:
            self.assertFalse(side.connected)
            return failed
        raise AssertionError(f"{address} was reached")

    async def until(self, true: Callable[[], object]) -> None:
        """Let the reactor turn until this is so."""
        end = reactor.seconds() + PATIENCE
        while not true():
            self.assertLess(reactor.seconds(), end)
            await deferLater(reactor, 0)

    async def settle(self) -> None:
        """Let the reactor open what it needs itself, and close what was given up."""
        for _ in range(A_FEW):
            await deferLater(reactor, 0)

    # What succeeds

    async def test_each_family(self) -> None:
        """IPv4, IPv6, a name and a unix socket are reached, and bytes go both ways."""
        v4, v4_port = self.listening()
        v6, v6_port = self.listening("::1")
        unix = open_socket(UnixBind("unix:s", self.path), {})
        self.addCleanup(unix.close)
        unix.setblocking(True)
        cases: list[tuple[socket.socket, Address]] = [
            (v4, TcpAddress("127.0.0.1", v4_port)),
            (v6, TcpAddress("::1", v6_port)),
            (v4, Addresses((TcpAddress("127.0.0.1", v4_port),) * 2)),
            (unix, UnixAddress(self.path)),
        ]
        for listener, address in cases:
            side = await self.dial(address)
            accepted, _ = listener.accept()
            self.addCleanup(accepted.close)
            side.transport.write(b"question")
            self.assertEqual(accepted.recv(8, socket.MSG_WAITALL), b"question")
            accepted.send(b"answer")
            await self.until(partial(_received, side, 6))
            self.assertEqual((buffered(side.transport), unsent(side.transport)), (0, 0))
            if not isinstance(address, UnixAddress):
                handle = side.transport.getHandle()
                self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)
                side.transport.setTcpKeepAlive(True)
                self.assertEqual(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
                self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), KEEPALIVE.idle)
                self.assertEqual(side.transport.getPeer().port, listener.getsockname()[1])

    async def test_a_server_that_speaks_first_and_leaves(self) -> None:
        """Bytes and an end that arrive together with the connection are not overlooked."""
        listener, port = self.listening()
        address = TcpAddress("127.0.0.1", port)
        for where in address, Addresses((address, address)):
            side = Lonely().server
            dialing = self.begin(where, side)
            accepted, _ = listener.accept()
            accepted.send(b"220 welcome")
            accepted.close()
            await dialing
            await self.until(partial(getattr, side, "finished"))
            self.assertEqual((side.received, side.held), (11, b"220 welcome"))
            await self.close(side)

    async def test_the_descriptor_is_not_inherited(self) -> None:
        """A program that the daemon starts gets no connection to a server."""
        _, port = self.listening()
        side = await self.dial(TcpAddress("127.0.0.1", port))
        self.assertFalse(os.get_inheritable(side.transport.getHandle().fileno()))

    async def test_a_side_that_fails_at_the_first_bytes(self) -> None:
        """It is told that it is lost, also when the bytes came together with the connection."""
        listener, port = self.listening()
        pair = Lonely()
        pair.server.peer = pair.client
        pair.client.transport = Failing()
        dialing = self.begin(TcpAddress("127.0.0.1", port), pair.server)
        accepted, _ = listener.accept()
        self.addCleanup(accepted.close)
        accepted.send(b"welcome")
        await dialing
        await pair.gone.addTimeout(PATIENCE, reactor)
        self.assertEqual(accepted.recv(1), b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await self.dial(TcpAddress("127.0.0.1", port))

    # What fails

    async def test_refused(self) -> None:
        """Nobody listens: connect_refused, in the system's words."""
        port = self.unused_port()
        failed = await self.failure(TcpAddress("127.0.0.1", port))
        self.assertEqual((failed.reason, failed.detail), (Reason.CONNECT_REFUSED, "Connection refused"))

    async def test_a_unix_socket_that_is_not_there(self) -> None:
        """The system's word for it is the detail."""
        failed = await self.failure(UnixAddress(self.path + ".missing"))
        self.assertEqual((failed.reason, failed.detail), (Reason.CONNECT_FAILED, "No such file or directory"))

    async def test_a_unix_socket_on_which_nobody_listens(self) -> None:
        """A socket that a killed server has left behind refuses, as a port would."""
        with socket.socket(socket.AF_UNIX) as skt:
            skt.bind(self.path)
            failed = await self.failure(UnixAddress(self.path))
        self.assertEqual(failed.reason, Reason.CONNECT_REFUSED)

    async def test_a_unix_socket_with_a_full_backlog(self) -> None:
        """Linux does not wait there: the dial fails at once, and another server may be tried."""
        with socket.socket(socket.AF_UNIX) as skt:
            skt.bind(self.path)
            skt.listen(0)
            sides = []
            for _ in range(LONG_BACKLOG):
                side = Lonely().server
                try:
                    await self.begin(UnixAddress(self.path), side)
                except DialFailed as failed:
                    self.assertEqual(failed.reason, Reason.CONNECT_FAILED)
                    break
                sides.append(side)
            else:
                self.fail("the backlog has no end")
            for side in sides:
                await self.close(side)

    async def test_an_interface_that_is_not_there(self) -> None:
        """A link-local address on an interface that has gone cannot be reached, and no more than that."""
        failed = await self.failure(TcpAddress("fe80::1%gone", 80))
        self.assertEqual(failed.reason, Reason.CONNECT_FAILED)
        self.assertNotEqual(failed.detail, "")

    async def test_an_address_that_cannot_be_connected_to(self) -> None:
        """TCP has no broadcast: that is known at once."""
        failed = await self.failure(TcpAddress("255.255.255.255", 80))
        self.assertEqual(failed.reason, Reason.CONNECT_FAILED)

    async def test_no_descriptor_left(self) -> None:
        """That is our fault and not the server's; afterwards dialing works again."""
        _, port = self.listening()
        await self.settle()
        for host in "127.0.0.1", "::1":
            with no_descriptor_left():
                failed = await self.failure(TcpAddress(host, port))
            self.assertEqual((failed.reason, failed.detail), (Reason.DESCRIPTORS, "Too many open files"))
        await self.dial(TcpAddress("127.0.0.1", port))

    async def test_failures_leave_nothing(self) -> None:
        """However often a dial fails, no descriptor is lost."""
        port = self.unused_port()
        addresses: list[Address] = [
            TcpAddress("127.0.0.1", port),
            TcpAddress("255.255.255.255", 80),
            TcpAddress("fe80::1%gone", 80),
            UnixAddress(self.path),
        ]
        await self.settle()
        before = open_files_before()
        for _ in range(20):
            for address in addresses:
                await self.failure(address)
        await self.settle()
        self.assertEqual(open_files(), before)

    # Giving up

    async def test_giving_up(self) -> None:
        """A dial that is cancelled leaves no socket behind, and says nothing afterwards."""
        port = self.silent_port()
        await self.settle()
        before = open_files_before()
        side = Lonely().server
        dialing = self.begin(TcpAddress("127.0.0.1", port), side)
        await self.settle()
        self.assertFalse(dialing.called)
        dialing.cancel()
        self.assertIsInstance(self.failureResultOf(dialing).value, CancelledError)
        await deferLater(reactor, 0)
        self.assertFalse(side.connected)
        self.assertEqual(open_files(), before)

    async def test_giving_up_one_that_is_about_to_arrive(self) -> None:
        """When it is cancelled in the very turn in which it connects, the server is let go again."""
        listener, port = self.listening()
        side = Lonely().server
        dialing = self.begin(TcpAddress("127.0.0.1", port), side)
        accepted, _ = listener.accept()
        self.addCleanup(accepted.close)
        dialing.cancel()
        self.assertIsInstance(self.failureResultOf(dialing).value, CancelledError)
        self.assertEqual(accepted.recv(1), b"")
        self.assertFalse(side.connected)

    async def test_giving_up_one_that_has_just_failed(self) -> None:
        """A cancelled dial is not told of the refusal that was on its way."""
        dialing = self.begin(TcpAddress("127.0.0.1", self.unused_port()), Lonely().server)
        dialing.cancel()
        self.assertIsInstance(self.failureResultOf(dialing).value, CancelledError)
        await deferLater(reactor, 0)

    async def test_the_lane_closes(self) -> None:
        """A dial that is under way then has failed: nobody waits for ever."""
        dialing = self.begin(TcpAddress("127.0.0.1", self.silent_port()), Lonely().server)
        self.lane.close()
        self.assertIsNotNone(self.failureResultOf(dialing))

    async def test_a_name_that_does_not_resolve(self) -> None:
        """What has never resolved is not dialed: name_failed, and the name is in the detail."""
        for address in TcpAddress("db.example.com", 80), SrvAddress("_db._tcp.example.com"):
            failed = await self.failure(address)
            self.assertEqual(failed.reason, Reason.NAME_FAILED)
            self.assertIn(str(address), failed.detail)


class ReachTests(DialTests):
    """The same for those who are told by calls."""

    def begin(self, address: Address, side: Any) -> Deferred[Any]:
        return Asked(self.lane, address, side).arrived
