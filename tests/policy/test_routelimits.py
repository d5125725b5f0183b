"""Does a route let in as many requests as it says, and no more?"""

from __future__ import annotations

from typing import Any

from proxyd.config.action import ActionSpec
from proxyd.config.limits import RateSpec
from proxyd.config.route import RouteSpec
from proxyd.errors import Reason
from proxyd.policy.routelimits import RouteLimits
from tests.policy.requests import asked
from tests.support.case import Case

RATE = RateSpec(2, 1.0)


def limits(**action: Any) -> RouteLimits:
    """The limits of a route that has these."""
    return RouteLimits(RouteSpec("r", ("l",), "p", action=ActionSpec(**action)), most_clients=100)


class RouteLimitsTests(Case):
    def told(self, of: RouteLimits, key: bytes = b"a", now: float = 0.0, value: str = "") -> str:
        lines = [f"X-Key: {value}".encode()] if value else []
        refusal = of.refusal(asked(b"/", b"", b"GET", *lines), key, now)
        return "" if refusal is None else f"{refusal.reason.code}: {refusal.detail}"

    def test_none(self) -> None:
        """A route without limits need not be asked."""
        self.assertTrue(limits().none)
        self.assertTrue(limits(max_body=5).none)
        for action in (
            {"request_rate": RATE},
            {"request_rate_per_client": RATE},
            {"request_rate_per_path": RATE},
            {"request_rate_per_header": (("x-key", RATE),)},
            {"max_concurrent_requests": 1},
        ):
            self.assertFalse(limits(**action).none)

    def test_rate(self) -> None:
        """So many in that time, of all clients."""
        of = limits(request_rate=RATE)
        told = [self.told(of, key) for key in (b"a", b"b", b"c")]
        self.assertEqual(told, ["", "", "route_rate: request_rate = 2/1s"])
        self.assertEqual(self.told(of, b"c", 0.5), "")

    def test_rate_per_client(self) -> None:
        """So many of each client."""
        of = limits(request_rate_per_client=RATE)
        told = [self.told(of, key) for key in (b"a", b"a", b"a", b"b")]
        self.assertEqual(told, ["", "", "route_rate: request_rate_per_client = 2/1s", ""])

    def test_rate_per_path(self) -> None:
        """So many for each path, however it is written and whatever the query is."""
        of = limits(request_rate_per_path=RATE)
        told = [
            "" if of.refusal(asked(path), b"a", 0.0) is None else "over"
            for path in (b"/x?1", b"/y", b"/%78?2", b"/x", b"/y/../x", b"/y")
        ]
        self.assertEqual(told, ["", "", "", "over", "over", ""])

    def test_rate_per_header(self) -> None:
        """So many of each value of a field, also of a long one; those without share one rate."""
        of = limits(request_rate_per_header=(("x-key", RATE),))
        over = "route_rate: request_rate_per_header x-key = 2/1s"
        for value in ("k", "x" * 1000, "x" * 999 + "y", ""):
            self.assertEqual([self.told(of, value=value) for _ in range(3)], ["", "", over], value)

    def test_concurrent(self) -> None:
        """So many may be under way, and one more when one is over."""
        of = limits(max_concurrent_requests=2)
        of.open = 1
        self.assertEqual(self.told(of), "")
        of.open = 2
        self.assertEqual(self.told(of), "route_full: max_concurrent_requests = 2")
        self.assertIs(Reason.ROUTE_FULL.fault.value, "proxy")

    def test_one_client_takes_nothing_of_others(self) -> None:
        """What one client may not have is not taken from the rate of all."""
        of = limits(request_rate=RateSpec(3, 1.0), request_rate_per_client=RATE)
        told = [self.told(of, key) for key in (b"a", b"a", b"a", b"a", b"b", b"b")]
        mine, all_of_us = "request_rate_per_client = 2/1s", "request_rate = 3/1s"
        self.assertEqual(
            told, ["", "", f"route_rate: {mine}", f"route_rate: {mine}", "", f"route_rate: {all_of_us}"]
        )
