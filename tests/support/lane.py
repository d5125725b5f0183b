"""
What do tests of the lane need around it?

`StillReactor` serves nobody, so that a test decides when the lane is served and can look at what it
asks for.  `CountedPipes` remembers what was spliced through.  `limited` leaves no descriptor.  `Asked` is
told by calls what has come of a dial, and tells it by a Deferred.
"""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import struct
import termios
from contextlib import contextmanager
from typing import Any, Iterator, Optional

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from proxyd.config.address import Address
from proxyd.errors import DialFailed
from proxyd.interfaces import IAsker, IDatapath
from proxyd.relay.lane.pipes import MOST_PIPES, PIPE_BYTES, Pipe, Pipes

TURN = 0.001  # seconds that a turn of the still reactor takes


@implementer(IAsker)
class Asked:
    """Who has asked a datapath to reach a server; ``arrived`` is as what its ``dial`` returns."""

    def __init__(self, datapath: IDatapath, address: Address, side: Any) -> None:
        self.arrived: Deferred[Any] = Deferred(self._cancel)
        self._attempt: Any = None
        try:
            self._attempt = datapath.reach(address, side, self)
        except DialFailed as failed:
            self.unreached(failed)

    def reached(self, address: Optional[Address]) -> None:
        self.arrived.callback(address)

    def unreached(self, error: Any) -> None:
        self.arrived.errback(error)

    def _cancel(self, _: Deferred[Any]) -> None:
        self._attempt.cancel()


class StillReactor(Clock):
    """A reactor that only notes who wants to read; its time passes when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def callLater(self, delay: float, *call: Any, **arguments: Any) -> Any:
        """As every reactor's: what is asked for now comes in the next turn, not in this one."""
        return super().callLater(max(delay, TURN), *call, **arguments)

    def addReader(self, reader: Any) -> None:
        """Note it."""
        assert reader.fileno() >= 0
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        """Forget it."""
        self.readers.discard(reader)

    def turn(self) -> None:
        """Serve everybody once, as a reactor does."""
        self.advance(TURN)
        for reader in list(self.readers):
            reader.doRead()


class CountedPipes(Pipes):
    """Pipes that remember how they were used."""

    def __init__(self, most: int = MOST_PIPES, size: int = PIPE_BYTES) -> None:
        super().__init__(most, size)
        self.taken: list[Pipe] = []  # each time that one was taken
        self.refused = 0  # how often there was none to be had
        self.spoiled = 0  # how many came back with bytes in them
        self.most_in_use = 0

    def take(self) -> Optional[Pipe]:
        pipe = super().take()
        if pipe is None:
            self.refused += 1
        else:
            assert pipe.filled == 0 and readable(pipe.out) == 0, "a pipe was pooled with bytes in it"
            self.taken.append(pipe)
            self.most_in_use = max(self.most_in_use, self.in_use)
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        self.spoiled += pipe.filled > 0
        super().give_back(pipe)


def readable(fd: int) -> int:
    """How many bytes could be read from a descriptor now (FIONREAD)."""
    return _asked(fd, termios.FIONREAD)


def unsent_by_kernel(fd: int) -> int:
    """How many bytes of a socket the kernel has not got rid of (SIOCOUTQ)."""
    return _asked(fd, termios.TIOCOUTQ)


def _asked(fd: int, question: int) -> int:
    (answer,) = struct.unpack("i", fcntl.ioctl(fd, question, bytes(4)))
    return int(answer)


def is_open(fd: int) -> bool:
    """Whether this process has such a descriptor."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Make every further open(2), socket(2) or pipe(2) of this process fail with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def send_urgent(fd: int, data: bytes) -> None:
    """Send bytes on a socket, the last of them urgent, as telnet and FTP do when something is interrupted."""
    with socket.socket(fileno=os.dup(fd)) as skt:
        skt.send(data, socket.MSG_OOB)
