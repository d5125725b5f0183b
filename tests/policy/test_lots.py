"""Does chance heed the weights, and does the second draw make things even?"""

from __future__ import annotations

from collections import Counter
from random import Random as Dice

from proxyd.policy.lots import PowerOfTwo, Random
from tests.policy.servers import always, draws, names, servers
from tests.support.case import Case


class ByChance(Case):
    """`Random`."""

    def test_draws(self) -> None:
        """Each server has a part of the range of chance as large as its weight."""
        among = servers(1, 2, 1)
        balancer = Random(draws(0.0, 0.24, 0.25, 0.74, 0.75, 0.99))
        self.assertEqual(names(balancer, among, 6), "aabbcc")

    def test_retry(self) -> None:
        """A retry goes to the others in proportion to their weights."""
        among = servers(5, 2, 1)
        balancer = Random(Dice(5).random)
        second: Counter[str] = Counter()
        for _ in range(9_000):
            server = balancer.choose(among, among[:1])
            assert server is not None
            second[server.name] += 1
        self.assertEqual(second["a"], 0)
        self.assertApproximates(second["b"] / 9_000, 2 / 3, 0.02)


class TwoChoices(Case):
    """`PowerOfTwo`."""

    def test_fewer_connections(self) -> None:
        """Of two servers the one with fewer connections is taken, whichever was drawn first."""
        among = servers(1, 1)
        among[0].open = 3
        among[1].open = 2
        self.assertEqual(names(PowerOfTwo(draws(0.0, 0.9)), among, 2), "bb")

    def test_by_weight(self) -> None:
        """Connections count against the weight: 5 on a server of weight 3 are fewer than 2 on one of 1."""
        among = servers(3, 1)
        among[0].open, among[1].open = 5, 2
        self.assertEqual(names(PowerOfTwo(draws(0.0, 0.9)), among, 2), "aa")
        among[0].open = 7
        self.assertEqual(names(PowerOfTwo(draws(0.0, 0.9)), among, 2), "bb")

    def test_idle(self) -> None:
        """Two idle servers get connections by weight, not always the first."""
        among = servers(3, 1)
        self.assertEqual(names(PowerOfTwo(draws(0.0, 0.74, 0.75, 0.9)), among, 4), "aabb")

    def test_always_two(self) -> None:
        """The second draw never falls on the first one's server, and falls on the others by weight."""
        among = servers(2, 5, 1, 4)
        steps = 60
        for drawn, first in enumerate(among):
            before = sum(server.weight for server in among[:drawn])
            first.open = 1000  # so that the second one drawn is seen
            second: Counter[str] = Counter()
            for n in range(steps * (12 - first.weight)):
                chance = draws((before + 0.5) / 12, (n + 0.5) / (steps * (12 - first.weight)))
                second[names(PowerOfTwo(chance), among, 1)] += 1
            first.open = 0
            self.assertEqual(
                second, {server.name: steps * server.weight for server in among if server is not first}
            )

    def test_even(self) -> None:
        """Connections that stay open end up spread by weight, far more evenly than by chance alone."""
        among = servers(*[1, 2, 3, 4] * 5)
        balancer = PowerOfTwo(Dice(3).random)
        for _ in range(5_000):
            server = balancer.choose(among)
            assert server is not None
            server.open += 1
        for server in among:
            self.assertApproximates(server.open / server.weight, 100, 4)

    def test_the_busiest_of_many_is_left_alone(self) -> None:
        """Among many servers the one with most connections per weight is never chosen."""
        among = servers(*[1] * 50)
        among[17].open = 1
        chosen = set(names(PowerOfTwo(Dice(1).random), among, 5_000))
        self.assertEqual(chosen, {server.name for server in among} - {among[17].name})

    def test_retry(self) -> None:
        """A retry takes the better of two others; of one other that one; a failed one in no case."""
        among = servers(1, 1, 1, 1)
        among[1].open = 1
        for seed in range(200):
            server = PowerOfTwo(Dice(seed).random).choose(among, [among[0], among[2]])
            self.assertIs(server, among[3], f"seed {seed}")
        self.assertIs(PowerOfTwo(always(0.0)).choose(among, [among[0], *among[2:]]), among[1])
