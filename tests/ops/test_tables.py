"""Is what the daemon remembers shown as people think of it, and never more of it than was asked for?"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.logger import capturedLogs, formatEvent

from proxyd.config import load
from proxyd.ops.command import Declined, Steered
from proxyd.ops.commands import COMMANDS
from proxyd.ops.tables import MOST_ROWS, ROWS
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import make_balancer
from proxyd.policy.counters import Counters
from proxyd.policy.limits import prefix_of
from proxyd.policy.pool import Pool
from tests.config.ini import MINIMAL, IniCase
from tests.support.walltime import SetTime

INI = f"""{MINIMAL}
[counters clients]
prefix4 = 24
size = 50
[counters names]
key = sni
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
        self.counters = [Counters(spec) for spec in config.counters]

    def come(self, client: str) -> None:
        """A client connects."""
        self.assertIsNotNone(self.pools["db"].pick((), Arrival(client, 40000), self.now))

    def do(self, name: str, **given: Any) -> dict[str, Any]:
        command = COMMANDS[name]
        steered = Steered(self.pools, lambda: self.now, SetTime(lambda: self.now), counters=self.counters)
        return command.run(steered, command.given(given), None)

    def test_tables(self) -> None:
        """Each table is told with how full it is; a pool without affinity has none."""
        self.come("192.0.2.1")
        self.assertEqual(
            self.do("show tables"),
            {
                "tables": [
                    {"name": "affinity/db", "kind": "affinity", "entries": 1, "size": 2048},
                    {"name": "counters/clients", "kind": "counters", "entries": 0, "size": 50},
                    {"name": "counters/names", "kind": "counters", "entries": 0, "size": 100_000},
                ]
            },
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

    def test_first_server(self) -> None:
        """Where clients are led back to the server that they had first, that one is told, too."""
        affinity = self.pools["db"].affinity
        assert affinity is not None
        affinity.failback = True
        self.come("192.0.2.1")
        affinity.table.use(affinity.key(Arrival("192.0.2.1", 40000)), "b", self.now)
        answer = self.do("show table", table="affinity/db")
        self.assertEqual(answer["columns"], ["client", "server", "left_seconds", "connections", "first"])
        self.assertEqual([(row["server"], row["first"]) for row in answer["rows"]], [("b", "a")])

    def test_counters(self) -> None:
        """Of each client there is what was counted; a client is an address, a network, or a unix socket's."""
        clients = self.counters[0]
        for client in (ip_address("2001:db8::1").packed, b"", ip_address("192.0.2.1").packed):
            entry, _ = clients.opened(prefix_of(client, 24, 64), self.now)
        clients.opened(entry.key, self.now)
        clients.closed(entry, self.now, True, True, 30, 4000)
        self.now += 60
        answer = self.do("show table", table="counters/clients", limit=2)
        self.assertEqual(
            answer["columns"],
            [
                "client", "open", "connections", "errors", "protocol_errors", "bytes_in", "bytes_out",
                "idle_seconds",
            ],
        )  # fmt: skip
        self.assertEqual(
            [list(row.values()) for row in answer["rows"]],
            [["192.0.2.0/24", 1, 2, 1, 1, 30, 4000, 60.0], ["unix", 1, 1, 0, 0, 0, 0, 60.0]],
        )
        rows = self.do("show table", table="counters/clients")["rows"]
        self.assertEqual([row["client"] for row in rows], ["192.0.2.0/24", "unix", "2001:db8::/64"])

    def test_counters_of_names(self) -> None:
        """Where names are counted, the column says so."""
        self.counters[1].opened("www.example", self.now)
        [row] = self.do("show table", table="counters/names")["rows"]
        self.assertEqual((row["name"], row["connections"]), ("www.example", 1))

    def test_one(self) -> None:
        """One entry is found among many by how it is shown, or any address of its network; or it is told."""
        clients, names = self.counters
        for number in range(MOST_ROWS + 5):
            self.come(f"192.0.{number >> 8}.{number & 255}")
        clients.opened(prefix_of(ip_address("198.51.100.1").packed, 24, 64), self.now)
        names.opened("www.example", self.now)
        for table, key, first in (
            ("affinity/db", "192.0.0.1", ["192.0.0.1", "a"]),
            ("counters/clients", "198.51.100.77", ["198.51.100.0/24", 1]),
            ("counters/names", "www.example", ["www.example", 1]),
        ):
            [row] = self.do("show table", table=table, key=key)["rows"]
            self.assertEqual(list(row.values())[:2], first)
        before = self.do("show table", table="affinity/db", limit=1)["rows"]
        self.do("show table", table="affinity/db", key="192.0.0.1")
        self.assertEqual(self.do("show table", table="affinity/db", limit=1)["rows"], before)
        for key, code in (("192.0.2.99", "unknown_key"), ("10.0.0.0/8", "bad_parameter")):
            declined = self.assertRaises(Declined, self.do, "show table", table="counters/clients", key=key)
            self.assertEqual(declined.code, code)

    def test_clear(self) -> None:
        """An entry is forgotten as it is shown, or by any address of its network, and the log has who did."""
        clients, names = self.counters
        for address in ("192.0.2.1", "198.51.100.1", "2001:db8::1"):
            self.come(address)
            clients.opened(prefix_of(ip_address(address).packed, 24, 64), self.now)
        clients.opened(b"", self.now)
        names.opened("www.example", self.now)
        with capturedLogs() as events:
            for table, key in [
                ("counters/clients", "192.0.2.0/24"),
                ("counters/clients", "198.51.100.77"),
                ("counters/clients", "2001:db8::/64"),
                ("counters/clients", "unix"),
                ("counters/names", "www.example"),
                ("affinity/db", "192.0.2.1"),
                ("affinity/db", "2001:db8::/64"),
            ]:
                self.assertEqual(self.do("clear table", table=table, key=key), {"table": table, "key": key})
        self.assertEqual([row["entries"] for row in self.do("show tables")["tables"]], [1, 0, 0])
        self.assertEqual(
            formatEvent(events[0]), "admin: somebody has cleared 192.0.2.0/24 in counters/clients"
        )

    def test_clear_all(self) -> None:
        """All entries go at once, the log says how many, and those who are there still can leave."""
        clients, _ = self.counters
        self.come("192.0.2.1")
        entries = [clients.opened(bytes([number]), self.now)[0] for number in range(3)]
        with capturedLogs() as events:
            for table, count in (("counters/clients", 3), ("affinity/db", 1)):
                answer = self.do("clear table", table=table, all=True)
                self.assertEqual(answer, {"table": table, "entries": count})
        self.assertEqual([row["entries"] for row in self.do("show tables")["tables"]], [0, 0, 0])
        self.assertEqual(
            formatEvent(events[0]), "admin: somebody has cleared all 3 entries in counters/clients"
        )
        clients.closed(entries[0], self.now, False, False, 1, 1)
        self.come("192.0.2.1")
        self.assertEqual([row["entries"] for row in self.do("show tables")["tables"]], [1, 0, 0])
        for given in ({}, {"key": "192.0.2.1", "all": True}, {"all": False}):
            declined = self.assertRaises(Declined, self.do, "clear table", table="affinity/db", **given)
            self.assertEqual(str(declined), "clear table: write key or all, and not both")

    def test_clear_nothing(self) -> None:
        """What is not there, or could not be, is said."""
        for table, key, code, why in [
            ("counters/clients", "192.0.2.1", "unknown_key", "key: counters/clients has no 192.0.2.1"),
            (
                "counters/clients", "10.0.0.0/8", "bad_parameter",
                "key: 10.0.0.0/8 is of many entries; each is of a /24",
            ),
            (
                "affinity/db", "ten", "bad_parameter",
                'key: "ten" is neither a network nor an address; write 192.0.2.7, for example',
            ),
            ("counters/x", "ten", "unknown_table", 'table: "counters/x" is not known; '),
        ]:  # fmt: skip
            declined = self.assertRaises(Declined, self.do, "clear table", table=table, key=key)
            self.assertEqual((declined.code, str(declined)[: len(why)]), (code, why))

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
