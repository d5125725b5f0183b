"""Can it be seen what is asked again, and what is not?"""

from __future__ import annotations

import attrs

from proxyd.snapshots import BudgetSnapshot
from tests.ops.records import request
from tests.ops.test_metrics import NOW, MetricsCase


class RetriesTests(MetricsCase):
    def test_retry_budget(self) -> None:
        """What may be asked again now, what was, and what might not."""
        self.assertNotIn("proxyd_retry_budget_left", self.samples())
        self.now = attrs.evolve(NOW, budgets=(BudgetSnapshot("web", 20, 7, 3),))
        found = self.samples()
        self.assertEqual(found["proxyd_retry_budget_left"], {("web",): 20})
        self.assertEqual(found["proxyd_retry_budget_spent_total"], {("web",): 7})
        self.assertEqual(found["proxyd_retry_budget_refused_total"], {("web",): 3})

    def test_hedged(self) -> None:
        """Of how many requests a second server was asked."""
        for hedged in (True, False, True):
            self.metrics.passed.answered(request(hedged=hedged))
        self.assertEqual(self.samples()["proxyd_hedged_requests_total"], {("web",): 2})
