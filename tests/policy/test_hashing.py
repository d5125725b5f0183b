"""Do like clients get the same server, and do others stay where they are when servers come and go?"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from math import ceil
from random import Random as Dice
from typing import Callable, Mapping, Optional, Sequence

from proxyd.interfaces import IBalancer, IKeyed
from proxyd.policy.arrival import Arrival
from proxyd.policy.hashing import TABLE_SIZE, TABLES, Hashed, Maglev, MakeTable, Ring, Table, hash_of
from proxyd.policy.server import Server
from tests.policy.servers import always, busy, client, end, made, off_share, servers, weigh
from tests.support.case import Case

CLIENTS = 2_000

# Where the first keys lead among a, b, c of twice the weight, and d.
RING = "dabcdcacccddaddccaccaccc"
MAGLEV = "aaababdcdbbbbccccdcbcbac"


def led(balancer: IBalancer, among: list[Server], avoid: Sequence[Server] = ()) -> list[Optional[Server]]:
    """The server of each of the clients."""
    return [balancer.choose(among, avoid, client(number)) for number in range(CLIENTS)]


def table_of(make: MakeTable, among: Sequence[Server]) -> Table:
    """The table of these servers."""
    return make({server: server.weight for server in among})


def owners(table: Table) -> list[str]:
    """The name of the first server that each of many keys asks for."""
    return [next(table.asks(hash_of(b"%d" % number))).name for number in range(CLIENTS)]


class Tables(Case):
    """What is true of `Ring` and `Maglev`."""

    def test_shares(self) -> None:
        """Each server has keys in proportion to its weight."""
        for make, bound in ((Ring, 0.35), (Maglev, 0.2)):
            for weights in ((1,) * 7, (1, 2, 3, 4), (100, 200, 300)):
                among = servers(*weights)
                table = table_of(make, among)
                chosen = Counter(next(table.asks(hash_of(b"%d" % n))).name for n in range(5_000))
                self.assertLess(off_share(chosen, among), bound, (make.__name__, weights))

    def test_removal(self) -> None:
        """When one of N servers is taken away, close to 1/N of the keys move, and no others on a ring."""
        for make, most in ((Ring, 0.0), (Maglev, 0.05)):
            for count in (2, 5, 20):
                among = servers(*[1] * count)
                gone = among[count // 2]
                before = owners(table_of(make, among))
                after = owners(table_of(make, [server for server in among if server is not gone]))
                moved = [old for old, new in zip(before, after) if old != new]
                self.assertEqual(moved.count(gone.name), before.count(gone.name))
                self.assertApproximates(moved.count(gone.name) / CLIENTS, 1 / count, 0.4 / count)
                self.assertLessEqual(len(moved) - moved.count(gone.name), most * CLIENTS, (make, count))

    def test_weight_change(self) -> None:
        """When a weight is halved, little more than the keys it loses move."""
        for make in (Ring, Maglev):
            among = servers(2, 2, 2, 2, 2)
            before = owners(table_of(make, among))
            weigh(among[0], 1)
            after = owners(table_of(make, among))
            moved = sum(old != new for old, new in zip(before, after))
            self.assertLess(moved / CLIENTS, 0.2, make)
            self.assertGreater(before.count("a"), 1.5 * after.count("a"))

    def test_order(self) -> None:
        """Proxies that list the same servers in another order lead clients to the same ones."""
        for make in TABLES.values():
            among = servers(1, 2, 3, 1, 2)
            self.assertEqual(owners(table_of(make, among)), owners(table_of(make, among[::-1])))

    def test_the_same_for_ever(self) -> None:
        """A new release must not lead clients elsewhere: these keys are those of the first one."""
        among = servers(1, 1, 2, 1)
        self.assertEqual("".join(owners(table_of(Ring, among))[:24]), RING)
        self.assertEqual("".join(owners(table_of(Maglev, among))[:24]), MAGLEV)

    def test_next_ones(self) -> None:
        """Whoever is passed over has its keys spread over all the others."""
        for make in TABLES.values():
            among = servers(*[1] * 5)
            table = table_of(make, among)
            second: Counter[str] = Counter()
            for number in range(CLIENTS):
                asks = islice(table.asks(hash_of(b"%d" % number)), 64)
                names = list(dict.fromkeys(server.name for server in asks))
                self.assertGreaterEqual(len(names), 4)
                if names[0] == "a":
                    second[names[1]] += 1
            self.assertEqual(set(second), {"b", "c", "d", "e"})
            self.assertLess(max(second.values()), 3 * min(second.values()))

    def test_a_ring_ends(self) -> None:
        """A key asks for each point once, wherever it begins: at the first, the last, or beyond it."""
        among = servers(1, 1, 1)
        ring = table_of(Ring, among)
        for key in (0, 1 << 63, 2**64 - 1):
            counted = Counter(server.name for server in ring.asks(key))
            self.assertEqual(counted, {"a": 256, "b": 256, "c": 256})

    def test_maglev_places(self) -> None:
        """The places of a Maglev table are dealt out to the last one, by weight as exactly as can be."""
        table = table_of(Maglev, servers(1, 2, 5))
        counted = Counter(next(table.asks(place)).name for place in range(TABLE_SIZE))
        self.assertEqual(sum(counted.values()), TABLE_SIZE)
        for name, weight in (("a", 1), ("b", 2), ("c", 5)):
            self.assertApproximates(counted[name], TABLE_SIZE * weight / 8, 3)


class Sticky(Case):
    """`Hashed`, with each table."""

    def each(self) -> list[tuple[str, Callable[[], IBalancer]]]:
        return [(name, lambda name=name: made(name, always(0.5))) for name in TABLES]  # type: ignore[misc]

    def test_changes_at_once(self) -> None:
        """However much changes before the next client comes, one table is made; and none if nothing does."""
        made_of: list[list[int]] = []

        def make_table(weights: Mapping[Server, int]) -> Ring:
            made_of.append([*weights.values()])
            return Ring(weights)

        balancer = Hashed(make_table, lambda arrival: arrival.sni.encode(), always(0.5))
        among = servers(1, 2, 3)
        balancer.lay_out(among)
        self.assertEqual(made_of, [[1, 2, 3]])
        balancer.choose(among, (), Arrival(sni="a"))
        among[0].weight = 4
        balancer.lay_out(among)
        balancer.lay_out(among[:2])
        self.assertEqual(len(made_of), 1)
        self.assertIn(balancer.choose(among[:2], (), Arrival(sni="a")), among[:2])
        balancer.lay_out(among[:2])
        balancer.choose(among[:2], (), Arrival(sni="a"))
        self.assertEqual(made_of[1:], [[4, 2]])

    def test_the_same_again(self) -> None:
        """A client gets the same server each time, from each proxy, and also after a restart."""
        for name, make in self.each():
            among = servers(1, 2, 1, 3)
            self.assertEqual(led(make(), among), led(make(), among[:]), name)

    def test_down_and_up(self) -> None:
        """While a server is down its clients alone go elsewhere, and then they come back."""
        for name, make in self.each():
            among = servers(1, 1, 1, 1, 1)
            balancer = make()
            before = led(balancer, among)
            during = led(balancer, [server for server in among if server is not among[2]])
            for old, new in zip(before, during):
                if old is among[2]:
                    self.assertIsNot(new, among[2])
                else:
                    self.assertIs(new, old, name)
            self.assertEqual(led(balancer, among), before, name)

    def test_a_retry_is_as_if_it_were_down(self) -> None:
        """A client whose server has failed is led where it is led when that is down."""
        for name, make in self.each():
            among = servers(1, 1, 1, 1)
            balancer = make()
            self.assertEqual(led(balancer, among, [among[1]]), led(balancer, [among[0], *among[2:]]), name)

    def test_few_are_left(self) -> None:
        """With two of 300 servers up both have clients, who stay when a third one comes up."""
        for name, make in self.each():
            everyone = servers(*[1] * 300)
            balancer = make()
            balancer.choose(everyone, (), client(0))
            two, three = everyone[5:7], everyone[5:8]
            before, after = led(balancer, two), led(balancer, three)
            self.assertGreater(min(Counter(map(id, before)).values()), CLIENTS / 3)
            moved = [new for old, new in zip(before, after) if old is not new]
            self.assertLess(len(moved), CLIENTS / 2, name)
            self.assertEqual({id(server) for server in moved}, {id(everyone[7])}, name)

    def test_weights_change(self) -> None:
        """Once a server has another weight it has another share, and the rest stays."""
        for name, make in self.each():
            among = servers(4, 4, 4)
            balancer = make()
            assert IKeyed.providedBy(balancer)
            balancer.lay_out(among)
            before = led(balancer, among)
            weigh(among[0], 1)
            balancer.lay_out(among)
            after = led(balancer, among[:])
            self.assertLess(after.count(among[0]), before.count(among[0]) / 2, name)
            self.assertLess(sum(old is not new for old, new in zip(before, after)), CLIENTS * 0.4, name)

    def test_drained(self) -> None:
        """When a server is drained its clients alone go elsewhere, and come back with any weight."""
        for name, make in self.each():
            among = servers(2, 2, 2, 2)
            balancer = make()
            assert IKeyed.providedBy(balancer)
            balancer.lay_out(among)
            before = led(balancer, among)
            weigh(among[1], 0)
            balancer.lay_out(among)
            during = led(balancer, [among[0], *among[2:]])
            for old, new in zip(before, during):
                self.assertEqual(new is old, old is not among[1], name)
            weigh(among[1], 2)
            balancer.lay_out(among)
            self.assertEqual(led(balancer, among[:]), before, name)

    def test_no_key(self) -> None:
        """Who has no key gets a server by chance and connections, as with p2c."""
        among = servers(1, 1)
        among[0].open = 5
        balancer = made("hash", always(0.0), key="sni")
        self.assertIs(balancer.choose(among, (), Arrival("10.0.0.1", 1)), among[1])
        self.assertIs(balancer.choose(among, among[1:], Arrival("10.0.0.1", 1)), among[0])

    def test_by_name(self) -> None:
        """With `key=sni` all who ask for one name get one server, whoever they are."""
        among = servers(1, 1, 1, 1)
        balancer = made("maglev", always(0.0), key="sni")
        found = {balancer.choose(among, (), Arrival(f"10.0.0.{n}", n, "a.example")) for n in range(50)}
        self.assertEqual(len(found), 1)


class Bounded(Case):
    """`BoundedLoad`."""

    def test_one_client(self) -> None:
        """A single client with very many connections is given more servers, none above its bound."""
        for name in TABLES:
            among = servers(1, 2, 3, 2)
            balancer = made(name, always(0.5), hash_balance_factor=150)
            for number in range(1, 801):
                server = balancer.choose(among, (), client(1))
                server.open += 1
                for one in among:
                    self.assertLessEqual(one.open, ceil(ceil(number * 1.5) * one.weight / 8), name)
            self.assertLess(min(one.open / one.weight for one in among), 100, name)  # an even share is 100

    def test_as_without_while_there_is_room(self) -> None:
        """Nobody who fits below the bound is led elsewhere."""
        for name in TABLES:
            among = servers(1, 1, 1)
            bounded = made(name, always(0.5), hash_balance_factor=10_000)
            plain = made(name, always(0.5))
            for number in range(500):
                server = bounded.choose(among, (), client(number))
                self.assertIs(server, plain.choose(among, (), client(number)))
                server.open += 1

    def test_room_again(self) -> None:
        """When connections have ended clients are back at their own server."""
        for name in TABLES:
            among = servers(1, 1, 1, 1)
            balancer = made(name, always(0.5), hash_balance_factor=101)
            first = balancer.choose(among, (), client(1))
            chosen = busy(balancer, among, Dice(4), 4_000, 300)
            self.assertLess(off_share(chosen, among), 0.1, name)
            first.open += 1
            end(balancer, first)
            self.assertEqual([server.open for server in among], [0, 0, 0, 0])
            self.assertIs(balancer.choose(among, (), client(1)), first, name)

    def test_others_change(self) -> None:
        """What servers that went down still have open does not count, until they are back."""
        among = servers(1, 1, 1)
        among[0].open = 100
        balancer = made("hash", always(0.5), hash_balance_factor=110)
        for _ in range(3):
            for number in range(20):
                server = balancer.choose(among[1:], (), client(number))
                server.open += 1
            self.assertLessEqual(
                abs(among[1].open - among[2].open), 0.2 * (among[1].open + among[2].open) + 2
            )
        balancer.choose(among, (), client(1))
        end(balancer, among[0])
