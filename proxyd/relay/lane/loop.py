"""
Who is served next?

The lane has an epoll of its own, edge-triggered, and the reactor watches that one descriptor.  When it
is readable, everything in it is served in one tight loop: no epoll_ctl a message, no reactor call a
connection.  Rounds are bounded, and so is what one connection may move in a round (`connection`), so
neither a flood nor a bulk transfer keeps the others waiting.

Two things make edges safe.  A connection that stops before its socket is drained asks to be served again
(`Loop.again`).  And a socket that is closed while a batch is served is only buried after it, because its
number must not be reused while stale events for it may still be in the batch.
"""

from __future__ import annotations

import select
import socket
from typing import Any, Optional, Protocol

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from proxyd.relay.lane.pipes import Pipes

ROUNDS = 8  # polls in one turn of the reactor, while events keep coming

FEW = 4  # events in a round after which the loop waits for more

LINGER = 0.001  # seconds; the least that epoll can wait

EVENTS = 256  # events in one poll

# What TCP sends at once to somebody on the same host: 64 KiB less the headers (IPv4, with time stamps).
# Bursts are whole numbers of it, since what is left over at their ends would leave in tiny segments.
SEGMENT = 65483

# What one connection may move before the others are served.  Half a megabyte takes some 100 us, which is what
# a small message would wait for each bulk transfer; so while there are small messages, bursts are short.
# Longer ones than these cost more again: what is under way does not fit into the processor's caches.
LONG_BURST = 8 * SEGMENT
SHORT_BURST = 2 * SEGMENT

# TLS handshakes that are gone on with in a round: each step takes up to half a millisecond.
HANDSHAKES = 4

CALM_ROUNDS = 32  # in a row without a small message, after which bursts are long again

SCRATCH = 64 * 1024  # what a pump receives at once, into a buffer that all of them share

IN = select.EPOLLIN
OUT = select.EPOLLOUT
ERROR = select.EPOLLERR
# After any of these a read that was not filled does not mean that there is nothing more to read: behind
# the bytes there is an end, or an urgent byte (tcp(7)), at which every read stops.
GONE = select.EPOLLRDHUP | select.EPOLLHUP | ERROR | select.EPOLLPRI
_CLOSED = Failure(ConnectionAborted())

EDGES = IN | OUT | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET

log = Logger(__name__)


class Watched(Protocol):
    """What the loop serves."""

    def event(self, mask: int) -> None:
        """Something has happened on the descriptor."""

    def go_on(self) -> None:
        """It was asked to be served again."""

    def fail(self, failure: Failure) -> None:
        """It is served no more: serving it has raised an exception, which was logged, or the loop closes."""


class _Reader:
    """A level-triggered reader, such as a listener, in the lane's epoll."""

    def __init__(self, loop: Loop, reader: IReadDescriptor) -> None:
        self._loop = loop
        self._reader = reader

    def event(self, mask: int) -> None:
        self._reader.doRead()

    def go_on(self) -> None:
        """A reader is never asked for again: its events are levels."""

    def fail(self, failure: Failure) -> None:
        self._loop.removeReader(self._reader)
        self._reader.connectionLost(failure)


class Loop:
    """One epoll for all connections of the lane; the reactor watches it only while it watches something."""

    def __init__(self, reactor: Any, pipes: Pipes) -> None:
        self.reactor = reactor
        self.pipes = pipes
        self.scratch = bytearray(SCRATCH)  # what a pump receives into, before it is sent on at once
        self.view = memoryview(self.scratch)
        self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._watched: dict[int, Watched] = {}
        self._readers: dict[IReadDescriptor, int] = {}
        self._again: dict[Watched, None] = {}  # in order, and each once, however often it asks
        self._dead: list[socket.socket] = []
        self.burst = LONG_BURST  # bytes that one connection may move before the others are served
        self.calm = CALM_ROUNDS  # rounds in which nobody had a small message
        self.handshakes = 0  # that were gone on with in this round
        self._serving = False
        self._call: Optional[IDelayedCall] = None

    def __repr__(self) -> str:
        return f"<Loop of {len(self._watched)} descriptors>"

    def watch(self, fd: int, watched: Watched) -> None:
        """Serve this descriptor's edges from now on; one that is watched already changes its owner."""
        if fd not in self._watched:
            if not self._watched:
                self.reactor.addReader(self)
            self._epoll.register(fd, EDGES)
        self._watched[fd] = watched

    def bury(self, skt: socket.socket) -> None:
        """Stop watching a socket, and close it as soon as no stale event can be meant for its number."""
        if self._watched.pop(skt.fileno(), None) is not None and not self._watched:
            self.reactor.removeReader(self)
        if self._serving:
            self._dead.append(skt)
        else:
            skt.close()  # which takes it out of the epoll too

    def again(self, watched: Watched) -> None:
        """Serve this one once more, after the others."""
        self._again[watched] = None
        if not self._serving and self._call is None:
            self._call = self.reactor.callLater(0, self._resume)

    def addReader(self, reader: IReadDescriptor) -> None:
        """Watch a level-triggered reader here instead of in the reactor."""
        if reader not in self._readers:
            fd = reader.fileno()
            if not self._watched:
                self.reactor.addReader(self)
            self._epoll.register(fd, IN)
            self._readers[reader] = fd
            self._watched[fd] = _Reader(self, reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Watch it no more."""
        fd = self._readers.pop(reader, None)
        if fd is not None:
            del self._watched[fd]
            self._epoll.unregister(fd)
            if not self._watched:
                self.reactor.removeReader(self)

    def fileno(self) -> int:
        return -1 if self._epoll.closed else self._epoll.fileno()

    def logPrefix(self) -> str:
        return "lane"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is done with us."""

    def close(self) -> None:
        """Cut what is still watched, and give up the epoll and the pipes."""
        for one in list(self._watched.values()):
            self._cut(one, _CLOSED)
        self._again.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._epoll.close()
        self.pipes.close()

    def doRead(self) -> None:
        """Serve what has happened, a few rounds of it."""
        if self.fileno() < 0:
            return
        poll = self._epoll.poll
        watched = self._watched
        self._serving = True
        try:
            wait = 0.0
            for _ in range(ROUNDS):
                if self._epoll.closed:
                    break
                again, self._again = self._again, {}
                self.handshakes = 0
                events = poll(wait, EVENTS)
                if not events and not again:
                    break
                for fd, mask in events:
                    one = watched.get(fd)
                    if one is not None:
                        try:
                            one.event(mask)
                        except Exception:  # noqa: BLE001 - one connection must not stop the others
                            self._failed(one)
                self.calm += 1
                self.burst = LONG_BURST if self.calm > CALM_ROUNDS else SHORT_BURST
                if again:
                    self._serve_again(again)
                if self._dead:
                    self._bury_the_dead()
                # A turn of the reactor costs more than a small message.  When little is going on, the answer
                # to what was just passed on is likely the next event: it is waited for here, for so short a
                # time that nothing else in the reactor is noticeably late.
                wait = LINGER if len(events) <= FEW and not self._again else 0.0
        finally:
            self._serving = False
            if self._dead:
                self._bury_the_dead()
            if self._again and self._call is None:
                self._call = self.reactor.callLater(0, self._resume)

    def _resume(self) -> None:
        self._call = None
        self.doRead()

    def _serve_again(self, again: dict[Watched, None]) -> None:
        for one in again:
            try:
                one.go_on()
            except Exception:  # noqa: BLE001 - one connection must not stop the others
                self._failed(one)

    def _failed(self, one: Watched) -> None:
        failure = Failure()
        log.failure("A connection failed.", failure=failure)
        self._cut(one, failure)

    def _cut(self, one: Watched, failure: Failure) -> None:
        try:
            one.fail(failure)
        except Exception:  # noqa: BLE001 - an exception that left doRead would end the whole lane
            log.failure("A connection failed again as it was told of its end.")

    def _bury_the_dead(self) -> None:
        dead, self._dead = self._dead, []
        for skt in dead:
            skt.close()


classImplements(Loop, IReadDescriptor)
