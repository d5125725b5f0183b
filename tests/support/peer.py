"""
What does the far end of a stream do, and what does it see?

A test drives a `Peer`: it sends, finishes, resets, stops reading, and waits for what should arrive.
`SocketPeer` is one on a real socket; `tests.support.streams.FakePeer` is the far end of a fake stream.
"""

from __future__ import annotations

import enum
import hashlib
import socket
import struct
from collections import deque
from typing import Any, Callable, Optional, Union

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ILoggingContext, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

PATIENCE = 40.0  # seconds of real time for anything that loopback sockets are asked to do


class Ended(enum.Enum):
    """How the stream has ended, as far as its reader can tell."""

    NOT = "not yet"
    END = "an end"
    RESET = "a reset"
    CUT = "cut short, without a close_notify"


@define(eq=False)
class _Wait:
    what: str
    done: Callable[[], bool]
    hopeless: Callable[[], bool]
    deferred: Deferred[bytes]


class Peer:
    """
    The far end of a stream.

    What is awaited here fires with the bytes received so far, and fails with an `AssertionError` as soon
    as it can no longer happen.  With ``keep=False`` the bytes are only counted and hashed.
    """

    read_size = 256 * 1024  # the most that is taken at once

    def __init__(self, keep: bool = True) -> None:
        self.count = 0  # bytes received
        self.ended = Ended.NOT
        self.closed = False
        self._keep = keep
        self._bytes = bytearray()
        self._hash = hashlib.sha256()
        self._queue: deque[memoryview] = deque()
        self._finishing = False
        self._finished = False
        self._dropped = False  # something that was queued can no longer be sent
        self._reading = True
        self._waits: list[_Wait] = []

    def __repr__(self) -> str:
        state = "closed, " if self.closed else ""
        return f"<{type(self).__name__} {state}received {self.count}, ended: {self.ended.value}>"

    # What a test does

    def send(self, data: bytes) -> None:
        """Queue bytes; they leave as the window lets them."""
        assert not self._finishing, "a peer that has finished cannot send"
        if data:
            self._queue.append(memoryview(data))
        self._go_on()

    def finish(self) -> None:
        """Send a FIN behind everything that was queued."""
        self._finishing = True
        self._go_on()

    def stop_reading(self) -> None:
        """Leave what arrives with the kernel; an end or a reset goes unnoticed too."""
        self._reading = False

    def read_again(self) -> None:
        """Take what arrives again."""
        self._reading = True

    def reset(self) -> None:
        """Leave with a RST; what is still under way in either direction is destroyed."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave without a word: a FIN, or a RST if something was left unread; what was unsent is dropped."""
        raise NotImplementedError

    # What a test asks

    @property
    def received(self) -> bytes:
        """The bytes received so far."""
        assert self._keep, "this peer only counts"
        return bytes(self._bytes)

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes received so far."""
        return self._hash.hexdigest()

    @property
    def queued(self) -> int:
        """How many bytes this peer has not yet got rid of."""
        return sum(map(len, self._queue))

    def receives(self, count: int) -> Deferred[bytes]:
        """Wait until that many bytes have arrived since the beginning."""
        return self._wait(f"{count} bytes", lambda: self.count >= count, lambda: self.ended is not Ended.NOT)

    def sees_end(self) -> Deferred[bytes]:
        """Wait for the FIN of the other side."""
        return self._wait("an end", lambda: self.ended is Ended.END, lambda: self.ended is not Ended.NOT)

    def sees_reset(self) -> Deferred[bytes]:
        """Wait for the RST of the other side; an orderly end that comes instead is a failure."""
        before = self.ended
        return self._wait("a reset", lambda: self.ended is Ended.RESET, lambda: self.ended is not before)

    def sees_either(self) -> Deferred[bytes]:
        """Wait until the other side has ended the stream in whatever way."""
        return self._wait("an end or a reset", lambda: self.ended is not Ended.NOT, lambda: False)

    def sent(self) -> Deferred[bytes]:
        """Wait until everything queued, and the FIN if there is one, is with the kernel."""
        return self._wait(
            "everything to be sent",
            lambda: not (self._dropped or self._queue) and self._finishing == self._finished,
            lambda: self._dropped,
        )

    # What the implementations share

    def _go_on(self) -> None:
        """There is something to send."""

    def _wait(self, what: str, done: Callable[[], bool], hopeless: Callable[[], bool]) -> Deferred[bytes]:
        wait = _Wait(what, done, hopeless, Deferred())
        self._waits.append(wait)
        self._changed()
        return wait.deferred

    def _changed(self) -> None:
        if self.ended is Ended.END and self._finished and not self.closed:
            self.close()  # both have said all they had to say
        self._tell()

    def _tell(self) -> None:
        """Fire what was waited for."""
        for wait in list(self._waits):
            if wait not in self._waits:
                continue  # fired by what an earlier one set off
            if wait.done():
                self._waits.remove(wait)
                wait.deferred.callback(bytes(self._bytes))
            elif wait.hopeless() or self.closed:
                self._waits.remove(wait)
                wait.deferred.errback(AssertionError(f"waited for {wait.what}, but {self!r}"))

    def _arrived(self, data: bytes) -> None:
        self.count += len(data)
        self._hash.update(data)
        if self._keep:
            self._bytes += data
        self._changed()

    def _drop(self) -> None:
        """The stream is dead: nothing that was queued will be sent."""
        self._dropped = self._dropped or bool(self._queue) or self._finishing != self._finished
        self._queue.clear()


@implementer(IReadWriteDescriptor, ILoggingContext)
class SocketPeer(Peer):
    """A peer on a connected stream socket, which it owns and which the given reactor watches."""

    def __init__(self, reactor: Any, skt: socket.socket, keep: bool = True) -> None:
        super().__init__(keep)
        self._reactor = reactor
        self._socket = skt
        skt.setblocking(False)
        reactor.addReader(self)

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket.close()
            self._drop()
            self._changed()

    def detach(self) -> socket.socket:
        """Leave the socket to somebody else, who speaks differently."""
        self.closed = True
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        return self._socket

    def stop_reading(self) -> None:
        super().stop_reading()
        if not self.closed:
            self._reactor.removeReader(self)

    def read_again(self) -> None:
        super().read_again()
        if not self.closed and self.ended is Ended.NOT:
            self._reactor.addReader(self)

    def _go_on(self) -> None:
        if self.closed:
            self._drop()
        else:
            self._reactor.addWriter(self)

    def _wait(self, what: str, done: Callable[[], bool], hopeless: Callable[[], bool]) -> Deferred[bytes]:
        def give_up(result: Union[bytes, Failure], seconds: float) -> bytes:
            raise AssertionError(f"waited {seconds} s for {what}, but {self!r}")

        return super()._wait(what, done, hopeless).addTimeout(PATIENCE, self._reactor, give_up)

    def _was_reset(self) -> None:
        self.ended = Ended.RESET
        self.close()

    # What the reactor calls

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "peer"

    def doRead(self) -> None:
        try:
            data = self._socket.recv(self.read_size)
        except BlockingIOError:
            return
        except OSError:
            self._was_reset()
            return
        if data:
            self._arrived(data)
        else:
            self._reactor.removeReader(self)
            self.ended = Ended.END
            self._changed()

    def doWrite(self) -> None:
        try:
            while self._queue:
                data = self._queue[0]
                sent = self._socket.send(data)
                if sent == len(data):
                    self._queue.popleft()
                else:
                    self._queue[0] = data[sent:]
            self._reactor.removeWriter(self)
            if self._finishing and not self._finished:
                self._socket.shutdown(socket.SHUT_WR)
                self._finished = True
        except BlockingIOError:
            return
        except OSError:
            self._was_reset()
            return
        self._changed()

    def connectionLost(self, reason: Failure) -> None:
        """The socket is dead, and we were not reading, so the reactor has found it out."""
        if not self.closed:
            self._was_reset()


def socket_pair(family: socket.AddressFamily, buffer_size: int) -> tuple[socket.socket, socket.socket]:
    """Two connected stream sockets on the loopback; each kernel buffer holds about ``buffer_size`` bytes."""
    if family == socket.AF_UNIX:
        pair = socket.socketpair(family, socket.SOCK_STREAM)
        for skt in pair:
            limit_buffers(skt, buffer_size)
        return pair
    with listening_socket(family, buffer_size) as listener:
        near = socket.socket(family, socket.SOCK_STREAM)
        limit_buffers(near, buffer_size)
        near.connect(listener.getsockname())
        return near, listener.accept()[0]


def listening_socket(family: socket.AddressFamily, buffer_size: int) -> socket.socket:
    """A TCP socket that listens on a loopback port of the kernel's choice."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    limit_buffers(listener, buffer_size)  # before listen: a window that was offered cannot shrink
    listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    listener.listen()
    return listener


def limit_buffers(skt: socket.socket, size: Optional[int]) -> None:
    """Make the kernel hold little, so that a peer which does not read is felt soon."""
    if size is not None:
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
