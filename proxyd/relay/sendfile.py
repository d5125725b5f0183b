"""
How does a part of a file get to a peer?

The kernel moves it where the stream is a plain connection of the lane; elsewhere, as under TLS, it is read
in slices of `CHUNK`, each when the one before has left.  Either way it is no more than the peer takes, and
others have their turns.  What is not in the page cache a `ReadAhead` has read in a thread before, as with
`aio threads` in nginx; without one it is waited for.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Optional

from twisted.internet.interfaces import IPullProducer
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import classImplements

from proxyd.relay.lane.sendfile import NOT_NOW, TURN
from proxyd.relay.lane.sendfile import send_file as send_through_the_kernel
from proxyd.relay.streams import CHUNK

# Has so many bytes of the file read into the page cache, from an offset on, and tells when that is done.
ReadAhead = Callable[[int, int, Callable[[], None]], None]

PROBED = 128 * 1024  # bytes, for each of which one is asked for: the kernel reads as many ahead


def is_cached(fd: int, offset: int, count: int) -> bool:
    """Whether the page cache has this part of a file, as far as some of its bytes tell."""
    now: Optional[int] = getattr(os, "RWF_NOWAIT", None)
    if now is None:
        return True
    byte = bytearray(1)
    try:
        for place in (*range(offset, offset + count, PROBED), offset + count - 1):
            os.preadv(fd, [byte], place, now)
    except BlockingIOError:
        return False
    except OSError:
        return True  # its file system cannot say
    return True


def cached_part(fd: int, count: int) -> Optional[bytes]:
    """The first bytes of a file, as many as the page cache has; None if it has none of them."""
    now: Optional[int] = getattr(os, "RWF_NOWAIT", None)
    data = bytearray(count)
    try:
        if now is not None:
            return bytes(memoryview(data)[: os.preadv(fd, [data], 0, now)])
    except BlockingIOError:
        return None
    except OSError:
        pass  # its file system cannot say
    return os.pread(fd, count, 0)


class Sending:
    """
    A part of a file on its way: the pull producer of a stream, until it has told of its end.

    ``left`` is how many bytes of it are still to be handed over.
    """

    __slots__ = ("_fd", "_ahead", "_offset", "_over", "_plain", "_sink", "_there", "_told", "_waits", "left")

    def __init__(
        self,
        sink: Any,
        fd: int,
        offset: int,
        count: int,
        told: Callable[[int], None],
        ahead: Optional[ReadAhead] = None,
    ) -> None:
        self._sink = sink
        self._fd = fd
        self._offset = offset
        self.left = count
        self._told = told
        self._ahead = ahead
        self._there = offset  # as far as it is in the page cache
        self._waits = self._over = False
        self._plain = (
            not isinstance(sink, ProtocolWrapper)  # as in `proxyd.relay.streams.pump`
            and hasattr(sink, "send_portion")
            and sink.can_be_spliced()
        )

    def start(self) -> None:
        """Begin; all may have been handed over when this returns."""
        self._sink.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Send some more."""
        if not self.left:
            self._end()
            return
        most = self.left
        if self._ahead is not None:
            if not self._is_there(self._ahead):
                return
            most = min(most, self._there - self._offset)
        if self._plain:
            sent = send_through_the_kernel(self._sink, self._fd, self._offset, most)
            if sent == NOT_NOW:
                return
        else:
            data = os.pread(self._fd, min(most, CHUNK), self._offset)
            sent = len(data)
        self._offset += sent
        self.left -= sent
        if not sent or (self._plain and not self.left):
            self._end()
        elif not self._plain:
            self._sink.write(data)

    def _is_there(self, ahead: ReadAhead) -> bool:
        """Whether the next bytes can be sent without waiting for a disk; if not, they are read ahead."""
        if self._waits:
            return False
        if self._offset < self._there:
            return True
        count = min(self.left, TURN)
        self._there = self._offset + count
        if is_cached(self._fd, self._offset, count):
            return True
        self._waits = True
        ahead(self._offset, count, self._read)
        return False

    def _read(self) -> None:
        self._waits = False
        if not self._over:
            self.resumeProducing()

    def stop(self) -> None:
        """Send nothing more, and do not tell."""
        self._over = True

    def stopProducing(self) -> None:
        """The peer is lost, which the protocol is told too."""
        self._over = True

    def _end(self) -> None:
        self._over = True
        self._sink.unregisterProducer()
        self._told(self.left)


classImplements(Sending, IPullProducer)


def send_file(sink: Any, fd: int, offset: int, count: int, told: Callable[[int], None]) -> None:
    """
    Send ``count`` bytes of an open file, from ``offset`` on, behind what was written.

    Whoever asks leaves the file open, and writes nothing, until ``told`` is called: with 0 when all of it was
    handed over, with how many bytes are missing if the file has become shorter.  It is not called if the
    peer is lost before.  The stream must have no producer meanwhile.
    """
    Sending(sink, fd, offset, count, told).start()
