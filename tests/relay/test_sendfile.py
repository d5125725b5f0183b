"""Does a part of a file get to the peer, whatever the stream is made of?"""

from __future__ import annotations

import os
import tempfile
from random import Random
from typing import Any, Callable
from unittest.mock import patch

from proxyd.relay.lane.sendfile import TURN
from proxyd.relay.sendfile import PROBED, Sending, is_cached, send_file
from proxyd.relay.streams import CHUNK
from tests.contracts.stream import StreamCase
from tests.contracts.test_lane import LaneUnixWorld, LaneWorld
from tests.contracts.tlsworlds import StockTLSWorld, TLSWorld
from tests.contracts.worlds import PLENTY, FakeWorld, TCP4World, UnixWorld
from tests.support.case import Case


def not_cached(*arguments: Any) -> int:
    """What a file system says of what is not in the page cache."""
    raise BlockingIOError(11, "not now")


class SendFileContract:
    """What holds for a part of a file, wherever it goes."""

    plain = True  # whether there is no copy of it in our memory

    def file(self: Any, data: bytes) -> int:
        """An open file with this in it."""
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        file.write(data)
        file.flush()
        return int(file.fileno())

    def send(self: Any, fd: int, offset: int, count: int) -> None:
        self.told: list[int] = []
        send_file(self.transport, fd, offset, count, self.told.append)

    async def is_told(self: Any, left: int) -> None:
        while not self.told:
            await self.world.moment()
        self.assertEqual(self.told, [left])

    async def test_behind_what_was_written(self: Any) -> None:
        """A part of a file goes behind what was written before it, and before what is written then."""
        await self.connect()
        fd = self.file(b"0123456789")
        self.transport.write(b"before ")
        self.send(fd, 2, 5)
        await self.is_told(0)
        self.transport.write(b" behind")
        self.assertEqual(await self.peer.receives(19), b"before 23456 behind")

    async def test_nothing(self: Any) -> None:
        """No byte of it is soon sent."""
        await self.connect()
        self.send(self.file(b"abc"), 3, 0)
        await self.is_told(0)
        self.transport.write(b"x")
        self.assertEqual(await self.peer.receives(1), b"x")

    async def test_much(self: Any) -> None:
        """A large part arrives whole, and another one behind it."""
        await self.connect()
        data = Random(7).randbytes(PLENTY)
        fd = self.file(data)
        self.send(fd, 1, PLENTY - 1)
        got = await self.world.until(self.peer.receives(PLENTY - 1))
        self.assertTrue(got == data[1:])
        await self.is_told(0)
        self.send(fd, 0, 5)
        self.assertEqual((await self.peer.receives(PLENTY + 4))[-5:], data[:5])
        await self.is_told(0)

    async def test_peer_that_does_not_read(self: Any) -> None:
        """For a peer that does not read no more is held than a slice; it gets all when it reads again."""
        await self.connect()
        self.peer.stop_reading()
        self.send(self.file(bytes(PLENTY)), 0, PLENTY)
        for _ in range(3):
            await self.world.turns()
        held = getattr(self.transport, "buffered", lambda: 0)()
        self.assertLessEqual(held, 0 if self.plain else CHUNK)
        self.assertEqual(self.told, [])
        self.peer.read_again()
        await self.world.until(self.peer.receives(PLENTY))
        await self.is_told(0)

    async def test_file_that_was_cut(self: Any) -> None:
        """It is told how much is missing of a file that has become shorter."""
        await self.connect()
        self.send(self.file(b"abc"), 1, 10)
        await self.is_told(8)
        self.assertEqual(await self.peer.receives(2), b"bc")

    async def test_peer_that_is_lost(self: Any) -> None:
        """Where the peer is lost in the midst of it, that is told as ever, and the end of the file is not."""
        await self.connect()
        self.peer.stop_reading()
        self.send(self.file(bytes(PLENTY)), 0, PLENTY)
        await self.world.turns()
        self.transport.abortConnection()
        await self.happens("lost")
        self.assertEqual(self.told, [])

    async def test_not_cached(self: Any) -> None:
        """What the page cache does not have is read ahead first; what was stopped meanwhile is not sent."""
        await self.connect()
        data = Random(8).randbytes(3 * TURN // 2)
        fd = self.file(data)
        asked: list[tuple[int, int]] = []
        waiting: list[Callable[[], None]] = []

        def ahead(offset: int, count: int, done: Callable[[], None]) -> None:
            asked.append((offset, count))
            waiting.append(done)

        self.told = []
        self.patch(os, "preadv", not_cached)
        Sending(self.transport, fd, 5, len(data) - 5, self.told.append, ahead).start()
        await self.world.turns()
        self.assertEqual((asked, self.told), ([(5, TURN)], []))
        waiting.pop()()
        self.assertTrue(await self.world.until(self.peer.receives(TURN)) == data[5 : 5 + TURN])
        while not waiting:
            await self.world.moment()
        self.assertEqual(asked[1:], [(5 + TURN, len(data) - 5 - TURN)])
        waiting.pop()()
        got = await self.world.until(self.peer.receives(len(data) - 5))
        self.assertTrue(got == data[5:])
        await self.is_told(0)
        again = Sending(self.transport, fd, 0, len(data), self.told.append, ahead)
        again.start()
        while not waiting:
            await self.world.moment()
        again.stop()
        self.transport.unregisterProducer()
        waiting.pop()()
        await self.world.turns()
        self.assertEqual((again.left, self.told), (len(data), [0]))

    async def test_closed_behind_it(self: Any) -> None:
        """A stream that is closed when all was handed over is closed behind it."""
        await self.connect()
        fd = self.file(bytes(PLENTY))
        send_file(self.transport, fd, 0, PLENTY, lambda left: self.transport.loseConnection())
        self.assertEqual(len(await self.peer.sees_end()), PLENTY)


class FakeSendFile(SendFileContract, StreamCase):
    make_world = FakeWorld
    plain = False


class StockSendFile(SendFileContract, StreamCase):
    make_world = TCP4World
    plain = False


class StockUnixSendFile(SendFileContract, StreamCase):
    make_world = UnixWorld
    plain = False


class LaneSendFile(SendFileContract, StreamCase):
    make_world = LaneWorld


class LaneUnixSendFile(SendFileContract, StreamCase):
    make_world = LaneUnixWorld


class LaneTLSSendFile(SendFileContract, StreamCase):
    make_world = TLSWorld
    plain = False


class StockTLSSendFile(SendFileContract, StreamCase):
    make_world = StockTLSWorld
    plain = False


class Cached(Case):
    """Whether the page cache has a part of a file."""

    def test_asked(self) -> None:
        """Some bytes of it tell; what cannot be known is taken for there."""
        places: list[int] = []
        wrong: list[Exception] = []

        def preadv(fd: int, into: Any, place: int, flags: int) -> int:
            self.assertEqual((fd, flags), (7, os.RWF_NOWAIT))
            places.append(place)
            if wrong:
                raise wrong[0]
            return 1

        with patch("os.preadv", preadv):
            self.assertTrue(is_cached(7, 10, 2 * PROBED))
            self.assertEqual(places, [10, 10 + PROBED, 9 + 2 * PROBED])
            wrong.append(BlockingIOError(11, "not now"))
            self.assertFalse(is_cached(7, 0, 1))
            wrong[0] = OSError(95, "not supported")
            self.assertTrue(is_cached(7, 0, 1))

    def test_real(self) -> None:
        """What was just written is there."""
        with tempfile.TemporaryFile() as file:
            file.write(bytes(1_000_000))
            file.flush()
            self.assertTrue(is_cached(file.fileno(), 0, 1_000_000))
