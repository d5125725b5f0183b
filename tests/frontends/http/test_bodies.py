"""How does a body that is held, or still comes, reach one client after another?"""

from __future__ import annotations

from typing import Any, Callable

from proxyd.frontends.http.bodies import AHEAD, PIECE, TOLD_AT_ONCE, UNWRITTEN, Growing, Reading, Whole
from tests.support.case import Case


class Client:
    """One who reads, and takes so many pieces at a time."""

    def __init__(self, takes: int = 1000) -> None:
        self.takes = takes
        self.got = b""
        self.end = ""
        self.reading: Any = None

    def pass_on(self, piece: bytes) -> None:
        self.got += piece
        self.takes -= 1
        if self.takes <= 0:
            self.reading.pauseProducing()

    def read_all(self) -> None:
        self.end += "all"

    def read_broken(self) -> None:
        self.end += "broken"

    def holds_up_others(self) -> None:
        self.end += "held up"

    def begin(self, body: Any) -> None:
        self.reading = Reading(self, body)
        body.read(self.reading)
        self.reading.go_on()

    def take(self, count: int = 1000) -> None:
        """Take so many more."""
        self.takes = count
        self.reading.resumeProducing()


class BodyCase(Case):
    def setUp(self) -> None:
        self.turns: list[Callable[[], None]] = []
        self.told: list[str] = []
        self.body = Growing(self, self.turns.append)

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def turn(self) -> None:
        """Let the other turns come."""
        while self.turns:
            self.turns.pop(0)()

    def client(self, takes: int = 1000) -> Client:
        client = Client(takes)
        client.begin(self.body)
        return client


class Held(BodyCase):
    def test_whole(self) -> None:
        """A body that is held is read in pieces, as the client takes them."""
        for length in (0, 1, PIECE, PIECE + 1, 3 * PIECE):
            data = bytes(range(256)) * (length // 256) + b"z" * (length % 256)
            client = Client(1)
            client.begin(Whole(memoryview(data)))
            while not client.end:
                client.take(1)
            self.assertEqual((client.got, client.end), (data, "all"), length)

    def test_growing(self) -> None:
        """Who comes late gets all from the beginning, and all get what comes."""
        early = self.client()
        self.body.add(b"one")
        late = self.client()
        self.body.add(b"two")
        self.body.finish()
        last = self.client()
        for client in (early, late, last):
            self.assertEqual((client.got, client.end), (b"onetwo", "all"))
        self.assertEqual((self.body.whole(), self.body.read_by), (b"onetwo", 0))

    def test_slow(self) -> None:
        """One who takes nothing holds up nobody, and misses nothing."""
        slow, quick = self.client(1), self.client()
        for _ in range(50):
            self.body.add(b"x")
        self.body.finish()
        self.assertEqual((quick.got, quick.end), (b"x" * 50, "all"))
        self.assertEqual((slow.got, slow.end), (b"x", ""))
        slow.take()
        self.assertEqual((slow.got, slow.end), (b"x" * 50, "all"))
        self.assertEqual(self.told, [])

    def test_broken(self) -> None:
        """What is lost is told behind what has come."""
        client = self.client()
        self.body.add(b"x")
        self.body.finish(broken=True)
        self.assertEqual((client.got, client.end), (b"x", "broken"))

    def test_many(self) -> None:
        """Of very many some are told in this turn, and the others in those behind."""
        clients = [self.client() for _ in range(3 * TOLD_AT_ONCE)]
        self.body.add(b"x")
        self.assertEqual(sum(client.got == b"x" for client in clients), TOLD_AT_ONCE)
        self.body.add(b"y")
        self.body.finish()
        self.turn()
        self.assertEqual({(client.got, client.end) for client in clients}, {(b"xy", "all")})

    def test_leaving(self) -> None:
        """Who leaves is told nothing more."""
        client = self.client()
        client.reading.leave()
        self.body.add(b"x")
        self.body.finish()
        self.assertEqual((client.got, client.end, self.body.read_by), (b"", "", 0))


class InFile(BodyCase):
    """A body that goes to a file."""

    def part(self, first: int, count: int) -> bytes:
        return self.file[first : first + count]

    def write(self, most: int) -> None:
        data = self.body.unwritten(most)
        self.file += data
        self.body.wrote(self, len(data))

    def setUp(self) -> None:
        super().setUp()
        self.file = b""

    def test_pace(self) -> None:
        """It waits for the disk, and not for who reads; each gets all of it, from wherever it is."""
        slow, quick = self.client(1), self.client()
        self.body.spill()
        data = b"".join(b"%07d\n" % number for number in range(UNWRITTEN // 4))
        for place in range(0, len(data), 10_000):
            if self.body.paused:
                self.assertLessEqual(self.body.size - self.body.written, UNWRITTEN + 10_000)
                while self.body.paused:
                    self.write(30_000)
            self.body.add(data[place : place + 10_000])
        self.assertGreater(self.told.count("pause"), 1)
        self.assertEqual(self.told.count("resume"), self.told.count("pause"))
        self.assertTrue(quick.got == data)
        late = self.client()
        slow.take(2)
        self.body.finish()
        while self.body.written < len(data):
            self.write(30_000)
        slow.take()
        for client in (slow, quick, late):
            self.assertEqual((client.got == data, client.end), (True, "all"))

    def test_let_go(self) -> None:
        """If it is not to be held any more, who is behind has the file, and holds up the others."""
        slow, quick = self.client(1), self.client()
        self.body.spill()
        for _ in range(4):
            self.body.add(b"x" * 10)
        self.write(30)
        self.body.let_go()
        while not self.body.paused:
            self.body.add(b"x" * 10)
            self.turn()
        self.assertEqual(len(slow.got), 10)
        slow.take()
        self.turn()
        self.assertEqual((self.body.paused, slow.got), (False, quick.got))

    def test_shorter(self) -> None:
        """Who would read what somebody has taken from the file is told that it is lost."""
        slow = self.client(1)
        self.body.spill()
        self.body.add(b"one")
        self.body.add(b"two")
        self.write(6)
        self.file = b"one"
        slow.take()
        self.assertEqual((slow.got, slow.end), (b"one", "broken"))


class NotHeld(BodyCase):
    def test_pace(self) -> None:
        """It comes as fast as its slowest reader takes it, and no more than a few pieces are kept."""
        slow, quick = self.client(1), self.client()
        self.body.add(b"0")
        self.body.let_go()
        count = 0
        while not self.body.paused:
            count += 1
            self.body.add(b"%d" % (count % 10))
            self.turn()
        self.assertEqual((count, self.told), (AHEAD + 1, ["pause"]))
        slow.take(AHEAD)
        self.turn()
        self.assertEqual(self.told, ["pause", "resume"])
        slow.take()
        self.body.finish()
        self.turn()
        self.assertEqual((slow.got, slow.end), (quick.got, "all"))

    def test_nobody(self) -> None:
        """What nobody reads is not kept."""
        self.body.let_go()
        for _ in range(3 * AHEAD):
            self.body.add(b"x")
        self.assertEqual((self.body.piece(0), self.told), (None, []))

    def test_the_slow_one_leaves(self) -> None:
        """Then the others go on."""
        slow, quick = self.client(1), self.client()
        self.body.let_go()
        for _ in range(2 * AHEAD):
            self.body.add(b"x")
            self.turn()
        self.assertEqual(self.told, ["pause"])
        slow.reading.leave()
        self.turn()
        self.assertEqual((self.told, len(quick.got)), (["pause", "resume"], 2 * AHEAD))
