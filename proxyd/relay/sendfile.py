"""
How does a part of a file get to a peer?

The kernel moves it where the stream is a plain connection of the lane; elsewhere, as under TLS, it is read
in slices of `CHUNK`, each when the one before has left.  Either way it is no more than the peer takes, and
others have their turns.  What is not in the page cache is waited for, as it is in nginx without threads.
"""

from __future__ import annotations

import os
from typing import Any, Callable

from twisted.internet.interfaces import IPullProducer
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import classImplements

from proxyd.relay.lane.sendfile import NOT_NOW
from proxyd.relay.lane.sendfile import send_file as send_through_the_kernel
from proxyd.relay.streams import CHUNK


class Sending:
    """
    A part of a file on its way: the pull producer of a stream, until it has told of its end.

    ``left`` is how many bytes of it are still to be handed over.
    """

    __slots__ = ("_fd", "_offset", "_plain", "_sink", "_told", "left")

    def __init__(self, sink: Any, fd: int, offset: int, count: int, told: Callable[[int], None]) -> None:
        self._sink = sink
        self._fd = fd
        self._offset = offset
        self.left = count
        self._told = told
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
        if self._plain:
            sent = send_through_the_kernel(self._sink, self._fd, self._offset, self.left)
            if sent == NOT_NOW:
                return
        else:
            data = os.pread(self._fd, min(self.left, CHUNK), self._offset)
            sent = len(data)
        self._offset += sent
        self.left -= sent
        if not sent or (self._plain and not self.left):
            self._end()
        elif not self._plain:
            self._sink.write(data)

    def stopProducing(self) -> None:
        """The peer is lost, which the protocol is told too."""

    def _end(self) -> None:
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
