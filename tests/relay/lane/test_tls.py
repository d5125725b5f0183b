"""
What the contracts of TLS do not say: a write leaves at once, records are not forgotten at an edge, pumps call
no protocol, nobody starves, and a failure of ours costs itself alone.
"""

from __future__ import annotations

import os
import socket
from typing import Any, Callable

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost

from proxyd.relay.lane.connection import LaneConnection
from proxyd.relay.lane.loop import HANDSHAKES, LONG_BURST, ROUNDS, Loop
from proxyd.relay.lane.tls import OVERHEAD, RECORD, TLSConnection
from proxyd.relay.tls.parts import server_part
from tests.contracts.stream import PlainRecorder, Recorder
from tests.relay.lane.test_connection import Pumped
from tests.support.case import Case
from tests.support.lane import CountedPipes, StillReactor
from tests.support.peer import socket_pair
from tests.support.tls import client_part, server_context

BUFFER = 192 * 1024
MANY_TURNS = 1000
MANY = 200
MANY_RECORDS = 4000


class LaneTLSTests(Case):
    """Connections in a loop whose reactor moves only when the test lets it."""

    def setUp(self) -> None:
        self.reactor = StillReactor()
        self.loop = Loop(self.reactor, CountedPipes())
        self.addCleanup(self.loop.close)

    def pair(
        self, size: int = BUFFER, family: socket.AddressFamily = socket.AF_UNIX
    ) -> tuple[socket.socket, socket.socket]:
        near, far = socket_pair(family, size)
        for skt in (near, far):
            skt.setblocking(False)
            if family != socket.AF_UNIX:
                skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.addCleanup(far.close)
        return near, far

    def connect(
        self,
        protocol: Any = None,
        size: int = BUFFER,
        family: socket.AddressFamily = socket.AF_UNIX,
    ) -> tuple[TLSConnection, Any, SSL.Connection]:
        """A connection whose handshake stands, its protocol, and the far end's part in it."""
        protocol = protocol or Recorder()
        near, far = self.pair(size, family)
        connection = TLSConnection(
            self.loop, near, near.getpeername(), protocol, server_part(server_context(), near)
        )
        protocol.makeConnection(connection)
        client = client_part(far)
        self.turn_until(lambda: self.shaken(client), "a handshake")
        self.turned()
        self.read(client)
        return connection, protocol, client

    def plain(self, protocol: Any) -> tuple[LaneConnection, socket.socket]:
        near, far = self.pair()
        connection = LaneConnection(self.loop, near, near.getpeername(), protocol)
        protocol.makeConnection(connection)
        self.reactor.turn()
        return connection, far

    def turned(self) -> None:
        for _ in range(3):
            self.reactor.turn()

    def shaken(self, client: SSL.Connection) -> bool:
        try:
            client.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def turn_until(self, true: Callable[[], object], what: str) -> None:
        for _ in range(MANY_TURNS):
            if true():
                return
            self.reactor.turn()
        self.fail(f"waited {MANY_TURNS} turns for {what}")

    def read(self, client: SSL.Connection) -> bytes:
        """What has arrived at the far end."""
        data = bytearray()
        try:
            while True:
                data += client.recv(RECORD)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            return bytes(data)

    def join(self, one: LaneConnection, other: LaneConnection) -> None:
        one.registerProducer(other, True)
        other.registerProducer(one, True)
        one.pump_to(other)
        other.pump_to(one)

    def test_a_write_leaves_at_once(self) -> None:
        """The peer has it before the reactor turns."""
        connection, _, client = self.connect()
        connection.write(b"at once")
        self.assertEqual(self.read(client), b"at once")
        self.assertEqual(connection.buffered(), 0)

    def test_records_that_came_together(self) -> None:
        """One edge may stand for many records, large and small, in whatever order."""
        connection, protocol, client = self.connect()
        sent = b""
        for size in (1, RECORD, 1, 2, RECORD, RECORD, 3):
            client.send(bytes([size % 251]) * size)
            sent += bytes([size % 251]) * size
        self.turn_until(lambda: len(protocol.data) >= len(sent), "all of it")
        self.assertEqual(bytes(protocol.data), sent)
        connection.abortConnection()

    def test_why_a_pump_has_failed(self) -> None:
        """OpenSSL says what is wrong only once, and that is told, by whichever way it was read."""
        protocol = Pumped()
        connection, _, client = self.connect(protocol)
        plain, far = self.plain(Pumped())
        self.join(connection, plain)
        self.turned()
        far_end = socket.socket(fileno=os.dup(client.fileno()))
        self.addCleanup(far_end.close)
        far_end.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.turn_until(lambda: not connection.connected, "an end")
        assert protocol.why is not None and isinstance(protocol.why.value, ConnectionLost)
        self.assertIn("bad record mac", str(protocol.why.value.args[0]))
        plain.abortConnection()
        self.turned()

    def test_what_openssl_holds_is_not_forgotten(self) -> None:
        """Who pauses in the midst of a record gets its rest later, though the kernel has nothing."""
        connection, protocol, client = self.connect()
        connection.bufferSize = 100
        protocol.on_data = lambda data: connection.pauseProducing()
        client.send(bytes(250))
        for count in (100, 200, 250):
            self.turned()
            self.assertEqual(len(protocol.data), count)
            connection.resumeProducing()

    def test_a_pump_calls_no_protocol(self) -> None:
        """From TLS to plain, back, and from TLS to TLS, bytes are only counted."""
        for secured in (False, True):
            near, far = Pumped(), Pumped()
            one, _, client = self.connect(near)
            other: LaneConnection
            end: Any
            if secured:
                other, _, end = self.connect(far)
            else:
                other, end = self.plain(far)
            self.join(one, other)
            client.send(b"question")
            self.turned()
            self.assertEqual(end.recv(100), b"question")
            end.send(b"the answer")
            self.turned()
            self.assertEqual(self.read(client), b"the answer")
            self.assertEqual((near.received, far.received), (8, 10))
            self.assertEqual((near.data, far.data, near.events, far.events), (b"", b"", [], []))

    def test_nothing_is_spliced_into_tls(self) -> None:
        """Bulk from a plain connection is copied, and arrives as what it was."""
        pipes = self.loop.pipes
        assert isinstance(pipes, CountedPipes)
        one, _, client = self.connect(Pumped())
        plain, far = self.plain(Pumped())
        self.join(one, plain)
        arrived = bytearray()
        for piece in range(40):
            data = bytes([piece]) * BUFFER
            while data:
                try:
                    data = data[far.send(data) :]
                except BlockingIOError:
                    pass
                self.reactor.turn()
                arrived += self.read(client)
        while len(arrived) < 40 * BUFFER:
            self.reactor.turn()
            arrived += self.read(client)
        self.assertEqual(bytes(arrived), b"".join(bytes([piece]) * BUFFER for piece in range(40)))
        self.assertEqual(pipes.taken, [])

    def test_one_with_much_to_read_does_not_starve_another(self) -> None:
        """A connection that always has another record lets the others have their turn."""
        connection, protocol, client = self.connect()
        _, other, other_client = self.connect()
        moved = 0

        def refill(data: bytes) -> None:
            nonlocal moved
            moved += len(data)
            protocol.data.clear()
            if not other.data:
                client.send(data)

        protocol.on_data = refill
        client.send(bytes(RECORD))
        client.send(bytes(RECORD))
        other_client.send(b"x")
        self.turn_until(lambda: other.data, "the other one")
        self.assertGreater(moved, 0)
        connection.abortConnection()

    def test_tiny_records_do_not_starve_anybody(self) -> None:
        """What counts in a round is what they cost, and not how few bytes they bring."""
        connection, protocol, client = self.connect(family=socket.AF_INET)
        _, other, other_client = self.connect()
        moved_before: list[int] = []
        other.on_data = lambda data: moved_before.append(len(protocol.data))
        protocol.on_data = lambda data: other_client.send(b"x") if len(protocol.data) == 1 else None
        for _ in range(MANY_RECORDS):
            client.send(b".")
        self.turn_until(lambda: other.data, "the other one")
        # The burst in which the other one spoke, and one more if it was seen only after that.
        self.assertLessEqual(moved_before[0], 2 * LONG_BURST // OVERHEAD)
        self.turn_until(lambda: len(protocol.data) == MANY_RECORDS, "all of it")
        connection.abortConnection()

    def test_many_handshakes_let_others_have_their_turn(self) -> None:
        """A few of them are gone on with in a round, and all of them in the end."""
        clients = []
        for _ in range(MANY):
            near, far = self.pair()
            TLSConnection(self.loop, near, "", Recorder(), server_part(server_context(), near))
            clients.append(client_part(far))
            self.shaken(clients[-1])
        other = Recorder()
        _, far = self.plain(other)
        standing_before: list[int] = []
        other.on_data = lambda data: standing_before.append(sum(map(self.shaken, clients)))
        for _ in range(MANY_TURNS):
            far.send(b"x")
            self.reactor.turn()
            if standing_before[-1] == MANY:
                break
        steps = [late - early for early, late in zip(standing_before, standing_before[1:])]
        self.assertEqual(standing_before[-1], MANY)
        self.assertLessEqual(max(steps), 2 * HANDSHAKES * ROUNDS)  # a turn serves the loop twice

    def test_who_waits_asks_for_nothing(self) -> None:
        """Waiting for a hello, for bytes, for room or to be resumed costs nothing."""
        near, far = self.pair()
        TLSConnection(self.loop, near, "", Recorder(), server_part(server_context(), near))
        far.send(b"\x16\x03\x01\x02\x00")  # as much of it as says how long it is
        self.connect()
        paused, protocol, client = self.connect()
        paused.bufferSize = 10
        protocol.on_data = lambda data: paused.pauseProducing()
        client.send(bytes(1000))
        client.send(bytes(1000))
        blocked, _, _ = self.connect(size=4096)
        blocked.write(bytes(200_000))
        self.turned()
        self.assertEqual((len(protocol.data), blocked.buffered() > 0), (10, True))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_close_notify_waits_for_room(self) -> None:
        """When the kernel takes no more, it follows as soon as it does."""
        connection, protocol, client = self.connect(size=4096)
        connection.write(bytes(200_000))
        connection.loseConnection()
        self.turned()
        self.assertEqual(protocol.events, [])
        arrived = bytearray()

        def ended() -> bool:
            try:
                while True:
                    arrived.extend(client.recv(RECORD))
            except SSL.WantReadError:
                return False
            except SSL.ZeroReturnError:
                return True

        self.turn_until(ended, "a close_notify")
        self.assertEqual(len(arrived), 200_000)
        self.turn_until(lambda: protocol.why is not None, "the end")
        self.assertIs(protocol.why.type, ConnectionDone)

    def test_what_is_buffered_when_the_peer_ends(self) -> None:
        """A protocol that knows no half-close has its last words delivered all the same."""
        connection, protocol, client = self.connect(PlainRecorder(), size=4096)
        connection.write(bytes(200_000))
        client.shutdown()
        arrived = bytearray()
        while len(arrived) < 200_000:
            self.reactor.turn()
            arrived += self.read(client)
        self.turn_until(lambda: protocol.why is not None, "the end")
        self.assertIs(protocol.why.type, ConnectionDone)

    def test_closing_within_the_handshake(self) -> None:
        """There is nothing to be said, and it is over."""
        near, far = self.pair()
        protocol = Recorder()
        connection = TLSConnection(self.loop, near, "", protocol, server_part(server_context(), near))
        protocol.makeConnection(connection)
        self.assertEqual(repr(connection), "<TLSConnection shaking hands, 0 buffered>")
        connection.loseConnection()
        self.turned()
        self.assertEqual((protocol.events, far.recv(10)), (["lost"], b""))
        self.assertEqual(repr(connection), "<TLSConnection lost, 0 buffered>")

    def test_what_is_written_within_the_handshake(self) -> None:
        """It waits, and so does a close behind it."""
        near, far = self.pair()
        protocol = Recorder()
        connection = TLSConnection(self.loop, near, "", protocol, server_part(server_context(), near))
        protocol.makeConnection(connection)
        connection.write(b"welcome")
        connection.loseConnection()
        client = client_part(far)
        self.turn_until(lambda: self.shaken(client), "a handshake")
        self.turned()
        self.assertEqual(self.read(client), b"welcome")
        self.assertEqual(protocol.events, ["lost"])

    def test_a_broken_record(self) -> None:
        """Bytes that are no record end the connection with words, and the others go on."""
        _, protocol, client = self.connect()
        _, other, other_client = self.connect()
        with socket.socket(fileno=socket.dup(client.fileno())) as raw:
            raw.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.turned()
        self.assertIs(protocol.why.type, ConnectionLost)
        self.assertIn("TLS: ", str(protocol.why.value.args[0]))
        other_client.send(b"x")
        self.turned()
        self.assertEqual((bytes(other.data), other.events), (b"x", []))

    def test_a_protocol_that_fails(self) -> None:
        """It loses its connection, and no other."""

        class Failing(Recorder):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        _, protocol, client = self.connect(Failing())
        client.send(b"x")
        self.turned()
        self.assertIs(protocol.why.type, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_it_is_slim(self) -> None:
        """A connection has slots, because a daemon has many."""
        connection, _, _ = self.connect()
        self.assertFalse(hasattr(connection, "__dict__"))
