"""Is what becomes of the servers of a pool known to who goes by it?"""

from __future__ import annotations

from collections import Counter
from typing import Any

from proxyd.config.address import TcpAddress
from proxyd.config.balance import BalanceSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import make_balancer
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from tests.policy.pools import fit, make
from tests.support.case import Case

UP, DOWN = State.UP, State.DOWN


class Weights(Case):
    """What changes while the daemon runs."""

    def test_weigh(self) -> None:
        """A new weight holds from the next choice on; with 0 a server gets no more, and may come back."""
        pool, first = make("a/2", "b")
        a = pool.servers[0]
        before = (pool.pick(), first.given[-1])
        pool.weigh(a, 7, "", 0.0)
        self.assertEqual((a.weight, fit(pool)), (7, "ab"))
        self.assertIsNot(first.given[-1], before[1])
        pool.weigh(a, 0, "", 0.0)
        self.assertEqual(fit(pool), "b")
        pool.weigh(a, 2, "", 0.0)
        self.assertEqual(fit(pool), "ab")

    def test_refused(self) -> None:
        """A weight that cannot be is refused, and nothing is changed."""
        pool, _ = make("a/2")
        for weight in (-1, 257):
            with self.assertRaises(ValueError):
                pool.weigh(pool.servers[0], weight, "", 0.0)
        self.assertEqual(pool.servers[0].weight, 2)

    def test_static(self) -> None:
        """With static-rr a server can be drained and brought back, and that is all."""
        pool, _ = make("a/2", "b", balance=BalanceSpec("static-rr"))
        a = pool.servers[0]
        with self.assertRaisesRegex(ValueError, "with balance static-rr the weight can be 0 or 2, not 3"):
            pool.weigh(a, 3, "", 0.0)
        pool.weigh(a, 0, "", 0.0)
        self.assertEqual(fit(pool), "b")
        pool.weigh(a, 2, "", 0.0)
        self.assertEqual((fit(pool), a.weight), ("ab", 2))


class Told(Case):
    """What a pool passes on to its balancer, and what it says that the balancer wants."""

    def pool(self, name: str, **parameters: Any) -> Pool:
        spec = BalanceSpec(name, **parameters)
        servers = tuple(ServerSpec(name, TcpAddress("10.0.0.1", 1)) for name in "abc")
        return Pool(PoolSpec("web", servers, balance=spec), make_balancer(spec, lambda: 0.5, lambda: 0.0))

    def test_wishes(self) -> None:
        """Who opens connections is asked for no more than the way of balancing needs."""
        for name, by_client, released, timed in [
            ("p2c", False, False, False),
            ("roundrobin", False, False, False),
            ("leastconn", False, True, False),
            ("first", False, True, False),
            ("leastbytes", False, True, False),
            ("leasttime", False, False, True),
            ("source", True, False, False),
        ]:
            pool = self.pool(name)
            wishes = (pool.by_client, pool.released is not None, pool.timed is not None)
            self.assertEqual(wishes, (by_client, released, timed), name)
        self.assertIsNotNone(self.pool("hash", hash_balance_factor=125).released)

    def test_arrival(self) -> None:
        """The client is passed on, so the same one gets the same server, and another one if that fails."""
        pool = self.pool("source")
        arrivals = [Arrival(f"10.0.0.{n}") for n in range(20)]
        servers = [pool.pick((), arrival) for arrival in arrivals]
        self.assertEqual(set(servers), set(pool.servers))
        self.assertEqual([pool.pick((), arrival) for arrival in arrivals], servers)
        gone = pool.servers[0]
        pool.turned(gone, DOWN, "", 0.0)
        for arrival, server in zip(arrivals, servers):
            self.assertEqual(pool.pick((), arrival) is server, server is not gone)

    def test_weights(self) -> None:
        """A keyed balancer lays its table out anew when a weight changes."""
        pool = self.pool("maglev")
        a = pool.servers[0]
        arrivals = [Arrival(f"10.0.{n >> 8}.{n & 255}") for n in range(1500)]
        before = Counter(pool.pick((), arrival) for arrival in arrivals)
        pool.weigh(a, 8, "", 0.0)
        after = Counter(pool.pick((), arrival) for arrival in arrivals)
        self.assertApproximates(before[a] / 1500, 1 / 3, 0.05)
        self.assertApproximates(after[a] / 1500, 8 / 10, 0.05)


class Words(Case):
    """How pools and servers look in a log."""

    def test_pool(self) -> None:
        """A pool says how many servers it has of each state, and its open connections."""
        pool, _ = make("a", "b", "c", "d")
        self.assertEqual(repr(pool), "<Pool web 4 up, 0 open>")
        pool.turned(pool.servers[3], DOWN, "", 0.0)
        pool.servers[0].open = 12
        self.assertEqual(repr(pool), "<Pool web 3 up, 1 down, 12 open>")
        pool.drain(pool.servers[2], "", 0.0)
        self.assertEqual(repr(pool), "<Pool web 2 up, 1 down, 1 draining, 12 open>")

    def test_server(self) -> None:
        """A server says its pool, its name and address, and what it is doing."""
        pool, _ = make("a")
        self.assertEqual(repr(pool.servers[0]), "<Server web/a 10.0.0.1:1001 up, 0 open>")

    def test_same_looks_are_not_the_same_server(self) -> None:
        """Servers of two pools are told apart even when all about them is equal."""
        one, _ = make("a")
        other, _ = make("a")
        self.assertNotEqual(one.servers[0], other.servers[0])
        self.assertEqual(fit(one), "a")
        self.assertIs(one.pick(other.servers), one.servers[0])
