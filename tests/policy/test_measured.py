"""Do servers that are quick, or have moved little, get more connections, and the others another chance?"""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from random import Random as Dice

from proxyd.interfaces import ICounting, ITiming
from proxyd.policy.measured import LeastBytes, LeastTime
from proxyd.policy.server import Server
from tests.policy.servers import Hours, draws, made, servers
from tests.support.case import Case


def least_time(hours: Hours, *chances: float) -> LeastTime:
    """One whose first draws are these, in pairs of servers: 0.0 is a, 0.9 the last one."""
    return LeastTime(draws(*chances), hours.seconds, 10.0)


class Quickest(Case):
    """`LeastTime`."""

    def test_quicker(self) -> None:
        """Of two servers the quicker one is taken."""
        a, b = among = servers(1, 1)
        balancer = least_time(Hours(), 0.0, 0.9)
        balancer.timed(a, 0.2)
        balancer.timed(b, 0.1)
        self.assertEqual([balancer.choose(among), balancer.choose(among)], [b, b])

    def test_open_connections(self) -> None:
        """What is open counts: one that is twice as quick has twice as much to do before it is level."""
        a, b = among = servers(1, 1)
        balancer = least_time(Hours(), *[0.0] * 4)
        balancer.timed(a, 0.2)
        balancer.timed(b, 0.1)
        for opened, chosen in ((0, b), (1, a), (2, a)):  # at a draw the first one drawn
            b.open = opened
            self.assertIs(balancer.choose(among), chosen, opened)
        a.open = 1
        self.assertIs(balancer.choose(among), b)

    def test_weights(self) -> None:
        """One of three times the weight may take three times as long."""
        a, b = among = servers(3, 1)
        balancer = least_time(Hours(), 0.9, 0.9)
        balancer.timed(a, 0.29)
        balancer.timed(b, 0.1)
        self.assertIs(balancer.choose(among), a)
        balancer.timed(a, 0.31)
        self.assertIs(balancer.choose(among), b)

    def test_peak(self) -> None:
        """A higher time counts at once, a lower one little by little: Finagle's peak EWMA."""
        hours = Hours()
        a = servers(1)[0]
        balancer = least_time(hours)
        balancer.timed(a, 0.1)
        balancer.timed(a, 0.9)
        self.assertEqual(a.measured, 0.9)
        hours.time += 10
        balancer.timed(a, 0.1)
        self.assertApproximates(a.measured, 0.9 * 0.3679 + 0.1 * 0.6321, 0.001)
        balancer.timed(a, 0.1)
        self.assertApproximates(a.measured, 0.9 * 0.3679 + 0.1 * 0.6321, 0.001)

    def test_forgiven(self) -> None:
        """A server that was slow is tried again when that has faded, without a new measurement."""
        hours = Hours()
        a, b = among = servers(1, 1)
        balancer = least_time(hours, *[0.0] * 3)
        balancer.timed(a, 1.0)
        for later, chosen in ((0.0, b), (20.0, b), (10.0, a)):
            hours.time += later
            balancer.timed(b, 0.1)
            self.assertIs(balancer.choose(among), chosen)

    def test_unknown(self) -> None:
        """A server that nobody has measured gets one connection, and no second before it is measured."""
        a, b = among = servers(1, 1)
        balancer = least_time(Hours(), *[0.9] * 3)
        balancer.timed(a, 0.1)
        self.assertIs(balancer.choose(among), b)
        b.open = 1
        self.assertIs(balancer.choose(among), a)
        balancer.timed(b, 0.01)
        self.assertIs(balancer.choose(among), b)

    def test_unknown_for_long(self) -> None:
        """One whose first client says nothing, so that none is measured, gets another in each ``decay``."""
        hours = Hours()
        a, b = among = servers(1, 1)
        balancer = least_time(hours, *[0.9] * 6)
        balancer.timed(a, 0.1)
        for later, chosen in ((0.0, b), (9.0, a), (2.0, b), (0.0, a), (9.0, a), (2.0, b)):
            hours.time += later
            balancer.timed(a, 0.1)
            self.assertIs(balancer.choose(among), chosen)
            chosen.open += 1

    def test_no_time(self) -> None:
        """A measurement of nothing at all is one."""
        hours = Hours()
        a, b = among = servers(1, 1)
        balancer = least_time(hours, 0.0, 0.0)
        balancer.timed(a, 0.0)
        a.open = 1
        self.assertIs(balancer.choose(among), b)
        self.assertGreater(a.measured, 0.0)

    def test_a_mixed_pool(self) -> None:
        """Of ten servers, one ten times slower, the slow one gets far less than its share, but some."""
        hours, dice = Hours(), Dice(6)
        among = servers(*[1] * 10)
        balancer = made("leasttime", dice.random, hours)
        assert ITiming.providedBy(balancer)
        under_way: list[tuple[float, int, Server, float]] = []
        chosen: Counter[str] = Counter()
        for number in range(6_000):
            hours.time += 0.01
            while under_way and under_way[0][0] <= hours.time:
                _, _, server, took = heappop(under_way)
                server.open -= 1
                balancer.timed(server, took)
            server = balancer.choose(among)
            server.open += 1
            chosen[server.name] += 1
            took = (1.0 if server is among[4] else 0.1) * (0.5 + dice.random())
            heappush(under_way, (hours.time + took, number, server, took))
        self.assertEqual(len(chosen), 10)
        self.assertLess(chosen["e"], 300)
        self.assertGreater(chosen["e"], 5)
        rest = [count for name, count in chosen.items() if name != "e"]
        self.assertLess(max(rest), 1.5 * min(rest))


class Lightest(Case):
    """`LeastBytes`."""

    def test_fewer_bytes(self) -> None:
        """Of two idle servers the one that has moved less is taken, for its weight."""
        a, b = among = servers(2, 1)
        balancer = LeastBytes(draws(0.0, 0.0, 0.9), Hours().seconds, 10.0)
        balancer.released(a, 1500)
        balancer.released(b, 1000)
        self.assertIs(balancer.choose(among), a)
        balancer.released(a, 1000)
        self.assertIs(balancer.choose(among), b)
        balancer.released(b, 1000)
        self.assertIs(balancer.choose(among), a)

    def test_fades(self) -> None:
        """What was moved long ago counts little."""
        hours = Hours()
        a, b = among = servers(1, 1)
        balancer = LeastBytes(draws(0.0, 0.0), hours.seconds, 10.0)
        balancer.released(a, 1_000_000)
        hours.time += 60
        balancer.released(b, 5_000)
        self.assertIs(balancer.choose(among), a)
        balancer.released(b, -5_000)
        self.assertIs(balancer.choose(among), b)

    def test_under_way(self) -> None:
        """Before the first transfer has ended open connections count, so not all go to one server."""
        a, b = among = servers(1, 1)
        balancer = LeastBytes(draws(*[0.0] * 6), Hours().seconds, 10.0)
        names = ""
        for _ in range(6):
            server = balancer.choose(among)
            assert server is not None
            server.open += 1
            names += server.name
        self.assertEqual(names, "ababab")

    def test_shares_of_bytes(self) -> None:
        """With transfers of very different sizes the bytes, not the connections, are shared by weight."""
        hours, dice = Hours(), Dice(11)
        among = servers(1, 2, 3, 2)
        balancer = made("leastbytes", dice.random, hours, decay=60.0)
        assert ICounting.providedBy(balancer)
        under_way: list[tuple[float, int, Server, int]] = []
        moved: Counter[str] = Counter()
        for number in range(8_000):
            hours.time += 0.02
            while under_way and under_way[0][0] <= hours.time:
                _, _, server, size = heappop(under_way)
                server.open -= 1
                balancer.released(server, size)
            server = balancer.choose(among)
            server.open += 1
            size = int(1000 * dice.paretovariate(1.5))
            moved[server.name] += size
            heappush(under_way, (hours.time + 0.1 + size / 1e5, number, server, size))
        whole = sum(moved.values())
        for server in among:
            self.assertApproximates(moved[server.name] / whole, server.weight / 8, 0.03)
