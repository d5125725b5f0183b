"""
How does so much of what a connection receives go straight to another one, and no byte more?

It is the pump for a body of known length: copied by way of the shared scratch, and spliced when there is
much of it. What comes behind the last byte is the protocol's again, which is told when all of it has left.
"""

from __future__ import annotations

import os
from typing import Any, Optional, Sequence

from twisted.python.failure import Failure

from proxyd.relay.lane.loop import SCRATCH
from proxyd.relay.lane.sockets import lost
from proxyd.relay.lane.splice import BUSY_READS, SPLICE_FLAGS, empty


class Portion:
    """
    The bytes that are still to go from one connection of the lane to another.

    ``first`` goes before them, and leaves together with those that are there already.
    """

    __slots__ = ("_behind", "_first", "_full_reads", "_sink", "_source", "left")

    def __init__(self, source: Any, sink: Any, count: int, first: Sequence[Any] = ()) -> None:
        self._source = source
        self._sink = sink
        self._first = first
        self._full_reads = 0
        self._behind = b""  # what was received to see whether there is more than this
        self.left = count

    def move(self) -> None:
        """Move what there is, as far as the sink takes it."""
        source, sink = self._source, self._sink
        loop = source._loop
        if not sink.connected:
            source._portion = None  # nobody takes it any more: it is the protocol's
            source._readable = True
            loop.again(source)
            return
        turn = loop.burst
        ahead = self._put_first(loop.view) if self._first else 0
        failure: Optional[Failure] = None
        ended = drained = False
        while self.left and source._reading and turn > 0:
            pipe = sink._pipe
            try:
                if pipe is None:
                    # With one byte more a read that is not filled shows that nothing waits behind the last.
                    most = min(self.left + 1, turn, SCRATCH - ahead)
                    count = source._recv_into(loop.view[ahead:], most)
                else:
                    most = min(self.left, turn, pipe.size)
                    count = os.splice(  # type: ignore[attr-defined]
                        source._socket.fileno(), pipe.into, most, flags=SPLICE_FLAGS
                    )
            except BlockingIOError:
                drained = True
                break
            except OSError as error:
                failure = lost(error)
                break
            if not count:
                ended = True
                break
            # Whatever comes when all of this was read makes a new edge.
            drained = pipe is None and count < most and not source._gone
            if count > self.left:
                self._behind = bytes(loop.view[ahead + self.left : ahead + count])
                count = self.left
            source.protocol.received += count
            self.left -= count
            turn -= count
            self._pass_on(ahead, count)
            ahead = 0
            if drained:
                break
        if ahead:
            sink._take(loop.view[:ahead])
        if failure is not None:
            source.fail(failure)
        elif ended:
            source._end()
        else:
            self._go_on_later(drained)

    def _put_first(self, view: memoryview) -> int:
        """Put what goes before it where the rest is received, and return how much that is."""
        end = 0
        for piece in self._first:
            begin, end = end, end + len(piece)
            view[begin:end] = piece
        self._first = ()
        return end

    def _pass_on(self, ahead: int, count: int) -> None:
        """Send the sink what was received for it, and see whether it is worth a pipe."""
        sink = self._sink
        loop = sink._loop
        pipe = sink._pipe
        if pipe is not None:
            pipe.filled += count
            empty(pipe, sink)
            if pipe.filled:
                sink._pause_producer()
            return
        sink._take(loop.view[: ahead + count])
        if ahead + count < SCRATCH:
            loop.calm = 0
            self._full_reads = 0
            return
        self._full_reads += 1
        if self._full_reads >= BUSY_READS and self.left >= SCRATCH and sink.can_be_spliced():
            sink._pipe = loop.pipes.take()

    def _go_on_later(self, drained: bool) -> None:
        """Nothing more is moved now: it is all, or all that there is, or all that may be."""
        source = self._source
        if drained:
            source._readable = False
        if not self.left and source._reading:
            self._finish(drained)
        elif not drained:
            source._readable = True
            source._loop.again(source)

    def _finish(self, drained: bool) -> None:
        """All of it has been received; what comes next may only be sent when the pipe is empty."""
        source, sink = self._source, self._sink
        source._portion = None
        sink._end_splice()
        source.protocol.portion_sent()
        if self._behind and source.connected:
            source.protocol.dataReceived(self._behind)
        if source.connected and source._reading and not drained:
            source._readable = True
            source._loop.again(source)
