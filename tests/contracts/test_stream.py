"""
What may a protocol rely on, whichever transport it runs on?

`StreamContract` runs on the fake stream and on Twisted's stock transports, so the fake cannot lie; a
transport of our own passes it too.  `StockTraps` holds what Twisted's transports do although nobody would
ask for it: the fake does the same, so that the relay is tested against it.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from zope.interface.verify import verifyObject

from proxyd.relay.streams import unread
from tests.contracts.stream import PlainRecorder, Producer, Pulled, StreamCase
from tests.contracts.worlds import PLENTY, FakeWorld, TCP4World, TCP6World, UnixWorld, World
from tests.support.peer import Ended


class CommonContract:
    """What holds for every stream, be it only TLS as Twisted has it."""

    async def test_it_is_what_it_says(self: Any) -> None:
        """A stream is a TCP transport, a consumer and a producer."""
        await self.connect()
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            self.assertTrue(verifyObject(interface, self.transport))
        for address in (self.transport.getHost(), self.transport.getPeer()):
            self.assertNotEqual(repr(address), "")
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)

    # Bytes

    async def test_bytes_arrive_in_order(self: Any) -> None:
        """Whatever is written in whatever pieces arrives whole and in order, both ways at once."""
        random = Random(20)
        there, here = random.randbytes(300_000), random.randbytes(300_000)
        await self.connect()
        for start, end in pieces(random, 300_000):
            self.peer.send(here[start:end])
            if random.random() < 0.5:
                self.transport.write(there[start:end])
            else:
                self.transport.writeSequence([there[start:end][:10], b"", there[start:end][10:]])
            if random.random() < 0.2:
                await self.world.turns(1)
        self.assertEqual(await self.peer.receives(len(there)), there)
        await self.receives(len(here))
        self.assertEqual(bytes(self.protocol.data), here)

    async def test_pausing_stops_delivery(self: Any) -> None:
        """A protocol that pauses its transport while it is given data gets no more until it resumes it."""
        await self.connect()
        self.protocol.on_data = lambda data: self.transport.pauseProducing()
        self.peer.send(bytes(PLENTY))
        await self.receives(1)
        delivered = len(self.protocol.data)
        await self.world.turns()
        self.assertEqual(len(self.protocol.data), delivered)
        self.assertLessEqual(delivered, self.transport.bufferSize)
        self.protocol.on_data = lambda data: None
        self.transport.resumeProducing()
        await self.receives(PLENTY)

    async def test_it_can_be_asked_what_is_unread(self: Any) -> None:
        """Bytes, an end and a loss that nobody has read yet are seen, also where the stream is paused."""
        for leaves in ("finish", "close", "reset"):
            await self.connect()
            self.peer.send(b"one")
            await self.receives(3)
            await self.world.turns()
            asked = unread(self.transport)
            self.assertFalse(asked())
            self.transport.pauseProducing()
            self.peer.send(b"another")
            while not asked():
                await self.world.moment()
            self.assertEqual(bytes(self.protocol.data), b"one")
            self.transport.resumeProducing()
            await self.receives(10)
            self.assertFalse(asked())
            self.transport.pauseProducing()
            getattr(self.peer, leaves)()
            while not asked():
                await self.world.moment()
            self.assertEqual(self.protocol.events, [])

    # Producers

    async def test_a_pull_producer_is_asked_as_the_peer_takes(self: Any) -> None:
        """A pull producer is asked for the next piece each time the last one has left."""
        await self.connect()
        pieces = [bytes([n]) * 1000 for n in range(20)]
        self.transport.registerProducer(Pulled(self.transport, list(pieces)), False)
        self.assertEqual(await self.peer.receives(20_000), b"".join(pieces))

    async def test_one_producer_at_a_time(self: Any) -> None:
        """A second producer is refused until the first is unregistered."""
        await self.connect()
        self.transport.registerProducer(Producer(), True)
        self.assertRaises(RuntimeError, self.transport.registerProducer, Producer(), True)
        self.transport.unregisterProducer()
        self.transport.registerProducer(Producer(), True)
        self.transport.unregisterProducer()

    async def test_a_producer_is_stopped_with_the_connection(self: Any) -> None:
        """A producer is told to stop when the connection is lost, and so is one that comes later."""
        await self.connect()
        producer, late = Producer(), Producer()
        self.transport.registerProducer(producer, True)
        self.transport.abortConnection()
        await self.is_lost(ConnectionAborted)
        self.assertEqual(producer.told, ["stop"])
        self.transport.registerProducer(late, True)
        self.assertEqual(late.told, ["stop"])

    # Closing

    async def test_closing_flushes(self: Any) -> None:
        """LoseConnection sends what was written before it, then a FIN."""
        await self.connect()
        self.transport.write(bytes(PLENTY))
        self.transport.loseConnection()
        self.assertEqual(len(await self.peer.sees_end()), PLENTY)
        await self.is_lost(ConnectionDone)

    async def test_closing_waits_for_the_peer_to_take_it(self: Any) -> None:
        """LoseConnection is not done while the peer leaves bytes untaken."""
        await self.connect()
        await self.stall()
        self.transport.loseConnection()
        await self.world.turns()
        self.assertEqual(self.protocol.events, [])
        self.peer.read_again()
        await self.is_lost(ConnectionDone)

    async def test_a_close_within_a_delivery(self: Any) -> None:
        """A protocol may answer and close from within dataReceived."""
        await self.connect()

        def answer(data: bytes) -> None:
            self.transport.write(b"goodbye")
            self.transport.loseConnection()

        self.protocol.on_data = answer
        self.peer.send(b"hello")
        self.assertEqual(await self.peer.sees_end(), b"goodbye")
        await self.is_lost(ConnectionDone)

    # Aborts and resets

    async def test_an_abort_tells_later(self: Any) -> None:
        """AbortConnection calls connectionLost(ConnectionAborted) after it has returned, and only once."""
        await self.connect()
        self.transport.abortConnection()
        self.transport.abortConnection()
        self.assertEqual(self.protocol.events, [])
        await self.is_lost(ConnectionAborted)
        await self.peer.sees_either()

    async def test_an_abort_while_paused(self: Any) -> None:
        """A paused stream with a producer and a full buffer can be aborted, and drops what was unsent."""
        await self.connect()
        producer = Producer()
        self.transport.registerProducer(producer, True)
        self.transport.pauseProducing()
        await self.stall()
        self.transport.abortConnection()
        await self.is_lost(ConnectionAborted)
        self.assertEqual(producer.told, ["pause", "stop"])
        self.peer.read_again()
        await self.peer.sees_either()
        self.assertLess(self.peer.count, PLENTY)

    async def test_a_peer_that_closes_unread(self: Any) -> None:
        """A peer that closes without having read what it was sent resets the stream."""
        await self.connect()
        self.peer.stop_reading()
        self.transport.write(b"unread")
        await self.world.turns()
        self.peer.close()
        await self.is_lost(ConnectionLost)


class StreamContract(CommonContract):
    """What holds for every stream but those."""

    # Bytes

    async def test_only_bytes_can_be_written(self: Any) -> None:
        """A write of anything else is a mistake that is told at once."""
        await self.connect()
        self.assertRaises(TypeError, self.transport.write, "text")
        self.assertRaises(TypeError, self.transport.write, bytearray(b"bytes"))

    async def test_a_chunk_has_at_most_a_buffer(self: Any) -> None:
        """No single delivery is longer than bufferSize, also when that has been made smaller."""
        await self.connect()
        self.transport.bufferSize = 1000
        sizes: list[int] = []
        self.protocol.on_data = lambda data: sizes.append(len(data))
        self.peer.send(bytes(50_000))
        await self.receives(50_000)
        self.assertLessEqual(max(sizes), 1000)

    async def test_a_protocol_that_fails_loses_its_connection(self: Any) -> None:
        """An exception in a protocol is logged, and costs this connection only."""
        await self.connect()

        def fail(data: bytes) -> None:
            raise ZeroDivisionError("on purpose")

        self.protocol.on_data = fail
        self.peer.send(b"x")
        await self.is_lost(ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await self.peer.sees_either()

    # Producers

    async def test_a_producer_is_paused_and_resumed(self: Any) -> None:
        """A streaming producer is paused when more than bufferSize is unsent, resumed when it has left."""
        await self.connect()
        producer = Producer()
        self.transport.registerProducer(producer, True)
        await self.stall()
        self.assertEqual(producer.told, ["pause"])
        self.peer.read_again()
        await self.peer.receives(PLENTY)
        await self.world.turns()
        self.assertEqual(producer.told, ["pause", "resume"])
        self.transport.unregisterProducer()

    async def test_a_little_does_not_pause(self: Any) -> None:
        """A write that fits the buffer does not pause the producer."""
        await self.connect()
        producer = Producer()
        self.transport.registerProducer(producer, True)
        self.peer.stop_reading()
        self.transport.write(bytes(self.transport.bufferSize))
        await self.world.turns()
        self.assertEqual(producer.told, [])
        self.transport.unregisterProducer()

    # Closing

    async def test_closing_stops_delivery(self: Any) -> None:
        """After loseConnection nothing more is delivered, and resuming does not change that."""
        await self.connect()
        await self.stall()
        self.transport.loseConnection()
        self.transport.resumeProducing()
        self.peer.send(b"too late")
        await self.world.turns()
        self.assertEqual(bytes(self.protocol.data), b"")

    async def test_a_closed_stream_takes_no_more(self: Any) -> None:
        """What is written after the connection is lost is ignored, and closing again does nothing."""
        await self.connect()
        self.transport.loseConnection()
        await self.is_lost(ConnectionDone)
        self.transport.write(b"more")
        self.transport.writeSequence([b"more"])
        self.transport.loseConnection()
        self.transport.abortConnection()
        self.transport.resumeProducing()
        self.transport.unregisterProducer()
        await self.world.turns()
        self.assertEqual(await self.peer.sees_end(), b"")
        self.assertEqual(self.protocol.events, ["lost"])

    async def test_closing_with_something_unread(self: Any) -> None:
        """Closing although the peer has sent more does not cost the peer what it was sent before."""
        await self.connect()
        self.transport.pauseProducing()
        self.peer.send(b"unread")
        await self.peer.sent()
        self.transport.write(b"all")
        await self.peer.receives(3)
        self.transport.loseConnection()
        await self.is_lost(ConnectionDone)
        self.assertEqual(await self.peer.sees_either(), b"all")
        if self.world.resets:
            self.assertEqual(self.peer.ended, Ended.END)
            while self.peer.ended is Ended.END:
                self.peer.send(b"more")
                await self.world.moment()
            self.assertEqual(self.peer.ended, Ended.RESET)

    # Aborts and resets

    async def test_a_reset_while_paused_and_writing(self: Any) -> None:
        """A paused stream that has something to send notices that its peer is gone."""
        await self.connect()
        self.transport.pauseProducing()
        await self.stall()
        self.peer.reset()
        await self.is_lost(ConnectionLost)

    async def test_a_write_never_tells_of_a_loss(self: Any) -> None:
        """Writing to a peer that is gone is safe: connectionLost comes later, from the reactor."""
        await self.connect()
        self.transport.pauseProducing()
        self.peer.reset()
        await self.world.turns()
        for _ in range(3):
            events = list(self.protocol.events)
            self.transport.write(b"to nobody")
            self.assertEqual(self.protocol.events, events)
            await self.world.turns()
        await self.is_lost(ConnectionLost)


class HalfCloseContract:
    """What holds for every stream of which a half can end before the other."""

    async def test_the_peer_finishes_and_is_answered(self: Any) -> None:
        """After the peer's FIN, which is told exactly once, the answer still reaches it."""
        await self.connect()
        self.peer.send(b"question")
        self.peer.finish()
        await self.happens("end")
        self.assertEqual(bytes(self.protocol.data), b"question")
        self.transport.write(b"late answer")
        self.assertEqual(await self.peer.receives(11), b"late answer")
        self.assertEqual(self.protocol.events, ["end"])

    async def test_we_finish_and_are_answered(self: Any) -> None:
        """After our own FIN, which follows everything written before it, the peer's answer still arrives."""
        await self.connect()
        self.transport.write(bytes(500_000))
        self.transport.loseWriteConnection()
        self.assertEqual(len(await self.peer.sees_end()), 500_000)
        await self.happens("finished")
        self.peer.send(b"late answer")
        await self.receives(11)
        self.assertEqual(bytes(self.protocol.data), b"late answer")
        self.assertEqual(self.protocol.events, ["finished"])

    async def test_we_finish_while_the_peer_stalls(self: Any) -> None:
        """The FIN waits behind bytes that the peer does not take yet."""
        await self.connect()
        await self.stall()
        self.transport.loseWriteConnection()
        await self.world.turns()
        self.assertEqual(self.protocol.events, [])
        self.peer.read_again()
        self.assertEqual(len(await self.peer.sees_end()), PLENTY)

    async def test_both_finish(self: Any) -> None:
        """When both have finished, loseConnection ends the connection in order."""
        await self.connect()
        self.peer.finish()
        await self.happens("end")
        self.transport.loseWriteConnection()
        await self.happens("finished")
        await self.peer.sees_end()
        self.transport.loseConnection()
        await self.is_lost(ConnectionDone)
        self.assertEqual(self.protocol.events, ["end", "finished", "lost"])

    async def test_a_finished_stream_takes_no_more(self: Any) -> None:
        """What is written after our FIN has left is ignored."""
        await self.connect()
        self.transport.write(b"all")
        self.transport.loseWriteConnection()
        await self.happens("finished")
        self.transport.write(b"more")
        self.assertEqual(await self.peer.sees_end(), b"all")

    async def test_a_protocol_without_half_close_is_lost(self: Any) -> None:
        """For a protocol that knows no half-close, the peer's FIN is the orderly end of the connection."""
        await self.connect(PlainRecorder())
        self.peer.send(b"all")
        self.peer.finish()
        await self.is_lost(ConnectionDone)
        self.assertEqual(bytes(self.protocol.data), b"all")
        await self.peer.sees_end()

    async def test_an_end_waits_while_paused(self: Any) -> None:
        """A paused stream is not told of the peer's FIN until it is resumed."""
        await self.connect()
        self.transport.pauseProducing()
        self.peer.finish()
        await self.peer.sent()
        await self.world.turns()
        self.assertEqual(self.protocol.events, [])
        self.transport.resumeProducing()
        await self.happens("end")


class PlainContract(HalfCloseContract):
    """What holds for every stream without TLS."""

    async def test_a_peer_that_closes_refuses_what_comes(self: Any) -> None:
        """A peer that has closed its socket altogether answers bytes with a reset."""
        await self.connect()
        self.peer.close()
        await self.happens("end")
        for _ in range(3):
            self.transport.write(b"to nobody")
            await self.world.turns()
        await self.is_lost(ConnectionLost)


class ResetContract:
    """What holds for every stream that can be reset, which those over unix sockets cannot."""

    async def test_an_abort_is_a_reset(self: Any) -> None:
        """The peer of an aborted stream sees a reset, not an end."""
        await self.connect()
        self.transport.abortConnection()
        await self.peer.sees_reset()

    async def test_an_abort_spares_what_was_acknowledged(self: Any) -> None:
        """Bytes that the peer's kernel has acknowledged reach it although the stream was aborted then."""
        await self.connect()
        self.peer.stop_reading()
        self.transport.write(b"before")
        await self.world.turns()
        self.transport.abortConnection()
        await self.is_lost(ConnectionAborted)
        self.peer.read_again()
        self.assertEqual(await self.peer.sees_reset(), b"before")

    async def test_the_peer_resets(self: Any) -> None:
        """The peer's RST is connectionLost(ConnectionLost), after what it had sent before."""
        await self.connect()
        self.peer.send(b"before")
        await self.peer.sent()
        self.peer.reset()
        await self.is_lost(ConnectionLost)
        self.assertEqual(bytes(self.protocol.data), b"before")
        self.assertEqual(self.protocol.events, ["lost"])

    async def test_the_peer_resets_a_half_closed_stream(self: Any) -> None:
        """A RST after our own FIN is told as what it is."""
        await self.connect()
        self.transport.loseWriteConnection()
        await self.happens("finished")
        self.peer.reset()
        await self.is_lost(ConnectionLost)


class StockTraps:
    """What Twisted's own transports do, and a relay has to live with."""

    async def test_closing_waits_for_a_paused_producer(self: Any) -> None:
        """LoseConnection with a paused producer does not end before unregisterProducer (Twisted #6461)."""
        await self.connect()
        producer = Producer()
        self.transport.registerProducer(producer, True)
        await self.stall()
        self.transport.loseConnection()
        self.peer.read_again()
        await self.peer.receives(PLENTY)
        await self.world.turns()
        self.assertEqual((producer.told, self.protocol.events), (["pause", "resume"], []))
        self.transport.unregisterProducer()
        await self.is_lost(ConnectionDone)

    async def test_closing_tells_at_once_after_our_own_end(self: Any) -> None:
        """LoseConnection calls connectionLost before it returns if our FIN has left already."""
        await self.connect()
        self.transport.loseWriteConnection()
        await self.happens("finished")
        self.transport.loseConnection()
        self.assertEqual(self.protocol.events, ["finished", "lost"])
        await self.is_lost(ConnectionDone)

    async def test_resuming_after_the_end_tells_it_again(self: Any) -> None:
        """A stream that is resumed after the peer's FIN reads its end a second time."""
        await self.connect()
        self.peer.finish()
        await self.happens("end")
        self.transport.resumeProducing()
        await self.world.turns()
        self.assertEqual(self.protocol.events, ["end", "end"])

    async def test_a_reset_goes_unnoticed_while_paused(self: Any) -> None:
        """A paused stream that has nothing to send does not notice that its peer is gone, until resumed."""
        await self.connect()
        self.transport.pauseProducing()
        self.peer.reset()
        await self.world.turns()
        self.assertEqual(self.protocol.events, [])
        self.transport.resumeProducing()
        await self.happens("lost" if self.world.resets else "end")


def pieces(random: Random, length: int) -> list[tuple[int, int]]:
    """Cut a length into pieces of very different sizes."""
    cuts = [0]
    while cuts[-1] < length:
        cuts.append(min(length, cuts[-1] + int(2 ** random.uniform(0, 16))))
    return list(zip(cuts, cuts[1:]))


class FakeStreamTests(StreamContract, PlainContract, ResetContract, StockTraps, StreamCase):
    make_world = FakeWorld


class ShuffledFakeStreamTests(StreamContract, PlainContract, ResetContract, StockTraps, StreamCase):
    def make_world(self, reactor: Any) -> World:
        return FakeWorld(reactor, seed=7)


class TCP4StreamTests(StreamContract, PlainContract, ResetContract, StockTraps, StreamCase):
    make_world = TCP4World


class TCP6StreamTests(StreamContract, PlainContract, ResetContract, StockTraps, StreamCase):
    make_world = TCP6World


class UnixStreamTests(StreamContract, PlainContract, StockTraps, StreamCase):
    make_world = UnixWorld
