"""Does the kernel send a part of a file, as far as the peer takes it?"""

from __future__ import annotations

import os
import tempfile

from proxyd.relay.lane.sendfile import NOT_NOW, send_file
from proxyd.relay.sendfile import send_file as send_to_its_end
from tests.contracts.stream import StreamCase
from tests.contracts.test_lane import LaneWorld
from tests.contracts.worlds import PLENTY


class LaneSendFile(StreamCase):
    """What else the verb of the lane has to bear."""

    make_world = LaneWorld

    def file(self, data: bytes) -> int:
        """An open file with this in it."""
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        file.write(data)
        file.flush()
        return file.fileno()

    async def test_as_far_as_it_goes(self) -> None:
        """It says how much was sent, 0 where the file has nothing."""
        await self.connect()
        fd = self.file(b"abc")
        self.assertEqual((send_file(self.transport, fd, 1, 9), send_file(self.transport, fd, 3, 9)), (2, 0))
        self.assertEqual(await self.peer.receives(2), b"bc")

    async def test_not_now(self) -> None:
        """What waits goes first, and one that is lost takes nothing."""
        await self.connect()
        fd = self.file(b"abc")
        await self.stall()
        self.assertEqual(send_file(self.transport, fd, 0, 3), NOT_NOW)
        transport = self.transport
        transport.abortConnection()
        await self.happens("lost")
        self.assertEqual(send_file(transport, fd, 0, 3), NOT_NOW)

    async def test_reset(self) -> None:
        """A peer that resets in the midst of it is lost."""
        await self.connect()
        told: list[int] = []
        self.peer.stop_reading()
        send_to_its_end(self.transport, self.file(bytes(PLENTY)), 0, PLENTY, told.append)
        await self.world.turns()
        self.peer.reset()
        await self.happens("lost")
        self.assertEqual(told, [])

    async def test_of_no_file(self) -> None:
        """What cannot be read of at all ends the connection, and nothing else."""
        await self.connect()
        told: list[int] = []
        into, out = os.pipe()
        self.addCleanup(os.close, into)
        self.addCleanup(os.close, out)
        send_to_its_end(self.transport, into, 0, 3, told.append)
        await self.happens("lost")
        self.assertEqual(told, [])
