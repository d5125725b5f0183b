"""Do the servers get the shares that their weights promise?"""

from __future__ import annotations

from collections import Counter
from random import Random as Dice
from typing import Sequence

from zope.interface.verify import verifyObject

from proxyd.config.address import TcpAddress
from proxyd.config.balance import BALANCES
from proxyd.interfaces import IBalancer
from proxyd.policy.balance import BALANCERS, Chance, PowerOfTwo, Random, RoundRobin
from proxyd.policy.pool import Server
from tests.support.case import Case


def servers(*weights: int) -> list[Server]:
    """Servers a, b, c … of these weights."""
    return [
        Server(chr(ord("a") + n), TcpAddress("10.0.0.1", 1000 + n), weight)
        for n, weight in enumerate(weights)
    ]


def names(balancer: IBalancer, among: list[Server], times: int) -> str:
    return "".join(balancer.choose(among).name for _ in range(times))


def draws(*values: float) -> Chance:
    """Chance that is none."""
    return iter(values).__next__


def always(value: float) -> Chance:
    return lambda: value


def no_chance() -> float:
    raise AssertionError("nothing here is left to chance")


class Nginx:
    """Smooth weighted round robin as nginx writes it, a walk over all peers (ngx_http_upstream_get_peer)."""

    def __init__(self) -> None:
        self.current: Counter[Server] = Counter()

    def choose(self, among: Sequence[Server]) -> Server:
        for server in among:
            self.current[server] += server.weight
        best = max(among, key=lambda server: self.current[server])
        self.current[best] -= sum(server.weight for server in among)
        return best


class All(Case):
    """What is true of every balancer."""

    def test_names(self) -> None:
        """Each word that `balance =` accepts has a balancer, and each balancer a word."""
        self.assertEqual(set(BALANCERS), set(BALANCES))

    def test_interface(self) -> None:
        """Each is made alike and keeps what IBalancer promises."""
        for make in BALANCERS.values():
            self.assertTrue(verifyObject(IBalancer, make(no_chance)))

    def test_one_server(self) -> None:
        """A pool with one server needs no luck."""
        for make in BALANCERS.values():
            among = servers(3)
            self.assertEqual(names(make(always(0.999)), among, 5), "aaaaa")

    def test_any_weights_any_changes(self) -> None:
        """Whatever comes and goes, a balancer chooses one of those that it was given."""
        for seed in range(60):
            dice = Dice(seed)
            for make in BALANCERS.values():
                balancer = make(dice.random)
                everyone = servers(*(dice.randint(1, 256) for _ in range(dice.randint(1, 12))))
                for _ in range(20):
                    among = dice.sample(everyone, dice.randint(1, len(everyone)))
                    for _ in range(dice.randint(1, 5)):
                        self.assertIn(balancer.choose(among), among, f"seed {seed}")

    def test_the_edges_of_chance(self) -> None:
        """The smallest and the largest number that chance can be lead to a server, with any weights."""
        largest = 1 - 2.0**-53
        for make in BALANCERS.values():
            for value in (0.0, 0.5, largest):
                for weights in ((1, 1), (1, 256), (256, 1), (999, 1, 1), (1, 1, 999), (7,) * 1000):
                    among = servers(*weights)
                    self.assertIn(make(always(value)).choose(among), among)

    def test_shares(self) -> None:
        """Idle servers get connections in proportion to their weights."""
        weights = (5, 1, 3, 1)
        among = servers(*weights)
        for name in ("random", "roundrobin"):
            chosen = Counter(names(BALANCERS[name](Dice(7).random), among, 20_000))
            for server in among:
                self.assertApproximates(chosen[server.name] / 20_000, server.weight / 10, 0.02)


class InTurn(Case):
    """`RoundRobin`."""

    def test_nginx_example(self) -> None:
        """The example of nginx's own commit: 5, 1 and 1 are mixed, not served in a block."""
        self.assertEqual(names(RoundRobin(no_chance), servers(5, 1, 1), 14), "aabacaa" * 2)

    def test_equal_weights(self) -> None:
        """Equal servers take turns."""
        self.assertEqual(names(RoundRobin(no_chance), servers(2, 2, 2), 7), "abcabca")

    def test_as_nginx(self) -> None:
        """Choice by choice the same as nginx, also while servers go down, come back and change weight."""
        for seed in range(80):
            dice = Dice(seed)
            everyone = servers(*(dice.choice((1, 1, 2, 5, 10, 100)) for _ in range(dice.randint(1, 9))))
            balancer, nginx = RoundRobin(no_chance), Nginx()
            for _ in range(12):
                if dice.random() < 0.3:
                    dice.choice(everyone).weight = dice.randint(1, 9)
                some = dice.randint(1, len(everyone))
                among = [server for server in everyone if dice.random() < some / len(everyone)] or everyone[:]
                for _ in range(dice.randint(1, 25)):
                    self.assertIs(balancer.choose(among), nginx.choose(among), f"seed {seed}")

    def test_retries_do_not_starve_anyone(self) -> None:
        """With one of three refusing and each refusal retried, the other two get equal shares."""
        among = servers(1, 1, 1)
        a, b, c = among
        balancer = RoundRobin(no_chance)
        served: Counter[str] = Counter()
        for _ in range(300):
            server = balancer.choose(among)
            if server is b:
                server = balancer.choose([a, c])
            served[server.name] += 1
        self.assertEqual(sum(served.values()), 300)
        self.assertApproximates(served["a"], served["c"], 3)


class ByChance(Case):
    """`Random`."""

    def test_draws(self) -> None:
        """Each server has a part of the range of chance as large as its weight."""
        among = servers(1, 2, 1)
        balancer = Random(draws(0.0, 0.24, 0.25, 0.74, 0.75, 0.99))
        self.assertEqual(names(balancer, among, 6), "aabbcc")


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
                second[PowerOfTwo(chance).choose(among).name] += 1
            first.open = 0
            self.assertEqual(
                second, {server.name: steps * server.weight for server in among if server is not first}
            )

    def test_even(self) -> None:
        """Connections that stay open end up spread by weight, far more evenly than by chance alone."""
        among = servers(*[1, 2, 3, 4] * 5)
        balancer = PowerOfTwo(Dice(3).random)
        for _ in range(5_000):
            balancer.choose(among).open += 1
        for server in among:
            self.assertApproximates(server.open / server.weight, 100, 4)

    def test_the_busiest_of_many_is_left_alone(self) -> None:
        """Among many servers the one with most connections per weight is never chosen."""
        among = servers(*[1] * 50)
        among[17].open = 1
        chosen = set(names(PowerOfTwo(Dice(1).random), among, 5_000))
        self.assertEqual(chosen, {server.name for server in among} - {among[17].name})
