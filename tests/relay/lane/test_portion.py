"""Does so much of a stream go to another one as was said, in order, and no byte more?"""

from __future__ import annotations

import os
from random import Random
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from zope.interface import implementer

from proxyd.relay.lane.connection import GLANCE
from proxyd.relay.streams import send_portion
from tests.contracts.test_lane import LaneWorld
from tests.contracts.test_splice import SpliceWorld
from tests.contracts.worlds import SocketWorld
from tests.support.case import AsyncCase
from tests.support.lane import send_urgent

BULK = 3 * 1024 * 1024


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class End:
    """A protocol that keeps what it is given itself, and says what it was told."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.received = 0
        self.got = b""
        self.pieces: list[int] = []  # bytes that it was given at once
        self.sent = 0  # portions
        self.more: list[bool] = []  # what was told of them
        self.told: list[str] = []

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def connectionMade(self) -> None:
        """It is there."""

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        self.got += data
        self.pieces.append(len(data))

    def portion_sent(self, more: bool) -> None:
        """The portion has gone."""
        self.sent += 1
        self.more.append(more)

    def readConnectionLost(self) -> None:
        self.told.append("finished")

    def writeConnectionLost(self) -> None:
        """What was written has left."""

    def connectionLost(self, reason: Any = None) -> None:
        self.told.append("lost")

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Nobody takes it any more."""


class Portions(AsyncCase):
    """Portions between two connections of the lane."""

    def setUp(self) -> None:
        self.world: Any = None

    async def connect(self, world: Any) -> None:
        """A source and a sink, each with its far end."""
        self.world = world
        self.addCleanup(lambda: Deferred.fromCoroutine(world.close()))
        self.source, self.sink = End(), End()
        self.near = await world.connect(self.source)
        self.far = await world.connect(self.sink)
        self.sink.transport.registerProducer(self.source, True)

    async def sends(self, count: int, more: bytes = b"") -> bytes:
        """Send so many bytes of a portion, and more behind it; return what has arrived at the far end."""
        data = Random(count).randbytes(count) if hasattr(Random, "randbytes") else os.urandom(count)
        self.assertTrue(send_portion(self.source.transport, self.sink.transport, count))
        self.near.send(data + more)
        got: bytes = await self.world.until(self.far.receives(count))
        while self.source.sent == 0 or len(self.source.got) < len(more):
            await self.world.moment()
        self.assertEqual(got, data)
        return got

    async def test_small(self) -> None:
        """A few bytes are passed on; what is behind them is the protocol's."""
        await self.connect(LaneWorld(real_reactor))
        await self.sends(10, b"behind")
        self.assertEqual((self.source.got, self.source.sent, self.source.received), (b"behind", 1, 16))
        self.assertEqual(self.source.more, [True])

    async def test_bulk(self) -> None:
        """So it is with much, which is spliced."""
        world = SpliceWorld(real_reactor)
        await self.connect(world)
        await self.sends(BULK, b"behind")
        self.assertEqual((self.source.got, self.source.sent), (b"behind", 1))
        self.assertEqual(bool(world.pipes.taken), hasattr(os, "splice"))
        self.assertEqual(world.pipes.in_use, 0)

    async def test_urgent(self) -> None:
        """An urgent byte, across which nothing is spliced, holds up nothing; it is not passed on."""
        await self.connect(SpliceWorld(real_reactor))
        self.assertTrue(send_portion(self.source.transport, self.sink.transport, BULK))
        for _ in range(2):
            self.source.transport.pauseProducing()
            self.near.send(bytes(100_000))
            await self.near.sent()
            send_urgent(self.near.fileno(), b"!")
            self.near.send(bytes(BULK // 2 - 100_000))
            await self.world.turns()
            self.source.transport.resumeProducing()
            await self.near.sent()
        await self.world.until(self.far.receives(BULK))
        while not self.source.sent:
            await self.world.moment()
        self.assertEqual(self.source.received, BULK)

    async def test_given_up(self) -> None:
        """What comes for one that is about to be cut is the protocol's, not told that it left."""
        await self.connect(LaneWorld(real_reactor))
        self.assertTrue(send_portion(self.source.transport, self.sink.transport, 10))
        self.source.transport.pauseProducing()
        self.near.send(b"0123456789behind")
        await self.near.sent()
        await self.world.turns()
        self.source.transport.resumeProducing()  # in one batch with the end of the other one, and before it
        self.sink.transport.abortConnection()
        while not self.source.got:
            await self.world.moment()
        self.assertEqual((self.source.got, self.source.sent), (b"0123456789behind", 0))

    async def test_one_after_another(self) -> None:
        """A second portion is as good as the first."""
        await self.connect(SpliceWorld(real_reactor))
        for number in range(1, 4):
            count = 200_000 * number
            self.assertTrue(send_portion(self.source.transport, self.sink.transport, count))
            before = self.far.count
            self.near.send(bytes([number]) * count)
            got = await self.world.until(self.far.receives(before + count))
            self.assertEqual(got[before:], bytes([number]) * count)
            while self.source.sent < number:
                await self.world.moment()

    async def test_sink_that_does_not_read(self) -> None:
        """A sink that does not read stops the source; all of it arrives when it does."""
        await self.connect(SpliceWorld(real_reactor))
        self.far.stop_reading()
        self.assertTrue(send_portion(self.source.transport, self.sink.transport, 4 * BULK))
        self.near.send(bytes(4 * BULK))
        await self.world.turns()
        queued = -1
        while queued != self.near.queued:
            queued = self.near.queued
            await self.world.turns(50)
        self.assertGreater(queued, BULK)
        self.far.read_again()
        await self.world.until(self.far.receives(4 * BULK))
        while not self.source.sent:
            await self.world.moment()

    async def test_told_before_the_answer(self) -> None:
        """That the last byte has left is told at once: whoever has it may answer before the loop comes by."""
        await self.connect(LaneWorld(real_reactor))
        self.source.transport.pauseProducing()
        self.assertTrue(send_portion(self.source.transport, self.sink.transport, 0))
        self.assertEqual(self.source.sent, 0)
        self.source.transport.resumeProducing()
        self.assertEqual(self.source.sent, 1)

    async def test_source_that_ends(self) -> None:
        """A source that ends before its portion is complete is told of like any other."""
        await self.connect(LaneWorld(real_reactor))
        self.assertTrue(send_portion(self.source.transport, self.sink.transport, 100))
        self.near.send(b"abc")
        self.near.finish()
        await self.world.until(self.far.receives(3))
        while not self.source.told:
            await self.world.moment()
        self.assertEqual((self.source.told, self.source.sent), (["finished"], 0))

    async def test_sink_that_is_lost(self) -> None:
        """Where nobody takes it any more, the rest is the protocol's again."""
        await self.connect(LaneWorld(real_reactor))
        self.assertTrue(send_portion(self.source.transport, self.sink.transport, 100))
        self.sink.transport.unregisterProducer()
        self.sink.transport.abortConnection()
        while not self.sink.told:
            await self.world.moment()
        self.near.send(b"abc")
        while self.source.got != b"abc":
            await self.world.moment()
        self.assertEqual(self.source.sent, 0)

    async def test_paused_before(self) -> None:
        """What has been read already is not counted, and a paused source moves nothing."""
        await self.connect(LaneWorld(real_reactor))
        self.source.transport.pauseProducing()
        self.assertTrue(send_portion(self.source.transport, self.sink.transport, 3))
        self.near.send(b"abcd")
        await self.world.turns()
        self.assertEqual((self.far.count, self.source.received), (0, 0))
        self.source.transport.resumeProducing()
        await self.world.until(self.far.receives(3))
        while self.source.got != b"d":
            await self.world.moment()

    async def test_first(self) -> None:
        """What goes before it is the first to arrive, and does not wait for more."""
        await self.connect(LaneWorld(real_reactor))
        first = (b"head ", memoryview(b"head and beginning")[9:])
        for number in range(1, 3):
            before = self.far.count
            self.assertTrue(send_portion(self.source.transport, self.sink.transport, 100_000, first))
            await self.world.until(self.far.receives(before + 14))
            self.near.send(bytes(100_000))
            got = await self.world.until(self.far.receives(before + 100_014))
            self.assertEqual(got[before:], b"head beginning" + bytes(100_000))
            while self.source.sent < number:
                await self.world.moment()
        self.assertEqual(self.source.received, 200_000)

    async def test_first_and_the_end(self) -> None:
        """It leaves together with what is there already, and before the end of a source that is cut short."""
        await self.connect(LaneWorld(real_reactor))
        self.source.transport.pauseProducing()
        self.near.send(b"abc")
        self.near.finish()
        await self.world.turns()
        self.assertTrue(send_portion(self.source.transport, self.sink.transport, 100, (b"head ",)))
        self.source.transport.resumeProducing()
        self.assertEqual(await self.world.until(self.far.receives(8)), b"head abc")
        while not self.source.told:
            await self.world.moment()
        self.assertEqual((self.source.told, self.source.sent), (["finished"], 0))

    async def begins(self, count: int, there: int) -> None:
        """Begin a portion of so many bytes, behind a head, of which some are there already."""
        self.source.transport.pauseProducing()
        self.near.send(bytes(there))
        await self.near.sent()
        await self.world.turns()
        self.assertTrue(send_portion(self.source.transport, self.sink.transport, count, (b"head ",)))

    async def test_first_and_much(self) -> None:
        """It leaves before what is spliced, too."""
        world = SpliceWorld(real_reactor)
        await self.connect(world)
        await self.begins(100_000, 100_000)
        self.source.transport.resumeProducing()
        self.assertEqual(await world.until(self.far.receives(100_005)), b"head " + bytes(100_000))
        while not self.source.sent:
            await world.moment()
        self.assertEqual((len(world.pipes.taken), world.pipes.in_use), (int(hasattr(os, "splice")), 0))

    async def test_first_and_a_sink_that_is_full(self) -> None:
        """Where the sink takes nothing yet, it waits behind what was written, and before what is spliced."""
        await self.connect(SpliceWorld(real_reactor))
        self.far.stop_reading()
        written = 0
        while not self.source.transport.producerPaused and not self.sink.transport.buffered():
            self.sink.transport.write(b"before" * 1000)
            written += 6000
        await self.begins(100_000, 100_000)
        self.source.transport.resumeProducing()
        await self.world.turns()
        self.far.read_again()
        got = await self.world.until(self.far.receives(written + 100_005))
        self.assertEqual(got, b"before" * (written // 6) + b"head " + bytes(100_000))
        while not self.source.sent:
            await self.world.moment()

    async def test_much_and_the_end(self) -> None:
        """However the source ends in the midst of what is spliced, what it has sent arrives."""
        for ends, told in (("finish", "finished"), ("reset", "lost")):
            world = SpliceWorld(real_reactor)
            await self.connect(world)
            await self.begins(BULK, 50_000)
            getattr(self.near, ends)()
            await world.turns()
            self.source.transport.resumeProducing()
            self.assertEqual(await world.until(self.far.receives(50_005)), b"head " + bytes(50_000))
            while not self.source.told:
                await world.moment()
            self.assertEqual((self.source.told, self.source.sent, world.pipes.in_use), ([told], 0, 0))

    async def test_sink_that_is_lost_with_first(self) -> None:
        """A sink that was reset takes neither; the rest is the protocol's again."""
        world = SpliceWorld(real_reactor)
        await self.connect(world)
        await self.begins(100_000, 50_000)
        self.far.reset()
        await world.turns()
        self.source.transport.resumeProducing()
        while not self.sink.told:
            await world.moment()
        self.assertEqual((self.sink.told, self.source.sent, world.pipes.in_use), (["lost"], 0, 0))

    async def test_small_pieces(self) -> None:
        """What comes in small pieces is copied, though there is much of it, until it comes in large ones."""
        world = SpliceWorld(real_reactor)
        await self.connect(world)
        self.assertTrue(send_portion(self.source.transport, self.sink.transport, BULK))
        taken = []
        for number in range(1, 4):
            self.near.send(bytes(100))
            await world.until(self.far.receives(100 * number))
            taken.append(len(world.pipes.taken))
        self.assertEqual(taken, taken[:1] * 3)
        self.source.transport.pauseProducing()
        self.near.send(bytes(100_000))
        await self.near.sent()
        await world.turns()
        self.source.transport.resumeProducing()
        await world.until(self.far.receives(100_300))
        self.assertEqual(len(world.pipes.taken) > taken[0], hasattr(os, "splice"))

    async def test_what_begins_the_next(self) -> None:
        """Of what comes behind a portion little is read first: it is likely to be the head of another one."""
        await self.connect(SpliceWorld(real_reactor))
        await self.sends(100_000)
        for size in (100, 5000, 5000):
            before = len(self.source.got)
            self.near.send(bytes(size))
            while len(self.source.got) < before + size:
                await self.world.moment()
        self.assertEqual(self.source.pieces, [100, GLANCE, 5000 - GLANCE, 5000])

    async def test_others_cannot(self) -> None:
        """Twisted's own transports have no such thing; then the protocol passes its bytes on."""
        await self.connect(SocketWorld(real_reactor))
        self.assertFalse(send_portion(self.source.transport, self.sink.transport, 3))
