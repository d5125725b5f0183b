"""How does a body become another one, once for all who want it so?"""

from __future__ import annotations

from random import Random
from typing import Any, Callable, Optional

from twisted.internet.task import Clock

from proxyd.config.compression import CompressionSpec
from proxyd.frontends.http.bodies import AHEAD, Body, Filling, Growing, Room, Whole
from proxyd.frontends.http.making import Making
from proxyd.frontends.http.recoding import PAUSE, TURN, Compressor
from proxyd.policy.encoding import Decision
from proxyd.relay.streams import CHUNK
from proxyd.wire.contentcoding import DECODERS
from tests.frontends.http.test_bodies import Client
from tests.frontends.http.test_recoding import TEXT, coded, decoded
from tests.support.case import Case


class MakingCase(Case):
    """A body that comes, or is there, and who makes another of it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.used = self.step = 0.0
        spec = CompressionSpec(("gzip", "br", "zstd"), decompress=True)
        self.compressor = Compressor(spec, self.clock.seconds, self.cpu, lambda: 0.0)
        self.filling = Filling(1 << 20, 1 << 20)
        self.wanted = True
        self.count = 0  # of calls in other turns
        self.told: list[str] = []
        self.source = Growing(self, lambda what: self.clock.callLater(0, what))

    def cpu(self) -> float:
        self.used += self.step
        return self.used

    # Who keeps what is made, and who sends what it is made of.

    def is_wanted(self) -> bool:
        return self.wanted

    def over(self, making: Making, complete: bool) -> None:
        self.told.append("complete" if complete else "not complete")

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def later(self, seconds: float, what: Callable[[], None]) -> Any:
        self.count += 1
        return self.clock.callLater(seconds, what)

    def making(self, source: Optional[Body] = None, encodes: str = "gzip", decodes: str = "") -> Making:
        decision = Decision("" if decodes else encodes, decodes)
        room = Room(self.filling)
        making = Making(source or self.source, decision, self.compressor, self.later, room, self)
        making.go_on()
        return making

    def reader(self, making: Making, takes: int = 1000) -> Client:
        client = Client(takes)
        client.begin(making.body)
        return client

    def turns(self, count: int = 500) -> None:
        for _ in range(count):
            self.clock.advance(0)

    def nothing_left(self) -> None:
        self.assertEqual((self.compressor.guard.under_way, self.clock.getDelayedCalls()), (0, []))
        self.assertEqual((self.filling.used, self.source.read_by), (0, 0))


class Made(MakingCase):
    """What is made is whole, however it comes and is taken."""

    def test_any_way(self) -> None:
        """In any pieces and turns, by any readers, held or not, each coding, both ways."""
        for seed in range(60):
            self.setUp()
            random = Random(seed)
            self.step = random.choice((0.0, TURN / 3, TURN))
            coding = random.choice(list(DECODERS))
            data = TEXT * random.choice((0, 1, 1, 12)) + random.randbytes(random.choice((0, 1, 70_000)))
            encodes = random.random() < 0.5
            said = data if encodes else coded(coding, data)
            if random.random() < 0.3:
                self.source.let_go()
            making = self.making(encodes=coding, decodes="" if encodes else coding)
            readers = [self.reader(making, random.choice((1, 1000))) for _ in range(random.randrange(1, 4))]
            place = 0
            while place < len(said):
                count = random.choice((1, 100, 10_000, 64_000))
                self.source.add(said[place : place + count])
                place += count
                self.clock.advance(random.choice((0, 0, PAUSE)))
                if making.is_kept and random.random() < 0.1:
                    readers.append(self.reader(making, random.choice((1, 1000))))
                for reader in readers:
                    if random.random() < 0.5:
                        reader.take(random.choice((1, 1000)))
            self.source.finish()
            for _ in range(300):
                self.clock.advance(PAUSE)
                for reader in readers:
                    reader.take()
            for reader in readers:
                self.assertEqual(reader.end, "all", seed)
                self.assertTrue((decoded(coding, reader.got) if encodes else reader.got) == data, seed)
            self.assertEqual(self.told[-1], "complete")
            passed = self.compressor.passed[coding] if encodes else self.compressor.decoded
            self.assertEqual((passed.answers, passed.bytes_in), (1, len(said)))
            self.assertEqual(passed.bytes_out, len(readers[0].got))
            making.left()
            self.nothing_left()

    def test_broken(self) -> None:
        """What breaks off gets as far as it came, and that is told."""
        making = self.making()
        reader = self.reader(making)
        self.source.add(TEXT[:1000])
        self.clock.advance(PAUSE)
        self.source.finish(broken=True)
        self.assertEqual((reader.end, self.told), ("broken", ["not complete"]))
        self.assertEqual(decoded("gzip", reader.got, whole=False), TEXT[:1000])
        self.nothing_left()

    def test_wrong(self) -> None:
        """What is not in the coding that it is said to be in is broken, with the reason."""
        making = self.making(decodes="gzip")
        reader = self.reader(making)
        self.source.add(TEXT)
        self.assertEqual((reader.end, reader.got, self.told), ("broken", b"", ["not complete"]))
        self.assertIn("gzip that is none", making.wrong)
        self.nothing_left()


class Bounds(MakingCase):
    """What it may take."""

    def test_turns(self) -> None:
        """A turn is no longer than it may be, and the next comes behind those of others."""
        self.step = TURN
        making = self.making(Whole(memoryview(TEXT * 4)))
        self.assertFalse(making.over)
        self.turns()
        self.assertTrue(making.over)
        self.assertEqual(self.count, -(-4 * len(TEXT) // CHUNK) - 1)
        making.left()
        self.nothing_left()

    def test_pace(self) -> None:
        """What is not held comes no faster than its readers take it, and so does what it is made of."""
        self.source.let_go()
        making = self.making()
        reader = self.reader(making, 1)
        pieces = 0
        for pieces in range(1, 100):
            self.source.add(Random(pieces).randbytes(64 * 1024))
            self.turns(3)
            if "pause" in self.told:
                break
        self.assertLessEqual(pieces, 6 * AHEAD)
        self.assertEqual(self.filling.used, 0)
        reader.take()
        self.turns()
        self.assertEqual(self.told, ["pause", "resume"])
        self.source.finish()
        self.turns()
        self.assertEqual(len(decoded("gzip", reader.got)), pieces * 64 * 1024)
        self.nothing_left()

    def test_too_long(self) -> None:
        """
        What becomes too long to be kept waits for its first reader, and goes at the pace of that.

        What was made before, and that one has not had, counts until it has.
        """
        data = b"".join(b"%d" % number for number in range(300_000))
        making = self.making(Whole(memoryview(coded("gzip", data))), decodes="gzip")
        self.turns()
        self.assertEqual((making.is_kept, making.over, self.told), (False, True, ["not complete"]))
        self.told.clear()
        making = self.making(Whole(memoryview(coded("gzip", data))), decodes="gzip")
        reader = self.reader(making, 1)
        self.turns()
        self.assertLess(making.body.size, 1 << 21)
        self.assertEqual(self.filling.used, making.body.size)
        while not reader.end:
            reader.take(1)
            self.turns(3)
            if making.body.size > 1 << 21 or making.over:
                self.assertEqual(self.filling.used, 0)
        self.assertTrue(reader.got == data)
        self.nothing_left()

    def test_not_wanted(self) -> None:
        """What nobody reads, and nobody keeps, is not made to its end; what somebody reads is."""
        self.step = TURN
        for read in (False, True):
            making = self.making(Whole(memoryview(TEXT * 4)))
            if read:
                reader = self.reader(making)
            self.wanted = False
            self.turns()
            self.assertEqual(self.told.pop(), "complete" if read else "not complete")
            self.wanted = True
        self.assertEqual(reader.end, "all")
        self.nothing_left()

    def test_left(self) -> None:
        """When the last leaves what is not kept, it ends, in the midst of it as well."""
        self.source.let_go()
        making = self.making()

        class Leaver(Client):
            def pass_on(self, piece: bytes) -> None:
                self.reading.leave()
                making.left()

        leaver: Any = Leaver()
        leaver.begin(making.body)
        self.source.add(Random(1).randbytes(1_000_000))
        self.assertEqual((self.told, making.over), (["not complete"], True))
        self.nothing_left()

    def test_stopped(self) -> None:
        """What is stopped breaks off for its readers."""
        stops: list[Callable[[Making], None]] = [Making.stop, lambda making: self.source.finish(broken=True)]
        for stop in stops:
            making = self.making()
            reader = self.reader(making)
            self.source.add(TEXT)
            stop(making)
            self.assertEqual((reader.end, making.over), ("broken", True))
            making.stop()
            self.nothing_left()
