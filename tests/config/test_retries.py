"""Can it be said when a request is asked again, and is what makes no sense refused?"""

from __future__ import annotations

from proxyd.config.limits import RateSpec
from proxyd.config.retries import BudgetSpec, RetryOnSpec
from tests.config.ini import MINIMAL, IniCase

SECOND = "server other = 10.0.0.2:1\n"

AFFINE = "hedge_after: with affinity a client has one server, and no second is asked"

GIVEN = [
    ("", RetryOnSpec(), BudgetSpec(), 0.0),
    ("retry_on = 502 503\n", RetryOnSpec(frozenset((502, 503))), BudgetSpec(), 0.0),
    ("retry_on = timeout\n", RetryOnSpec(timeout=True), BudgetSpec(), 0.0),
    (
        "retry_on = 5xx 429 timeout\n",
        RetryOnSpec(frozenset((*range(500, 600), 429)), True),
        BudgetSpec(),
        0.0,
    ),
    ("retry_budget = off\n", RetryOnSpec(), None, 0.0),
    ("retry_budget = 0% least=5/1m\n", RetryOnSpec(), BudgetSpec(0, RateSpec(5, 60.0)), 0.0),
    ("retry_budget = 50% window=1m\n", RetryOnSpec(), BudgetSpec(50, window=60.0), 0.0),
    ("hedge_after = 50ms\n" + SECOND, RetryOnSpec(), BudgetSpec(), 0.05),
]

REFUSED = [
    ("retry_on = 200", 'retry_on: "200" is not a status of 400 to 599, 4xx or 5xx, nor timeout'),
    ("retry_on = 502 tmeout", 'retry_on: "tmeout" is not a status of 400 to 599, 4xx or 5xx, nor timeout'),
    ("retry_budget = off least=1/s", "retry_budget: off stands alone"),
    (
        "retry_budget = 20",
        "retry_budget: begins with a share of the requests, or is off: "
        '"20" is not a whole number and %, 0% to 100%',
    ),
    ("retry_budget = 20% lest=1/s", 'retry_budget: "lest" is not known; did you mean "least"?'),
    ("hedge_after = 50ms", "hedge_after: the pool has one server, and no second to ask"),
    ("server b = 10.0.0.2:1\naffinity = source\nhedge_after = 9ms", AFFINE),
    ("retries = 0\nretry_on = 503", "retry_on: with retries = 0 no other server is ever asked"),
]


class RetriesTests(IniCase):
    def test_given(self) -> None:
        """What is retried, how often at most, and when a second server is asked."""
        for text, retry_on, budget, hedge in GIVEN:
            pool = self.load(MINIMAL + text).pools[0]
            self.assertEqual((pool.retry_on, pool.retry_budget, pool.hedge_after), (retry_on, budget, hedge))

    def test_refused(self) -> None:
        """Anything else is refused."""
        for text, reason in REFUSED:
            line = 5 + text.count("\n") + 1
            self.assertEqual(self.problems(f"{MINIMAL}{text}\n"), [f"proxy.ini:{line}: [pool p] {reason}"])
