"""The loop serves everybody in turn: nobody starves, a stale event reaches nobody, one fault costs one."""

from __future__ import annotations

import os
import select
import socket
from functools import partial
from typing import Callable

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from proxyd.relay.lane.loop import CALM_ROUNDS, LONG_BURST, SHORT_BURST, Loop
from tests.support.case import Case
from tests.support.lane import TURN, CountedPipes, StillReactor, is_open

ENOUGH = 1000  # more than the loop may serve of one entry in a turn


class Entry:
    """A socket in the loop; ``on_event`` and ``on_turn`` are what it does when it is served."""

    def __init__(self, test: LoopTests, name: str = "") -> None:
        self.name = name
        self.socket, self.far = socket.socketpair()
        self.socket.setblocking(False)
        test.addCleanup(self.socket.close)
        test.addCleanup(self.far.close)
        self.loop = test.loop
        self.served = test.served
        self.fd = self.socket.fileno()
        self.on_event: Callable[[], object] = lambda: None
        self.on_turn: Callable[[], object] = lambda: None
        self.on_failure: Callable[[], object] = lambda: None
        self.failures: list[Failure] = []
        self.loop.watch(self.fd, self)

    def bury(self) -> None:
        self.loop.bury(self.socket)

    def event(self, mask: int) -> None:
        self.served.append(self.name)
        try:
            while self.socket.recv(4096):
                pass
        except BlockingIOError:
            pass
        self.on_event()

    def go_on(self) -> None:
        self.served.append(self.name + " again")
        self.on_turn()

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.bury()
        self.on_failure()


@implementer(IReadDescriptor)
class Reader:
    """A level-triggered reader, as a listener is one."""

    def __init__(self, test: LoopTests) -> None:
        self.socket, self.far = socket.socketpair()
        test.addCleanup(self.socket.close)
        test.addCleanup(self.far.close)
        self.read = 0
        self.lost: list[Failure] = []
        self.on_read: Callable[[], object] = lambda: None

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:
        return "reader"

    def doRead(self) -> None:
        self.read += 1
        self.on_read()

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)


def explode() -> None:
    """Fail."""
    raise ZeroDivisionError("on purpose")


class LoopTests(Case):
    """A loop whose reactor moves only when the test lets it."""

    def setUp(self) -> None:
        self.reactor = StillReactor()
        self.pipes = CountedPipes()
        self.loop = Loop(self.reactor, self.pipes)
        self.addCleanup(self.loop.close)
        self.served: list[str] = []

    def entries(self, names: str) -> list[Entry]:
        """Entries that have just been connected, which is an event that each has been served for."""
        made = [Entry(self, name) for name in names]
        self.turn()
        self.served.clear()
        return made

    def turn(self) -> None:
        """Serve what has happened."""
        self.loop.doRead()

    # Who is served

    def test_it_is_what_it_says(self) -> None:
        """For the reactor the loop is one descriptor to read."""
        self.assertTrue(verifyObject(IReadDescriptor, self.loop))
        self.entries("ab")
        self.assertEqual(repr(self.loop), "<Loop of 2 descriptors>")
        self.assertNotEqual(self.loop.logPrefix(), "")

    def test_the_reactor_watches_only_while_there_is_something_to_watch(self) -> None:
        """An idle lane costs the reactor nothing."""
        self.assertEqual(self.reactor.readers, set())
        one, other = self.entries("ab")
        self.assertEqual(self.reactor.readers, {self.loop})
        one.bury()
        self.assertEqual(self.reactor.readers, {self.loop})
        other.bury()
        self.assertEqual(self.reactor.readers, set())
        reader = Reader(self)
        self.loop.addReader(reader)
        self.assertEqual(self.reactor.readers, {self.loop})
        self.loop.removeReader(reader)
        self.assertEqual(self.reactor.readers, set())

    def test_everybody_who_is_ready_is_served_in_one_turn(self) -> None:
        """One call of the reactor's serves all that has happened, each once."""
        ready = self.entries("abcdefgh")
        for entry in ready[2:]:
            entry.far.send(b"x")
        self.turn()
        self.assertEqual(sorted(self.served), list("cdefgh"))

    def test_more_than_one_poll_can_hold(self) -> None:
        """When a thousand are ready at once, none is forgotten."""
        many = [Entry(self, str(number)) for number in range(1000)]
        for _ in range(10):
            self.turn()
        self.served.clear()
        for entry in many:
            entry.far.send(b"x")
        for _ in range(10):
            self.turn()
        self.assertEqual(sorted(self.served), sorted(entry.name for entry in many))

    def test_an_edge_is_told_once(self) -> None:
        """What was told of is not told again, so nobody pays for one that does not read."""
        (entry,) = self.entries("a")
        entry.far.send(b"x")
        self.turn()
        self.turn()
        self.assertEqual(self.served, ["a"])

    def test_one_that_is_always_ready_does_not_keep_the_reactor(self) -> None:
        """A turn ends although an entry has become ready again, and the reactor comes back for it."""
        (entry,) = self.entries("a")
        entry.on_event = lambda: entry.far.send(b"x")
        entry.far.send(b"x")
        self.turn()
        self.assertGreaterEqual(len(self.served), 1)
        self.assertLess(len(self.served), ENOUGH)
        ready, _, _ = select.select([self.loop.fileno()], [], [], 0)
        self.assertEqual(ready, [self.loop.fileno()])

    def test_a_descriptor_may_change_its_owner(self) -> None:
        """A dial hands its socket over to the connection that comes of it."""
        (old,) = self.entries("a")
        new = Entry(self, "b")
        self.loop.watch(old.fd, new)
        old.far.send(b"x")
        self.turn()
        self.assertNotIn("a", self.served)

    # Being served again

    def test_who_asks_is_served_again_after_the_others(self) -> None:
        """One with more to do goes to the end of the queue."""
        first, *others = self.entries("abc")
        for entry in (first, *others):
            entry.on_event = partial(self.loop.again, entry)
            entry.far.send(b"x")
        self.turn()
        self.assertEqual(sorted(self.served[:3]), ["a", "b", "c"])
        self.assertEqual(sorted(self.served[3:]), ["a again", "b again", "c again"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_that_always_asks_again_does_not_keep_the_reactor(self) -> None:
        """It goes on in the reactor's next turn, after whatever else the reactor has to do."""
        (entry,) = self.entries("a")
        entry.on_turn = lambda: self.loop.again(entry)
        self.loop.again(entry)
        for _ in range(3):
            self.served.clear()
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
            self.reactor.advance(TURN)
            self.assertGreaterEqual(len(self.served), 1)
            self.assertLess(len(self.served), ENOUGH)

    def test_asking_from_outside(self) -> None:
        """However many ask while nothing is served, the reactor is asked for one call."""
        one, other = self.entries("ab")
        for entry in (one, other, one):
            self.loop.again(entry)
        self.assertEqual(self.served, [])
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.advance(TURN)
        self.assertEqual(set(self.served), {"a again", "b again"})
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_asking_often(self) -> None:
        """Who asks more than once is served once, or the busy would get more turns with every turn."""
        one, other = self.entries("ab")
        for entry in (one, other, one, one):
            self.loop.again(entry)
        one.on_turn = partial(self.loop.again, other)
        self.reactor.advance(TURN)
        self.assertEqual(self.served, ["a again", "b again", "b again"])

    def test_who_asks_again_waits_for_those_who_have_events(self) -> None:
        """A busy connection that asks again has its next turn after what has happened meanwhile."""
        busy, other = self.entries("ab")
        busy.on_event = partial(self.loop.again, busy)
        busy.on_turn = partial(other.far.send, b"x")
        for _ in range(2):
            busy.far.send(b"x")
            other.far.send(b"x")
            self.turn()
            self.assertEqual(sorted(self.served[:2]), ["a", "b"])
            self.assertEqual(self.served[2:], ["a again", "b"])
            self.served.clear()

    def test_bursts_are_short_while_there_are_small_messages(self) -> None:
        """And they stay so for a while, because the next message may come at any time."""
        (entry,) = self.entries("a")
        self.assertEqual(self.loop.burst, LONG_BURST)
        self.loop.calm = 0
        bursts: list[int] = []
        entry.on_turn = lambda: bursts.append(self.loop.burst)
        while len(bursts) < 2 * CALM_ROUNDS:
            self.loop.again(entry)
            self.turn()
        self.assertEqual(bursts[0], SHORT_BURST)
        self.assertEqual(bursts[-1], LONG_BURST)
        self.assertEqual(bursts, sorted(bursts))
        self.assertGreater(bursts.count(SHORT_BURST), CALM_ROUNDS // 2)

    def test_asking_from_outside_is_answered_with_the_next_events(self) -> None:
        """Who has asked is served by whatever comes first, the call or an event of another's."""
        one, other = self.entries("ab")
        self.loop.again(one)
        other.far.send(b"x")
        self.turn()
        self.reactor.advance(TURN)
        self.assertEqual(sorted(self.served), ["a again", "b"])

    # One fault costs one

    def test_an_entry_that_fails_costs_only_itself(self) -> None:
        """The others in the batch are served, and the fault is logged with its traceback."""
        entries = self.entries("abc")
        entries[1].on_event = explode
        for entry in entries:
            entry.far.send(b"x")
        self.turn()
        self.assertEqual(sorted(self.served), ["a", "b", "c"])
        self.assertEqual([len(entry.failures) for entry in entries], [0, 1, 0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.served.clear()
        entries[0].far.send(b"x")
        self.turn()
        self.assertEqual(self.served, ["a"])

    def test_an_entry_that_fails_when_served_again(self) -> None:
        """The others that have asked are served as well."""
        entries = self.entries("abc")
        entries[0].on_turn = explode
        for entry in entries:
            self.loop.again(entry)
        self.reactor.advance(TURN)
        self.assertEqual(sorted(self.served), ["a again", "b again", "c again"])
        self.assertEqual(len(entries[0].failures), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_an_entry_that_fails_at_failing(self) -> None:
        """A protocol that raises while it is told of its own fault keeps nobody from being served."""
        entries = self.entries("abc")
        for entry in entries:
            self.loop.again(entry)
            entry.far.send(b"x")
        entries[0].on_event = entries[1].on_turn = explode
        for entry in entries[:2]:
            entry.on_failure = explode
        self.turn()
        self.assertEqual(self.served.count("c"), 1)
        self.assertEqual(self.served.count("c again"), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)

    # Stale events

    def test_a_stale_event_reaches_nobody(self) -> None:
        """Who is closed by another in the same batch is not served any more."""
        one, other = self.entries("ab")
        one.on_event = other.bury
        other.on_event = one.bury
        for entry in (one, other):
            entry.far.send(b"x")
        self.turn()
        self.assertEqual(len(self.served), 1)

    def test_a_number_is_not_reused_within_a_batch(self) -> None:
        """A socket that is made in the batch in which another was closed does not get its events."""
        one, other = self.entries("ab")
        fresh: list[Entry] = []

        def replace(gone: Entry) -> None:
            gone.bury()
            fresh.extend(Entry(self, "new") for _ in range(5))

        one.on_event = lambda: replace(other)
        other.on_event = lambda: replace(one)
        for entry in (one, other):
            entry.far.send(b"x")
        gone_fds = {one.fd, other.fd}
        self.turn()
        self.assertEqual({entry.fd for entry in fresh} & gone_fds, set())
        self.assertEqual(len({name for name in self.served if name in "ab"}), 1)

    def test_what_was_closed_in_a_batch_is_closed_after_it(self) -> None:
        """No descriptor outlives the turn in which it was given up, even if serving has failed."""
        one, other = self.entries("ab")
        open_meanwhile: list[bool] = []

        def bury_both() -> None:
            one.bury()
            other.bury()
            open_meanwhile.append(is_open(one.fd))
            explode()

        one.on_event = bury_both
        one.far.send(b"x")
        self.turn()
        self.assertEqual((open_meanwhile, is_open(one.fd), is_open(other.fd)), ([True], False, False))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.reactor.readers, set())

    def test_what_is_closed_from_outside_is_closed_at_once(self) -> None:
        """When nothing is being served, no event can be stale."""
        (entry,) = self.entries("a")
        entry.far.send(b"x")
        entry.bury()
        self.assertFalse(is_open(entry.fd))
        self.turn()
        self.assertEqual(self.served, [])

    # Readers

    def test_a_reader_is_called_as_long_as_there_is_something_to_read(self) -> None:
        """Listeners take a few clients a turn, and are called again for the rest."""
        reader = Reader(self)
        self.loop.addReader(reader)
        self.loop.addReader(reader)  # which changes nothing
        self.turn()
        self.assertEqual(reader.read, 0)
        reader.far.send(b"x")
        for _ in range(3):
            before = reader.read
            self.turn()
            self.assertGreater(reader.read, before)
            self.assertLess(reader.read, before + ENOUGH)
        self.loop.removeReader(reader)
        self.loop.removeReader(reader)
        before = reader.read
        self.turn()
        self.assertEqual(reader.read, before)

    def test_a_reader_that_removes_itself(self) -> None:
        """A listener that pauses while it is served is called no more, until it is added again."""
        reader = Reader(self)
        reader.on_read = lambda: self.loop.removeReader(reader)
        self.loop.addReader(reader)
        reader.far.send(b"x")
        self.turn()
        self.turn()
        self.assertEqual(reader.read, 1)
        self.loop.addReader(reader)
        self.turn()
        self.assertEqual(reader.read, 2)

    def test_a_reader_that_fails(self) -> None:
        """It is dropped, and told why; the others go on."""
        reader = Reader(self)
        reader.on_read = explode
        self.loop.addReader(reader)
        (entry,) = self.entries("a")
        reader.far.send(b"x")
        entry.far.send(b"x")
        self.turn()
        self.assertEqual((reader.read, len(reader.lost), self.served), (1, 1, ["a"]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        reader.far.send(b"x")
        self.turn()
        self.assertEqual(reader.read, 1)

    # The end

    def test_closing_cuts_what_is_left(self) -> None:
        """Everybody is told, nothing stays with the reactor, and all descriptors are closed."""
        entries = self.entries("abc")
        reader = Reader(self)
        self.loop.addReader(reader)
        self.loop.again(entries[0])
        fds = [self.loop.fileno(), *(entry.fd for entry in entries)]
        pipe = self.pipes.take()
        if pipe is not None:
            self.pipes.give_back(pipe)
            fds += [pipe.into, pipe.out]
        self.loop.close()
        self.assertEqual([len(entry.failures) for entry in entries], [1, 1, 1])
        self.assertEqual(len(reader.lost), 1)
        self.assertEqual([fd for fd in fds if is_open(fd)], [])
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), (set(), []))
        self.assertEqual((self.loop.fileno(), repr(self.loop)), (-1, "<Loop of 0 descriptors>"))
        self.turn()
        self.assertEqual(self.served, [])

    def test_closing_twice(self) -> None:
        """Closing what is closed does nothing."""
        (entry,) = self.entries("a")
        self.loop.close()
        self.loop.close()
        self.assertEqual(len(entry.failures), 1)

    def test_closing_goes_on_after_a_fault(self) -> None:
        """One that raises when it is cut does not keep the others from being cut."""
        entries = self.entries("abc")
        entries[0].on_failure = entries[1].on_failure = explode
        self.loop.close()
        self.assertEqual([is_open(entry.fd) for entry in entries], [False, False, False])
        self.assertEqual((self.reactor.readers, self.loop.fileno()), (set(), -1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_closing_while_serving(self) -> None:
        """The last connection may be what ends the lane: the rest of its batch is not served."""
        entries = self.entries("abc")
        for entry in entries:
            entry.on_event = self.loop.close
            entry.far.send(b"x")
        self.turn()
        self.assertEqual(len(self.served), 1)
        self.assertEqual([is_open(entry.fd) for entry in entries], [False, False, False])
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), (set(), []))

    def test_descriptors_are_not_inherited(self) -> None:
        """A program that the daemon starts gets none of the lane's descriptors."""
        self.assertFalse(os.get_inheritable(self.loop.fileno()))
