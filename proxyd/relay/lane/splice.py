"""
How does a direction that is busy move without its bytes leaving the kernel?

By splice(2), through a pooled pipe (`pipes`) that stands before the socket it ends in.  A connection begins
after two full reads in a row, and copies again when traffic is small, because a small message costs two
calls here as well.  A pipe that is given back is empty, or closed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from proxyd.relay.lane.loop import SCRATCH
from proxyd.relay.lane.pipes import Pipe
from proxyd.relay.lane.sockets import lost

if TYPE_CHECKING:
    from proxyd.relay.lane.connection import LaneConnection

BUSY_READS = 2  # full reads in a row after which a direction is spliced

SMALL_SPLICES = 4  # splices in a row of less than a scratch after which it is copied again

SPLICE_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


def begin_to_splice(source: LaneConnection, sink: LaneConnection) -> bool:
    """Go on through a pipe, if there is one to be had."""
    pipe = source._loop.pipes.take() if sink.can_be_spliced() else None
    if pipe is None:
        return False
    sink._pipe = pipe
    splice(source, sink, pipe)
    return True


def splice(source: LaneConnection, sink: LaneConnection, pipe: Pipe) -> None:
    """Move what there is to the sink through its pipe, which is empty."""
    left = most = min(pipe.size, source._loop.burst)
    fd = source._socket.fileno()
    while source._reading:
        try:
            count = os.splice(fd, pipe.into, most, flags=SPLICE_FLAGS)  # type: ignore[attr-defined]
        except BlockingIOError:
            sink._end_splice()  # others may need the pipe before there is more to splice
            if source._gone:
                source._full_reads = 0  # nothing is spliced across an urgent byte
                source._loop.again(source)
            else:
                source._readable = False
            return
        except OSError as error:
            source._lose(lost(error))
            return
        if not count:
            sink._end_splice()
            source._end()
            return
        source.protocol.received += count
        pipe.filled += count
        empty(pipe, sink)
        if pipe.filled:
            sink._pause_producer()
            return
        source._small = 0 if count >= SCRATCH else source._small + 1
        if source._small >= SMALL_SPLICES:
            source._full_reads = 0
            sink._end_splice()
            source._loop.again(source)
            return
        left -= count
        if left <= 0:
            source._loop.again(source)
            return


def empty(pipe: Pipe, sink: LaneConnection) -> None:
    """Send what is in the pipe, as far as the kernel takes it."""
    if sink._buffered or sink._blocked:
        return
    fd = sink._socket.fileno()
    while pipe.filled:
        try:
            pipe.filled -= os.splice(pipe.out, fd, pipe.filled, flags=SPLICE_FLAGS)  # type: ignore[attr-defined]
        except BlockingIOError:
            sink._blocked = True
            return
        except OSError as error:
            sink._break(error)
            return
