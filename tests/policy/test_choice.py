"""Do connections go to those servers that may have them?"""

from __future__ import annotations

from proxyd.config.health import CheckSpec
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
