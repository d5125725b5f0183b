"""
What may a client and a server rely on when they are joined, whichever way the bytes move?

`PairContract` runs on fake streams and on Twisted's stock transports.  Another datapath passes it too: it
brings a `World`, and its own `PairCase` if it joins or counts differently.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

from proxyd.errors import Reason
from proxyd.relay.streams import unsent
from tests.contracts.pair import A_FEW, BOUND, LONG, SHORT, PairCase, RecordedPair
from tests.contracts.worlds import PLENTY, FakeWorld, TCP4World, TCP6World, UnixWorld, World
from tests.support.peer import Ended, Peer

FINISHED = (Reason.CLIENT_FINISHED, Reason.SERVER_FINISHED)


STALLED = {"client": Reason.SERVER_STALLED, "server": Reason.CLIENT_STALLED}


class PairContract:
    """What holds for every way of joining two streams."""

    # Bytes

    async def shuttle(self: Any, seed: int) -> None:
        random = Random(seed)
        length = 1_000_000
        there, back = random.randbytes(length), random.randbytes(length)
        await self.join(keep=False)
        queues = [(self.client, pieces(random, there)), (self.server, pieces(random, back))]
        while any(queue for _, queue in queues):
            for peer, queue in queues:
                for _ in range(random.randrange(6)):
                    if queue:
                        peer.send(queue.pop())
                if random.random() < 0.3:
                    peer.stop_reading()
                elif random.random() < 0.5:
                    peer.read_again()
            await self.world.turns(random.randrange(1, 4))
        for peer in (self.client, self.server):
            peer.read_again()
            peer.finish()
        await self.server.sees_end()
        await self.client.sees_end()
        self.assertEqual(self.server.digest, hashlib.sha256(there).hexdigest())
        self.assertEqual(self.client.digest, hashlib.sha256(back).hexdigest())
        self.assertEqual(self.counts(), (length, length))
        await self.over(*FINISHED)

    async def test_bytes_arrive_unchanged(self: Any) -> None:
        """Both ways at once, in random pieces and with random stalls, every byte arrives in order."""
        for seed in range(5):
            await self.shuttle(seed)

    async def test_a_stalled_reader_bounds_memory(self: Any) -> None:
        """While neither end reads, user space holds at most 64 KiB each way, and both are held back."""
        await self.join(keep=False)
        await self.stall(self.client, self.server)
        await self.stall(self.server, self.client)
        for _ in range(A_FEW):
            for side in (self.pair.client, self.pair.server):
                self.assertLessEqual(self.held(side), BOUND)
            await self.world.moment()
        self.assertGreater(self.client.queued, 0)
        self.assertGreater(self.server.queued, 0)
        for peer in (self.client, self.server):
            peer.read_again()
            peer.finish()
        await self.client.sees_end()
        await self.server.sees_end()
        self.assertEqual(self.counts(), (PLENTY, PLENTY))
        await self.over(*FINISHED)

    async def test_a_stall_one_way_does_not_stop_the_other(self: Any) -> None:
        """A client that does not read its answer can still be heard."""
        await self.join(keep=False)
        await self.stall(self.server, self.client)
        self.client.send(bytes(500_000))
        await self.server.receives(500_000)
        self.client.read_again()
        await self.client.receives(PLENTY)
        self.client.finish()
        self.server.finish()
        await self.over(*FINISHED)

    # Orderly ends

    async def finish_and_be_answered(self: Any, who: str, reason: Reason) -> None:
        await self.join()
        near, far, _ = self.sides(who)
        near.send(b"question")
        near.finish()
        self.assertEqual(await far.sees_end(), b"question")
        await self.world.moment()
        far.send(bytes(300_000))
        await near.receives(300_000)
        self.assertIs(near.ended, Ended.NOT)
        far.send(b"last words")
        far.finish()
        self.assertEqual((await near.sees_end())[300_000:], b"last words")
        await self.over(reason)

    async def test_the_client_finishes_and_is_answered(self: Any) -> None:
        """A client that closes its sending half still gets the whole answer."""
        await self.finish_and_be_answered("client", Reason.CLIENT_FINISHED)

    async def test_the_server_finishes_and_is_answered(self: Any) -> None:
        """A server that closes its sending half still gets all that the client has to say."""
        await self.finish_and_be_answered("server", Reason.SERVER_FINISHED)

    async def test_both_finish_at_once(self: Any) -> None:
        """When both finish in the same moment, both get everything and see an end."""
        await self.join()
        for peer in (self.client, self.server):
            peer.send(b"all")
            peer.finish()
        self.assertEqual(await self.server.sees_end(), b"all")
        self.assertEqual(await self.client.sees_end(), b"all")
        self.assertEqual(self.counts(), (3, 3))
        await self.over(*FINISHED)

    async def test_both_have_finished_with_bytes_on_the_way(self: Any) -> None:
        """When both have said all they have to say, what is still held is delivered before the end."""
        await self.join()
        there = await self.fill(*self.sides("client"))
        back = await self.fill(*self.sides("server"))
        self.client.finish()
        self.server.finish()
        await self.world.turns()
        self.client.read_again()
        self.assertEqual(await self.client.sees_end(), back)
        self.server.read_again()
        self.assertEqual(await self.server.sees_end(), there)
        self.assertEqual(self.counts(), (len(there), len(back)))
        await self.over(*FINISHED)

    async def test_an_end_waits_behind_the_bytes(self: Any) -> None:
        """A FIN reaches a slow reader after everything that was sent before it."""
        for who, reason in (("client", Reason.CLIENT_FINISHED), ("server", Reason.SERVER_FINISHED)):
            await self.join(keep=False)
            near, far, _ = self.sides(who)
            far.stop_reading()
            near.send(bytes(PLENTY))
            near.finish()
            await self.world.turns()
            far.read_again()
            await far.sees_end()
            self.assertEqual(far.count, PLENTY)
            far.finish()
            await near.sees_end()
            await self.over(reason)

    async def test_an_abort_while_paused_leaves_nothing(self: Any) -> None:
        """One that leaves while paused, with a reader that never reads again, is let go by a timer."""
        for who, reason in (("client", Reason.CLIENT_RESET), ("server", Reason.SERVER_RESET)):
            await self.join(idle=SHORT, half_closed=SHORT, keep=False)
            near, far, _ = self.sides(who)
            await self.stall(near, far)
            near.reset()
            # The kernel may find some more room late, and then the reset is seen before the timer.
            await self.over(STALLED[who], reason)

    # Cut by us

    async def test_a_cut_is_orderly_if_nothing_is_lost_by_it(self: Any) -> None:
        """A connection that we end with nothing under way ends for both with a FIN."""
        await self.join()
        self.client.send(b"question")
        await self.server.receives(8)
        while unsent(self.pair.server.transport):
            await self.world.moment()
        self.pair.cut(Reason.DRAINED, "stopping")
        await self.client.sees_end()
        await self.server.sees_end()
        await self.over(Reason.DRAINED, detail="stopping")

    async def test_a_cut_after_a_half_close(self: Any) -> None:
        """A half-closed connection that we end ends for both with a FIN."""
        for who in ("client", "server"):
            await self.join()
            near, far, _ = self.sides(who)
            near.finish()
            await far.sees_end()
            await self.world.turns()
            self.pair.cut(Reason.DRAINED)
            await near.sees_end()
            await self.over(Reason.DRAINED)

    async def test_a_cut_is_a_reset_only_where_something_is_lost(self: Any) -> None:
        """The reader that stalls sees a reset, the other one an end."""
        for who in ("client", "server"):
            await self.join()
            near, far, side = self.sides(who)
            await self.fill(near, far, side)
            self.pair.cut(Reason.DRAINED)
            await near.sees_end()
            await self.over(Reason.DRAINED)
            if self.world.resets:
                self.assertIs(far.ended, Ended.RESET)

    async def test_a_cut_with_bytes_on_the_way(self: Any) -> None:
        """A connection that we end while readers stall is over at once, and the first reason stands."""
        await self.join(keep=False)
        await self.stall(self.client, self.server)
        await self.stall(self.server, self.client)
        self.pair.cut(Reason.DRAINED)
        self.pair.cut(Reason.IDLE_TIMEOUT)
        await self.over(Reason.DRAINED)

    # Before they are joined

    async def test_what_was_said_before_joining(self: Any) -> None:
        """What a client sends while a server is looked for, and its FIN, is passed on afterwards."""
        await self.connect()
        self.client.send(b"question")
        self.client.finish()
        await self.client.sent()
        await self.world.turns()
        self.pair.join()
        self.assertEqual(await self.server.sees_end(), b"question")
        self.server.send(b"answer")
        self.server.finish()
        self.assertEqual(await self.client.sees_end(), b"answer")
        await self.over(Reason.CLIENT_FINISHED)

    async def test_both_have_finished_before_joining(self: Any) -> None:
        """If both have said all before they are joined, both get all of it."""
        await self.connect()
        for peer in (self.client, self.server):
            peer.send(b"all")
            peer.finish()
            await peer.sent()
        await self.world.turns()
        self.pair.join()
        self.assertEqual(await self.server.sees_end(), b"all")
        self.assertEqual(await self.client.sees_end(), b"all")
        await self.over(*FINISHED)

    async def test_what_is_held_before_joining_is_bounded(self: Any) -> None:
        """Whatever a client sends too early, at most 64 KiB of it is held, and none is lost."""
        await self.connect(keep=False)
        self.client.send(bytes(PLENTY))
        await self.world.turns()
        self.assertLessEqual(self.counts()[0], BOUND)
        self.pair.join()
        await self.server.receives(PLENTY)
        self.client.finish()
        self.server.finish()
        await self.over(*FINISHED)


class PairLimitContract:
    """What holds for the time limits of every pair."""

    async def exchange_for(self: Any, seconds: float, near: Peer, far: Peer) -> None:
        """Let one send a byte again and again, until that much time has passed."""
        count = far.count
        end = self.world.clock.seconds() + seconds
        while self.world.clock.seconds() < end:
            near.send(b".")
            count += 1
            await far.receives(count)
            await self.world.moment()

    async def test_a_silent_connection_ends(self: Any) -> None:
        """After idle_timeout without a byte in either direction both see an orderly end."""
        await self.join(idle=SHORT)
        await self.over(Reason.IDLE_TIMEOUT)
        self.assertEqual((self.client.ended, self.server.ended), (Ended.END, Ended.END))

    async def test_a_server_that_dies_silently_is_noticed(self: Any) -> None:
        """A connection that has lasted a while is kept alive towards the server, so that its death shows."""
        await self.join(idle=SHORT)
        await self.exchange_for(SHORT, self.client, self.server)
        self.assertTrue(self.pair.server.transport.getTcpKeepAlive())

    async def test_a_byte_in_either_direction_is_not_silence(self: Any) -> None:
        """A connection on which only one of the two speaks is not idle."""
        await self.join(idle=SHORT)
        await self.exchange_for(3 * SHORT, self.client, self.server)
        await self.exchange_for(3 * SHORT, self.server, self.client)
        self.assertEqual(self.pair.endings, [])
        await self.over(Reason.IDLE_TIMEOUT)

    async def test_silence_with_bytes_on_the_way(self: Any) -> None:
        """One who takes nothing for idle_timeout is cut off and to blame, whoever else was silent."""
        for who, reason in (("client", Reason.SERVER_STALLED), ("server", Reason.CLIENT_STALLED)):
            await self.join(idle=SHORT, keep=False)
            near, far, _ = self.sides(who)
            await self.stall(near, far)
            await self.over(reason, detail="nothing moved for")
            self.assertLess(far.count, PLENTY)
            if self.world.resets:
                self.assertIs(far.ended, Ended.RESET)

    async def test_a_stall_after_a_half_close(self: Any) -> None:
        """One who has finished and does not take the answer is to blame, not the one who would go on."""
        for who, reason in (("client", Reason.CLIENT_STALLED), ("server", Reason.SERVER_STALLED)):
            await self.join(half_closed=SHORT, keep=False)
            near, far, _ = self.sides(who)
            near.finish()
            await self.stall(far, near)
            await self.over(reason)

    async def test_a_half_closed_connection_has_its_own_limit(self: Any) -> None:
        """After one FIN half_closed_timeout holds in place of idle_timeout, be it shorter or longer."""
        for who, reason in (("client", Reason.SERVER_UNFINISHED), ("server", Reason.CLIENT_UNFINISHED)):
            await self.join(idle=LONG, half_closed=SHORT)
            near, far, _ = self.sides(who)
            near.finish()
            await self.over(reason)
            await self.join(idle=SHORT, half_closed=3 * SHORT)
            near, far, _ = self.sides(who)
            near.finish()
            await self.over(reason)
            self.assertEqual((near.ended, far.ended), (Ended.END, Ended.END))

    async def test_a_byte_starts_the_half_closed_limit_anew(self: Any) -> None:
        """One that goes on answering after the other has finished is not cut off."""
        for who, reason in (("client", Reason.SERVER_UNFINISHED), ("server", Reason.CLIENT_UNFINISHED)):
            await self.join(half_closed=SHORT)
            near, far, _ = self.sides(who)
            near.finish()
            await self.exchange_for(3 * SHORT, far, near)
            self.assertEqual(self.pair.endings, [])
            await self.over(reason)


class PairResetContract:
    """What holds for every pair of streams that can be reset, which those over unix sockets cannot."""

    async def be_reset(self: Any, who: str, reason: Reason) -> None:
        await self.join()
        near, far, _ = self.sides(who)
        near.send(b"before")
        await far.receives(6)
        near.reset()
        await self.world.until(far.sees_reset())
        await self.over(reason)

    async def test_the_client_resets(self: Any) -> None:
        """A client's reset is passed on to the server."""
        await self.be_reset("client", Reason.CLIENT_RESET)

    async def test_the_server_resets(self: Any) -> None:
        """A server's reset is passed on to the client."""
        await self.be_reset("server", Reason.SERVER_RESET)

    async def be_reset_behind_bytes(self: Any, who: str, reason: Reason) -> None:
        await self.join()
        near, far, side = self.sides(who)
        sent = await self.fill(near, far, side)
        near.reset()
        await self.world.turns()
        await self.world.moment()
        self.assertEqual(self.pair.endings, [])
        far.read_again()
        self.assertEqual(await self.world.until(far.sees_reset()), sent)
        self.assertEqual(sum(self.counts()), len(sent))
        await self.over(reason)

    async def test_a_clients_reset_waits_behind_its_bytes(self: Any) -> None:
        """The server gets everything the client had sent, and the reset only then."""
        await self.be_reset_behind_bytes("client", Reason.CLIENT_RESET)

    async def test_a_servers_reset_waits_behind_its_bytes(self: Any) -> None:
        """The client gets everything the server had sent, and the reset only then."""
        await self.be_reset_behind_bytes("server", Reason.SERVER_RESET)

    async def test_a_reset_does_not_wait_for_ever(self: Any) -> None:
        """A reader that never takes what came before a reset is let go after half_closed_timeout."""
        for who, reason in (("client", Reason.CLIENT_RESET), ("server", Reason.SERVER_RESET)):
            await self.join(idle=10 * SHORT, half_closed=SHORT)
            near, far, side = self.sides(who)
            await self.fill(near, far, side)
            near.reset()
            # One that is paused for any byte that is held learns of the reset only if the kernel finds room.
            await self.over(reason, *(() if self.world.reads_ahead else (STALLED[who],)))

    async def be_reset_after_an_end(self: Any, who: str, reason: Reason) -> None:
        await self.join()
        near, far, _ = self.sides(who)
        near.send(b"question")
        near.finish()
        await far.sees_end()
        near.reset()
        await self.world.turns()
        while not far.closed:  # the relay may learn of it only when it has something to send
            far.send(b"answer")
            await self.world.moment()
        self.assertIs(far.ended, Ended.RESET)
        await self.over(reason, detail="after its own end")

    async def test_the_client_resets_after_its_end(self: Any) -> None:
        """A client that leaves while it is being answered has reset the connection, not finished it."""
        await self.be_reset_after_an_end("client", Reason.CLIENT_RESET)

    async def test_the_server_resets_after_its_end(self: Any) -> None:
        """A server that leaves while the client still sends has reset the connection, not finished it."""
        await self.be_reset_after_an_end("server", Reason.SERVER_RESET)

    async def test_a_reset_of_the_one_that_answers(self: Any) -> None:
        """A reset in place of the answer is passed on to the one that had finished and waited."""
        for who, reason in (("client", Reason.SERVER_RESET), ("server", Reason.CLIENT_RESET)):
            await self.join()
            near, far, _ = self.sides(who)
            near.finish()
            await far.sees_end()
            far.reset()
            await self.world.until(near.sees_reset())
            await self.over(reason)

    async def test_both_reset_at_once(self: Any) -> None:
        """Two resets in the same moment end the connection once."""
        await self.join()
        self.client.reset()
        self.server.reset()
        await self.over(Reason.CLIENT_RESET, Reason.SERVER_RESET)

    async def test_an_abort_while_paused_is_found_when_the_other_reads(self: Any) -> None:
        """One that leaves while the relay has paused it is noticed when the other reads again."""
        for who, reason in (("client", Reason.CLIENT_RESET), ("server", Reason.SERVER_RESET)):
            await self.join(keep=False)
            near, far, _ = self.sides(who)
            await self.stall(near, far)
            near.reset()
            await self.world.turns()
            far.read_again()
            await self.world.until(far.sees_reset())
            self.assertEqual(far.count, sum(self.counts()))
            await self.over(reason)


class SidesContract:
    """What holds besides, where a pair is made of two protocols on two transports."""

    async def test_a_side_that_ends_while_paused(self: Any) -> None:
        """A side whose stream ends in order although it is paused, as TLS may do, takes the other with it."""
        for who, reason in (("client", Reason.CLIENT_FINISHED), ("server", Reason.SERVER_FINISHED)):
            await self.join(keep=False)
            near, far, side = self.sides(who)
            await self.stall(near, far)
            side.peer.transport.loseConnection()
            await near.sees_either()
            far.read_again()
            await self.world.until(far.sees_end())
            self.assertEqual(far.count, sum(self.counts()))
            await self.over(reason)


def pieces(random: Random, data: bytes, largest: int = 16) -> list[bytes]:
    """Cut bytes into pieces of very different sizes, at most 2 ** largest; the last comes first."""
    cut = []
    while data:
        length = int(2 ** random.uniform(0, largest))
        cut.append(data[:length])
        data = data[length:]
    return cut[::-1]


class FakePairTests(PairContract, PairLimitContract, PairResetContract, SidesContract, PairCase):
    make_world = FakeWorld

    async def test_a_slow_reader_is_not_silent(self) -> None:
        """A reader that takes a little now and then keeps the connection, though nobody says anything new."""
        await self.join(idle=SHORT)
        sent = await self.fill(*self.sides("client"))
        self.server.read_size = 1000
        end = self.world.clock.seconds() + 3 * SHORT
        while self.world.clock.seconds() < end:
            self.server.read_again()
            self.world.network.turn()  # type: ignore[attr-defined]
            self.server.stop_reading()
            await self.world.moment()
        self.assertLess(self.server.count, len(sent))
        self.assertEqual(self.pair.endings, [])
        self.server.read_again()
        self.assertEqual(await self.server.receives(len(sent)), sent)
        await self.over(Reason.IDLE_TIMEOUT)

    async def test_a_stream_that_cannot_half_close(self) -> None:
        """Where an end is the end of both directions, what came before it is still delivered."""
        self.pair = RecordedPair(self.wheel, LONG, LONG)
        network = self.world.network  # type: ignore[attr-defined]
        self.client = network.connect(self.pair.client, half_close=False)
        self.server = await self.connect_side(self.pair.server, True)
        self.pair.join()
        sent = await self.fill(*self.sides("client"))
        self.client.finish()
        await self.client.sees_end()
        self.server.read_again()
        self.assertEqual(await self.server.sees_end(), sent)
        await self.over(Reason.CLIENT_FINISHED)


class ShuffledFakePairTests(PairContract, PairLimitContract, PairResetContract, SidesContract, PairCase):
    def make_world(self, reactor: Any) -> World:
        return FakeWorld(reactor, seed=11)


class TCP4PairTests(PairContract, PairLimitContract, PairResetContract, SidesContract, PairCase):
    make_world = TCP4World


class TCP6PairTests(PairContract, PairLimitContract, PairResetContract, SidesContract, PairCase):
    make_world = TCP6World


class UnixPairTests(PairContract, PairLimitContract, SidesContract, PairCase):
    make_world = UnixWorld
