"""Does the next process know of the servers what the one before knew, as far as it still holds?"""

from __future__ import annotations

import json
from typing import Any, Optional

from proxyd.config.balance import BalanceSpec
from proxyd.config.health import CheckSpec
from proxyd.config.pool import ServerSpec
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.state import State
from proxyd.policy.statefile import FRESH, Pasts, remember
from tests.policy.pools import fit, make, named
from tests.support.case import Case


def through_a_file(pool: Pool) -> Any:
    """What is remembered, as JSON has it."""
    return json.loads(json.dumps(remember([pool], 0.0)))


class Remembered(Case):
    """A process ends, and another begins."""

    def before(self, *words: str, **options: Any) -> Pool:
        options.setdefault("check", CheckSpec())
        pool, _ = make(*words, **options)
        for server in pool.servers:
            if options["check"] is not None:
                pool.turned(server, State.UP, "check passed", 5.0)
        return pool

    def after(
        self, pool: Pool, *words: str, later: float = 10.0, **options: Any
    ) -> tuple[Pool, dict[str, Server], list[str]]:
        options.setdefault("check", CheckSpec())
        again, _ = make(*words, **options)
        told = Pasts(through_a_file(pool), 100.0, 0.0).take_back(again, again.servers, 100.0 + later)
        return again, {server.name: server for server in again.servers}, [server.name for server in told]

    def test_operators(self) -> None:
        """What operators have done holds, with why and since when, however long it has been."""
        pool = self.before("a", "b", "c")
        pool.drain(pool.servers[0], "upgrade", 50.0)
        pool.disable(pool.servers[1], "new disk", 60.0)
        again, now, told = self.after(pool, "a", "b", "c", later=1e8)
        found = [(server.state, server.why, server.since) for server in now.values()]
        self.assertEqual(found[0], (State.DRAINING, "upgrade", 50.0))
        self.assertEqual(found[1], (State.MAINTENANCE, "new disk", 60.0))
        self.assertEqual((fit(again), told), ("c", ["a", "b"]))

    def test_checks(self) -> None:
        """What checks have found holds until the first check, if it was written lately."""
        pool = self.before("a", "b", "c")
        pool.turned(pool.servers[0], State.DOWN, "refused", 50.0)
        again, now, told = self.after(pool, "a", "b", "c")
        self.assertEqual((now["a"].state, now["a"].why, told), (State.DOWN, "refused", ["a"]))
        self.assertEqual(fit(again), "bc")
        again.turned(now["a"], State.UP, "", 111.0)
        self.assertLess(now["a"].effective_weight, 1.0)
        again.turned(now["b"], State.DOWN, "", 111.0)
        self.assertEqual(fit(again), "ac")
        for later in (FRESH, -1.0):
            again, now, told = self.after(pool, "a", "b", "c", later=later)
            self.assertEqual((now["a"].state, fit(again), told), (State.CHECKING, "abc", []))

    def test_drained_and_down(self) -> None:
        """One that was down while it drained is down when it is enabled."""
        pool = self.before("a", "b")
        pool.drain(pool.servers[0], "", 50.0)
        pool.turned(pool.servers[0], State.DOWN, "", 51.0)
        again, now, _ = self.after(pool, "a", "b")
        again.enable(now["a"], "", 111.0)
        self.assertIs(now["a"].state, State.DOWN)

    def test_no_check(self) -> None:
        """Where nobody checks any more nobody is down."""
        pool = self.before("a", "b")
        pool.turned(pool.servers[0], State.DOWN, "", 50.0)
        again, now, _ = self.after(pool, "a", "b", check=None)
        self.assertEqual((now["a"].state, fit(again)), (State.UP, "ab"))

    def test_ejected(self) -> None:
        """An ejection lasts until its time, and the next one is longer."""
        pool = self.before("a", "b", check=None)
        for _ in range(5):
            pool.failed(pool.servers[0], "refused", 90.0)
        again, now, told = self.after(pool, "a", "b", check=None)
        self.assertEqual((now["a"].state, now["a"].until, fit(again)), (State.EJECTED, 120.0, "b"))
        self.assertEqual(told, ["a"])
        again.tick(121.0)
        for _ in range(5):
            again.failed(now["a"], "refused", 122.0)
        self.assertEqual(now["a"].until, 122.0 + 60.0)
        again, now, told = self.after(pool, "a", "b", later=20.0, check=None)
        self.assertEqual((now["a"].state, told), (State.UP, []))

    def test_another_clock(self) -> None:
        """Another process counts its seconds from elsewhere, and may do so after the clock was set."""
        pool = self.before("a", "b", "c", check=None)
        pool.drain(pool.servers[1], "upgrade", 50.0)
        for _ in range(5):
            pool.failed(pool.servers[0], "refused", 90.0)
        content = json.loads(json.dumps(remember([pool], 1e9)))
        self.assertEqual([entry["since"] for entry in content], [1e9 + 90.0, 1e9 + 50.0, 0.0])
        again, _ = make("a", "b", "c", check=None)
        Pasts(content, 1e9 + 100.0, 1e9 + 97.0).take_back(again, again.servers, 13.0)
        a, b, c = again.servers
        self.assertEqual((a.state, a.since, a.until), (State.EJECTED, -7.0, 23.0))
        self.assertEqual((b.state, b.since, c.since), (State.DRAINING, -47.0, 0.0))
        again.tick(22.9)
        self.assertEqual((a.state, a.snapshot(1e9 + 97.0).until), (State.EJECTED, 1e9 + 120.0))
        again.tick(23.0)
        self.assertEqual((a.state, c.snapshot(1e9 + 97.0).since), (State.UP, 0.0))

    def test_weights(self) -> None:
        """A weight that an operator gave holds as long as the configuration's is the same."""
        pool = self.before("a/2", "b/2", "c/2", balance=BalanceSpec("maglev"))
        for server in pool.servers:
            pool.weigh(server, 9, "", 50.0)
        _, now, told = self.after(pool, "a/2", "b/3", "c/2")
        self.assertEqual([server.weight for server in now.values()], [9, 3, 9])
        self.assertEqual([server.effective_weight for server in now.values()], [9.0, 3.0, 9.0])
        self.assertEqual(told, ["a", "c"])

    def test_fixed_weights(self) -> None:
        """With static-rr a weight that cannot be is left out."""
        pool = self.before("a/2", "b")
        pool.weigh(pool.servers[0], 9, "", 50.0)
        _, now, _ = self.after(pool, "a/2", "b", balance=BalanceSpec("static-rr"))
        self.assertEqual(now["a"].weight, 2)

    def test_another_server(self) -> None:
        """A server that has another address, or a pool that is new, begins anew."""
        pool = self.before("x", "a", "b")
        pool.drain(named(pool)("a"), "", 50.0)
        again, _, told = self.after(pool, "a", "b")  # its port is another
        self.assertEqual((fit(again), told), ("ab", []))

    def test_start_is_not_slow(self) -> None:
        """Servers that were up have their whole share at once."""
        _, now, _ = self.after(self.before("a", "b"), "a", "b")
        self.assertEqual((now["a"].state, now["a"].effective_weight), (State.UP, 1.0))

    def test_a_server_that_comes_later(self) -> None:
        """It is where it was, once; what it does from then on is its own."""
        pool = self.before("a", "b", check=None)
        pool.drain(pool.servers[1], "upgrade", 50.0)
        again, _ = make("a")
        pasts = Pasts(through_a_file(pool), 100.0, 0.0)
        self.assertEqual(pasts.take_back(again, again.servers, 110.0), [])
        address = pool.servers[1].address
        for expected in (State.DRAINING, State.UP):
            (b,) = again.add([ServerSpec("b", address)], "", 111.0)
            pasts.take_back(again, [b], 111.0)
            self.assertIs(b.state, expected)
            again.remove([b], "", 112.0)

    def test_leaving(self) -> None:
        """One that drains because its name leads elsewhere is not drained when its name leads there again."""
        pool = self.before("a", "b")
        pool.servers[1].leaving = True
        pool.drain(pool.servers[1], "its name no longer leads there", 50.0)
        again, now, _ = self.after(pool, "a", "b")
        self.assertIs(now["b"].state, State.CHECKING)

    def test_foreign(self) -> None:
        """What is not of our making is refused, and nothing is changed."""
        pool = self.before("a", "b")
        pool.drain(pool.servers[0], "", 50.0)
        entry = through_a_file(pool)[0]
        wrong: list[Any] = [None, {}, 5, ["a"], [{}], [{**entry, "more": 1}]]
        odd: tuple[tuple[str, Optional[Any]], ...] = (
            ("state", "asleep"),
            ("health", 7),
            ("weight", 257),
            ("weight", -1),
            ("weight", True),
            ("since", "noon"),
            ("until", -1),
            ("until", 1e300),
            ("why", None),
            ("ejections", 1.5),
        )
        wrong += [[entry, {**entry, name: value}] for name, value in odd]
        for content in wrong:
            again, _ = make("a", "b", check=CheckSpec())
            with self.assertRaises(ValueError):
                Pasts(content, 100.0, 0.0).take_back(again, again.servers, 110.0)
            self.assertEqual(fit(again), "ab", content)
