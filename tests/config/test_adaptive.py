"""How are connections bounded by what a server takes?"""

from __future__ import annotations

from typing import Any

from proxyd.config.adaptive import AdaptiveSpec
from proxyd.config.pool import ServerSpec
from tests.config.ini import IniCase

BOUNDS: list[tuple[str, Any]] = [
    ("90", (90, None)),
    ("adaptive", (1000, AdaptiveSpec(3, 1000))),
    ("adaptive:5-200", (200, AdaptiveSpec(5, 200))),
    ("adaptive:1-1000000", (1_000_000, AdaptiveSpec(1, 1_000_000))),
]

COUNT = "is not a whole number, 1 to 1000000"

REFUSED = [
    ("0", f'"0" {COUNT}, and not adaptive'),
    ("adaptiv", f'"adaptiv" {COUNT}, and not adaptive'),
    ("adaptive:", '"adaptive:" has no two bounds; write adaptive:5-200, for example'),
    ("adaptive:5", '"adaptive:5" has no two bounds; write adaptive:5-200, for example'),
    ("adaptive:0-5", f'"0" {COUNT}'),
    ("adaptive:5-x", f'"x" {COUNT}'),
    ("adaptive:5-5", '"adaptive:5-5" has a lower bound that is not below its upper one'),
]


class AdaptiveTests(IniCase):
    """`max_connections=` of a server."""

    def text(self, value: str) -> str:
        return f"[listener l]\nbind = tcp:1\npool = p\n[pool p]\nserver a = h:1 max_connections={value}\n"

    def server(self, value: str) -> ServerSpec:
        return self.load(self.text(value)).pools[0].servers[0]

    def test_bounds(self) -> None:
        """A number, or what the server is found to take, between Envoy's bounds or others."""
        for value, expected in BOUNDS:
            server = self.server(value)
            self.assertEqual((server.max_connections, server.adaptive), expected, value)

    def test_refused(self) -> None:
        """What is neither is told, with what it might be."""
        for value, reason in REFUSED:
            wrong = f"proxy.ini:5: [pool p] server a: max_connections: {reason}"
            self.assertEqual(self.problems(self.text(value)), [wrong])

    def test_what_follows(self) -> None:
        """Only a pool with such a server times first bytes, and where nothing is measured it has the most."""
        for value, times in (("90", False), ("adaptive:5-200", True)):
            pool = self.load(self.text(value)).pools[0]
            self.assertEqual(pool.times_first_byte, times)
            [server] = pool.at_most().servers
            self.assertEqual((server.max_connections, server.adaptive), (90 if value == "90" else 200, None))
