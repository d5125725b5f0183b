"""Who is next in a queue, and who has to go when it is full?"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any, Optional

from proxyd.config.queue import ADAPTIVE, FIFO, LIFO, QueueSpec
from proxyd.policy.queue import Queue, Ticket
from tests.support.case import Case


class Line:
    """A queue, and what has become of those who came: letters are clients."""

    def __init__(self, length: int = 100, order: str = FIFO, wait: float = 10.0) -> None:
        self.queue = Queue(QueueSpec(length, wait, order), 1)
        self.refused: list[str] = []
        self.evicted: list[str] = []
        self.names: dict[Ticket, str] = {}

    def come(self, name: str, now: float = 0.0, rank: int = 0) -> Ticket:
        """One comes whose name begins with its client."""
        ticket = Ticket(name[0], rank, self._never, lambda: self.evicted.append(name))
        self.names[ticket] = name
        if not self.queue.enter(ticket, now):
            self.refused.append(name)
        return ticket

    def served(self, times: int = 1000, now: float = 0.0) -> str:
        """Who is taken, so many of them or all."""
        names: list[str] = []
        while len(names) < times:
            ticket = self.queue.take(now)
            if ticket is None:
                break
            names.append(self.names[ticket])
        return " ".join(names)

    def _never(self) -> None:
        raise AssertionError("the pool admits, not the queue")


class OrderTests(Case):
    def test_one_client(self) -> None:
        """The connections of one client are served in the order in which they came."""
        line = Line()
        for name in ("a1", "a2", "a3"):
            line.come(name)
        self.assertEqual(line.served(), "a1 a2 a3")

    def test_clients_take_turns(self) -> None:
        """A client with many connections delays another by one of them, not by all."""
        line = Line()
        for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
            line.come(name)
        self.assertEqual(line.served(), "a1 b1 c1 a2 b2 a3")

    def test_newcomers_take_turns(self) -> None:
        """Who comes while another is being served gets its turn before that one's next."""
        line = Line()
        for name in ("a1", "a2", "a3"):
            line.come(name)
        self.assertEqual(line.served(1), "a1")
        line.come("b1")
        self.assertEqual(line.served(), "a2 b1 a3")

    def test_classes(self) -> None:
        """Nobody waits behind one of a lower class."""
        line = Line()
        line.come("a1", rank=2)
        line.come("b1", rank=1)
        line.come("c1", rank=2)
        line.come("d1", rank=0)
        self.assertEqual(line.served(), "d1 b1 a1 c1")

    def test_lifo(self) -> None:
        """Who came last is next."""
        line = Line(order=LIFO)
        for name in ("a1", "b1", "a2"):
            line.come(name)
        self.assertEqual(line.served(), "a2 b1 a1")

    def test_adaptive(self) -> None:
        """From half of the longest wait on the last one is next, until nobody waits."""
        line = Line(order=ADAPTIVE)
        for when in range(6):
            line.come(f"{'abcdef'[when]}", when)
        self.assertEqual(line.served(1, now=4.9), "a")
        self.assertEqual(line.served(1, now=5.9), "b")
        self.assertEqual(line.served(2, now=7.0), "f e")
        self.assertEqual(line.served(2, now=7.0), "d c")
        line.come("g", 8.0)
        line.come("h", 8.0)
        self.assertEqual(line.served(1, now=9.0), "g")

    def test_once_more(self) -> None:
        """Who has had its turn in vain is the next one, and has waited since it came first."""
        line = Line()
        first = line.come("a1", 0.0)
        line.come("a2", 1.0)
        line.come("b1", 1.0)
        self.assertEqual(line.served(1, now=4.0), "a1")
        self.assertTrue(line.queue.enter(first, 4.0, waited=4.0))
        self.assertEqual((first.since, line.queue.oldest()), (0.0, 0.0))
        self.assertEqual(line.served(), "a1 b1 a2")

    def test_once_more_lifo(self) -> None:
        """So it is where the last one is served first."""
        line = Line(order=LIFO)
        line.come("a1", 0.0)
        again = line.come("b1", 1.0)
        self.assertEqual(line.served(1, now=2.0), "b1")
        line.come("c1", 2.0)
        self.assertTrue(line.queue.enter(again, 3.0, waited=2.0))
        line.come("d1", 3.0)
        self.assertEqual(line.served(), "b1 d1 c1 a1")

    def test_who_does_not_fit(self) -> None:
        """Who cannot be served now is passed over, also by a lower class, and keeps its place."""
        for order, served in ((FIFO, ["b1", "c1"]), (LIFO, ["b1", "c1"])):
            line = Line(order=order)
            line.come("a1")
            line.come("b1")
            line.come("c1", rank=1)
            for name in served:
                ticket = line.queue.take(0.0, lambda ticket: ticket.client != "a")
                assert ticket is not None
                self.assertEqual(line.names[ticket], name)
            self.assertIsNone(line.queue.take(0.0, lambda ticket: ticket.client != "a"))
            self.assertEqual(line.served(), "a1")

    def test_nobody(self) -> None:
        """A queue in which nobody waits has nobody to serve."""
        self.assertIsNone(Line().queue.take(0.0))
        self.assertEqual(Line().queue.oldest(), float("inf"))


class RoomTests(Case):
    def test_length(self) -> None:
        """At the bound there is room for no more, and below it for all."""
        line = Line(length=2)
        for name in ("a1", "b1", "c1"):
            line.come(name)
        self.assertEqual((line.refused, line.evicted, len(line.queue)), (["c1"], [], 2))

    def test_no_queue(self) -> None:
        """With a length of 0 nobody waits."""
        line = Line(length=0)
        line.come("a1")
        self.assertEqual(line.refused, ["a1"])

    def test_one_client_cannot_fill_it(self) -> None:
        """Another client takes the place of the last of a client that has most, until they have as many."""
        line = Line(length=4)
        for name in ("a1", "a2", "a3", "a4", "a5", "b1", "b2", "b3"):
            line.come(name)
        self.assertEqual((line.refused, line.evicted), (["a5", "b3"], ["a4", "a3"]))
        self.assertEqual(line.queue.evicted, 2)
        self.assertEqual(line.served(), "a1 b1 a2 b2")

    def test_higher_class_makes_room(self) -> None:
        """In a full queue one of a higher class takes the place of one of the lowest."""
        line = Line(length=2)
        line.come("a1", rank=1)
        line.come("b1", rank=1)
        line.come("c1", rank=0)
        line.come("d1", rank=1)
        line.come("e1", rank=2)
        self.assertEqual((line.refused, line.evicted), (["d1", "e1"], ["a1"]))
        self.assertEqual(line.served(), "c1 b1")

    def test_default_length(self) -> None:
        """As many wait as the servers take in four rounds, and never more than 1,024 of them."""
        lengths = [Queue(QueueSpec(), slots).length for slots in (1, 10, 256, 257, 100_000)]
        self.assertEqual(lengths, [4, 40, 1024, 1024, 1024])

    def test_leaving(self) -> None:
        """Who has gone is not served, and going twice is no error."""
        line = Line()
        gone = line.come("a1")
        line.come("a2")
        line.queue.leave(gone)
        line.queue.leave(gone)
        self.assertEqual([line.names[ticket] for ticket in line.queue], ["a2"])
        self.assertEqual(line.served(), "a2")


class Model:
    """What the queue promises, by looking at everything each time."""

    def __init__(self, length: int, order: str, wait: float) -> None:
        self.length, self.order, self.wait = length, order, wait
        self.waiting: list[Any] = []  # in the order in which they came
        self.turns: dict[int, list[Any]] = {}  # clients of a rank, the next one first
        self.late = False

    def of(self, rank: int, client: Any = None) -> list[Any]:
        return [t for t in self.waiting if t.rank == rank and (client is None or t.client == client)]

    def enter(self, ticket: Any) -> Optional[list[Any]]:
        out = []
        if len(self.waiting) >= self.length:
            if not self.waiting:
                return None
            last = max(t.rank for t in self.waiting)
            most = max(len(self.of(last, t.client)) for t in self.of(last))
            mine = len(self.of(ticket.rank, ticket.client))
            if not (last > ticket.rank or (last == ticket.rank and most > mine + 1)):
                return None
            greedy = {t.client for t in self.of(last) if len(self.of(last, t.client)) == most}
            out = [(last, greedy)]
        return out

    def add(self, ticket: Any) -> None:
        self.waiting.append(ticket)
        turns = self.turns.setdefault(ticket.rank, [])
        if ticket.client not in turns:
            turns.append(ticket.client)

    def remove(self, ticket: Any) -> None:
        self.waiting.remove(ticket)
        if not self.of(ticket.rank, ticket.client):
            self.turns[ticket.rank].remove(ticket.client)
        if not self.waiting:
            self.late = False

    def next(self, now: float) -> Any:
        if not self.waiting:
            return None
        rank = min(t.rank for t in self.waiting)
        members = self.of(rank)
        if self.order == ADAPTIVE and now - members[0].since >= self.wait / 2:
            self.late = True
        if self.order == LIFO or self.late:
            return members[-1]
        return self.of(rank, self.turns[rank][0])[0]

    def turned(self, ticket: Any) -> None:
        turns = self.turns[ticket.rank]
        if ticket.client in turns:
            turns.remove(ticket.client)
            turns.append(ticket.client)


class PropertyTests(Case):
    def test_as_the_model(self) -> None:
        """Whatever comes, goes and is served in whatever order, the queue does as the rules say."""
        for seed in range(120):
            dice = Random(seed)
            order = dice.choice((FIFO, LIFO, ADAPTIVE))
            queue = Queue(QueueSpec(dice.randrange(0, 9), 10.0, order), 1)
            model = Model(queue.length, order, 10.0)
            out: list[Ticket] = []
            now = 0.0
            for _ in range(300):
                now += dice.random() * 2
                step = dice.random()
                if step < 0.55:
                    ticket = Ticket(dice.choice("abcd"), dice.randrange(3), lambda: None, lambda: None)
                    ticket.evict = partial(out.append, ticket)
                    room = model.enter(ticket)
                    self.assertEqual(queue.enter(ticket, now), room is not None)
                    for rank, greedy in room or ():
                        (victim,) = out
                        self.assertTrue(victim.rank == rank and victim.client in greedy)
                        self.assertIs(victim, model.of(rank, victim.client)[-1])
                        model.remove(out.pop())
                    if room is not None:
                        model.add(ticket)
                elif step < 0.7 and model.waiting:
                    gone = dice.choice(model.waiting)
                    queue.leave(gone)
                    model.remove(gone)
                else:
                    expected = model.next(now)
                    self.assertIs(queue.take(now), expected)
                    if expected is not None:
                        model.remove(expected)
                        model.turned(expected)
                self.assertEqual(out, [])
                self.assertEqual(len(queue), len(model.waiting))
                self.assertLessEqual(len(queue), queue.length)
                self.assertEqual(sorted(map(id, queue)), sorted(map(id, model.waiting)))
