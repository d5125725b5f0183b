"""Does a part of a file get to the peer, whatever the stream is made of?"""

from __future__ import annotations

import tempfile
from random import Random
from typing import Any

from proxyd.relay.sendfile import send_file
from proxyd.relay.streams import CHUNK
from tests.contracts.stream import StreamCase
from tests.contracts.test_lane import LaneUnixWorld, LaneWorld
from tests.contracts.tlsworlds import StockTLSWorld, TLSWorld
from tests.contracts.worlds import PLENTY, FakeWorld, TCP4World, UnixWorld


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
