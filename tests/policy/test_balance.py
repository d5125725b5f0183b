"""Do the servers get the shares that their weights promise, in whichever way they are chosen?"""

from __future__ import annotations

from collections import Counter
from random import Random as Dice
from typing import Any, Sequence

from zope.interface.verify import verifyObject

from proxyd.config.balance import BALANCES
from proxyd.interfaces import IBalancer, ICounting, IKeyed, ITiming
from proxyd.policy.balance import BALANCERS, RoundRobin, StaticRoundRobin
from proxyd.policy.server import Server
from tests.policy.servers import (
    always,
    busy,
    client,
    end,
    made,
    names,
    no_chance,
    off_share,
    servers,
    weigh,
)
from tests.support.case import Case

# Each way, and some of its parameters; by what part of its share the worst of 20 servers may be off.
WAYS: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("roundrobin", {}, 0.01),
    ("static-rr", {}, 0.01),
    ("leastconn", {}, 0.1),
    ("p2c", {}, 0.2),
    ("random", {}, 0.2),
    ("source", {}, 0.3),
    ("hash", {"key": "source+port"}, 0.3),
    ("hash", {"hash_balance_factor": 110}, 0.2),
    ("maglev", {}, 0.2),
    ("maglev", {"hash_balance_factor": 110}, 0.2),
    ("leasttime", {}, 0.2),
    ("leastbytes", {}, 0.2),
)
LARGEST = 1 - 2.0**-53


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
        self.assertEqual({name for name, _, _ in WAYS} | {"first"}, set(BALANCES))

    def test_interface(self) -> None:
        """Each keeps what it promises, and says what it wants to be told."""
        told = {}
        for name, parameters, _ in WAYS + (("first", {}, 0),):
            balancer = made(name, no_chance, **parameters)
            wanted = [which for which in (IKeyed, ICounting, ITiming) if which.providedBy(balancer)]
            for which in [IBalancer, *wanted]:
                self.assertTrue(verifyObject(which, balancer))
            told[name, bool(parameters)] = {which.__name__ for which in wanted}
        self.assertEqual(told["p2c", False], set())
        self.assertEqual(told["source", False], {"IKeyed"})
        self.assertEqual(told["maglev", True], {"IKeyed", "ICounting"})
        self.assertEqual(told["leastconn", False], {"ICounting"})
        self.assertEqual(told["leasttime", False], {"ITiming"})

    def test_one_server(self) -> None:
        """A pool with one server needs no luck."""
        for name in BALANCES:
            among = servers(3)
            balancer = made(name, always(0.999))
            self.assertEqual(names(balancer, among, 5), "aaaaa")
            self.assertIs(balancer.choose(among, (), client(1)), among[0])

    def test_nobody_left(self) -> None:
        """When all have just failed, nobody is chosen; and the next client has all to choose from again."""
        for name in BALANCES:
            for among in (servers(3), servers(1, 2, 1)):
                balancer = made(name, always(0.5))
                for who in (None, client(1)):
                    self.assertIs(balancer.choose(among, among, who), None, name)
                    self.assertIn(balancer.choose(among, (), who), among, name)

    def test_any_weights_any_changes(self) -> None:
        """Whatever comes, goes, fails, opens and closes, one of those is chosen that may be."""
        for seed in range(8):
            dice = Dice(seed)
            for name, parameters, _ in WAYS + (("first", {}, 0),):
                balancer = made(name, dice.random, **parameters)
                everyone = servers(*(dice.randint(1, 256) for _ in range(dice.randint(1, 12))))
                open_ones: list[Server] = []
                for _ in range(10):
                    among = dice.sample(everyone, dice.randint(1, len(everyone)))
                    for _ in range(dice.randint(1, 8)):
                        avoid = dice.sample(everyone, dice.choice((0, 0, 1, len(everyone) // 2)))
                        who = dice.choice((None, client(dice.randrange(9))))
                        server = balancer.choose(among, avoid, who)
                        left = [one for one in among if one not in avoid]
                        if not left:
                            self.assertIs(server, None, f"{name}, seed {seed}")
                            continue
                        self.assertIn(server, left, f"{name}, seed {seed}")
                        server.open += 1
                        open_ones.append(server)
                        if dice.random() < 0.5:
                            end(
                                balancer, open_ones.pop(dice.randrange(len(open_ones))), dice.randrange(10**6)
                            )

    def test_the_edges_of_chance(self) -> None:
        """The smallest and the largest number that chance can be lead to a server, with any weights."""
        for name in ("random", "p2c", "leasttime", "leastbytes"):
            for value in (0.0, 0.5, LARGEST):
                for weights in ((1, 1), (1, 256), (256, 1), (256, 1, 1), (1, 1, 256), (7,) * 1000):
                    among = servers(*weights)
                    self.assertIn(made(name, always(value)).choose(among), among)
                    self.assertIn(made(name, always(value)).choose(among, among[1:]), among[:1])

    def test_shares(self) -> None:
        """With connections that stay for a while each server gets its share by weight, and none starves."""
        for name, parameters, bound in WAYS:
            among = servers(*[1, 2, 3, 4] * 5)
            dice = Dice(7)
            chosen = busy(made(name, dice.random, **parameters), among, dice, 10_000, 300)
            self.assertLess(off_share(chosen, among), bound, f"{name} {parameters}")

    def test_shares_of_the_idle(self) -> None:
        """With connections that never overlap shares are by weight too: no tie falls to the first alone."""
        for name, parameters, bound in WAYS:
            among = servers(*[1, 2, 3, 4] * 5)
            dice = Dice(8)
            chosen = busy(made(name, dice.random, **parameters), among, dice, 10_000, 1)
            if not parameters.get("hash_balance_factor"):
                self.assertLess(off_share(chosen, among), bound + 0.05, f"{name} {parameters}")

    def test_a_thousand_servers(self) -> None:
        """Of many servers all get connections, also those that were down for a while."""
        for name, parameters, _ in WAYS:
            among = servers(*[1] * 1000)
            dice = Dice(9)
            balancer = made(name, dice.random, **parameters)
            chosen = busy(balancer, among[:500], dice, 1_000, 100)
            chosen += busy(balancer, among, dice, 11_000, 100)
            self.assertEqual(len(chosen), 1000, name)


class InTurn(Case):
    """`RoundRobin`."""

    def test_nginx_example(self) -> None:
        """The example of nginx's own commit: 5, 1 and 1 are mixed, not served in a block."""
        self.assertEqual(names(RoundRobin(no_chance), servers(5, 1, 1), 14), "aabacaa" * 2)

    def test_equal_weights(self) -> None:
        """Equal servers take turns."""
        self.assertEqual(names(RoundRobin(no_chance), servers(2, 2, 2), 7), "abcabca")

    def test_as_nginx(self) -> None:
        """
        Choice by choice the same as nginx, also while servers go down, come back and change weight, and while
        some are full, which nginx passes over too.
        """
        for seed in range(80):
            dice = Dice(seed)
            everyone = servers(*(dice.choice((1, 1, 2, 5, 10, 100)) for _ in range(dice.randint(1, 9))))
            balancer, nginx = RoundRobin(no_chance), Nginx()
            for _ in range(12):
                if dice.random() < 0.3:
                    weigh(dice.choice(everyone), dice.randint(1, 9))
                some = dice.randint(1, len(everyone))
                among = [server for server in everyone if dice.random() < some / len(everyone)] or everyone[:]
                full = set(dice.sample(among, dice.randrange(len(among))))
                for _ in range(dice.randint(1, 25)):
                    if dice.random() < 0.3 and len(full ^ {among[0]}) < len(among):
                        full ^= {among[0]}
                    left = [server for server in among if server not in full]
                    self.assertIs(balancer.choose(among, full), nginx.choose(left), f"seed {seed}")

    def test_retries_do_not_starve_anyone(self) -> None:
        """With one of three refusing and each refusal retried, the other two get equal shares."""
        for way in (RoundRobin, StaticRoundRobin):
            among = servers(1, 1, 1)
            a, b, c = among
            balancer = way(no_chance)
            served: Counter[str] = Counter()
            for _ in range(300):
                server = balancer.choose(among)
                assert server is not None
                if server is b:
                    server = balancer.choose(among, [b])
                assert server is not None
                served[server.name] += 1
            self.assertEqual(sum(served.values()), 300)
            self.assertApproximates(served["a"], served["c"], 3)


class Static(Case):
    """`StaticRoundRobin`."""

    def test_turns(self) -> None:
        """The turns are those of round robin."""
        self.assertEqual(names(StaticRoundRobin(no_chance), servers(5, 1, 1), 14), "aabacaa" * 2)

    def test_begins_anew(self) -> None:
        """Nobody who comes back is owed anything: with the same servers it is always the same row."""
        among = servers(3, 1)
        balancer = StaticRoundRobin(no_chance)
        self.assertEqual(names(balancer, among, 3), "aab")
        self.assertEqual(names(balancer, among[:], 3), "aab")
        self.assertEqual(names(balancer, among[:], 4), "aaba")
