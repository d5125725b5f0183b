"""
Which clients would come, if they came like this?

Arrivals for planning, where there is no access log to go by.  Clients come independently of each other
(a Poisson process), stay for a time of some distribution, and some come more often than others.
"""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from math import cos, exp, log, pi, sqrt
from typing import Callable, Iterator

from attrs import frozen

from proxyd.policy.accesslog import Logged
from proxyd.policy.lots import Chance

FIXED, EXPONENTIAL, LOGNORMAL, PARETO = "fixed", "exponential", "lognormal", "pareto"

# What the second number of a distribution is when it is not given: how wide a lognormal one is (the deviation
# of the logarithm), and Pareto's exponent, of which the mean must exist.
SHAPES = {FIXED: 0.0, EXPONENTIAL: 0.0, LOGNORMAL: 1.5, PARETO: 1.5}

MOST_CLIENTS = 1_000_000


@frozen
class Lasting:
    """How long connections last: a distribution, its mean in seconds, and its shape if it has one."""

    kind: str = EXPONENTIAL
    mean: float = 1.0
    shape: float = 0.0

    def drawn(self, random: Chance) -> Callable[[], float]:
        """What draws from it."""
        mean, shape = self.mean, self.shape
        if self.kind == FIXED:
            return lambda: mean
        if self.kind == EXPONENTIAL:
            return lambda: -mean * log(1.0 - random())
        if self.kind == LOGNORMAL:
            middle = log(mean) - shape * shape / 2

            def lognormal() -> float:  # by Box and Muller
                return exp(middle + shape * sqrt(-2.0 * log(1.0 - random())) * cos(2 * pi * random()))

            return lognormal
        least = mean * (shape - 1) / shape
        return lambda: least * (1.0 - random()) ** (-1 / shape)


@frozen
class Traffic:
    """
    So many arrivals, at a rate in clients a second, each moving so many bytes on average.

    ``skew`` is by how much some of the clients come more often: 0 for all alike, 1 for Zipf's law, in which
    the second comes half as often as the first, the third a third as often, and so on.
    """

    arrivals: int
    rate: float = 100.0
    lasting: Lasting = Lasting()
    clients: int = 10_000
    skew: float = 0.0
    bytes: int = 10_000
    connect: float = 0.001


def arrivals(traffic: Traffic, random: Chance) -> Iterator[Logged]:
    """
    The clients in the order in which they come, as an access log would tell of them, from time 0 on.

    Their addresses are of 10.0.0.0/8, each client has one, and comes from another port each time.
    """
    lasts = traffic.lasting.drawn(random)
    size = Lasting(EXPONENTIAL, traffic.bytes).drawn(random) if traffic.bytes else lambda: 0.0
    count, rate, connect = traffic.clients, traffic.rate, traffic.connect
    sums = list(accumulate(1 / place**traffic.skew for place in range(1, count + 1))) if traffic.skew else []
    started = 0.0
    for number in range(traffic.arrivals):
        started -= log(1.0 - random()) / rate
        who = bisect(sums, random() * sums[-1], 0, count - 1) if sums else int(random() * count)
        client = f"10.{who >> 16}.{who >> 8 & 255}.{who & 255}:{1024 + number % 60_000}"
        yield Logged(started, lasts(), connect, 0, int(size()), client, "", "", "", "")
