"""The wheel: never early, late by a tick at most, and empty when nothing is armed."""

from __future__ import annotations

from random import Random
from typing import Callable, Optional

from twisted.internet.task import Clock

from proxyd.relay.deadlines import Wheel
from tests.support.case import Case


class Entry:
    """Something with a deadline, which notes when it was reached."""

    def __init__(self, clock: Clock, then: Optional[Callable[[], None]] = None) -> None:
        self.due = 0
        self.reached: list[float] = []
        self._clock = clock
        self._then = then

    def overdue(self) -> None:
        self.reached.append(self._clock.seconds())
        if self._then is not None:
            self._then()


class WheelTests(Case):
    """Deadlines on a clock that the test moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.1)
        self.wheel = Wheel(self.clock, 0.25)

    def test_a_deadline_is_reached_within_a_tick(self) -> None:
        """However long the deadline, it is not reached early, and at most two ticks after its time."""
        for seconds in (0.0, 0.1, 0.25, 1.0, 5.3, 600.0):
            entry = Entry(self.clock)
            began = self.clock.seconds()
            self.wheel.arm(entry, seconds)
            while not entry.reached:
                self.clock.advance(0.05)
            waited = entry.reached[0] - began
            self.assertGreaterEqual(waited, seconds)
            self.assertLess(waited, seconds + 0.5 + 0.06)

    def test_hastening_never_puts_off(self) -> None:
        """Of the deadline that was and the one that is asked for, the sooner one holds."""
        for was, asked, expected in ((None, 3.0, 3.0), (5.0, 1.0, 1.0), (1.0, 5.0, 1.0), (2.0, 2.0, 2.0)):
            entry = Entry(self.clock)
            began = self.clock.seconds()
            if was is not None:
                self.wheel.arm(entry, was)
            self.wheel.hasten(entry, asked)
            while not entry.reached:
                self.clock.advance(0.05)
            self.assertGreaterEqual(entry.reached[0] - began, expected)
            self.assertLess(entry.reached[0] - began, expected + 0.5 + 0.06)
            self.assertEqual(len(self.wheel), 0)

    def test_a_look_may_come_late(self) -> None:
        """A deadline that is there stays if it comes within twice the time that is asked for."""
        for was, asked, expected in ((None, 3.0, 3.0), (5.0, 3.0, 5.0), (1.0, 3.0, 1.0), (7.0, 3.0, 3.0)):
            entry = Entry(self.clock)
            began = self.clock.seconds()
            if was is not None:
                self.wheel.arm(entry, was)
            self.wheel.look_in(entry, asked)
            while not entry.reached:
                self.clock.advance(0.05)
            self.assertGreaterEqual(entry.reached[0] - began, expected)
            self.assertLess(entry.reached[0] - began, expected + 0.5 + 0.06)

    def test_what_others_disarm_or_put_off_in_the_same_tick(self) -> None:
        """Who is due in the same tick, and is disarmed or put off by one served before it, is not called."""
        for seconds in (None, 5.0):
            pair: list[Entry] = []

            def see_to_the_other(pair: list[Entry] = pair, seconds: Optional[float] = seconds) -> None:
                if all(entry.due == 0 for entry in pair) or len(pair[0].reached + pair[1].reached) > 1:
                    return
                other = pair[0] if pair[0].due else pair[1]
                if seconds is None:
                    self.wheel.disarm(other)
                else:
                    self.wheel.arm(other, seconds)

            pair += [Entry(self.clock, see_to_the_other) for _ in range(2)]
            for entry in pair:
                self.wheel.arm(entry, 1.0)
            began = self.clock.seconds()
            for _ in range(10):
                self.clock.advance(0.25)
            self.assertEqual(sorted(len(entry.reached) for entry in pair), [0, 1], seconds)
            self.assertEqual(len(self.wheel), 0 if seconds is None else 1)
            for _ in range(20):
                self.clock.advance(0.25)
            self.assertEqual(len(self.wheel), 0)
            reached = sorted(when - began for entry in pair for when in entry.reached)
            self.assertEqual(len(reached), 1 if seconds is None else 2)
            if seconds is not None:
                self.assertGreaterEqual(reached[1] - reached[0], seconds)

    def test_nobody_is_passed_over_while_others_are_served(self) -> None:
        """To serve a deadline may take longer than a tick; those who are due meanwhile are not forgotten."""
        late = Entry(self.clock)

        def take_long() -> None:
            self.clock.rightNow += 0.6
            self.wheel.arm(slow, 5.0)

        slow = Entry(self.clock, take_long)
        self.wheel.arm(slow, 1.0)
        self.wheel.arm(late, 1.3)
        for _ in range(20):
            self.clock.advance(0.25)
        self.assertEqual(len(late.reached), 1)

    def test_a_disarmed_deadline_is_not_reached(self) -> None:
        """Who has disarmed is left in peace, and the wheel holds and schedules nothing for it."""
        entry = Entry(self.clock)
        self.wheel.arm(entry, 1.0)
        self.wheel.disarm(entry)
        self.assertEqual((len(self.wheel), self.clock.getDelayedCalls()), (0, []))
        self.clock.advance(10)
        self.assertEqual(entry.reached, [])

    def test_arming_again_replaces_the_deadline(self) -> None:
        """An entry has one deadline: the last that was set."""
        entry = Entry(self.clock)
        self.wheel.arm(entry, 1.0)
        self.wheel.arm(entry, 3.0)
        self.assertEqual(len(self.wheel), 1)
        self.clock.pump([0.25] * 11)
        self.assertEqual(entry.reached, [])
        self.clock.pump([0.25] * 3)
        self.assertEqual(len(entry.reached), 1)

    def test_an_entry_may_arm_itself_again_when_it_is_due(self) -> None:
        """Looking again and again is how idle connections are found."""
        entry = Entry(self.clock, lambda: self.wheel.arm(entry, 1.0))
        self.wheel.arm(entry, 1.0)
        self.clock.pump([0.25] * 40)
        self.assertGreaterEqual(len(entry.reached), 7)

    def test_one_that_fails_does_not_harm_the_others(self) -> None:
        """A fault in serving one deadline is logged, and the others are served."""

        def fail() -> None:
            raise ValueError("broken")

        entries = [Entry(self.clock, fail), Entry(self.clock), Entry(self.clock)]
        for entry in entries:
            self.wheel.arm(entry, 1.0)
        self.clock.pump([0.25] * 6)
        self.assertEqual([len(entry.reached) for entry in entries], [1, 1, 1])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_turn_that_comes_late_reaches_everything_once(self) -> None:
        """A process that was stopped for a day does not spin through the ticks that it missed."""
        entries = [Entry(self.clock) for _ in range(10)]
        for place, entry in enumerate(entries):
            self.wheel.arm(entry, place * 7.0)
        self.clock.advance(86400.0)
        self.assertEqual([len(entry.reached) for entry in entries], [1] * 10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_against_a_list_of_deadlines(self) -> None:
        """Whatever is armed and disarmed, just those are reached whose time has come (seeded)."""
        random = Random(7)
        entries = [Entry(self.clock) for _ in range(50)]
        times: dict[int, float] = {}
        for _ in range(2000):
            which = random.randrange(50)
            choice = random.random()
            if choice < 0.5:
                seconds = random.random() * 20
                times[which] = self.clock.seconds() + seconds
                self.wheel.arm(entries[which], seconds)
            elif choice < 0.7:
                times.pop(which, None)
                self.wheel.disarm(entries[which])
            else:
                self.clock.advance(random.random())
            for place, entry in enumerate(entries):
                if entry.reached:
                    now = entry.reached.pop()
                    self.assertGreaterEqual(now, times.pop(place))
            late = self.clock.seconds() - 1.6  # the longest step and two ticks
            self.assertEqual([place for place, due in times.items() if due < late], [])
            self.assertEqual(len(self.wheel), len(times))
        self.assertGreater(len(times), 0)
