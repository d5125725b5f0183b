"""How do people see what is asked again?"""

from __future__ import annotations

from typing import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from proxyd.snapshots import Snapshot


def metrics(snapshot: Snapshot) -> Iterator[Metric]:
    """What the budgets of pools have left, how often they were spent, and how often nothing was left."""
    if not snapshot.budgets:
        return
    left = GaugeMetricFamily(
        "proxyd_retry_budget_left", "How many requests may be asked again now.", labels=("pool",)
    )
    spent = CounterMetricFamily(
        "proxyd_retry_budget_spent",
        "How often a request was asked again behind a server that had it, hedged ones included.",
        labels=("pool",),
    )
    refused = CounterMetricFamily(
        "proxyd_retry_budget_refused",
        "How often a request was not asked again since the budget was used up.",
        labels=("pool",),
    )
    for budget in snapshot.budgets:
        left.add_metric((budget.pool,), budget.left)
        spent.add_metric((budget.pool,), budget.spent)
        refused.add_metric((budget.pool,), budget.refused)
    yield from (left, spent, refused)
