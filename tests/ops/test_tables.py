"""Is what the daemon remembers shown as people think of it, and never more of it than was asked for?"""

from __future__ import annotations

from typing import Any

from proxyd.config import load
from proxyd.ops.command import Declined, Steered
from proxyd.ops.commands import COMMANDS
from proxyd.ops.tables import MOST_ROWS, ROWS
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import make_balancer
from proxyd.policy.pool import Pool
from tests.config.ini import MINIMAL, IniCase

INI = f"""{MINIMAL}
[pool db]
balance = first
affinity = source ttl=1h size=2k
server a = 10.0.0.1:5432
"""


class TableTests(IniCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 1000.0
        config = load(self.write(INI), {})
        self.pools = {
            spec.name: Pool(spec, make_balancer(spec.balance, lambda: 0.5, lambda: self.now))
            for spec in config.pools
        }

    def come(self, client: str) -> None:
        """A client connects."""
        self.assertIsNotNone(self.pools["db"].pick((), Arrival(client, 40000), self.now))

    def do(self, name: str, **given: Any) -> dict[str, Any]:
        command = COMMANDS[name]
        return command.run(Steered(self.pools, lambda: self.now), command.given(given), None)

    def test_tables(self) -> None:
        """Each table is told with how full it is; a pool without affinity has none."""
        self.come("192.0.2.1")
        self.assertEqual(
            self.do("show tables"),
            {"tables": [{"name": "affinity/db", "kind": "affinity", "entries": 1, "size": 2048}]},
        )

    def test_entries(self) -> None:
        """The client that came last is first, with the server it has and for how long it will have it."""
        self.come("192.0.2.1")
        self.come("2001:db8::1")
        self.come("192.0.2.1")
        self.now += 600
        answer = self.do("show table", table="affinity/db")
        self.assertEqual(answer["columns"], ["client", "server", "left_seconds", "connections"])
        self.assertEqual(
            answer["rows"],
            [
                {"client": "192.0.2.1", "server": "a", "left_seconds": 3000.0, "connections": 2},
                {"client": "2001:db8::/64", "server": "a", "left_seconds": 3000.0, "connections": 1},
            ],
        )

    def test_limit(self) -> None:
        """No answer has more entries than asked for, and there is a most to that."""
        for number in range(MOST_ROWS + 5):
            self.come(f"192.0.{number >> 8}.{number & 255}")
        for given, count in (({}, ROWS), ({"limit": 2}, 2), ({"limit": MOST_ROWS}, MOST_ROWS)):
            rows = self.do("show table", table="affinity/db", **given)["rows"]
            self.assertEqual((len(rows), rows[1]["client"]), (count, "192.0.3.235"))
        for limit in (0, MOST_ROWS + 1):
            declined = self.assertRaises(Declined, self.do, "show table", table="affinity/db", limit=limit)
            self.assertEqual(str(declined), f"limit: {limit} is not a number of rows; write 1 to 1000")

    def test_unknown(self) -> None:
        """A table that is not there is answered with the nearest that is."""
        declined = self.assertRaises(Declined, self.do, "show table", table="afinity/db")
        self.assertEqual(declined.code, "unknown_table")
        self.assertEqual(str(declined), 'table: "afinity/db" is not known; did you mean "affinity/db"?')
