"""
How does so much of what a connection receives go straight to another one, and no byte more?

It is the pump for a body of known length: spliced as long as it comes in large pieces, and copied by way of
the shared scratch otherwise. What comes behind the last byte is the protocol's again, which is told when all
of it has left.
"""

from __future__ import annotations

import os
from typing import Any, Optional, Sequence

from twisted.python.failure import Failure

from proxyd.relay.lane.loop import SCRATCH
from proxyd.relay.lane.pipes import Pipe
from proxyd.relay.lane.sockets import lost
from proxyd.relay.lane.splice import SPLICE_FLAGS, empty

MUCH = 16 * 1024  # bytes that are left, or come at once, which are worth a pipe


class Portion:
    """
    The bytes that are still to go from one connection of the lane to another.

    ``first`` goes before them, and leaves together with those that are there already and are copied.  Joined
    by MSG_MORE to those that are spliced, it would cost more than a segment of its own.
    """

    __slots__ = ("_behind", "_copied", "_first", "_sink", "_source", "left")

    def __init__(self, source: Any, sink: Any, count: int, first: Sequence[Any] = ()) -> None:
        self._source = source
        self._sink = sink
        self._first = first
        self._copied = False  # though there is much, because it comes in small pieces
        self._behind = b""  # what was received to see whether there is more than this
        self.left = count

    def move(self) -> None:
        """Move what there is, as far as the sink takes it."""
        source, sink = self._source, self._sink
        loop = source._loop
        if not sink.connected or sink._doom is not None:
            source._portion = None  # nobody takes it any more: it is the protocol's
            source._readable = True
            loop.again(source)
            return
        turn = loop.burst
        ahead = self._put_first(loop.view) if self._first else 0
        if ahead and source._reading and self._pipe() is not None:
            sink._take(loop.view[:ahead])
            ahead = 0
        failure: Optional[Failure] = None
        ended = drained = False
        while self.left and source._reading and turn > 0:
            pipe = None if ahead else self._pipe()
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
                sink._end_splice()  # others may need the pipe before there is more to splice
                if pipe is not None and source._gone:
                    self._copied = True  # nothing is spliced across an urgent byte
                    continue
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
            self._copied = count < most and count < MUCH
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
            sink._end_splice()
            source.fail(failure)
        elif ended:
            sink._end_splice()
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

    def _pipe(self) -> Optional[Pipe]:
        """Through what it is spliced, if it is: what is left is known, so no full reads are waited for."""
        sink = self._sink
        if sink._pipe is None and self.left >= MUCH and not self._copied and sink.can_be_spliced():
            sink._pipe = sink._loop.pipes.take()
        pipe: Optional[Pipe] = sink._pipe
        return pipe

    def _pass_on(self, ahead: int, count: int) -> None:
        """Send the sink what was received for it."""
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
        source.protocol.portion_sent(bool(self._behind))
        if self._behind and source.connected:
            source.protocol.dataReceived(self._behind)
        if source.connected and source._reading and not drained:
            source._readable = True
            source._loop.again(source)
