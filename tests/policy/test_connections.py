"""Does the server with the fewest connections get the next one, and the first with room?"""

from __future__ import annotations

from collections import Counter
from random import Random as Dice

from proxyd.policy.connections import First, LeastConnections
from proxyd.policy.server import Server
from tests.policy.servers import end, names, servers, weigh
from tests.support.case import Case


def opened(balancer: LeastConnections | First, among: list[Server], times: int) -> str:
    """The names of so many choices, each of which opens a connection."""
    chosen = ""
    for _ in range(times):
        server = balancer.choose(among)
        if server is None:
            return chosen + "-"
        server.open += 1
        chosen += server.name
    return chosen


class Fewest(Case):
    """`LeastConnections`."""

    def test_fewest(self) -> None:
        """The one with fewest connections for its weight is taken."""
        among = servers(1, 1, 3)
        among[0].open, among[1].open, among[2].open = 3, 2, 7
        self.assertEqual(opened(LeastConnections(), among, 4), "bcca")

    def test_ties(self) -> None:
        """Equals take turns, whether their connections last or not."""
        among = servers(2, 2, 2)
        self.assertEqual(opened(LeastConnections(), among, 7), "abcabca")
        self.assertEqual(names(LeastConnections(), servers(1, 1, 1), 7), "abcabca")

    def test_ties_by_weight(self) -> None:
        """Servers that are always idle when a client comes get their shares all the same."""
        chosen = Counter(names(LeastConnections(), servers(5, 1, 2), 800))
        self.assertEqual(chosen, {"a": 500, "b": 100, "c": 200})

    def test_room_again(self) -> None:
        """A server that others have left is chosen again, however many it had."""
        among = servers(1, 1, 1)
        balancer = LeastConnections()
        self.assertEqual(opened(balancer, among, 9), "abcabcabc")
        for _ in range(3):
            end(balancer, among[1])
        self.assertEqual(opened(balancer, among, 4), "bbba")

    def test_no_debt(self) -> None:
        """One that was busy for long gets no more than its turn among the idle ones afterwards."""
        among = servers(1, 1, 1)
        balancer = LeastConnections()
        among[0].open = 1
        self.assertEqual(names(balancer, among, 100), "bc" * 50)
        end(balancer, among[0])
        self.assertLessEqual(names(balancer, among, 6).count("a"), 3)

    def test_retry(self) -> None:
        """A server that has failed is passed over, and loses nothing by it."""
        among = servers(1, 1, 1)
        balancer = LeastConnections()
        self.assertIs(balancer.choose(among, among[:1]), among[1])
        self.assertIs(balancer.choose(among, [among[0], among[2]]), among[1])
        self.assertIs(balancer.choose(among, among), None)
        self.assertIs(balancer.choose(among), among[0])

    def test_is_the_fewest(self) -> None:
        """Whatever opens, ends, fails or changes, nobody with fewer for its weight is ever left out."""
        for seed in range(40):
            dice = Dice(seed)
            everyone = servers(*(dice.randint(1, 9) for _ in range(dice.randint(1, 9))))
            balancer = LeastConnections()
            open_ones: list[Server] = []
            for _ in range(10):
                among = dice.sample(everyone, dice.randint(1, len(everyone)))
                for _ in range(30):
                    avoid = dice.sample(among, dice.choice((0, 0, min(1, len(among) - 1))))
                    server = balancer.choose(among, avoid)
                    assert server is not None
                    least = min(one.open / one.weight for one in among if one not in avoid)
                    self.assertEqual(server.open / server.weight, least, f"seed {seed}")
                    self.assertNotIn(server, avoid)
                    server.open += 1
                    open_ones.append(server)
                    while open_ones and dice.random() < 0.5:
                        end(balancer, open_ones.pop(dice.randrange(len(open_ones))))
                if dice.random() < 0.3:
                    weigh(dice.choice(everyone), dice.randint(1, 9))

    def test_weight_changes_while_connections_end(self) -> None:
        """A connection that ends on a server that is being drained does no harm."""
        among = servers(1, 1)
        balancer = LeastConnections()
        opened(balancer, among, 4)
        weigh(among[0], 0)
        end(balancer, among[0])
        self.assertEqual(opened(balancer, among[1:], 1), "b")
        end(balancer, among[0])
        self.assertEqual(opened(balancer, among[1:], 1), "b")

    def test_bounded(self) -> None:
        """What is remembered does not grow with the connections that come and go."""
        among = servers(*[1] * 10)
        balancer = LeastConnections()
        dice = Dice(2)
        open_ones: list[Server] = []
        for _ in range(3_000):
            chosen = balancer.choose(among)
            assert chosen is not None
            chosen.open += 1
            open_ones.append(chosen)
            if len(open_ones) > 300:
                for _ in range(dice.randint(0, 3)):
                    end(balancer, open_ones.pop(dice.randrange(len(open_ones))))
        # Between two choices as many may end as are open, and each is remembered once.
        self.assertLess(len(balancer._heap), 100)


class FillFirst(Case):
    """`First`."""

    def test_fills(self) -> None:
        """Each is filled before the next one gets any; when all are full there is none."""
        among = servers(1, 5, 1)
        for server, most in zip(among, (2, 3, 1)):
            server.max_connections = most
        self.assertEqual(opened(First(), among, 8), "aabbbc-")

    def test_no_bound(self) -> None:
        """One without a bound is never full, so those after it are there for when it is down."""
        among = servers(1, 1)
        balancer = First()
        self.assertEqual(opened(balancer, among, 5), "aaaaa")
        self.assertIs(balancer.choose(among, among[:1]), among[1])

    def test_room_again(self) -> None:
        """The first that has room again is the next, also after all were full."""
        among = servers(1, 1, 1)
        for server in among:
            server.max_connections = 2
        balancer = First()
        self.assertEqual(opened(balancer, among, 7), "aabbcc-")
        end(balancer, among[1])
        end(balancer, among[2])
        end(balancer, among[0])
        self.assertEqual(opened(balancer, among, 4), "abc-")

    def test_is_the_first(self) -> None:
        """Whatever opens, ends or fails, nobody before the one that is chosen had room."""
        for seed in range(40):
            dice = Dice(seed)
            everyone = servers(*[1] * dice.randint(1, 9))
            for server in everyone:
                server.max_connections = dice.randint(1, 4)
            balancer = First()
            open_ones: list[Server] = []
            for _ in range(10):
                among = dice.sample(everyone, dice.randint(1, len(everyone)))
                for _ in range(20):
                    avoid = dice.sample(among, dice.choice((0, 0, 1)))
                    left = [one for one in among if one.open < one.max_connections and one not in avoid]
                    chosen = balancer.choose(among, avoid)
                    self.assertIs(chosen, left[0] if left else None, f"seed {seed}")
                    if chosen is not None:
                        chosen.open += 1
                        open_ones.append(chosen)
                    while open_ones and dice.random() < 0.5:
                        end(balancer, open_ones.pop(dice.randrange(len(open_ones))))
