"""
What the contracts of streams do not say: a write leaves at once, nobody is called back out of turn,
nobody starves, and a protocol that fails costs itself alone.
"""

from __future__ import annotations

import socket
from typing import Any, Callable

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from proxyd.relay.lane.connection import LaneConnection
from proxyd.relay.lane.loop import IN, OUT, Loop
from proxyd.relay.streams import leave
from tests.contracts.stream import Producer, Recorder
from tests.support.case import Case
from tests.support.lane import CountedPipes, StillReactor, is_open
from tests.support.peer import socket_pair

BUFFER = 16 * 1024
LARGE_BUFFER = 192 * 1024  # three full reads of a pump, and as much as any host grants
MANY_TURNS = 1000
TOO_MUCH = 64 * 1024 * 1024  # more than one connection may move in a turn of the reactor


class Fussy(Recorder):
    """A protocol that fails where it is told to."""

    def __init__(self, *fails: str) -> None:
        super().__init__()
        self.fails = fails
        self.received = 0
        self.on_data = lambda data: self.note("data")

    def note(self, event: str) -> None:
        super().note(event)
        if event in self.fails:
            raise ZeroDivisionError(event)


class Pumped(Recorder):
    """A protocol whose connection is pumped; ``on_count`` is told of each count of what has come."""

    def __init__(self) -> None:
        super().__init__()
        self.on_count: Callable[[int], None] = lambda count: None
        self._received = 0

    @property
    def received(self) -> int:
        return self._received

    @received.setter
    def received(self, received: int) -> None:
        count, self._received = received - self._received, received
        self.on_count(count)


class Stopping(Producer):
    """A producer that fails when it is stopped."""

    def stopProducing(self) -> None:
        super().stopProducing()
        raise ZeroDivisionError("on purpose")


class ConnectionTests(Case):
    """Connections in a loop whose reactor moves only when the test lets it."""

    def setUp(self) -> None:
        self.reactor = StillReactor()
        self.loop = Loop(self.reactor, CountedPipes())
        self.addCleanup(self.loop.close)

    def connect(
        self, protocol: Any = None, family: socket.AddressFamily = socket.AF_UNIX, size: int = BUFFER
    ) -> tuple[LaneConnection, Any, socket.socket]:
        """A connection, its protocol, and the socket at the far end; unix sockets deliver at once."""
        protocol = protocol or Recorder()
        near, far = socket_pair(family, size)
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        for skt in (near, far):
            skt.setblocking(False)
        peer = near.getpeername()
        connection = LaneConnection(self.loop, near, peer, protocol)
        protocol.makeConnection(connection)
        self.reactor.turn()
        return connection, protocol, far

    def turn_until(self, true: Callable[[], object], what: str) -> None:
        """Let the reactor turn until this is true."""
        for _ in range(MANY_TURNS):
            if true():
                return
            self.reactor.turn()
        self.fail(f"waited {MANY_TURNS} turns for {what}")

    def drain(self, far: socket.socket) -> bytes:
        """Everything that has arrived at the far end."""
        data = bytearray()
        try:
            while True:
                piece = far.recv(65536)
                if not piece:
                    break
                data += piece
        except (BlockingIOError, ConnectionResetError):
            pass
        return bytes(data)

    def fill(self, connection: LaneConnection) -> int:
        """Write until the kernel takes no more; return how many bytes that were."""
        count = 0
        while not connection.buffered():
            connection.write(bytes(4096))
            count += 4096
        return count

    # Sending

    def test_a_write_leaves_at_once(self) -> None:
        """The peer has the bytes before the reactor turns, and the reactor is asked for nothing."""
        connection, _, far = self.connect()
        connection.write(b"at once")
        self.assertEqual(far.recv(100), b"at once")
        self.assertEqual((connection.buffered(), self.reactor.getDelayedCalls()), (0, []))

    def test_only_what_the_kernel_refuses_is_kept(self) -> None:
        """What does not fit waits here in order, in however many pieces it was written."""
        connection, _, far = self.connect()
        count = self.fill(connection)
        self.assertLessEqual(connection.buffered(), 4096)
        tail = [bytes([number % 251]) * (1 + number % 50) for number in range(1000)]
        for piece in tail:
            connection.write(piece)
        got = bytearray()

        def arrived() -> bool:
            nonlocal got
            got += self.drain(far)
            return len(got) >= count + len(b"".join(tail))

        self.turn_until(arrived, "all bytes")
        self.assertEqual(got, bytes(count) + b"".join(tail))
        self.assertEqual((connection.buffered(), connection.unacknowledged()), (0, 0))

    def test_what_is_unsent_is_known(self) -> None:
        """Bytes here and bytes that the kernel holds for a peer that does not read are told apart."""
        connection, _, far = self.connect(family=socket.AF_INET)
        count = self.fill(connection)
        here, there = connection.buffered(), connection.unacknowledged()
        self.assertGreater(there, 0)
        self.assertLessEqual(here + there, count)
        self.turn_until(
            lambda: self.drain(far) is not None and not connection.buffered() + connection.unacknowledged(),
            "the peer to have everything",
        )

    # Who is told, and when

    def test_writing_to_one_that_has_gone(self) -> None:
        """The write returns as if nothing were; the loss is told in the loop, once."""
        connection, protocol, far = self.connect()
        connection.pauseProducing()
        far.close()
        for _ in range(3):
            connection.write(b"x")
        self.assertEqual(protocol.events, [])
        connection.resumeProducing()
        self.turn_until(lambda: protocol.why is not None, "the loss")
        self.assertEqual(protocol.events.count("lost"), 1)

    def test_aborting_tells_the_protocol_later(self) -> None:
        """Who aborts is not called back meanwhile, and may still call everything."""
        connection, protocol, far = self.connect()
        count = self.fill(connection)
        connection.abortConnection()
        connection.abortConnection()
        connection.write(b"too late")
        connection.loseConnection()
        self.assertEqual((protocol.events, connection.connected), ([], True))
        self.reactor.turn()
        self.assertEqual(protocol.events, ["lost"])
        self.assertIs(protocol.why.type, ConnectionAborted)
        self.assertLess(len(self.drain(far)), count)

    def test_closing_tells_the_protocol_later(self) -> None:
        """Who closes is told in the reactor's next turn, when everything has left."""
        connection, protocol, far = self.connect()
        connection.write(b"last")
        connection.loseConnection()
        self.assertEqual(protocol.events, [])
        self.reactor.turn()
        self.assertIs(protocol.why.type, ConnectionDone)
        self.assertEqual((far.recv(10), far.recv(10)), (b"last", b""))

    def test_leaving(self) -> None:
        """Who leaves is gone at once, and told nothing; the peer sees an end, behind all that was said."""
        connection, protocol, far = self.connect()
        connection.write(b"last")
        self.assertTrue(leave(connection))
        self.assertEqual((far.recv(10), far.recv(10)), (b"last", b""))
        self.assertFalse(leave(connection))
        connection.loseConnection()
        self.reactor.turn()
        self.assertEqual(protocol.events, [])

    def test_leaving_at_the_first_bytes(self) -> None:
        """Bytes and an end that came in the same turn are of no interest any more."""
        connection, protocol, far = self.connect()
        protocol.on_data = lambda data: protocol.note(str(leave(connection)))
        far.send(b"welcome")
        far.close()
        self.turn_until(lambda: protocol.events, "the bytes")
        self.reactor.turn()
        self.assertEqual(protocol.events, ["True"])

    def test_leaving_before_all_was_sent(self) -> None:
        """It cannot be left then: it has to be closed, which takes its time."""
        connection, protocol, _ = self.connect()
        self.fill(connection)
        self.assertFalse(leave(connection))
        self.assertTrue(connection.connected)
        connection.abortConnection()
        self.reactor.turn()
        self.assertEqual(protocol.events, ["lost"])

    def test_after_the_end_nothing_does_anything(self) -> None:
        """A protocol that has not noticed may go on calling its transport."""
        connection, protocol, _ = self.connect()
        connection.abortConnection()
        self.reactor.turn()
        connection.write(b"x")
        connection.writeSequence([b"x", b"y"])
        connection.pauseProducing()
        connection.resumeProducing()
        connection.unregisterProducer()
        connection.loseWriteConnection()
        connection.loseConnection()
        connection.abortConnection()
        connection.stopProducing()
        self.reactor.turn()
        self.assertEqual(protocol.events, ["lost"])
        self.assertEqual((connection.buffered(), connection.unacknowledged()), (0, 0))
        self.assertEqual(repr(connection), "<LaneConnection lost, 0 buffered>")
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), (set(), []))

    def test_a_reset_that_comes_between_poll_and_read(self) -> None:
        """A pump is told of a reset that the event did not know of, although the kernel says it only once."""
        source = Pumped()
        connection, _, far = self.connect(source, family=socket.AF_INET)
        sink, _, _ = self.connect(Pumped())
        connection.pump_to(sink)
        sink.pump_to(connection)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        connection.event(IN | OUT)
        assert source.why is not None
        self.assertIs(source.why.type, ConnectionLost)
        self.assertEqual(source.events, ["lost"])

    def test_what_came_before_a_reset_is_delivered(self) -> None:
        """The last words of one that then resets are not lost with it."""
        connection, protocol, far = self.connect(family=socket.AF_INET)
        connection.pauseProducing()
        far.send(b"last words")
        self.reactor.turn()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        self.reactor.turn()
        self.assertEqual(protocol.events, [])
        connection.write(b"x")  # finds out that it is broken
        connection.resumeProducing()
        self.turn_until(lambda: protocol.why is not None, "the loss")
        self.assertEqual(protocol.data, b"last words")
        self.assertIs(protocol.why.type, ConnectionLost)

    # Fairness

    def test_one_with_much_to_read_does_not_starve_another(self) -> None:
        """While one receives without end, another is served in the same turn."""
        connection, protocol, far = self.connect()
        _, other, other_far = self.connect()
        connection.bufferSize = 4096
        moved = 0
        moved_before: list[int] = []

        def refill(data: bytes) -> None:
            nonlocal moved
            moved += len(data)
            protocol.data.clear()
            if moved < TOO_MUCH:
                far.send(data)

        protocol.on_data = refill
        other.on_data = lambda data: moved_before.append(moved)
        far.send(bytes(3 * connection.bufferSize))
        other_far.send(b"x")
        self.reactor.turn()
        self.assertEqual(len(moved_before), 1)
        self.assertGreater(moved, 0)
        self.assertLess(moved, TOO_MUCH)
        connection.abortConnection()

    def test_a_busy_pump_does_not_starve_another(self) -> None:
        """While a pump moves bulk without end, copied or spliced, others are served in the same turn."""
        busy = Pumped()
        connection, _, far = self.connect(busy, size=LARGE_BUFFER)
        sink, _, sink_far = self.connect(Pumped(), size=LARGE_BUFFER)
        connection.registerProducer(sink, True)
        sink.registerProducer(connection, True)
        connection.pump_to(sink)
        sink.pump_to(connection)
        _, other, other_far = self.connect()

        def refill(count: int) -> None:
            self.drain(sink_far)
            if busy.received - before < TOO_MUCH:
                try:
                    far.send(bytes(count))
                except BlockingIOError:
                    pass

        before = 0
        busy.on_count = refill
        far.send(bytes(LARGE_BUFFER))
        for number in range(1, 4):
            before = busy.received
            other_far.send(b"x")
            self.reactor.turn()
            self.assertEqual(other.data, b"x" * number)
            self.assertGreater(busy.received, before)
            self.assertLess(busy.received - before, TOO_MUCH)
        connection.abortConnection()
        sink.abortConnection()

    def test_one_that_always_has_more_to_write_does_not_starve_another(self) -> None:
        """A pull producer without end leaves the others their turn, and goes on in the next."""
        connection, _, far = self.connect()
        _, other, other_far = self.connect()
        drain = self.drain

        class Endless(Producer):
            """Writes a piece whenever it is asked, to a peer that takes everything."""

            def resumeProducing(self) -> None:
                super().resumeProducing()
                connection.write(bytes(1000))
                drain(far)

        endless = Endless()
        connection.registerProducer(endless, False)
        other_far.send(b"x")
        self.reactor.turn()
        self.assertEqual(other.data, b"x")
        asked = len(endless.told)
        self.assertLess(asked, MANY_TURNS)
        self.reactor.turn()
        self.assertGreater(len(endless.told), asked)
        connection.unregisterProducer()

    # One fault costs one

    def check_that_it_is_lost(self, connection: LaneConnection, far: socket.socket, faults: int = 1) -> None:
        """The connection is lost and closed, every fault was logged, and another one is served."""
        fd = connection.getHandle().fileno()
        self.turn_until(lambda: not connection.connected, "the end")
        self.assertFalse(is_open(fd))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), faults)
        self.drain(far)
        _, other, other_far = self.connect()
        other_far.send(b"x")
        self.reactor.turn()
        self.assertEqual(other.data, b"x")

    def test_a_protocol_that_fails_at_data(self) -> None:
        """It loses its connection, and is told by what."""
        connection, protocol, far = self.connect(Fussy("data"))
        far.send(b"x")
        self.check_that_it_is_lost(connection, far)
        self.assertIs(protocol.why.type, ZeroDivisionError)

    def test_a_protocol_that_fails_at_the_end_of_the_other(self) -> None:
        """A fault at a half-close ends the connection."""
        connection, protocol, far = self.connect(Fussy("end"))
        far.shutdown(socket.SHUT_WR)
        self.check_that_it_is_lost(connection, far)
        self.assertEqual(protocol.events, ["end", "lost"])

    def test_a_protocol_that_fails_at_its_own_end(self) -> None:
        """A fault when our FIN has left ends the connection."""
        connection, protocol, far = self.connect(Fussy("finished"))
        connection.loseWriteConnection()
        self.check_that_it_is_lost(connection, far)
        self.assertEqual(protocol.events, ["finished", "lost"])

    def test_a_protocol_that_fails_when_it_is_lost(self) -> None:
        """Its socket is closed all the same."""
        connection, _, far = self.connect(Fussy("lost"))
        connection.loseConnection()
        self.check_that_it_is_lost(connection, far)

    def test_a_protocol_that_fails_twice(self) -> None:
        """A fault, and another one when it is told of that, are both logged; nobody else notices."""
        connection, _, far = self.connect(Fussy("data", "lost"))
        far.send(b"x")
        self.check_that_it_is_lost(connection, far, faults=2)

    def test_a_producer_that_fails_when_it_is_stopped(self) -> None:
        """The socket is closed, and the protocol is told."""
        connection, protocol, far = self.connect()
        connection.registerProducer(Stopping(), True)
        connection.abortConnection()
        self.check_that_it_is_lost(connection, far)
        self.assertEqual(protocol.events, ["lost"])

    # What is known of it

    def test_addresses(self) -> None:
        """Each family's addresses are Twisted's; a unix client has no name."""
        connection, _, far = self.connect(family=socket.AF_INET)
        self.assertEqual(connection.getPeer(), IPv4Address("TCP", *far.getsockname()))
        self.assertEqual(connection.getHost(), IPv4Address("TCP", *far.getpeername()))
        connection, _, far = self.connect(family=socket.AF_INET6)
        self.assertEqual(connection.getPeer(), IPv6Address("TCP", *far.getsockname()))
        self.assertEqual(connection.getHost(), IPv6Address("TCP", *far.getpeername()))
        connection, _, _ = self.connect()
        self.assertEqual((connection.getPeer(), connection.getHost()), (UNIXAddress(None), UNIXAddress(None)))

    def test_addresses_with_a_scope(self) -> None:
        """A link-local peer keeps its interface, and a unix server its path."""
        cases: list[tuple[socket.AddressFamily, Any, Any]] = [
            (socket.AF_INET6, ("fe80::1", 80, 0, 2), IPv6Address("TCP", "fe80::1", 80, 0, 2)),
            (socket.AF_UNIX, "/run/s", UNIXAddress(b"/run/s")),
        ]
        for family, name, address in cases:
            near, far = socket_pair(family, BUFFER)
            self.addCleanup(far.close)
            near.setblocking(False)
            connection = LaneConnection(self.loop, near, name, Recorder())
            self.assertEqual(connection.getPeer(), address)

    def test_options(self) -> None:
        """The TCP options can be set and read; a unix socket takes them without effect."""
        connection, _, _ = self.connect(family=socket.AF_INET)
        for wanted in (True, False):
            connection.setTcpNoDelay(wanted)
            connection.setTcpKeepAlive(wanted)
            self.assertEqual((connection.getTcpNoDelay(), connection.getTcpKeepAlive()), (wanted, wanted))
        connection, _, _ = self.connect()
        connection.setTcpNoDelay(True)
        connection.setTcpKeepAlive(True)

    def test_it_is_slim(self) -> None:
        """A connection has slots, because a daemon has many."""
        connection, _, _ = self.connect()
        self.assertFalse(hasattr(connection, "__dict__"))

    def test_the_lane_closes(self) -> None:
        """What is left is told that it was cut, and a failure in one keeps none from it."""
        protocols = [self.connect(Fussy("lost"))[1], self.connect()[1]]
        self.loop.close()
        self.assertEqual([protocol.events for protocol in protocols], [["lost"], ["lost"]])
        self.assertEqual({protocol.why.type for protocol in protocols}, {ConnectionAborted})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
