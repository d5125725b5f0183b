"""Every stream tells how much of what was written has not reached the peer, whatever it is made of."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from proxyd.relay.streams import buffered, can_half_close, round_trip, taken, unacknowledged, unsent
from tests.support.case import Case
from tests.support.streams import Network


class Inert:
    """A reactor that never serves anybody."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class StreamsTests(Case):
    """The questions that the relay asks of a stream."""

    def test_twisted_still_keeps_its_buffer_where_we_look(self) -> None:
        """The one private name of Twisted's that we read; a release that renames it fails here."""
        stream = FileDescriptor(Inert())  # type: ignore[arg-type]
        stream.connected = 1
        stream.write(b"12345")
        self.assertEqual(buffered(stream), 5)
        stream.writeSomeData = lambda data: 3  # type: ignore[method-assign]
        stream.doWrite()
        self.assertEqual(buffered(stream), 2)

    def test_a_closed_stream_has_nothing_unsent(self) -> None:
        """Asking after the socket is closed is no error."""
        one, other = socket.socketpair()
        self.addCleanup(other.close)
        stream = Connection(one, Protocol(), Inert())  # type: ignore[arg-type]
        one.send(b"waiting")
        self.assertGreater(unacknowledged(stream), 0)
        one.close()
        self.assertEqual(unsent(stream), 0)

    def test_round_trip(self) -> None:
        """The kernel knows the round trip of a TCP connection, and of nothing else."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            skt = socket.create_connection(listening.getsockname())
        self.addCleanup(skt.close)
        seconds = round_trip(Connection(skt, Protocol(), Inert()))  # type: ignore[arg-type]
        assert seconds is not None
        self.assertGreater(seconds, 0)
        self.assertLess(seconds, 10)
        one, other = socket.socketpair()
        self.addCleanup(other.close)
        stream = Connection(one, Protocol(), Inert())  # type: ignore[arg-type]
        self.assertIsNone(round_trip(stream))
        one.close()
        self.assertIsNone(round_trip(stream))

    def test_taken(self) -> None:
        """The kernel knows how much the peer of a TCP connection has taken, and of nothing else."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            skt = socket.create_connection(listening.getsockname())
            other = listening.accept()[0]
        self.addCleanup(skt.close)
        self.addCleanup(other.close)
        stream = Connection(skt, Protocol(), Inert())  # type: ignore[arg-type]
        before = taken(stream)
        skt.sendall(bytes(1000))
        self.assertEqual(len(other.recv(1000, socket.MSG_WAITALL)), 1000)
        other.sendall(b"x")  # which acknowledges
        skt.recv(1)
        assert before is not None
        self.assertEqual(taken(stream), before + 1000)
        skt.close()
        self.assertIsNone(taken(stream))
        one, two = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(two.close)
        self.assertIsNone(taken(Connection(one, Protocol(), Inert())))  # type: ignore[arg-type]

    def test_a_wrapped_stream_is_asked_beneath_and_cannot_half_close(self) -> None:
        """Under TLS a FIN would cut the stream, so it is closed as a whole instead."""
        network = Network(Clock())
        wrapper: Any = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
        network.connect(wrapper)
        wrapper.transport.write(b"123")
        self.assertEqual((buffered(wrapper), unsent(wrapper)), (3, 3))
        self.assertEqual((can_half_close(wrapper), can_half_close(wrapper.transport)), (False, True))
