"""Do connections go to those servers that may have them?"""

from __future__ import annotations

from collections import Counter
from typing import Any

from proxyd.config.address import TcpAddress
from proxyd.config.balance import BalanceSpec
from proxyd.config.health import CheckSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import make_balancer
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from tests.policy.pools import fit, make, named
from tests.support.case import Case

UP, DOWN = State.UP, State.DOWN


class Candidates(Case):
    """Who may be chosen."""

    def test_without_check(self) -> None:
        """Servers that nobody checks count as up from the start."""
        pool, _ = make("a", "b")
        self.assertEqual(fit(pool), "ab")
        self.assertEqual([server.state for server in pool.servers], [UP, UP])

    def test_tried(self) -> None:
        """A retry goes to another server, and to none when all have been tried."""
        pool, _ = make("a", "b", "c")
        self.assertEqual(fit(pool, "a"), "bc")
        self.assertEqual(fit(pool, "c", "a"), "b")
        self.assertEqual(fit(pool, "a", "b", "c"), "")

    def test_down(self) -> None:
        """A server that is down gets nothing until it is up again."""
        pool, _ = make("a", "b")
        a, b = pool.servers
        pool.turned(a, DOWN, "connection refused (3 checks in a row)", 0.0)
        self.assertEqual(fit(pool), "b")
        self.assertEqual((a.state, a.why), (DOWN, "connection refused (3 checks in a row)"))
        pool.turned(b, DOWN, "", 0.0)
        self.assertIsNone(pool.pick())
        pool.turned(a, UP, "", 0.0)
        self.assertEqual(fit(pool), "a")

    def test_backup(self) -> None:
        """A backup gets connections only when no other server can have them."""
        pool, _ = make("s/backup", "a", "b", "t/backup")
        server = named(pool)
        self.assertEqual(fit(pool), "ab")
        self.assertEqual(fit(pool, "a"), "b")
        self.assertEqual(fit(pool, "a", "b"), "st")
        self.assertEqual(fit(pool, "a", "b", "s"), "t")
        pool.turned(server("a"), DOWN, "", 0.0)
        pool.turned(server("b"), DOWN, "", 0.0)
        self.assertEqual(fit(pool), "st")
        pool.turned(server("t"), DOWN, "", 0.0)
        self.assertEqual(fit(pool), "s")
        pool.turned(server("b"), UP, "", 0.0)
        self.assertEqual(fit(pool), "b")

    def test_weight_zero(self) -> None:
        """A server of weight 0 gets no connections; when all have it, the backups do, and else nobody."""
        for servers, chosen in [
            (("a/0", "b", "s/backup"), "b"),
            (("a/0", "b/0", "s/backup"), "s"),
            (("a/0", "b/0"), ""),
        ]:
            pool, _ = make(*servers)
            self.assertEqual(fit(pool), chosen)

    def test_unchecked(self) -> None:
        """Until one has passed those not checked yet count as up; then only those that have passed."""
        pool, _ = make("a", "b", "s/backup", check=CheckSpec())
        a, b, spare = pool.servers
        self.assertIs(a.state, State.CHECKING)
        self.assertEqual(fit(pool), "ab")
        self.assertEqual(fit(pool, "a", "b"), "s")
        pool.turned(b, UP, "", 0.0)
        self.assertEqual(fit(pool), "b")
        pool.turned(b, DOWN, "", 0.0)
        self.assertEqual(fit(pool), "a")
        pool.turned(spare, UP, "", 0.0)
        self.assertEqual(fit(pool), "s")

    def test_one_refused_at_the_start(self) -> None:
        """A first check that fails speaks for its own server only: the others need not wait for theirs."""
        pool, _ = make("a", "b", check=CheckSpec())
        pool.turned(pool.servers[0], DOWN, "", 0.0)
        self.assertEqual(fit(pool), "b")
        pool.turned(pool.servers[1], DOWN, "", 0.0)
        self.assertEqual(fit(pool), "")


class Tiers(Case):
    """Who is there for when others are not."""

    def test_backup_below(self) -> None:
        """Backups join in while fewer than so many others are up, and leave when there are enough."""
        pool, _ = make("a", "b", "s/backup", "c", "t/backup", backup_below=2)
        server = named(pool)
        self.assertEqual(fit(pool), "abc")
        pool.turned(server("a"), DOWN, "", 0.0)
        self.assertEqual(fit(pool), "bc")
        pool.turned(server("c"), DOWN, "", 0.0)
        self.assertEqual(fit(pool), "bst")
        self.assertEqual(fit(pool, "b"), "st")
        pool.turned(server("b"), DOWN, "", 0.0)
        self.assertEqual(fit(pool), "st")
        pool.turned(server("c"), UP, "", 0.0)
        pool.turned(server("a"), UP, "", 0.0)
        self.assertEqual(fit(pool), "ac")

    def test_never_enough(self) -> None:
        """When there are fewer servers than that, backups always serve."""
        pool, _ = make("a", "s/backup", backup_below=5)
        self.assertEqual(fit(pool), "as")

    def test_priority(self) -> None:
        """Servers of a higher number wait until none of a lower one is up, or all have been tried."""
        pool, _ = make("c/p2", "a", "b/p1", "d/p2")
        server = named(pool)
        self.assertEqual(fit(pool), "a")
        self.assertEqual(fit(pool, "a"), "b")
        self.assertEqual(fit(pool, "a", "b"), "cd")
        self.assertEqual(fit(pool, "a", "b", "c"), "d")
        pool.turned(server("a"), DOWN, "", 0.0)
        self.assertEqual(fit(pool), "b")
        pool.turned(server("b"), DOWN, "", 0.0)
        self.assertEqual(fit(pool), "cd")
        pool.turned(server("a"), UP, "", 0.0)
        self.assertEqual(fit(pool), "a")

    def test_priority_and_backups(self) -> None:
        """Backups come after the highest number, and as many tiers join in as are needed."""
        pool, _ = make("s/backup", "c/p7", "a", "b/p1", backup_below=2)
        server = named(pool)
        self.assertEqual(fit(pool), "ab")
        self.assertEqual(fit(pool, "a", "b"), "c")
        self.assertEqual(fit(pool, "a", "b", "c"), "s")
        pool.turned(server("b"), DOWN, "", 0.0)
        self.assertEqual(fit(pool), "ca")
        pool.turned(server("c"), DOWN, "", 0.0)
        self.assertEqual(fit(pool), "sa")


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


class TheSameList(Case):
    """What a balancer is promised: the same list means the same servers and weights."""

    def test_kept(self) -> None:
        """As long as nothing changes the balancer gets one and the same list."""
        pool, first = make("a", "b")
        pool.pick()
        pool.pick()
        self.assertIs(first.given[0], first.given[1])

    def test_new_after_a_change(self) -> None:
        """After a change it gets another one, and the old one stays as it was."""
        pool, first = make("a", "b")
        a, b = pool.servers
        for change in (
            lambda: pool.weigh(a, 3, "", 0.0),
            lambda: pool.turned(b, DOWN, "", 0.0),
        ):
            pool.pick()
            before = first.given[-1]
            members = list(before)
            change()
            pool.pick()
            self.assertIsNot(first.given[-1], before)
            self.assertEqual(before, members)

    def test_retry_leaves_it_alone(self) -> None:
        """A retry has the same list, and is told whom to avoid: nothing need be worked out anew for it."""
        pool, first = make("a", "b")
        pool.pick()
        pool.pick([pool.servers[0]])
        self.assertIs(first.given[0], first.given[1])
        self.assertEqual(first.left[1], [pool.servers[1]])


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
