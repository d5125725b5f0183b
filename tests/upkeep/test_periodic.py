"""Does work that must go on go on, and does it stop when it is told to?"""

from __future__ import annotations

from random import Random as Dice
from typing import Callable, Optional

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs

from proxyd.upkeep.periodic import Periodic
from tests.support.case import Case


def no_delay() -> float:
    return 0.0


class PeriodicCase(Case):
    def setUp(self) -> None:
        self.clock = Clock()
        self.runs: list[float] = []

    def note(self) -> None:
        self.runs.append(self.clock.seconds())

    def start(self, work: Callable[[], object], random: Callable[[], float] = no_delay) -> Periodic:
        """Some work every 10 s."""
        periodic = Periodic(self.clock, random, 10, work)
        periodic.start()
        return periodic

    def pass_time(self, seconds: float, step: float = 0.25) -> None:
        self.clock.pump([step] * int(seconds / step))


class Rhythm(PeriodicCase):
    """When the work is done."""

    def test_steady(self) -> None:
        """Without chance the work is done at every interval, and first at once."""
        self.start(self.note)
        self.pass_time(35)
        self.assertEqual(self.runs, [0.25, 10, 20, 30])

    def test_each_run_is_late_by_chance(self) -> None:
        """Each run, the first one too, comes up to a fifth of the interval after its beat."""
        self.start(self.note, random=iter([0.5, 0.0, 0.0, 0.875, 0.25, 0.5]).__next__)
        self.pass_time(39)
        self.assertEqual(self.runs, [1, 10, 21.75, 30.5])

    def test_pace(self) -> None:
        """Work may change its own rhythm; the new interval counts from that moment on."""
        paces = iter([10, 10, 2, 2, 3, 10])

        def work() -> None:
            self.note()
            periodic.pace(next(paces))

        periodic = self.start(work)
        self.pass_time(28)
        self.assertEqual(self.runs, [0.25, 10, 20, 22, 24, 27])

    def test_soon(self) -> None:
        """The next run can be had at once, and the rhythm goes on from there; one under way is enough."""
        waiting: list[Deferred[None]] = []

        def work() -> Optional[Deferred[None]]:
            self.note()
            return waiting[-1] if waiting else None

        periodic = self.start(work)
        self.pass_time(13)
        periodic.soon(4)
        self.pass_time(9)
        self.assertEqual(self.runs, [0.25, 10, 13.25, 17, 21])
        waiting.append(Deferred())
        self.pass_time(4)
        periodic.soon(4)
        self.pass_time(2)
        self.assertEqual(self.runs[5:], [25])
        self.successResultOf(periodic.stop())
        periodic.soon(4)
        self.assertFalse(periodic.running)

    def test_soon_is_soon(self) -> None:
        """However long the interval is, what is wanted soon comes within a second."""
        periodic = Periodic(self.clock, lambda: 0.99, 3600, self.note)
        periodic.start()
        self.clock.advance(10)
        periodic.soon(3600)
        self.clock.pump([0.5] * 2)
        self.assertEqual(self.runs, [11.0])

    def test_soon_from_within(self) -> None:
        """Asked for by what comes of a run, it is no second rhythm."""
        waiting: list[Deferred[None]] = []

        def work() -> Deferred[None]:
            self.note()
            waiting.append(Deferred())
            return waiting[-1].addCallback(lambda _: periodic.soon(10))

        periodic = self.start(work)
        self.pass_time(1)
        for beats in range(2, 6):
            waiting[-1].callback(None)
            self.pass_time(10)
            self.assertEqual(len(self.runs), beats)

    def test_gaps(self) -> None:
        """Between two later runs pass 8 to 12 s, never twice the same for long, and 100 s hold 10 runs."""
        self.start(self.note, random=Dice(5).random)
        self.pass_time(1000, step=0.125)
        self.assertIn(len(self.runs), (100, 101))
        gaps = [after - before for before, after in zip(self.runs[1:], self.runs[2:])]
        self.assertGreaterEqual(min(gaps), 8 - 0.125)
        self.assertLessEqual(max(gaps), 12 + 0.125)
        self.assertGreater(len(set(gaps)), 10)

    def test_many_do_not_run_at_once(self) -> None:
        """What is started at one moment runs once within a fifth of the interval, then all over it."""
        dice = Dice(2)
        firsts: list[float] = []
        for _ in range(100):
            first = iter((firsts,)).__next__

            def work(first: Callable[[], list[float]] = first) -> None:
                self.note()
                try:
                    first().append(self.clock.seconds())
                except StopIteration:
                    pass

            self.start(work, random=dice.random)
        self.pass_time(100, step=0.25)
        self.assertEqual(len(firsts), 100)
        self.assertLessEqual(max(firsts), 2.25)
        self.assertLess(max(firsts.count(moment) for moment in firsts), 30)
        for second in range(20, 100):
            self.assertLess(sum(second <= moment < second + 1 for moment in self.runs), 25)

    def test_no_overlap(self) -> None:
        """A run that takes longer than the interval leaves out beats and has no second beside it."""
        under_way: list[Deferred[None]] = []

        def work() -> Deferred[None]:
            self.note()
            under_way.append(Deferred())
            return under_way[-1]

        self.start(work)
        self.pass_time(25)
        self.assertEqual(self.runs, [0.25])
        under_way[0].callback(None)
        self.pass_time(10)
        self.assertEqual(self.runs, [0.25, 30])

    def test_nearly_as_long_as_the_interval(self) -> None:
        """Runs that take nearly all of the interval miss no beat, though each is late for it by chance."""

        def work() -> Deferred[None]:
            self.note()
            return deferLater(self.clock, 9.75, lambda: None)

        self.start(work, random=Dice(3).random)
        self.pass_time(1000)
        self.assertIn(len(self.runs), (99, 100, 101))
        gaps = [after - before for before, after in zip(self.runs[1:], self.runs[2:])]
        self.assertGreaterEqual(min(gaps), 9.75)
        self.assertLessEqual(max(gaps), 12)

    def test_async_work(self) -> None:
        """The work may be an async def."""

        async def work() -> None:
            self.note()

        self.start(work)
        self.pass_time(11)
        self.assertEqual(len(self.runs), 2)


class Failing(PeriodicCase):
    """What a run that raises does to the next."""

    def failing(self, *says: Optional[str]) -> list[str]:
        """The log of as many runs, each of which fails with these words or (None) does not."""
        words = iter(says)

        async def work() -> None:
            self.note()
            word = next(words)
            if word is not None:
                raise RuntimeError(word)

        with capturedLogs() as events:
            self.start(work)
            self.pass_time(10 * len(says) - 5)
        self.flushLoggedErrors(RuntimeError)
        self.assertEqual(len(self.runs), len(says))
        return [event["what"] for event in events]

    def test_goes_on(self) -> None:
        """An exception is logged with its traceback, and the work goes on."""
        self.assertEqual(self.failing("ouch", None, None), ["RuntimeError: ouch"])

    def test_the_same_once(self) -> None:
        """A failure that repeats is logged once, so that the log stays readable."""
        self.assertEqual(self.failing(*["ouch"] * 30), ["RuntimeError: ouch"])

    def test_another_is_news(self) -> None:
        """Another failure is logged, and so is the same one after a run that went well."""
        self.assertEqual(
            self.failing("one", "two", "two", None, "two"),
            ["RuntimeError: one", "RuntimeError: two", "RuntimeError: two"],
        )

    def test_not_async(self) -> None:
        """A plain function that raises does no more harm."""

        def work() -> None:
            self.note()
            raise RuntimeError("ouch")

        self.start(work)
        self.pass_time(25)
        self.assertEqual(len(self.runs), 3)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_cancellation_of_its_own(self) -> None:
        """Work that fails with a cancellation nobody asked for is a failure like any other."""

        def work() -> None:
            self.note()
            raise CancelledError()

        self.start(work)
        self.pass_time(15)
        self.assertEqual(len(self.runs), 2)
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)


class Stopping(PeriodicCase):
    """What is left after `stop`: nothing."""

    def assertStill(self, periodic: Periodic, runs: int) -> None:
        self.assertFalse(periodic.running)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pass_time(50)
        self.assertEqual(len(self.runs), runs)

    def test_between_runs(self) -> None:
        """Stopped between two runs, no other comes."""
        periodic = self.start(self.note)
        self.pass_time(5)
        self.successResultOf(periodic.stop())
        self.assertStill(periodic, 1)

    def test_before_a_run(self) -> None:
        """Stopped between a beat and its run, the run does not come."""
        periodic = self.start(self.note, random=lambda: 0.9)
        self.pass_time(1)
        self.successResultOf(periodic.stop())
        self.assertStill(periodic, 0)

    def test_in_a_run(self) -> None:
        """A run that is under way is cancelled, without a word in the log."""
        cancelled: list[object] = []

        async def work() -> None:
            self.note()
            await Deferred(cancelled.append)

        periodic = self.start(work)
        self.pass_time(5)
        self.successResultOf(periodic.stop())
        self.assertEqual(len(cancelled), 1)
        self.assertStill(periodic, 1)

    def test_work_that_must_tidy_up(self) -> None:
        """Work that has something to end is waited for."""
        tidied: Deferred[None] = Deferred()

        async def work() -> None:
            self.note()
            try:
                await Deferred()
            finally:
                await tidied

        periodic = self.start(work)
        self.pass_time(5)
        stopped = periodic.stop()
        again = periodic.stop()
        self.assertNoResult(stopped)
        self.assertNoResult(again)
        tidied.callback(None)
        self.successResultOf(stopped)
        self.successResultOf(again)
        self.assertStill(periodic, 1)

    def test_failing_while_stopped(self) -> None:
        """An exception on the way out is logged, and the stop is complete all the same."""

        async def work() -> None:
            self.note()
            try:
                await Deferred()
            finally:
                raise RuntimeError("ouch")

        periodic = self.start(work)
        self.pass_time(5)
        self.successResultOf(periodic.stop())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertStill(periodic, 1)

    def test_never_started(self) -> None:
        """What has not been started can be stopped."""
        periodic = Periodic(self.clock, no_delay, 10, self.note)
        self.successResultOf(periodic.stop())
        self.assertStill(periodic, 0)

    def test_twice(self) -> None:
        """To stop twice is no error."""
        periodic = self.start(self.note)
        self.pass_time(5)
        self.successResultOf(periodic.stop())
        self.successResultOf(periodic.stop())
        self.assertStill(periodic, 1)
