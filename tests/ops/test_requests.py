"""Are the requests that are under way shown, those first that have lasted longest, and never too many?"""

from __future__ import annotations

from typing import Any, Iterator

from proxyd.config.address import TcpBind
from proxyd.config.listener import ListenerSpec
from proxyd.ops.command import Declined, Steered
from proxyd.ops.commands import COMMANDS
from proxyd.ops.connections import MOST_ROWS, ROWS
from proxyd.snapshots import RequestSnapshot
from tests.support.case import Case
from tests.support.walltime import SetTime

BIND = (TcpBind("tcp:80", "0.0.0.0", 80),)
AT = SetTime(lambda: 1000.0)

WEB = ListenerSpec("web", BIND, "app", protocol="http")
DB = ListenerSpec("db", BIND, "db")
SEEN = RequestSnapshot("web", "192.0.2.1:4000", "wait", 990.0, 70, 0, "GET", "a.example", "/x", "1.1", "api", "app", "a", "10.0.0.1:80", 0, 1, "backup")  # fmt: skip # noqa: E501


class RequestTests(Case):
    def setUp(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.there = 10**6

    def requests(self, listener: str, older: float) -> Iterator[RequestSnapshot]:
        """So many requests."""
        self.asked.append((listener, older))
        for number in range(self.there):
            yield RequestSnapshot("web", "192.0.2.1:4000", "head", 900.0 + (number * 7) % 10, 5, 0)

    def do(self, **given: Any) -> dict[str, Any]:
        command = COMMANDS["show requests"]
        steered = Steered(
            {},
            AT.now,
            AT,
            listeners=lambda: [(WEB, 1), (DB, 1)],
            requests=self.requests,
        )
        return command.run(steered, command.given(given), None)

    def test_row(self) -> None:
        """Each is told with who asks what, how far it is, for how long, where, and what has moved."""
        self.requests = lambda listener, older: iter([SEEN])  # type: ignore[method-assign]
        self.assertEqual(
            self.do(),
            {
                "requests": [
                    {
                        "listener": "web",
                        "client": "192.0.2.1:4000",
                        "method": "GET",
                        "host": "a.example",
                        "target": "/x",
                        "version": "1.1",
                        "state": "wait",
                        "for_seconds": 10.0,
                        "status": 0,
                        "route": "api",
                        "pool": "app",
                        "server": "a",
                        "server_address": "10.0.0.1:80",
                        "chosen": "backup",
                        "retries": 1,
                        "bytes_in": 70,
                        "bytes_out": 0,
                    }
                ],
                "more": False,
            },
        )

    def test_order(self) -> None:
        """The longest come first."""
        ages = [row["for_seconds"] for row in self.do()["requests"]]
        self.assertEqual(ages, sorted(ages, reverse=True))

    def test_bounded(self) -> None:
        """No more are shown than were asked for, and it is said that there are more."""
        for given, count in ({}, ROWS), ({"limit": MOST_ROWS}, MOST_ROWS):
            found = self.do(**given)
            self.assertEqual((len(found["requests"]), found["more"]), (count, True))
        self.there = 3
        self.assertEqual(self.do(limit=3, listener="web", older=5)["more"], False)
        self.assertEqual(self.asked[-1], ("web", 5.0))

    def test_declined(self) -> None:
        """A listener that speaks no HTTP, and numbers that there cannot be, are told."""
        for given, code in (
            ({"listener": "db"}, "unknown_listener"),
            ({"limit": 0}, "bad_parameter"),
            ({"limit": MOST_ROWS + 1}, "bad_parameter"),
            ({"older": -1}, "bad_parameter"),
        ):
            self.assertEqual(self.assertRaises(Declined, self.do, **given).code, code)
