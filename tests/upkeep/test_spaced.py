"""Does what falls due at one moment come one by one, and is nothing lost or left?"""

from __future__ import annotations

from twisted.internet.task import Clock

from proxyd.upkeep.spaced import MOST_LATE, SPARE, Spaced
from tests.support.case import Case


class TurningClock(Clock):
    """A clock of which `turn` is one turn of the reactor: what a call asks for comes in the next."""

    def turn(self, seconds: float = 0.0) -> None:
        self.rightNow += seconds
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


class SpacedTests(Case):
    def setUp(self) -> None:
        self.reactor = TurningClock()
        self.spaced = Spaced(self.reactor)
        self.came: list[str] = []

    def assertStill(self) -> None:
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_a_turn(self) -> None:
        """What is due at once has a turn each, in order; then the reactor is left alone."""
        for name in "abc":
            self.spaced.callLater(1.0, self.came.append, name)
        self.reactor.turn(1.0)
        self.assertEqual(self.came, ["a"])
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual(self.came, ["a", "b", "c"])
        self.assertStill()

    def test_far_behind(self) -> None:
        """Those that are late for long come at once, so that a busy daemon catches up."""
        for name in "abcd":
            self.spaced.callLater(1.0 if name < "d" else 1.0 + MOST_LATE, self.came.append, name)
        self.reactor.turn(1.0 + MOST_LATE)
        self.assertEqual(self.came, ["a", "b", "c", "d"])
        self.assertStill()

    def test_sooner(self) -> None:
        """One that comes sooner than all others is not kept waiting by them."""
        self.spaced.callLater(5.0, self.came.append, "late")
        self.spaced.callLater(1.0, self.came.append, "soon")
        self.reactor.turn(1.0)
        self.assertEqual(self.came, ["soon"])
        self.reactor.turn(4.0)
        self.assertEqual(self.came, ["soon", "late"])

    def test_asked_for_in_a_call(self) -> None:
        """What a call asks for comes as well, at the earliest in the next turn."""
        self.spaced.callLater(1.0, self.spaced.callLater, 0.0, self.came.append, "then")
        self.reactor.turn(1.0)
        self.assertEqual(self.came, [])
        self.reactor.turn()
        self.assertEqual(self.came, ["then"])
        self.assertStill()

    def test_cancelled(self) -> None:
        """One that is cancelled does not come, and leaves no timer; to cancel it twice is no error."""
        call = self.spaced.callLater(1.0, self.came.append, "never")
        self.assertTrue(call.active())
        call.cancel()
        call.cancel()
        self.assertFalse(call.active())
        self.assertStill()
        self.spaced.callLater(1.0, self.came.append, "other")
        self.reactor.turn(1.0)
        self.assertEqual(self.came, ["other"])
        self.assertStill()

    def test_many_cancelled(self) -> None:
        """Calls that are cancelled long before their time do not pile up."""
        self.spaced.callLater(1.0, self.came.append, "other")
        for _ in range(1000):
            self.spaced.callLater(60.0, self.came.append, "never").cancel()
        self.assertLessEqual(len(self.spaced._calls), SPARE + 3)
        self.reactor.turn(1.0)
        self.assertEqual(self.came, ["other"])

    def test_one_that_raises(self) -> None:
        """A call that raises is logged, and keeps no other from coming."""
        self.spaced.callLater(1.0, [].pop)
        self.spaced.callLater(1.0, self.came.append, "other")
        self.reactor.turn(1.0)
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)
        self.reactor.turn()
        self.assertEqual(self.came, ["other"])
        self.assertStill()
