"""What is counted of clients, which rules fire, and does the table stay within its bounds?"""

from __future__ import annotations

from random import Random
from typing import Any, Sequence

from proxyd.config.counters import CountersSpec, RuleSpec
from proxyd.policy.counters import Counters, Entry, Fired, Window
from tests.support.case import Case


def table(*rules: RuleSpec, **options: Any) -> Counters:
    return Counters(CountersSpec("t", rules=rules, **options))


def names(fired: Sequence[Fired]) -> list[str]:
    return [one.rule.name for one in fired]


class Windows(Case):
    def test_steady(self) -> None:
        """Of steady arrivals the sum is exact at any time, once the first window has passed."""
        window = Window()
        for n in range(1000):
            window.add(1, n * 0.1, 10.0)
            if n > 200:
                self.assertTrue(98.5 <= window.sum(n * 0.1, 10.0) <= 101.5)

    def test_burst(self) -> None:
        """A burst counts wholly at once, less and less in the next window, and not at all after it."""
        window = Window()
        window.add(100, 0.0, 10.0)
        for now, least, most in (
            (0.0, 100, 100),
            (9.9, 100, 100),
            (15.0, 49, 51),
            (19.9, 0, 2),
            (25.0, 0, 0),
        ):
            self.assertTrue(least <= window.sum(now, 10.0) <= most, (now, window.sum(now, 10.0)))

    def test_never_far_off(self) -> None:
        """It is never more than what came in the last two windows, nor less than what came in this one."""
        for seed in range(50):
            dice = Random(seed)
            window, came, now = Window(), [], 0.0
            for _ in range(300):
                now += dice.random() * 4
                amount = dice.randrange(5)
                window.add(amount, now, 10.0)
                came.append((now, amount))
                two = sum(amount for when, amount in came if now - when < 20)
                self.assertLessEqual(window.sum(now, 10.0), two + 1e-9)


class Rules(Case):
    def test_connections(self) -> None:
        """A rule fires when there is one more than it allows, once, and again only after it held no more."""
        clients = table(RuleSpec("fast", "log", "connection_rate", 3, window=10.0))
        self.assertEqual(
            [names(clients.opened("a", 0.0)[1]) for _ in range(6)], [[], [], [], ["fast"], [], []]
        )
        self.assertEqual(names(clients.opened("b", 0.0)[1]), [])
        self.assertEqual([names(clients.opened("a", 100.0)[1]) for _ in range(4)], [[], [], [], ["fast"]])

    def test_open(self) -> None:
        """What is open is counted up and down."""
        clients = table(RuleSpec("many", "log", "open", 1))
        first, fired = clients.opened("a", 0.0)
        self.assertEqual(names(fired), [])
        second, fired = clients.opened("a", 0.0)
        self.assertEqual((names(fired), second is first), (["many"], True))
        self.end(clients, first)
        self.end(clients, first)
        self.assertEqual(first.open, 0)

    def end(self, clients: Counters, entry: Entry, now: float = 0.0, **how: Any) -> list[str]:
        told = {"error": False, "protocol_error": False, "bytes_in": 0, "bytes_out": 0, **how}
        return names(clients.closed(entry, now, **told))

    def test_at_the_end(self) -> None:
        """Errors and bytes are known when a connection ends, and counted then."""
        for quantity, how in (
            ("errors", {"error": True}),
            ("protocol_errors", {"protocol_error": True}),
            ("bytes_in", {"bytes_in": 1}),
            ("bytes_out", {"bytes_out": 1}),
        ):
            for window in (0.0, 60.0):
                clients = table(RuleSpec("rule", "log", quantity, 2, window=window))
                fired = []
                for _ in range(4):
                    entry, began = clients.opened("a", 0.0)
                    self.assertEqual(names(began), [])
                    fired.append(self.end(clients, entry, **how))
                    entry, _ = clients.opened("a", 0.0)
                    self.assertEqual(self.end(clients, entry), [])
                self.assertEqual(fired, [[], [], ["rule"], []], quantity)

    def test_denies(self) -> None:
        """A rule that denies does so for as long as its condition holds, and counting alone denies nobody."""
        clients = table(
            RuleSpec("rate", "deny", "connections", 2, window=10.0), RuleSpec("log", "log", "open", 0)
        )
        for _ in range(3):
            self.assertIsNone(clients.denies("a", 0.0))
            clients.opened("a", 0.0)
        denied = clients.denies("a", 5.0)
        assert denied is not None
        self.assertEqual(denied.name, "rate")
        self.assertIsNone(clients.denies("b", 5.0))
        self.assertIsNone(clients.denies("a", 18.0))


class Bounds(Case):
    def test_spray(self) -> None:
        """An attack from many addresses evicts the entries that were used longest ago, and never grows."""
        clients = table(size=100)
        for number in range(10_000):
            clients.opened(number, 0.0)
            self.assertLessEqual(len(clients), 100)
        self.assertEqual((len(clients), clients.evicted), (100, 9_900))
        self.assertEqual([row.key for row in clients.rows(0.0, 3)], [9999, 9998, 9997])

    def test_forgotten_while_open(self) -> None:
        """A connection whose entry had to go is not counted in another's."""
        clients = table(size=1)
        old, _ = clients.opened("a", 0.0)
        clients.opened("b", 0.0)
        again, _ = clients.opened("a", 0.0)
        clients.closed(old, 0.0, True, False, 10, 10)
        self.assertEqual((again.open, again.counts[1]), (1, 0))

    def test_ttl(self) -> None:
        """What is not used is forgotten after its time, but not while a connection is open."""
        clients = table(ttl=10.0)
        busy, _ = clients.opened("busy", 0.0)
        idle, _ = clients.opened("idle", 0.0)
        clients.closed(idle, 0.0, False, False, 0, 0)
        clients.sweep(10.0)
        self.assertEqual(len(clients), 2)
        clients.sweep(10.1)
        self.assertEqual([row.key for row in clients.rows(10.1, 9)], ["busy"])
        clients.closed(busy, 10.1, False, False, 0, 0)
        clients.sweep(21.0)
        self.assertEqual(len(clients), 0)

    def test_stale(self) -> None:
        """An entry that is out of date counts from nothing, even if it was not swept away yet."""
        clients = table(ttl=10.0)
        entry, _ = clients.opened("a", 0.0)
        clients.closed(entry, 0.0, False, False, 0, 0)
        fresh, _ = clients.opened("a", 11.0)
        self.assertEqual((fresh is entry, fresh.counts[0], fresh.open), (False, 1, 1))

    def test_clear(self) -> None:
        """An entry can be forgotten by hand."""
        clients = table()
        clients.opened("a", 0.0)
        self.assertEqual((clients.clear("a"), clients.clear("a"), len(clients)), (True, False, 0))

    def test_as_the_model(self) -> None:
        """Whatever comes and goes, the open ones are those of a simple count, and zero at the end."""
        for seed in range(60):
            dice = Random(seed)
            clients = table(RuleSpec("r", "log", "open", 2), size=1000, ttl=5.0)
            live: list[tuple[str, Entry]] = []
            now = 0.0
            for _ in range(300):
                now += dice.random() * 3
                clients.sweep(now)
                if dice.random() < 0.55 or not live:
                    key = dice.choice("abcdef")
                    live.append((key, clients.opened(key, now)[0]))
                else:
                    key, entry = live.pop(dice.randrange(len(live)))
                    clients.closed(entry, now, False, False, 1, 1)
                for row in clients.rows(now, 100):
                    self.assertEqual(row.open, sum(key == row.key for key, _ in live))
                self.assertLessEqual({key for key, _ in live}, {row.key for row in clients.rows(now, 100)})
