"""
How does so much of what a connection receives go straight to another one, and no byte more?

It is the pump for a body of known length: copied by way of the shared scratch, and spliced when there is
much of it. What comes behind the last byte is the protocol's again, which is told when all of it has left.
"""

from __future__ import annotations

import os
from typing import Any

from proxyd.relay.lane.loop import SCRATCH
from proxyd.relay.lane.sockets import lost
from proxyd.relay.lane.splice import BUSY_READS, SPLICE_FLAGS, empty


class Portion:
    """The bytes that are still to go from one connection of the lane to another."""

    __slots__ = ("_full_reads", "_sink", "_source", "left")

    def __init__(self, source: Any, sink: Any, count: int) -> None:
        self._source = source
        self._sink = sink
        self._full_reads = 0
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
        while self.left and source._reading and turn > 0:
            pipe = sink._pipe
            most = min(self.left, turn, SCRATCH if pipe is None else pipe.size)
            try:
                if pipe is None:
                    count = source._recv_into(loop.scratch, most)
                else:
                    count = os.splice(  # type: ignore[attr-defined]
                        source._socket.fileno(), pipe.into, most, flags=SPLICE_FLAGS
                    )
            except BlockingIOError:
                source._readable = False
                return
            except OSError as error:
                source.fail(lost(error))
                return
            if not count:
                source._end()
                return
            source.protocol.received += count
            self.left -= count
            turn -= count
            self._pass_on(count)
            if pipe is None and count < most and not source._gone and self.left:
                source._readable = False  # whatever comes now makes a new edge
                return
        if self.left or not source._reading:
            source._readable = True
            loop.again(source)
        else:
            self._finish()

    def _pass_on(self, count: int) -> None:
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
        sink._take(loop.view[:count])
        if count < SCRATCH:
            loop.calm = 0
            self._full_reads = 0
            return
        self._full_reads += 1
        if self._full_reads >= BUSY_READS and self.left >= SCRATCH and sink.can_be_spliced():
            sink._pipe = loop.pipes.take()

    def _finish(self) -> None:
        """All of it has been received; what comes next may only be sent when the pipe is empty."""
        source, sink = self._source, self._sink
        source._portion = None
        sink._end_splice()
        source.protocol.portion_sent()
        if source.connected and source._reading:
            source._readable = True
            source._loop.again(source)
