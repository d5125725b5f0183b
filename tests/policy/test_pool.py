"""Do connections go to those servers that may have them?"""

from __future__ import annotations

from typing import Callable, Optional

from zope.interface import implementer

from proxyd.config.address import TcpAddress
from proxyd.config.health import CheckSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.interfaces import IBalancer
from proxyd.policy.health import Standing
from proxyd.policy.pool import Pool, Server
from tests.support.case import Case

UP, DOWN = Standing.UP, Standing.DOWN


@implementer(IBalancer)
class First:
    """Takes the first, and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[list[Server]] = []

    def choose(self, servers: list[Server]) -> Server:
        self.given.append(servers)
        return servers[0]


def make(*words: str, check: Optional[CheckSpec] = None) -> tuple[Pool, First]:
    """A pool of servers written as "a", "a/5" (weight 5) or "a/backup"."""
    specs = []
    for port, word in enumerate(words, 1001):
        name, _, rest = word.partition("/")
        weight = int(rest) if rest.isdigit() else 1
        specs.append(ServerSpec(name, TcpAddress("10.0.0.1", port), weight, rest == "backup"))
    first = First()
    return Pool(PoolSpec("web", tuple(specs), check=check), first), first


def named(pool: Pool) -> Callable[[str], Server]:
    return lambda name: next(server for server in pool.servers if server.name == name)


def fit(pool: Pool, *tried: str) -> str:
    """The names that the balancer may choose from, in order; empty when there are none."""
    assert isinstance(pool.balancer, First)
    pool.balancer.given.clear()
    picked = pool.pick([named(pool)(name) for name in tried])
    names = "".join(server.name for servers in pool.balancer.given for server in servers)
    assert (picked.name if picked else "") == names[:1]
    return names


class Candidates(Case):
    """Who may be chosen."""

    def test_without_check(self) -> None:
        """Servers that nobody checks count as up from the start."""
        pool, _ = make("a", "b")
        self.assertEqual(fit(pool), "ab")
        self.assertEqual([server.standing for server in pool.servers], [UP, UP])

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
        pool.turned(a, DOWN, "connection refused (3 checks in a row)")
        self.assertEqual(fit(pool), "b")
        self.assertEqual((a.standing, a.why), (DOWN, "connection refused (3 checks in a row)"))
        pool.turned(b, DOWN, "")
        self.assertIsNone(pool.pick())
        pool.turned(a, UP, "")
        self.assertEqual(fit(pool), "a")

    def test_backup(self) -> None:
        """A backup gets connections only when no other server can have them."""
        pool, _ = make("s/backup", "a", "b", "t/backup")
        server = named(pool)
        self.assertEqual(fit(pool), "ab")
        self.assertEqual(fit(pool, "a"), "b")
        self.assertEqual(fit(pool, "a", "b"), "st")
        self.assertEqual(fit(pool, "a", "b", "s"), "t")
        pool.turned(server("a"), DOWN, "")
        pool.turned(server("b"), DOWN, "")
        self.assertEqual(fit(pool), "st")
        pool.turned(server("t"), DOWN, "")
        self.assertEqual(fit(pool), "s")
        pool.turned(server("b"), UP, "")
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
        self.assertIs(a.standing, Standing.CHECKING)
        self.assertEqual(fit(pool), "ab")
        self.assertEqual(fit(pool, "a", "b"), "s")
        pool.turned(b, UP, "")
        self.assertEqual(fit(pool), "b")
        pool.turned(b, DOWN, "")
        self.assertEqual(fit(pool), "a")
        pool.turned(spare, UP, "")
        self.assertEqual(fit(pool), "s")

    def test_one_refused_at_the_start(self) -> None:
        """A first check that fails speaks for its own server only: the others need not wait for theirs."""
        pool, _ = make("a", "b", check=CheckSpec())
        pool.turned(pool.servers[0], DOWN, "")
        self.assertEqual(fit(pool), "b")
        pool.turned(pool.servers[1], DOWN, "")
        self.assertEqual(fit(pool), "")


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
            lambda: pool.turned(a, UP, "again"),
            lambda: pool.turned(b, DOWN, ""),
        ):
            pool.pick()
            before = first.given[-1]
            members = list(before)
            change()
            pool.pick()
            self.assertIsNot(first.given[-1], before)
            self.assertEqual(before, members)

    def test_retry_leaves_it_alone(self) -> None:
        """A retry gets a list of its own."""
        pool, first = make("a", "b")
        pool.pick()
        pool.pick([pool.servers[0]])
        pool.pick()
        self.assertIs(first.given[0], first.given[2])
        self.assertEqual(first.given[1], [pool.servers[1]])


class Words(Case):
    """How pools and servers look in a log."""

    def test_pool(self) -> None:
        """A pool says how many servers it has of each standing, and its open connections."""
        pool, _ = make("a", "b", "c", "d")
        self.assertEqual(repr(pool), "<Pool web 4 up, 0 open>")
        pool.turned(pool.servers[3], DOWN, "")
        pool.servers[0].open = 12
        self.assertEqual(repr(pool), "<Pool web 3 up, 1 down, 12 open>")
        pool.turned(pool.servers[2], Standing.CHECKING, "")
        self.assertEqual(repr(pool), "<Pool web 2 up, 1 down, 1 checking, 12 open>")

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
