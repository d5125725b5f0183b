"""
What is a connection of the lane?

A transport like Twisted's, for any protocol, with three differences.  What is written is sent at once, and
only what the kernel refuses is buffered.  Reading and writing follow the edges of `loop`, so nothing is
registered or unregistered as traffic comes and goes.  And two connections that are joined pump: what one
receives goes straight to the other's socket, with no call of a protocol; counters, pauses, ends and
losses take the same way as everywhere.

A pump that is busy splices: after two full reads in a row the bytes of that direction stay in the kernel
(`splice`), until traffic is small again.  What waits to be sent is ``_queue``, and then what is in the pipe.

Calls from outside never call back: `write` and `abortConnection` return first, and what they find out is
told in the loop.  Exceptions save most connections a trip through it: `loseConnection` when our FIN has left,
which is Twisted's own, or the peer's has come and all was sent; `loseWriteConnection` of such a pump.
"""

from __future__ import annotations

import os
import socket
from typing import Any, Callable, Iterable, Optional, Sequence

from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import classImplements

from proxyd.relay.lane.loop import ERROR, GONE, IN, OUT, SCRATCH, Loop
from proxyd.relay.lane.pipes import Pipe
from proxyd.relay.lane.portion import Portion
from proxyd.relay.lane.sockets import ABORTED, DONE, RESET_ON_CLOSE, ConnectedSocket, lost
from proxyd.relay.lane.splice import BUSY_READS, begin_to_splice, empty, splice
from proxyd.relay.streams import CHUNK, queued_by_kernel

JOINED_WRITES = 64  # small writes that are sent as one

GLANCE = 2 * 1024  # bytes that are read first where the last portion was large: the head of the next

_TALK = IN | OUT  # the edge of a socket that has something to read and is otherwise well


class LaneConnection(ConnectedSocket):
    """One connected socket on the lane, and the protocol that it serves."""

    __slots__ = (
        "_blocked",
        "_buffered",
        "_doom",
        "_ended",
        "_failed",
        "_finished",
        "_finishing",
        "_full_reads",
        "_glance",
        "_gone",
        "_loop",
        "_pipe",
        "_portion",
        "_pump",
        "_queue",
        "_readable",
        "_reading",
        "_recv_into",
        "_send",
        "_small",
        "bufferSize",
        "connected",
        "disconnecting",
        "producer",
        "producerPaused",
        "protocol",
        "streamingProducer",
    )

    def __init__(self, loop: Loop, skt: socket.socket, peer: Any, protocol: Any) -> None:
        """Serve a protocol on a connected non-blocking socket; ``peer`` is its far end, as by accept(2)."""
        ConnectedSocket.__init__(self, skt, peer)
        self._loop = loop
        self._recv_into = skt.recv_into
        self._send: Callable[[Any], int] = skt.send
        self.protocol = protocol
        self.bufferSize = CHUNK
        self.connected = True
        self.disconnecting = False
        self.producer: Any = None
        self.producerPaused = False
        self.streamingProducer = False
        self._reading = True
        self._readable = False  # the kernel may hold bytes for which there will be no further edge
        self._gone = False  # the kernel has reported a FIN, a hang-up, an error or an urgent byte
        self._failed = False  # it was an error
        self._ended = False  # we have read the peer's FIN
        self._blocked = False  # the kernel takes no more for now
        self._finishing = False  # our FIN follows what is buffered
        self._finished = False  # our FIN has left
        self._doom: Optional[Failure] = None  # with what it will be lost, as soon as the loop comes by
        self._queue: Optional[list[Any]] = None  # bytes and memoryviews that wait to be sent
        self._buffered = 0  # how many bytes that is
        self._pump: Optional[LaneConnection] = None  # where what we receive goes
        self._portion: Optional[Portion] = None  # or so much of it
        self._pipe: Optional[Pipe] = None  # through which we are sent bulk
        self._glance = False  # much is likely to come that is better not copied, behind what comes first
        self._full_reads = 0
        self._small = 0
        loop.watch(skt.fileno(), self)

    def __repr__(self) -> str:
        state = "connected" if self.connected else "lost"
        return f"<LaneConnection {state}, {self._buffered} buffered>"

    # What the loop calls

    def event(self, mask: int) -> None:
        peer = self._pump
        if peer is None:
            if mask == _TALK and self._reading and not (self._portion or self._blocked or self._gone):
                self._readable = True
                self._deliver()
                return
        elif (
            mask == _TALK
            and self._reading
            and not (peer._blocked or self._blocked or self._gone)
            and peer._pipe is None
            and peer._doom is None
            and self._full_reads < BUSY_READS
        ):
            # The way of nearly all events, in one piece: as calls of others it takes a microsecond more.
            loop = self._loop
            recv_into = self._recv_into
            try:
                count = recv_into(loop.scratch)
            except BlockingIOError:
                count = 0
            except OSError as error:
                self._lose(lost(error))  # the system says it once only
                return
            if 0 < count < SCRATCH:
                loop.calm = 0
                self._full_reads = 0
                self._readable = False
                self.protocol.received += count
                send = peer._send
                try:
                    sent = send(loop.view[:count])
                except OSError:
                    sent = 0  # and so is this, by trying again
                if sent < count:
                    peer._take(loop.view[sent:count])
                return
            if count:
                self.protocol.received += count
                peer._take(loop.view[:count])
                self._full_reads += 1
        self._serve(mask)

    def _serve(self, mask: int) -> None:
        """Do whatever an event asks for."""
        if mask & OUT and self._blocked:
            self._blocked = False
            self._flush()
            if not self.connected:
                return
        if mask & GONE:
            self._gone = True
            if mask & ERROR:
                self._failed = True
                if self._ended:
                    self._see_whether_it_is_lost()
                    return
        elif not mask & IN:
            return
        self._readable = True
        if self._reading:
            self._read()

    def go_on(self) -> None:
        if not self.connected:
            return
        if self._doom is None:
            if not self._blocked:
                self._flush()
            if self._readable and self._reading:
                self._read()
            return
        if self._doom is not ABORTED and self._reading:
            self._readable = True
            self._read()  # what arrived before the loss is worth having
            if self._readable and self._reading:
                return  # there is more: the loop comes by again
        self._lose(self._doom)

    def fail(self, failure: Failure) -> None:
        self._lose(failure)

    # Receiving

    def _read(self) -> None:
        peer = self._pump
        if peer is None:
            if self._portion is None:
                self._deliver()
            else:
                self._portion.move()
        elif peer._pipe is not None:
            splice(self, peer, peer._pipe)
        elif self._full_reads < BUSY_READS or not begin_to_splice(self, peer):
            self._copy(peer)

    def _deliver(self) -> None:
        """Give the protocol what there is, in chunks of at most ``bufferSize``."""
        moved = 0
        size = min(self.bufferSize, GLANCE) if self._glance else self.bufferSize
        while self._reading:
            try:
                data = self._socket.recv(size)
            except BlockingIOError:
                self._readable = False
                return
            except OSError as error:
                self._lose(lost(error))
                return
            if not data:
                self._end()
                return
            self.protocol.dataReceived(data)
            if self._portion is not None:
                self._portion.move()
                return
            if len(data) < size:
                self._loop.calm = 0
                if not self._gone:
                    self._readable = False  # whatever comes now makes a new edge (epoll(7), question 9)
                    return
            self._glance = False
            moved += len(data)
            if moved >= self._loop.burst:
                self._loop.again(self)
                return
            size = self.bufferSize

    def _copy(self, peer: LaneConnection) -> None:
        """Send the peer what there is, by way of the shared scratch."""
        loop = self._loop
        left = loop.burst
        while self._reading:
            try:
                count = self._recv_into(loop.scratch)
            except BlockingIOError:
                self._readable = False
                return
            except OSError as error:
                self._lose(lost(error))
                return
            if not count:
                self._end()
                return
            self.protocol.received += count
            peer._take(loop.view[:count])
            if count < SCRATCH:
                loop.calm = 0
                self._full_reads = 0
                if not self._gone:
                    self._readable = False
                    return
            elif self._reading:
                self._full_reads += 1
                if self._full_reads == BUSY_READS:
                    self._small = 0
                if self._full_reads >= BUSY_READS and begin_to_splice(self, peer):
                    return
            left -= count
            if left <= 0:
                loop.again(self)
                return

    def _take(self, data: memoryview) -> None:
        """Send what a pump has received for us; what the kernel refuses is kept, and the pump is paused."""
        if self._doom is not None:
            return
        sent = 0
        if not self._blocked and not self._buffered:
            try:
                sent = self._send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                self._break(error)
                return
        if sent < len(data):
            self._blocked = True
            self._keep(bytes(data[sent:]))
            self._pause_producer()

    def _end(self) -> None:
        """The peer has sent its FIN."""
        self._readable = False
        self._reading = False
        self._ended = True
        if self._doom is not None:
            self._lose(self._doom)
        elif self._pump is not None or IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
            if self.connected and self._failed:
                self._see_whether_it_is_lost()
        else:
            self._lose(DONE)

    def _see_whether_it_is_lost(self) -> None:
        """After the peer's FIN nothing is read any more, so a reset shows in the socket's error alone."""
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._lose(lost(OSError(code, os.strerror(code))))

    # Pumping

    def _end_splice(self) -> None:
        """Give the pipe back; what is in it is lost with it."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._loop.pipes.give_back(pipe)

    def can_be_spliced(self) -> bool:
        """Whether bytes may go to the socket as they are."""
        return True

    def pump_to(self, peer: LaneConnection) -> None:
        """From now on send whatever arrives here to the peer, without a call of the protocol's."""
        self._pump = peer

    def send_portion(self, peer: LaneConnection, count: int, first: Sequence[Any] = ()) -> None:
        """
        The same of the next ``count`` bytes alone, behind ``first``.

        Its protocol's ``portion_sent`` is called when they have left (`proxyd.relay.streams.send_portion`).
        """
        self._portion = Portion(self, peer, count, first)
        self._glance = True
        self._readable = True  # there may be more of what the protocol was given the beginning of
        self._loop.again(self)

    # Sending

    def write(self, data: bytes) -> None:
        if type(data) is not bytes:
            raise TypeError(f"only bytes can be written, not {type(data).__name__}")
        if not data or not self.connected or self._finished or self._doom is not None:
            return
        sent = 0
        if not self._blocked and not self._buffered:
            try:
                sent = self._send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                self._break(error)
                return
        if sent < len(data):
            self._blocked = True
            self._keep(memoryview(data)[sent:] if sent else data)
            if self._buffered > self.bufferSize and self.streamingProducer:
                self._pause_producer()
        elif self.producer is not None and not self.streamingProducer:
            self._loop.again(self)  # a pull producer is asked for more when what it gave has left

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def _keep(self, data: Any) -> None:
        if self._queue is None:
            self._queue = [data]
        else:
            self._queue.append(data)
        self._buffered += len(data)

    def _flush(self) -> None:
        """Send what waits; when all of it has left, do what was to follow."""
        queue = self._queue
        while queue:
            if len(queue) > 1:
                queue[:JOINED_WRITES] = [b"".join(queue[:JOINED_WRITES])]
            try:
                sent = self._send(queue[0])
            except BlockingIOError:
                self._blocked = True
                return
            except OSError as error:
                self._break(error)
                return
            self._buffered -= sent
            if sent < len(queue[0]):
                queue[0] = memoryview(queue[0])[sent:]
                self._blocked = True
                return
            del queue[0]
        self._queue = None
        pipe = self._pipe
        if pipe is not None and pipe.filled:
            empty(pipe, self)
            if pipe.filled:
                return
        if self.producer is not None and (self.producerPaused or not self.streamingProducer):
            self.producerPaused = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            if self._takes_leave():
                self._lose(DONE)
        elif self._finishing and not self._finished:
            self._finish()

    def _finish(self) -> None:
        self._finished = True
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # reset meanwhile, which reading will tell
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()

    def _break(self, error: OSError) -> None:
        """The peer takes nothing any more; that is told by the loop, after what it has still sent."""
        self._doom = lost(error)
        self._queue = None
        self._buffered = 0
        self._end_splice()
        self._loop.again(self)

    # Ending

    def loseWriteConnection(self) -> None:
        if self.connected and not self._finishing:
            self._finishing = True
            if self._pump is not None and self._has_sent_all():
                self._finish()
            else:
                self._loop.again(self)

    def loseConnection(self) -> None:
        if not self.connected or self.disconnecting:
            return
        self._reading = False
        self.disconnecting = True
        if self._finished or (self._ended and self._has_sent_all() and self._takes_leave()):
            self._lose(DONE)
        else:
            self._loop.again(self)

    def leave(self) -> bool:
        """
        Close in order, now, if all was sent; False if not.

        For one who would have to wait for `loseConnection`: the protocol is not told.
        """
        if not self.connected or self._pump is not None or not self._has_sent_all():
            return False
        self.connected = False
        self._reading = False
        self._portion = None
        self._close(orderly=True)
        self.protocol = None
        return True

    def _has_sent_all(self) -> bool:
        """Whether nothing waits to be sent, and nobody who gives more."""
        waits = self._blocked or self._buffered or self._pipe is not None or self._doom is not None
        return not waits and self.producer is None

    def abortConnection(self) -> None:
        if self.connected and self._doom is not ABORTED:
            self._doom = ABORTED
            self._reading = False
            self._loop.again(self)

    def _takes_leave(self) -> bool:
        """Say what is to be said before closing in order; False if the kernel does not take it yet."""
        return True

    def _lose(self, reason: Failure) -> None:
        if not self.connected:
            return
        self.connected = False
        self._reading = False
        peer, self._pump = self._pump, None
        if peer is not None:
            peer._pump = None
        self._portion = None
        self._end_splice()
        self._queue = None
        self._buffered = 0
        producer, self.producer = self.producer, None
        self._close(orderly=reason is not ABORTED)
        protocol, self.protocol = self.protocol, None
        try:
            if producer is not None:
                producer.stopProducing()
        finally:
            protocol.connectionLost(reason)

    def _close(self, orderly: bool) -> None:
        skt = self._socket
        try:
            if not orderly:
                skt.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            elif not self._ended:
                # Closed with bytes unread, a socket resets its peer; the FIN shall be there first.
                skt.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the peer was faster
        self._loop.bury(skt)

    # Producing and consuming

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError(f"{self} has a producer already: {self.producer!r}")
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streamingProducer = streaming
        self.producerPaused = False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None
        if self.connected and self.disconnecting:
            self._loop.again(self)

    def _pause_producer(self) -> None:
        if self.producer is not None and not self.producerPaused:
            self.producerPaused = True
            self.producer.pauseProducing()

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        if self.connected and not (self.disconnecting or self._ended or self._doom is ABORTED):
            self._reading = True
            if self._portion is not None and not self._portion.left:
                self._portion.move()  # all was received, and has left now: before the sink answers it
            elif self._readable:
                self._loop.again(self)

    def stopProducing(self) -> None:
        self.loseConnection()

    # What is known of it

    def buffered(self) -> int:
        """How many bytes wait in user space."""
        return self._buffered

    def unacknowledged(self) -> int:
        """How many bytes the kernel holds that the peer has not acknowledged, those in the pipe included."""
        if not self.connected:
            return 0
        return queued_by_kernel(self._socket.fileno()) + (self._pipe.filled if self._pipe is not None else 0)


classImplements(LaneConnection, ITCPTransport, IConsumer, IPushProducer)
