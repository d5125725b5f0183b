"""Is it said of each server by what a client gets it?"""

from __future__ import annotations

from typing import Any

from proxyd.config.affinity import AffinitySpec
from proxyd.policy.state import State
from tests.policy.pools import make, named
from tests.policy.servers import client
from tests.support.case import Case

# Servers as `make` has them, options of the pool, who of them is down, and what is said of those who are fit.
TABLE: list[tuple[str, dict[str, Any], str, dict[str, str]]] = [
    ("a b/backup c/p1", {}, "", {"a": "balance", "b": "backup", "c": "backup"}),
    ("a b/backup", {}, "a", {"b": "backup"}),
    ("a b c/backup", {"backup_below": 2}, "a", {"b": "balance", "c": "backup"}),
    ("a/backup b/backup", {}, "", {"a": "balance", "b": "balance"}),
    ("a/p1 b/p2", {}, "", {"a": "balance", "b": "backup"}),
    ("a b c", {"panic_threshold": 50}, "ab", {"a": "panic", "b": "panic", "c": "panic"}),
    ("a b", {"panic_threshold": 50}, "a", {"b": "balance"}),
]


class ChosenTests(Case):
    def test_table(self) -> None:
        """It goes by who is up, and who stands in for whom."""
        for words, options, down, expected in TABLE:
            pool, _ = make(*words.split(), **options)
            for name in down:
                pool.turned(named(pool)(name), State.DOWN, "", 0.0)
            standing = {server.name: server.standing for tier in pool.tiers for server in tier}
            self.assertEqual(standing, expected, (words, down))

    def test_last_resort(self) -> None:
        """While none is up, one that is ejected stands for all, until it is up again."""
        pool, _ = make("a")
        [a] = pool.servers
        pool.eject(a, 9.0, "", 0.0)
        self.assertEqual((pool.pick(), a.standing), (a, "last_resort"))
        pool.tick(10.0)
        self.assertEqual((pool.pick(), a.standing), (a, "balance"))

    def test_came_back(self) -> None:
        """It is known of the last one alone whether it has got the server that it had."""
        pool, _ = make("a", "b", affinity=AffinitySpec("source"))
        for number, came_back in (1, False), (1, True), (2, False), (2, True):
            pool.pick((), client(number), 0.0)
            self.assertEqual(pool.came_back, came_back, number)
        pool.pick([pool.servers[0]], client(2), 0.0)
        self.assertFalse(pool.came_back)
