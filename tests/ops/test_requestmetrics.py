"""Does Prometheus see what became of requests, where they went and which routes they took?"""

from __future__ import annotations

from proxyd.errors import Reason
from tests.ops.records import request
from tests.ops.test_metrics import MetricsCase


class Requests(MetricsCase):
    """Counters and histograms."""

    def test_requests(self) -> None:
        """Requests are counted by where they went, by status, and by whose fault it was."""
        self.assertNotIn("proxyd_requests_total", self.samples())
        self.metrics.passed.answered(request())
        self.metrics.passed.answered(request(status=504, reason=Reason.ANSWER_TIMEOUT))
        for status in (200, 200, 403):
            self.metrics.passed.answered(request(pool="", server="", status=status, route="api"))
        found = self.samples()
        self.assertEqual(
            found["proxyd_route_requests_total"], {("web", "200", "api"): 2, ("web", "403", "api"): 1}
        )
        self.assertEqual(found["proxyd_route_request_seconds_count"], {("web", "api"): 3})
        self.assertEqual(found["proxyd_route_first_byte_seconds_count"], {("web", "api"): 3})
        self.assertEqual(
            found["proxyd_route_bytes_total"],
            {("web", "in", "api"): 3 * 517, ("web", "out", "api"): 3 * 20480},
        )
        self.assertEqual(found["proxyd_route_retries_total"], {("web", "api"): 0})
        for name in (
            "proxyd_requests_total",
            "proxyd_request_seconds_count",
            "proxyd_first_byte_seconds_count",
        ):
            found[name] = {labels: count for labels, count in found[name].items() if labels[1]}
        self.assertEqual(
            found["proxyd_requests_total"],
            {
                ("web", "web", "a", "answered", "nobody", "200"): 1,
                ("web", "web", "a", "answer_timeout", "server", "504"): 1,
            },
        )
        self.assertEqual(found["proxyd_request_seconds_count"], {("web", "web", "a"): 2})
        self.assertEqual(found["proxyd_first_byte_seconds_count"], {("web", "web", "a"): 2})
        self.assertEqual(found["proxyd_bytes_total"]["web", "web", "a", "in"], 2 * 517)

    def test_statuses(self) -> None:
        """A server that makes up statuses does not make a series of each; their classes are counted."""
        for status in range(200, 600):
            self.metrics.passed.answered(request(status=status, route="api", retries=1))
        for name in ("proxyd_requests_total", "proxyd_route_requests_total"):
            found = self.samples()[name]
            self.assertEqual(sum(found.values()), 400)
            self.assertLess(len(found), 70)
            seen = {label: count for labels, count in found.items() for label in labels if label[1:] == "xx"}
            self.assertGreater(seen.pop("4xx"), 60)
            self.assertEqual(set(seen), {"2xx", "3xx", "5xx"})
        self.assertEqual(self.samples()["proxyd_route_retries_total"], {("web", "api"): 400})
