"""What do checks, operators and time do to the servers of a pool?"""

from __future__ import annotations

from typing import Any, Callable

from proxyd.config.address import Addresses, TcpAddress
from proxyd.config.balance import BalanceSpec
from proxyd.config.health import CheckSpec
from proxyd.config.pool import ServerSpec
from proxyd.errors import IllegalMove
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.slowstart import FULL
from proxyd.policy.state import Change, State
from tests.policy.pools import fit, make, named
from tests.support.case import Case

UP, DOWN = State.UP, State.DOWN


class States(Case):
    """What checks, operators and time do to a server, and what becomes of it."""

    def setUp(self) -> None:
        self.told: list[tuple[str, str, str, str]] = []

    def make(self, *words: str, **options: Any) -> tuple[Pool, Server]:
        options.setdefault("check", CheckSpec())
        pool, _ = make(*words, **options)
        for server in pool.servers:
            if options["check"] is not None:
                pool.turned(server, UP, "check passed", 5.0)
        pool.watch(self.note)
        return pool, pool.servers[0]

    def note(self, change: Change) -> None:
        server = change.server
        self.told.append((server.name, change.event.value, change.before.value, server.state.value))

    def test_drain(self) -> None:
        """A server that drains gets nothing new, whatever its checks say; enabled, it is what they say."""
        for says in (UP, DOWN):
            pool, a = self.make("a", "b")
            pool.drain(a, "upgrade", 10.0)
            self.assertEqual((a.state, a.why, a.since, fit(pool)), (State.DRAINING, "upgrade", 10.0, "b"))
            pool.turned(a, DOWN, "", 11.0)
            if says is UP:
                pool.turned(a, UP, "", 12.0)
            self.assertEqual((a.state, a.why, fit(pool)), (State.DRAINING, "upgrade", "b"))
            pool.enable(a, "done", 20.0)
            self.assertEqual((a.state, a.since), (says, 20.0))

    def test_goes_down_while_it_drains(self) -> None:
        """Those who follow hear of it once: its connections may have to be closed."""
        pool, a = self.make("a", "b")
        pool.drain(a, "", 10.0)
        for _ in range(3):
            pool.turned(a, DOWN, "", 11.0)
        self.assertEqual(
            self.told, [("a", "drain", "up", "draining"), ("a", "failed", "draining", "draining")]
        )

    def test_maintenance(self) -> None:
        """In maintenance checks are nothing to it; enabled, it is looked at before it gets anything."""
        pool, a = self.make("a", "b")
        pool.disable(a, "new disk", 10.0)
        pool.turned(a, DOWN, "", 11.0)
        self.assertEqual((a.state, fit(pool)), (State.MAINTENANCE, "b"))
        pool.enable(a, "", 20.0)
        self.assertEqual((a.state, a.health, fit(pool)), (State.CHECKING, State.CHECKING, "b"))
        pool.turned(a, UP, "", 21.0)
        self.assertEqual(fit(pool), "ab")

    def test_maintenance_and_then_draining(self) -> None:
        """What was known before maintenance is forgotten, also by a server that drains after it."""
        pool, a = self.make("a", "b")
        pool.disable(a, "", 10.0)
        pool.drain(a, "", 11.0)
        pool.enable(a, "", 12.0)
        self.assertIs(a.state, State.CHECKING)

    def test_without_check(self) -> None:
        """Where nobody checks, a server that is enabled is up."""
        for verb in (Pool.drain, Pool.disable):
            pool, a = self.make("a", "b", check=None)
            verb(pool, a, "", 10.0)
            self.assertEqual(fit(pool), "b")
            pool.enable(a, "", 20.0)
            self.assertEqual((a.state, fit(pool)), (UP, "ab"))

    def test_ejected(self) -> None:
        """One that is ejected is out until its time is over; then it is checked, or else is up."""
        for check, after in ((CheckSpec(), State.CHECKING), (None, UP)):
            pool, a = self.make("a", "b", check=check)
            pool.eject(a, 40.0, "5 in a row", 10.0)
            self.assertEqual((a.state, a.until, fit(pool)), (State.EJECTED, 40.0, "b"))
            pool.tick(39.0)
            self.assertIs(a.state, State.EJECTED)
            pool.tick(40.0)
            self.assertEqual((a.state, a.until), (after, 0.0))
            pool.tick(41.0)

    def test_ejected_goes_down(self) -> None:
        """When its checks fail, too, one that is ejected is down, and its time brings nothing."""
        pool, a = self.make("a", "b")
        pool.eject(a, 40.0, "", 10.0)
        pool.turned(a, DOWN, "", 11.0)
        pool.tick(40.0)
        self.assertIs(a.state, DOWN)

    def test_ejected_are_better_than_nobody(self) -> None:
        """When all others have gone down, those that are ejected get connections."""
        pool, a = self.make("a", "b")
        pool.eject(a, 40.0, "", 10.0)
        pool.turned(pool.servers[1], DOWN, "", 11.0)
        self.assertEqual(fit(pool), "a")

    def test_illegal(self) -> None:
        """What cannot be is refused by the server's name, and changes nothing."""
        pool, a = self.make("a", "b")
        pool.turned(a, DOWN, "refused", 6.0)
        self.told.clear()
        with self.assertRaisesRegex(IllegalMove, "server a of pool web: a server that is down"):
            pool.eject(a, 40.0, "", 10.0)
        self.assertEqual((a.state, a.why, a.since, self.told), (DOWN, "refused", 6.0, []))

    def test_leaving(self) -> None:
        """A server whose name leads elsewhere cannot be enabled, and goes on draining."""
        pool, _ = make("a", "b")
        b = pool.servers[1]
        pool.drain(b, "its name has left", 0.0)
        b.leaving = True
        with self.assertRaisesRegex(IllegalMove, "server b of pool web is leaving: its name leads elsewhere"):
            pool.enable(b, "operator", 1.0)
        self.assertIs(b.state, State.DRAINING)

    def test_told_once(self) -> None:
        """Who follows is told of each change when it has been made, and of nothing that changes nothing."""
        pool, a = self.make("a", "b")
        for verb in (Pool.drain, Pool.disable, Pool.enable):
            verb(pool, a, "", 10.0)
            verb(pool, a, "", 11.0)
        pool.turned(a, UP, "", 12.0)
        pool.weigh(a, 3, "", 13.0)
        self.assertEqual(
            self.told,
            [
                ("a", "drain", "up", "draining"),
                ("a", "disable", "draining", "maintenance"),
                ("a", "enable", "maintenance", "checking"),
                ("a", "passed", "checking", "up"),
                ("a", "weigh", "up", "up"),
            ],
        )

    def test_add_and_remove(self) -> None:
        """A server that is added is checked first; one that is removed gets nothing more."""
        pool, a = self.make("a", "b")
        [c] = pool.add([ServerSpec("c", TcpAddress("10.0.0.3", 80), 2)], "new address", 10.0)
        self.assertEqual((c.state, c.since, c.pool, fit(pool)), (State.CHECKING, 10.0, "web", "ab"))
        pool.turned(c, UP, "", 11.0)
        self.assertEqual(fit(pool), "abc")
        pool.remove([a], "", 12.0)
        self.assertEqual((fit(pool), [server.name for server in pool.servers]), ("bc", ["b", "c"]))
        with self.assertRaisesRegex(ValueError, "has a server b already"):
            pool.add([ServerSpec("b", TcpAddress("10.0.0.3", 80))], "", 13.0)
        with self.assertRaisesRegex(ValueError, "has no such server as a"):
            pool.remove([a], "", 13.0)

    def test_moved(self) -> None:
        """A server that has another address begins anew, unless it may still be where it was."""
        pool, a = self.make("a", "b")
        here, there = TcpAddress("10.0.0.1", 1001), TcpAddress("10.0.0.9", 1001)
        pool.turned(a, UP, "", 1.0)
        self.told.clear()
        for address, state, event in (
            (here, UP, None),
            (Addresses((here, there)), UP, "revise"),
            (there, UP, "revise"),
            (here, State.CHECKING, "move"),
        ):
            pool.revise([(a, ServerSpec("a", address))], "", 2.0)
            self.assertEqual((a.address, a.state), (address, state))
            self.assertEqual([told[1] for told in self.told], [event] if event else [])
            self.told.clear()
        pool.drain(a, "", 3.0)
        pool.revise([(a, ServerSpec("a", there))], "", 4.0)
        self.assertEqual((a.state, a.health), (State.DRAINING, State.CHECKING))
        pool.enable(a, "", 5.0)
        self.assertIs(a.state, State.CHECKING)

    def test_moved_for_the_first_time(self) -> None:
        """When a name resolves for the first time nothing has moved: what is known of the server stays."""
        pool, a = self.make("a", "b")
        a.address = TcpAddress("db.example", 80)
        pool.turned(a, UP, "", 1.0)
        pool.revise([(a, ServerSpec("a", TcpAddress("10.0.0.1", 80)))], "", 2.0)
        self.assertEqual((a.state, a.cold), (UP, False))

    def test_weights_of_a_name_service(self) -> None:
        """They hold, and come into the tables of hashes, unless an operator has given another weight."""
        pool, _ = make("a", "b")
        a, b = pool.servers
        pool.weigh(b, 7, "by hand", 1.0)
        pool.revise(
            [(a, ServerSpec("a", a.address, 5, priority=2)), (b, ServerSpec("b", b.address, 5))], "", 2.0
        )
        self.assertEqual(
            [(a.weight, a.share, a.priority), (b.weight, b.configured)], [(5, 5 * FULL, 2), (7, 5)]
        )
        self.assertEqual(fit(pool), "b")


class SlowStart(Case):
    """How a server that is back comes to its share."""

    def test_recovery(self) -> None:
        """A server that was down has a part of its weight at first, and all of it after slow_start."""
        pool, first = make("a/2", "b", check=CheckSpec(), slow_start=30.0)
        a, b = pool.servers
        for server in (a, b):
            pool.turned(server, UP, "", 5.0)
        self.assertEqual((a.effective_weight, b.effective_weight), (2.0, 1.0))
        pool.turned(a, DOWN, "", 10.0)
        pool.turned(a, UP, "", 100.0)
        weights, lists = [a.effective_weight], set()
        for second in range(35):
            pool.tick(100.0 + second)
            pool.pick()
            weights.append(a.effective_weight)
            lists.add(id(first.given[-1]))
        self.assertEqual(weights, sorted(weights))
        self.assertEqual((weights[0], weights[-1], a.weight, b.effective_weight), (2 / FULL, 2.0, 2, 1.0))
        self.assertEqual(len({id(given) for given in first.given}), FULL)

    def test_not_at_the_start(self) -> None:
        """What has not been away does not start slowly."""
        pool, _ = make("a", "b", check=CheckSpec())
        a, b = pool.servers
        pool.turned(a, UP, "", 5.0)
        pool.turned(b, DOWN, "", 5.0)
        pool.turned(b, UP, "", 9.0)
        self.assertEqual((a.effective_weight, b.effective_weight), (1.0, 1 / FULL))

    def test_each_way_back(self) -> None:
        """From maintenance, an ejection or draining a server comes back slowly, too; so does a new one."""
        for verb in (Pool.drain, Pool.disable, lambda pool, a, why, now: pool.eject(a, 99.0, why, now)):
            pool, _ = make("a", "b")
            verb(pool, pool.servers[0], "", 10.0)
            pool.enable(pool.servers[0], "", 20.0)
            self.assertEqual(pool.servers[0].effective_weight, 1 / FULL)
        self.assertEqual(
            pool.add([ServerSpec("c", TcpAddress("::1", 1))], "", 5.0)[0].effective_weight, 1 / FULL
        )

    def test_down_again(self) -> None:
        """One that goes down on its way begins anew; meanwhile its weight may change."""
        pool, _ = make("a", "b", check=CheckSpec())
        a = pool.servers[0]
        for state, now in ((UP, 1.0), (DOWN, 2.0), (UP, 3.0)):
            pool.turned(a, state, "", now)
        pool.tick(18.0)
        self.assertEqual(a.effective_weight, 8 / FULL)
        pool.weigh(a, 4, "", 18.0)
        self.assertEqual(a.effective_weight, 4 * 8 / FULL)
        pool.turned(a, DOWN, "", 19.0)
        pool.turned(a, UP, "", 20.0)
        self.assertEqual(a.effective_weight, 4 / FULL)

    def test_off(self) -> None:
        """With slow_start = 0s, and where weights are fixed or do not count, it has its share at once."""
        several: tuple[dict[str, Any], ...] = (
            {"slow_start": 0.0},
            {"balance": BalanceSpec("static-rr")},
            {"balance": BalanceSpec("hash")},
        )
        for options in several:
            pool, _ = make("a", "b", **options)
            pool.drain(pool.servers[0], "", 10.0)
            pool.enable(pool.servers[0], "", 20.0)
            self.assertEqual(pool.servers[0].effective_weight, 1.0)


class Panic(Case):
    """When so few are up that the checks are not to be believed."""

    def make(self, *words: str, threshold: int = 50) -> tuple[Pool, Callable[[str], Server]]:
        pool, _ = make(*words, check=CheckSpec(), panic_threshold=threshold)
        for server in pool.servers:
            pool.turned(server, UP, "", 1.0)
        return pool, named(pool)

    def down(self, pool: Pool, *names: str) -> None:
        for name in names:
            pool.turned(named(pool)(name), DOWN, "", 2.0)

    def test_threshold(self) -> None:
        """While fewer than so many percent are up all get connections, but for whom an operator took out."""
        pool, server = self.make("a", "b", "c", "d", "e")
        pool.drain(server("e"), "", 1.0)
        self.down(pool, "a", "b")
        self.assertEqual((fit(pool), pool.panic), ("cd", False))
        self.down(pool, "c")
        self.assertEqual((fit(pool), pool.panic), ("abcd", True))
        self.down(pool, "d")
        self.assertEqual(fit(pool), "abcd")
        pool.turned(server("a"), UP, "", 3.0)
        pool.turned(server("b"), UP, "", 3.0)
        self.assertEqual((fit(pool), pool.panic), ("ab", False))

    def test_off(self) -> None:
        """Unless it is set there is no panic."""
        pool, _ = self.make("a", "b", threshold=0)
        self.down(pool, "a", "b")
        self.assertEqual((fit(pool), pool.panic), ("", False))

    def test_backups(self) -> None:
        """Backups come before servers that are down."""
        pool, _ = self.make("a", "b", "s/backup")
        self.down(pool, "a", "b")
        self.assertEqual((fit(pool), pool.panic), ("s", False))
        self.down(pool, "s")
        self.assertEqual((fit(pool), pool.panic), ("ab", True))

    def test_start(self) -> None:
        """Servers that have not been checked yet are no reason to panic."""
        pool, _ = make("a", "b", "c", check=CheckSpec(), panic_threshold=50)
        pool.turned(pool.servers[0], UP, "", 1.0)
        self.assertEqual((fit(pool), pool.panic), ("a", False))
