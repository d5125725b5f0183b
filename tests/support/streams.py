"""
How does a stream behave when there is no network?

`FakeStream` is an in-memory transport with what a relay depends on: buffers that fill, producers that are
paused, half-close in both directions, resets, and a far end (`FakePeer`) that a test drives.  It follows
Twisted's `FileDescriptor` and `tcp.Connection` step by step, traps included, and `tests.contracts` runs
the same tests on it and on real sockets, so it cannot lie.

A `Network` stands for the kernel and the reactor.  Nothing moves until its `turn` or `flush` is called,
or something of a `FakePeer` is awaited; and what is awaited fires when the network has fallen quiet.
"""

from __future__ import annotations

from random import Random
from typing import Any, Callable, Iterable, Optional

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.support.peer import Ended, Peer

BUFFER = 64 * 1024  # what a kernel buffer of the fake network holds, unless told otherwise
MANY_TURNS = 100_000  # a network that is not quiet by then never will be


class Pipe:
    """
    One direction of a stream: what the sender's kernel still holds, and what waits for the reader.

    An end of a stream is dead once a reset has come in on the pipe that it reads from.
    """

    back: Pipe  # the other direction

    def __init__(self, sending: int, window: int) -> None:
        self._sending = sending
        self._window = window
        self.underway = bytearray()  # accepted, but not acknowledged
        self.arrived = bytearray()  # acknowledged, but not read
        self.finishing = False  # the sender has finished
        self.fin = False  # the reader's kernel knows
        self.rst = False
        self.deaf = False  # the reader has closed
        self.carried = 0  # bytes that have arrived, in all

    @property
    def readable(self) -> bool:
        """Whether a read would not block."""
        return bool(self.arrived) or self.fin or self.rst

    @property
    def dead(self) -> bool:
        """Whether the sender's end has been reset."""
        return self.back.rst

    @property
    def room(self) -> int:
        """How many bytes the sender's kernel still accepts."""
        return self._sending - len(self.underway)

    def accept(self, data: bytes) -> int:
        """Take some of the sender's bytes, and say how many."""
        taken = data[: self.room]
        self.underway += taken
        return len(taken)

    def take(self, limit: int) -> bytes:
        """Hand arrived bytes to the reader."""
        data = bytes(self.arrived[:limit])
        del self.arrived[:limit]
        return data

    def reset(self) -> None:
        """Send a RST: it overtakes what is under way, and kills both directions at the other end."""
        self.underway.clear()
        self.back.underway.clear()
        self.rst = True

    def close(self) -> None:
        """The sender closes its socket: a FIN, or a RST if it left something unread (RFC 1122, 4.2.2.13)."""
        self.back.deaf = True
        if self.back.arrived:
            self.reset()
        else:
            self.finishing = True

    def shutdown(self) -> None:
        """The sender will send no more: a FIN, at once if it can."""
        self.finishing = True
        self.fin = self.fin or not (self.underway or self.rst)

    def carry(self) -> bool:
        """Move bytes, or the FIN behind them, to the other end; True if anything moved."""
        if self.underway and self.deaf and not self.rst:
            self.back.reset()
            return True
        count = min(len(self.underway), self._window - len(self.arrived))
        if count > 0:
            self.arrived += self.underway[:count]
            del self.underway[:count]
            self.carried += count
            return True
        if self.finishing and not (self.underway or self.fin or self.rst):
            self.fin = True
            return True
        return False


def _pipes(sending: int, window: int) -> tuple[Pipe, Pipe]:
    one, other = Pipe(sending, window), Pipe(sending, window)
    one.back, other.back = other, one
    return one, other


class Network:
    """
    Fake streams with their far ends, and the turns in which they move; time is the given clock's.

    With ``shuffle``, the streams of one turn are served in random order, as a reactor may do.
    """

    def __init__(self, clock: Clock, shuffle: Optional[Random] = None) -> None:
        self.clock = clock
        self._shuffle = shuffle
        self._pipes: list[Pipe] = []
        self._streams: list[FakeStream] = []
        self._peers: list[FakePeer] = []
        self.moving = False

    def connect(
        self,
        protocol: Any,
        window: int = BUFFER,
        sending: int = BUFFER,
        keep: bool = True,
        half_close: bool = True,
    ) -> FakePeer:
        """
        Connect a protocol to a new peer, through a `FakeStream` that becomes its transport.

        ``window`` is how many bytes either end accepts unread, ``sending`` how many its kernel holds
        until they are accepted.  Without ``half_close`` the peer's FIN is the end of the stream, as it
        is under TLS.
        """
        out, back = _pipes(sending, window)
        stream = FakeStream(self.clock, protocol, back, out, 50_000 + len(self._streams))
        stream.half_close = half_close
        peer = FakePeer(self, out, back, keep)
        self._pipes += (out, back)
        self._streams.append(stream)
        self._peers.append(peer)
        protocol.makeConnection(stream)
        return peer

    def turn(self) -> None:
        """Let everything that can happen now happen once."""
        self._move(1)

    def flush(self) -> None:
        """Take turns until nothing moves any more; the clock stands still."""
        if not self._move(MANY_TURNS):
            raise AssertionError("the fake network never falls quiet: something is served without end")

    def _move(self, turns: int) -> bool:
        if self.moving:
            return True  # something that is being served asks; whoever began goes on
        self.moving = True
        try:
            quiet = not all(self._turn() for _ in range(turns))
        finally:
            self.moving = False
        for peer in list(self._peers):
            peer.tell()
        return quiet

    def _turn(self) -> bool:
        happened = False
        for pipe in self._pipes:
            happened |= pipe.carry()
        ready: list[Callable[[], None]] = []
        for stream in self._streams:
            ready += stream.ready()
        for peer in self._peers:
            ready += peer.ready()
        if self._shuffle is not None:
            self._shuffle.shuffle(ready)
        for serve in ready:
            serve()
        due = any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls())
        if due:
            self.clock.advance(0)
        return happened or due or bool(ready)

    def open(self) -> list[FakeStream]:
        """The streams whose protocols have not lost their connection yet."""
        return [stream for stream in self._streams if not stream.disconnected]


@implementer(ITCPTransport, IConsumer, IPushProducer)
class FakeStream:
    """A transport without a network; see `Network.connect`."""

    log = Logger()
    half_close = True
    bufferSize = 65536  # bytes read at once, and unsent bytes above which the producer is paused

    def __init__(self, clock: Clock, protocol: Any, inward: Pipe, outward: Pipe, port: int) -> None:
        self.protocol = protocol
        self.connected = True
        self.disconnecting = False
        self.disconnected = False
        self._clock = clock
        self._in = inward
        self._out = outward
        self._port = port
        self._buffer = bytearray()
        self._reading = True
        self._writing = False
        self._aborting = False
        self._finishing = False
        self._finished = False
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False
        self._no_delay = False
        self._keep_alive = False

    def __repr__(self) -> str:
        state = "lost" if self.disconnected else "disconnecting" if self.disconnecting else "connected"
        return f"<FakeStream {self._port} {state}, {len(self._buffer)} buffered>"

    # What is left

    def buffered(self) -> int:
        """How many bytes written to the stream are still in user space."""
        return len(self._buffer)

    def unacknowledged(self) -> int:
        """How many bytes the kernel holds that the peer has not acknowledged."""
        return 0 if self.disconnected else len(self._out.underway)

    def unsent(self) -> int:
        """How many bytes written to the stream have not reached the peer."""
        return self.buffered() + self.unacknowledged()

    def taken(self) -> int:
        """How many bytes have arrived at the far end."""
        return self._out.carried

    def unread(self) -> Callable[[], object]:
        """Asks whether anything has come that was not read yet."""
        return lambda: self._in.readable

    # ITCPTransport

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if data and self.connected and not self._finished:
            self._buffer += data
            self._writing = True
            self._pause_producer_if_full()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self.connected and not self.disconnecting:
            self._reading = False
            if self._finished:
                self._lose(ConnectionDone())
            else:
                self._writing = True
                self.disconnecting = True

    def loseWriteConnection(self) -> None:
        self._finishing = True
        self._writing = True

    def abortConnection(self) -> None:
        if not (self.disconnected or self._aborting):
            self._aborting = True
            self._reading = self._writing = False
            self._clock.callLater(0, self._lose, ConnectionAborted())

    def getTcpNoDelay(self) -> bool:
        return self._no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        self._no_delay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        return self._keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self._keep_alive = bool(enabled)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 5432)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "198.51.100.1", self._port)

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(f"{producer} cannot be registered: {self._producer} still is")
        if self.disconnected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None
        if self.connected and self.disconnecting:
            self._writing = True

    # IPushProducer

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        if self.connected and not self.disconnecting:
            self._reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    # What the reactor would do

    def ready(self) -> list[Callable[[], None]]:
        """What there is to serve in this turn; a paused stream that has nothing to send notices nothing."""
        if self.disconnected or self._aborting:
            return []
        read = self._reading and self._in.readable
        write = self._writing and (self._out.dead or self._out.room > 0 or not self._buffer)
        return [lambda: self._serve(read, write)] if read or write else []

    def _serve(self, read: bool, write: bool) -> None:
        # As with epoll, what was ready at the beginning of the turn is served although it may have been
        # paused since, unless the stream has left the reactor altogether.
        if self._aborting or not (self._reading or self._writing):
            return
        try:
            if read and not self._read():
                return
            if write and self.connected and not self._aborting:
                self._write()
        except Exception as exception:  # noqa: BLE001 - a reactor survives whatever a protocol raises
            self.log.failure("A protocol on a fake stream has failed.")
            self._lose(exception)

    def _read(self) -> bool:
        """Deliver what has arrived; False if that was the end."""
        data = self._in.take(self.bufferSize)
        if data:
            self.protocol.dataReceived(data)
            return True
        if not self._in.fin:
            self._lose(ConnectionLost())
            return False
        self._reading = False
        if self.half_close and IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self._lose(ConnectionDone())
        return False

    def _write(self) -> None:
        if self._out.dead:
            self._lose(ConnectionLost())
            return
        del self._buffer[: self._out.accept(bytes(self._buffer))]
        if self._buffer:
            return
        self._writing = False
        if self._producer is not None and (not self._streaming or self._producer_paused):
            self._producer_paused = False
            self._producer.resumeProducing()
        elif self.disconnecting:
            self._lose(ConnectionDone())
        elif self._finishing:
            self._finished = True
            self._out.shutdown()
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.writeConnectionLost()

    def _pause_producer_if_full(self) -> None:
        if self._producer is not None and self._streaming and len(self._buffer) > self.bufferSize:
            self._producer_paused = True
            self._producer.pauseProducing()

    def _lose(self, why: Exception) -> None:
        if self.disconnected:
            return
        self.disconnected = True
        self.connected = False
        self._reading = self._writing = False
        self._buffer.clear()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if isinstance(why, ConnectionAborted):
            self._in.deaf = True
            self._out.reset()
        elif not self._out.dead:
            self._out.shutdown()
            self._out.close()
        self.protocol.connectionLost(Failure(why))


class FakePeer(Peer):
    """The far end of a `FakeStream`.  Waiting for something lets the network move until it is quiet."""

    def __init__(self, network: Network, inward: Pipe, outward: Pipe, keep: bool = True) -> None:
        super().__init__(keep)
        self._network = network
        self._in = inward
        self._out = outward

    def reset(self) -> None:
        self._leave(self._out.reset)

    def close(self) -> None:
        self._leave(self._out.close)

    def _leave(self, how: Callable[[], None]) -> None:
        if not self.closed:
            self.closed = True
            self._in.deaf = True
            if not self._out.dead:
                how()
            self._drop()
            self._changed()

    def _go_on(self) -> None:
        if self.closed:
            self._drop()

    def _wait(self, what: str, done: Callable[[], bool], hopeless: Callable[[], bool]) -> Deferred[bytes]:
        deferred = super()._wait(what, done, hopeless)
        self._network.flush()
        return deferred

    def _tell(self) -> None:
        if not self._network.moving:
            super()._tell()

    def tell(self) -> None:
        """The network has fallen quiet."""
        self._tell()

    def ready(self) -> list[Callable[[], None]]:
        """What there is to serve in this turn."""
        if self.closed:
            return []
        ready: list[Callable[[], None]] = []
        if self._reading and self.ended is Ended.NOT and self._in.readable:
            ready.append(self._read)
        if self._out.dead or self._out.room:
            if self._queue or self._finishing != self._finished:
                ready.append(self._write)
        return ready

    def _read(self) -> None:
        data = self._in.take(self.read_size)
        if data:
            self._arrived(data)
        elif self._in.fin:
            self._has_ended(Ended.END)
        elif self._in.rst:
            self._has_ended(Ended.RESET)

    def _write(self) -> None:
        if self.closed:
            return  # by what was served before us in this turn
        if self._out.dead:
            self._has_ended(Ended.RESET)
            return
        while self._queue:
            data = self._queue[0]
            taken = self._out.accept(bytes(data[: self._out.room]))
            if taken < len(data):
                self._queue[0] = data[taken:]
                return
            self._queue.popleft()
        if self._finishing:
            self._out.shutdown()
            self._finished = True
        self._changed()

    def _has_ended(self, how: Ended) -> None:
        self.ended = how
        if how is Ended.RESET:
            self.close()
        self._changed()
