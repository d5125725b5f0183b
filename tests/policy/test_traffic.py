"""Are the clients that are made up as they were asked for?"""

from __future__ import annotations

from collections import Counter
from math import exp, log
from random import Random
from statistics import fmean, median, pstdev

from proxyd.policy.traffic import EXPONENTIAL, FIXED, LOGNORMAL, PARETO, Lasting, Traffic, arrivals
from tests.support.case import Case

MANY = 40_000


def near(case: Case, found: float, expected: float, off: float) -> None:
    """Assert that a number is off by so much at most."""
    case.assertLess(abs(found - expected), off, (found, expected))


class LastingTests(Case):
    def test_mean(self) -> None:
        """Whatever the distribution, the mean is the one that was asked for."""
        for kind, shape, off in (
            (FIXED, 0, 1e-9),
            (EXPONENTIAL, 0, 0.02),
            (LOGNORMAL, 0.8, 0.02),
            (PARETO, 3, 0.05),
        ):
            draw = Lasting(kind, 2.5, shape).drawn(Random(1).random)
            self.assertLess(abs(fmean(draw() for _ in range(MANY)) / 2.5 - 1), off, kind)

    def test_shape(self) -> None:
        """The shape is as statistics books have it."""
        draw = Lasting(LOGNORMAL, 1.0, 0.8).drawn(Random(2).random)
        logarithms = [log(draw()) for _ in range(MANY)]
        near(self, pstdev(logarithms), 0.8, 0.02)
        draw = Lasting(PARETO, 3.0, 3.0).drawn(Random(3).random)
        near(self, median(draw() for _ in range(MANY)), 2 * 2 ** (1 / 3), 0.05)
        draw = Lasting(EXPONENTIAL, 1.0).drawn(Random(4).random)
        near(self, sum(draw() > 1 for _ in range(MANY)) / MANY, exp(-1), 0.01)

    def test_extremes(self) -> None:
        """No draw is without end, and none is negative, whatever chance says."""
        for kind, shape in ((EXPONENTIAL, 0.0), (LOGNORMAL, 2.0), (PARETO, 1.5)):
            for value in (0.0, 1 - 2**-53):
                draw = Lasting(kind, 1.0, shape).drawn(lambda value=value: value)  # type: ignore[misc]
                self.assertGreaterEqual(draw(), 0)
                self.assertLess(draw(), 1e12)


class TrafficTests(Case):
    def test_poisson(self) -> None:
        """Clients come at the rate, in order, and independently: the gaps deviate by their mean."""
        times = [one.started for one in arrivals(Traffic(MANY, rate=200), Random(1).random)]
        self.assertEqual(times, sorted(times))
        gaps = [later - sooner for sooner, later in zip(times, times[1:])]
        near(self, fmean(gaps) * 200, 1, 0.02)
        near(self, pstdev(gaps) * 200, 1, 0.03)

    def test_clients(self) -> None:
        """So many clients come, one as often as the other; each time from another port."""
        came = list(arrivals(Traffic(MANY, clients=20), Random(1).random))
        often = Counter(one.arrival().source for one in came)
        self.assertEqual(len(often), 20)
        self.assertLess(max(often.values()) / min(often.values()), 1.2)
        self.assertEqual(len({one.client for one in came}), MANY)

    def test_skew(self) -> None:
        """With Zipf's law the first comes twice as often as the second, ten times as often as the tenth."""
        came = arrivals(Traffic(MANY, clients=1000, skew=1.0), Random(1).random)
        often = Counter(one.arrival().source for one in came)
        near(self, often["10.0.0.0"] / often["10.0.0.1"], 2, 0.15)
        near(self, often["10.0.0.0"] / often["10.0.0.9"], 10, 1.5)

    def test_many_clients(self) -> None:
        """A million clients have a million addresses."""
        highest = Traffic(1, clients=1_000_000)
        [last] = arrivals(highest, lambda: 1 - 2**-53)
        self.assertEqual(last.arrival().source, "10.15.66.63")

    def test_the_same_again(self) -> None:
        """The same seed makes the same clients."""
        traffic = Traffic(100, lasting=Lasting(LOGNORMAL, 1, 1), skew=0.5)
        self.assertEqual(list(arrivals(traffic, Random(7).random)), list(arrivals(traffic, Random(7).random)))
        self.assertEqual(
            [one.bytes_out for one in arrivals(Traffic(3, bytes=0), Random(7).random)], [0, 0, 0]
        )
