"""Are the open connections shown as people think of them, and never more of them than was asked for?"""

from __future__ import annotations

from typing import Any, Iterator

from proxyd.config.address import TcpBind
from proxyd.config.listener import ListenerSpec
from proxyd.ops.command import Declined, Steered
from proxyd.ops.commands import COMMANDS
from proxyd.ops.connections import MOST_ROWS, ROWS
from proxyd.snapshots import ConnectionSnapshot
from tests.support.case import Case
from tests.support.walltime import SetTime

AT = SetTime(lambda: 1000.0)

FRONT = ListenerSpec("front", (TcpBind("tcp:80", "0.0.0.0", 80),), "db")
KNOWN = {"rtt": 0.01, "retransmits": 2}


class ConnectionTests(Case):
    def setUp(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.looked_at = 0

    def connections(self, listener: str, tcp: bool) -> Iterator[ConnectionSnapshot]:
        """Connections without end."""
        self.asked.append((listener, tcp))
        while True:
            self.looked_at += 1
            known = KNOWN if tcp else None
            yield ConnectionSnapshot(
                "front", "192.0.2.1:4000", "db", "a", "10.0.0.1:80", 990.0, 5, 7, known, chosen="affinity"
            )

    def do(self, **given: Any) -> dict[str, Any]:
        command = COMMANDS["show connections"]
        steered = Steered(
            {},
            AT.now,
            AT,
            listeners=lambda: [(FRONT, 5000)],
            connections=self.connections,
        )
        return command.run(steered, command.given(given), None)

    def test_rows(self) -> None:
        """Each is told with where it leads, how long it has lasted and what it has moved."""
        found = self.do(limit=1)
        self.assertEqual(found["open"], 5000)
        self.assertEqual(
            found["connections"],
            [
                {
                    "listener": "front",
                    "client": "192.0.2.1:4000",
                    "pool": "db",
                    "server": "a",
                    "server_address": "10.0.0.1:80",
                    "chosen": "affinity",
                    "for_seconds": 10.0,
                    "bytes_in": 5,
                    "bytes_out": 7,
                }
            ],
        )
        self.assertEqual(self.asked, [("", False)])

    def test_tcp(self) -> None:
        """What the kernel knows is there if it is wanted, and of a side of which it knows nothing, null."""
        [row] = self.do(limit=1, tcp=1, listener="front")["connections"]
        self.assertEqual((row["client_tcp"], row["server_tcp"]), (KNOWN, None))
        self.assertEqual(self.asked, [("front", True)])

    def test_bounded(self) -> None:
        """No more are looked at than are shown."""
        for given, count in ({}, ROWS), ({"limit": MOST_ROWS}, MOST_ROWS):
            self.looked_at = 0
            self.assertEqual(len(self.do(**given)["connections"]), count)
            self.assertEqual(self.looked_at, count)

    def test_declined(self) -> None:
        """A listener that there is not, and a number that there cannot be, are told."""
        for given, code in (
            ({"listener": "frnt"}, "unknown_listener"),
            ({"limit": 0}, "bad_parameter"),
            ({"limit": MOST_ROWS + 1}, "bad_parameter"),
        ):
            self.assertEqual(self.assertRaises(Declined, self.do, **given).code, code)
