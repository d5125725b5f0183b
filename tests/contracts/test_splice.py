"""
Two connections of the lane that are busy keep every promise while their bytes stay in the kernel.

The kernel's buffers are large here, so that there is bulk to splice.  Where Python has no splice (3.9) the
same tests run, and bytes are copied.
"""

from __future__ import annotations

import hashlib
import os
from random import Random
from typing import Any, Callable

from twisted.internet.defer import Deferred, gatherResults

from proxyd.errors import Reason
from proxyd.relay.lane.pipes import MOST_PIPES, PIPE_BYTES
from proxyd.relay.pair import Side
from proxyd.relay.streams import buffered, unsent
from tests.contracts.pair import BOUND, LONG, SHORT, PairCase, RecordedPair
from tests.contracts.test_lane import LaneWorld
from tests.contracts.test_pair import (
    FINISHED,
    PairContract,
    PairLimitContract,
    PairResetContract,
    SidesContract,
    pieces,
)
from tests.contracts.worlds import PLENTY
from tests.support.lane import CountedPipes, send_urgent, unsent_by_kernel
from tests.support.peer import Ended, Peer, SocketPeer

CAN_SPLICE = hasattr(os, "splice")
BULK = 2 * 1024 * 1024  # bytes: several times what is read at once
PIECE = 256 * 1024
KERNEL_BUFFER = 256 * 1024
MANY_TURNS = 1000
PAIRS = 8
FEW_PIPES = 3


class SpliceWorld(LaneWorld):
    """Connections of the lane with large kernel buffers, and pipes that are counted."""

    kernel_buffer = KERNEL_BUFFER

    def __init__(self, reactor: Any, most: int = MOST_PIPES, size: int = PIPE_BYTES) -> None:
        self.pipes = CountedPipes(most, size)
        super().__init__(reactor, self.pipes)

    def left(self) -> list[str]:
        return super().left() + [repr(self.pipes)] * (self.pipes.in_use > 0)


class FewPipesWorld(SpliceWorld):
    """The same with fewer pipes than some have directions."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, FEW_PIPES)


class SmallPipesWorld(SpliceWorld):
    """The same with pipes as small as they are where the host grants no larger ones."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, size=os.sysconf("SC_PAGE_SIZE"))


def piped(side: Side) -> int:
    """How many bytes are in the pipe that leads to this side."""
    return int(side.transport.unacknowledged()) - unsent_by_kernel(side.transport.getHandle().fileno())


class SpliceCase(PairCase):
    """A client and a server with so much to say that it is spliced."""

    world: SpliceWorld
    make_world: Callable[[Any], SpliceWorld] = SpliceWorld

    async def fill(self, near: Peer, far: Peer, side: Side) -> bytes:
        """Send bulk until the far end, which does not read, makes the pipe hold some; return it all."""
        far.stop_reading()
        sent = bytearray()
        assert isinstance(near, SocketPeer)
        while not (piped(side) or buffered(side.transport)):
            self.assertLess(len(sent), PLENTY)
            data = bytes([len(sent) // PIECE % 251]) * PIECE
            near.send(data)
            sent += data
            for _ in range(MANY_TURNS):
                await self.world.turns(1)
                if not near.queued and not unsent_by_kernel(near.fileno()):
                    break
        self.assertEqual((near.queued, unsent_by_kernel(near.fileno())), (0, 0))
        self.assertEqual(piped(side) > 0, CAN_SPLICE)
        return bytes(sent)

    async def bulk(self, near: Peer, far: Peer, size: int = BULK) -> None:
        """Send this much, and wait until it has arrived."""
        count = far.count
        near.send(bytes(size))
        await far.receives(count + size)

    def check_that_it_was_spliced(self) -> None:
        """Where there is splice, it was used, and no pipe is in use any more."""
        self.assertEqual(bool(self.world.pipes.taken), CAN_SPLICE)
        self.assertEqual(self.world.pipes.in_use, 0)


class SplicePairTests(PairContract, PairLimitContract, PairResetContract, SidesContract, SpliceCase):
    """What holds for every pair holds for this one."""


class ShuttleCase(SpliceCase):
    """A test that sends much both ways."""

    async def shuttle(self, seed: int) -> None:
        random = Random(seed)
        there, back = random.randbytes(3_000_000), random.randbytes(3_000_000)
        await self.join(keep=False)
        queues = [(self.client, pieces(random, there, 20)), (self.server, pieces(random, back, 20))]
        while any(queue for _, queue in queues):
            for peer, queue in queues:
                for _ in range(random.randrange(4)):
                    if queue:
                        peer.send(queue.pop())
                if random.random() < 0.3:
                    peer.stop_reading()
                elif random.random() < 0.7:
                    peer.read_again()
                peer.read_size = int(2 ** random.uniform(8, 19))
            await self.world.turns(random.randrange(1, 5))
            for side in (self.pair.client, self.pair.server):
                self.assertLessEqual(self.held(side), BOUND)
        for peer in (self.client, self.server):
            peer.read_size = PIECE
            peer.read_again()
            peer.finish()
        await self.server.sees_end()
        await self.client.sees_end()
        self.assertEqual(self.server.digest, hashlib.sha256(there).hexdigest())
        self.assertEqual(self.client.digest, hashlib.sha256(back).hexdigest())
        self.assertEqual(self.counts(), (len(there), len(back)))
        await self.over(*FINISHED)


class SmallPipesTests(ShuttleCase):
    """The host's limit of pipes is reached (pipe(7)): they stay small."""

    make_world = SmallPipesWorld

    async def test_bulk_arrives_unchanged(self) -> None:
        """Whatever is spliced then and whatever is copied, every byte arrives in order."""
        for seed in range(3):
            await self.shuttle(seed)
        self.check_that_it_was_spliced()


class SpliceTests(ShuttleCase):
    """What a pipe between two sockets adds to that."""

    async def test_bulk_arrives_unchanged(self) -> None:
        """Megabytes both ways at once, in random pieces, read in random pieces and with random stalls."""
        for seed in range(6):
            await self.shuttle(seed)
        self.check_that_it_was_spliced()

    async def test_an_end_waits_behind_the_pipe(self) -> None:
        """A FIN that comes while bytes are in the pipe is passed on after them."""
        for who, reason in (("client", Reason.CLIENT_FINISHED), ("server", Reason.SERVER_FINISHED)):
            await self.join()
            near, far, side = self.sides(who)
            sent = await self.fill(near, far, side)
            near.finish()
            await self.world.turns()
            far.read_again()
            self.assertEqual(await far.sees_end(), sent)
            far.send(b"answer")
            far.finish()
            self.assertEqual(await near.sees_end(), b"answer")
            await self.over(reason)
        self.check_that_it_was_spliced()

    async def test_a_reset_waits_behind_the_pipe(self) -> None:
        """A RST that comes while bytes are in the pipe is passed on after they have arrived."""
        for who, reason in (("client", Reason.CLIENT_RESET), ("server", Reason.SERVER_RESET)):
            await self.join()
            near, far, side = self.sides(who)
            sent = await self.fill(near, far, side)
            near.reset()
            await self.world.turns()
            self.assertEqual(self.pair.endings, [])
            far.read_again()
            self.assertEqual(await self.world.until(far.sees_reset()), sent)
            await self.over(reason)
        self.check_that_it_was_spliced()

    async def test_a_pipe_with_bytes_in_it_ends_with_its_connection(self) -> None:
        """When we abort, what was in the pipe is dropped with it, and reaches nobody else."""
        for who in ("client", "server"):
            await self.join(keep=False)
            near, far, side = self.sides(who)
            await self.stall(near, far)
            self.assertEqual(piped(side) > 0, CAN_SPLICE)
            self.pair.cut(Reason.DRAINED)
            await self.over(Reason.DRAINED)
            self.assertIs(far.ended, Ended.RESET)
        self.assertEqual(self.world.pipes.spoiled, 2 * CAN_SPLICE)
        self.check_that_it_was_spliced()
        await self.join(keep=False)
        await self.bulk(self.client, self.server)
        self.assertEqual(self.server.digest, hashlib.sha256(bytes(BULK)).hexdigest())

    async def test_the_reader_resets_with_bytes_in_the_pipe(self) -> None:
        """When the one they were for is gone, they are dropped, and the sender is reset."""
        for who, reason in (("client", Reason.SERVER_RESET), ("server", Reason.CLIENT_RESET)):
            await self.join(keep=False)
            near, far, side = self.sides(who)
            await self.stall(near, far)
            self.assertEqual(piped(side) > 0, CAN_SPLICE)
            far.reset()
            await self.world.until(near.sees_reset())
            await self.over(reason)
        self.assertEqual(self.world.pipes.spoiled, 2 * CAN_SPLICE)
        self.check_that_it_was_spliced()

    async def test_urgent_bytes_in_bulk(self) -> None:
        """What follows an urgent byte arrives like any other; the kernel splices nothing across one."""
        await self.join(keep=False)
        client = self.client
        assert isinstance(client, SocketPeer)
        for number in range(1, 4):
            await self.bulk(client, self.server)
            self.server.stop_reading()
            client.send(bytes(BULK))
            await self.world.turns()
            self.server.read_again()
            await client.sent()
            send_urgent(client.fileno(), b"before!")
            client.send(bytes(BULK))
            await self.server.receives(number * (3 * BULK + len("before")))
        self.client.finish()
        await self.server.sees_end()
        self.check_that_it_was_spliced()

    async def test_both_directions_hold_a_pipe(self) -> None:
        """While neither end reads, each direction has its pipe; later both are delivered and returned."""
        await self.join(keep=False)
        await self.stall(self.client, self.server)
        await self.stall(self.server, self.client)
        self.assertEqual(self.world.pipes.in_use, 2 * CAN_SPLICE)
        self.client.read_again()
        self.server.read_again()
        await self.server.receives(PLENTY)
        await self.client.receives(PLENTY)
        await self.world.turns()
        self.check_that_it_was_spliced()
        self.assertEqual(self.world.pipes.spoiled, 0)

    async def test_small_traffic_is_copied_and_bulk_is_spliced_again(self) -> None:
        """A connection may change its ways as often as it likes."""
        await self.join(keep=False)
        total = 0
        for _ in range(3):
            before = len(self.world.pipes.taken)
            await self.bulk(self.client, self.server)
            total += BULK
            self.assertEqual(len(self.world.pipes.taken) > before, CAN_SPLICE)
            for _ in range(20):
                total += 1
                self.client.send(b".")
                await self.server.receives(total)
            before = len(self.world.pipes.taken)
            for _ in range(20):
                total += 1
                self.client.send(b".")
                await self.server.receives(total)
            self.assertEqual(len(self.world.pipes.taken), before)
            self.assertEqual(self.world.pipes.in_use, 0)
        self.assertEqual(self.counts(), (total, 0))

    async def test_a_silent_connection_holds_no_pipe(self) -> None:
        """Many connections that were busy once leave the pipes to those that are busy now."""
        await self.join(keep=False)
        await self.bulk(self.client, self.server)
        await self.bulk(self.server, self.client)
        await self.world.turns()
        self.check_that_it_was_spliced()

    async def test_a_direction_that_has_ended_holds_no_pipe(self) -> None:
        """After a large upload whoever waits for the answer needs no pipe."""
        await self.join(keep=False)
        self.client.send(bytes(BULK))
        self.client.finish()
        await self.server.sees_end()
        await self.world.turns()
        self.check_that_it_was_spliced()

    async def test_a_slow_reader_of_the_pipe_is_not_silent(self) -> None:
        """One that takes a little now and then keeps the connection."""
        await self.join(idle=SHORT, keep=False)
        near, far, side = self.sides("client")
        await self.stall(near, far)
        for _ in range(6):
            before = unsent(side.transport)
            self.assertGreater(before, 0)
            far.read_size = 16 * 1024
            far.read_again()
            while unsent(side.transport) == before:
                await self.world.turns(1)
            far.stop_reading()
            end = self.world.clock.seconds() + SHORT / 4
            while self.world.clock.seconds() < end:
                await self.world.moment()
        self.assertEqual(self.pair.endings, [])
        far.read_again()
        await far.receives(PLENTY)
        await self.over(Reason.IDLE_TIMEOUT)


class FewPipesTests(SpliceCase):
    """More directions are busy than there are pipes."""

    make_world = FewPipesWorld

    async def one(self, seed: int) -> None:
        """A pair of its own, both of whose ends have bulk to send."""
        random = Random(seed)
        there, back = random.randbytes(BULK), random.randbytes(BULK + seed)
        pair = RecordedPair(self.wheel, LONG, LONG)
        client = await self.connect_side(pair.client, False)
        server = await self.connect_side(pair.server, False)
        pair.join()
        for peer, data in ((client, there), (server, back)):
            peer.read_size = int(2 ** random.uniform(12, 18))
            peer.send(data)
            peer.finish()
        await server.sees_end()
        await client.sees_end()
        await self.world.until(pair.is_over())
        self.assertEqual(server.digest, hashlib.sha256(there).hexdigest())
        self.assertEqual(client.digest, hashlib.sha256(back).hexdigest())
        self.assertEqual((pair.client.received, pair.server.received), (len(there), len(back)))

    async def test_more_directions_than_pipes(self) -> None:
        """The rest are copied, every byte is right, and there are never more pipes than allowed."""
        await gatherResults([Deferred.fromCoroutine(self.one(seed)) for seed in range(PAIRS)])
        pipes = self.world.pipes
        self.assertLessEqual(pipes.most_in_use, FEW_PIPES)
        self.assertEqual(bool(pipes.taken), CAN_SPLICE)
        self.assertGreater(pipes.refused, 0)
        self.assertEqual((pipes.in_use, pipes.spoiled), (0, 0))
        self.assertEqual(self.world.left(), [])

    async def test_pipes_that_are_held_up(self) -> None:
        """While stalled readers hold all the pipes, others are served by copying."""
        stalled = []
        for who in ("client", "server", "client"):
            await self.join(keep=False)
            near, far, _ = self.sides(who)
            await self.stall(near, far)
            stalled.append(self.pair)
        pipes = self.world.pipes
        self.assertEqual(pipes.in_use, FEW_PIPES * CAN_SPLICE)
        await self.one(99)
        self.assertGreater(pipes.refused, 0)
        for pair in stalled:
            pair.cut(Reason.DRAINED)
            await self.world.until(pair.is_over())
        self.assertEqual(pipes.in_use, 0)
        # A busy kernel may have taken meanwhile what was in one of them, which then is as good as new.
        self.assertTrue(CAN_SPLICE <= pipes.spoiled <= FEW_PIPES * CAN_SPLICE, pipes.spoiled)
