"""
What do clients and servers say to each other in the soak?

A client's first line says what it wants: ``echo``, ``take`` (read to the end, answer with the checksum),
``give N`` (send so many bytes), ``drop N`` (the same, and reset when the client says more) or ``mute``.
`Server` does that; `CONVERSATIONS` are what a client can do with it, each a coroutine that fails when a
byte is wrong.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any, Awaitable, Callable, Optional

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.support.peer import SocketPeer

KIB = 1024
MIB = 1024 * 1024
PIECE = 64 * KIB
PATTERN = Random("soak").randbytes(MIB)
LONGEST_LINE = 100


def pattern(size: int) -> bytes:
    """So many bytes that are not all alike."""
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


@implementer(IHalfCloseableProtocol, IPushProducer)
class Server(Protocol):
    """One client's server, which does what the first line says."""

    transport: Any

    def __init__(self) -> None:
        self._line = b""
        self._word = ""
        self._checksum = hashlib.sha256()
        self._left: Optional[int] = None  # bytes still to be given
        self._size = 0
        self._paused = False

    def dataReceived(self, data: bytes) -> None:
        if not self._word:
            line, newline, data = (self._line + data).partition(b"\n")
            if not newline:
                self._line = line
                if len(line) > LONGEST_LINE:
                    self.transport.abortConnection()
                return
            self._begin(line)
        if self._word == "echo":
            self.transport.write(data)
        elif self._word == "take":
            self._checksum.update(data)
        elif self._word == "drop" and data:
            self.transport.abortConnection()

    def _begin(self, line: bytes) -> None:
        self._word, _, number = line.decode().partition(" ")
        if self._word in ("give", "drop"):
            self._left = self._size = int(number)
            self.transport.registerProducer(self, True)
            self.resumeProducing()
        elif self._word == "echo":
            self.transport.registerProducer(self.transport, True)

    def readConnectionLost(self) -> None:
        if self._word == "take":
            self.transport.write(self._checksum.hexdigest().encode())
        if self._word not in ("give", "drop"):
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """There is nothing more to say."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._paused = True

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while self._left and not self._paused:
            start = (self._size - self._left) % MIB
            piece = PATTERN[start : start + min(PIECE, self._left, MIB - start)]
            self._left -= len(piece)
            self.transport.write(piece)
        if self._left == 0:
            self._left = None
            self.transport.unregisterProducer()
            if self._word == "give":
                self.transport.loseConnection()

    def stopProducing(self) -> None:
        self._paused = True


class ServerFactory(Factory):
    """What a port needs to serve all that."""

    noisy = False
    protocol = Server


class Client:
    """One client of the relay, with chance of its own."""

    def __init__(
        self, reactor: Any, random: Random, connect: Callable[[bool], SocketPeer], slow: float
    ) -> None:
        """``connect`` opens a connection that keeps its bytes if asked to; stalls last ``slow`` seconds."""
        self.reactor = reactor
        self.random = random
        self.connect = connect
        self.slow = slow

    def wait(self, share: float = 1.0) -> Deferred[None]:
        """Do nothing for up to that share of a stall."""
        return deferLater(self.reactor, self.random.uniform(0, share * self.slow))

    def size(self, most: int) -> int:
        """A size; small ones are as likely as large ones."""
        return int(most ** self.random.uniform(0.3, 1.0))

    async def until_cut(self, peer: SocketPeer) -> None:
        """Wait for the relay to end it."""
        try:
            await peer.sees_either()
        finally:
            peer.close()

    async def exchanges(self) -> None:
        """Questions and answers, 64 bytes to 16 KiB each, and an orderly end by one side."""
        peer = self.connect(False)
        peer.send(b"echo\n")
        count = 0
        for _ in range(self.random.randrange(1, 50)):
            size = self.random.randrange(64, 16 * KIB)
            peer.send(PATTERN[:size])
            count += size
            await peer.receives(count)
        assert peer.count == count, "more came back than was sent"
        peer.finish()
        await peer.sees_end()
        peer.close()

    async def both_ways(self) -> None:
        """Bulk that comes back while it is sent, with stalls."""
        data = pattern(self.size(4 * MIB))
        peer = self.connect(False)
        peer.send(b"echo\n")
        peer.send(data)
        half_close = self.random.random() < 0.5
        if half_close:
            peer.finish()
        for _ in range(self.random.randrange(3)):
            peer.stop_reading()
            await self.wait()
            peer.read_again()
            peer.read_size = int(2 ** self.random.uniform(10, 18))
        await peer.receives(len(data))
        assert peer.digest == hashlib.sha256(data).hexdigest(), "an echo has other bytes"
        if not half_close:
            peer.finish()
        await peer.sees_end()
        peer.close()

    async def upload(self) -> None:
        """Bulk to the server and a half-close; the answer is its checksum."""
        data = pattern(self.size(8 * MIB))
        peer = self.connect(True)
        peer.send(b"take\n")
        peer.send(data)
        peer.finish()
        answer = await peer.sees_end()
        peer.close()
        assert answer.decode() == hashlib.sha256(data).hexdigest(), "the server got other bytes"

    async def download(self) -> None:
        """Bulk from the server, taken at once or slowly, to its end."""
        size = self.size(8 * MIB)
        peer = self.connect(False)
        peer.send(b"give %d\n" % size)
        if self.random.random() < 0.3:
            peer.finish()
        if self.random.random() < 0.3:
            peer.read_size = 16 * KIB
        for _ in range(self.random.randrange(3)):
            peer.stop_reading()
            await self.wait()
            peer.read_again()
        await peer.sees_end()
        peer.close()
        assert peer.digest == hashlib.sha256(pattern(size)).hexdigest(), "a download has other bytes"

    async def reset_by_client(self) -> None:
        """The client leaves in the middle of it, whatever is under way."""
        peer = self.connect(False)
        word = self.random.choice([b"echo\n", b"take\n", b"mute\n", b"give %d\n" % self.size(4 * MIB)])
        peer.send(word)
        if not word.startswith(b"give"):
            peer.send(pattern(self.size(MIB)))
        await self.wait(0.2)
        peer.reset()

    async def reset_by_server(self) -> None:
        """The server leaves in the middle of it; whatever came before is right, and the end is one."""
        size = self.size(MIB)
        peer = self.connect(True)
        peer.send(b"drop %d\n" % size)
        await peer.receives(1)
        await self.wait(0.1)
        peer.send(b"enough")
        await peer.sees_either()
        peer.close()
        assert pattern(size).startswith(peer.received), "other bytes came before a reset"

    async def abandoned(self) -> None:
        """A client that reads no more, or that says nothing more, until the relay's timer ends it."""
        peer = self.connect(False)
        if self.random.random() < 0.5:
            peer.send(b"give %d\n" % (16 * MIB))
            peer.stop_reading()
            await deferLater(self.reactor, 8 * self.slow)
            peer.read_again()
        else:
            peer.send(b"mute\n")
            if self.random.random() < 0.5:
                peer.send(b"x")
        await self.until_cut(peer)

    async def flood(self) -> None:
        """Many connections at once that say nothing, or little, and leave in every way."""
        peers = []
        for number in range(self.random.randrange(20, 200)):
            peer = self.connect(False)
            peers.append(peer)
            if number % 3 == 0:
                peer.reset()
            elif number % 3 == 1:
                peer.send(b"echo\nx")
            else:
                peer.finish()
        for peer in peers:
            if peer.closed:
                continue
            if peer.queued:
                await peer.sent()
            if self.random.random() < 0.5:
                peer.reset()
            else:
                peer.close()


# How often each, and what.
CONVERSATIONS: list[tuple[int, Callable[[Client], Awaitable[None]]]] = [
    (30, Client.exchanges),
    (10, Client.both_ways),
    (10, Client.upload),
    (10, Client.download),
    (10, Client.reset_by_client),
    (10, Client.reset_by_server),
    (4, Client.abandoned),
    (4, Client.flood),
]
