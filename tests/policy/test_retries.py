"""Is what is asked again kept to its share?"""

from __future__ import annotations

from random import Random

from proxyd.config.limits import RateSpec
from proxyd.config.retries import BudgetSpec
from proxyd.policy.retries import Budget
from tests.support.case import Case

NOTHING = RateSpec(1, 1e6)  # at least: never one


class Budgets(Case):
    """A share of the requests of late."""

    def budget(self, share: int = 20, least: RateSpec = NOTHING, window: float = 10.0) -> Budget:
        return Budget(BudgetSpec(share, least, window))

    def test_share(self) -> None:
        """Of a hundred requests a fifth, and no more."""
        budget = self.budget()
        for _ in range(100):
            budget.asked(1000.0)
        self.assertEqual([budget.take(1001.0) for _ in range(21)], [True] * 20 + [False])
        self.assertEqual((budget.taken, budget.refused, budget.left(1001.0)), (20, 1, 0))

    def test_least(self) -> None:
        """However few requests there are, so many may be asked again; and those come back with time."""
        budget = self.budget(least=RateSpec(2, 1.0), window=5.0)
        self.assertEqual([budget.take(50.0) for _ in range(11)], [True] * 10 + [False])
        self.assertEqual(budget.left(56.0), 2)
        self.assertEqual(budget.left(65.0), 10)

    def test_time(self) -> None:
        """What was long ago does not count, what was a while ago in part."""
        budget = self.budget()
        for _ in range(100):
            budget.asked(0.0)
        self.assertEqual(budget.left(9.9), 20)
        self.assertEqual(budget.left(12.5), 15)
        self.assertEqual(budget.left(19.0), 2)
        self.assertEqual(budget.left(20.0), 0)

    def test_long_after(self) -> None:
        """What was asked long ago is nothing to the window that begins."""
        budget, later = self.budget(), 1e9
        for _ in range(100):
            budget.asked(1000.0)
        budget.asked(later)
        self.assertEqual(budget.left(later), 0)
        for _ in range(10):
            budget.asked(later + 1)
        self.assertEqual(budget.left(later + 1), 2)

    def test_never_more(self) -> None:
        """Whatever comes when: in no ten seconds are more asked again than in twenty were due."""
        for seed in range(20):
            random, budget = Random(seed), self.budget(least=RateSpec(1, 1.0))
            now, asked, taken = 0.0, [], []
            for _ in range(2000):
                now += random.expovariate(1.0) * random.choice((0.01, 0.2, 5.0))
                budget.asked(now)
                asked.append(now)
                if random.random() < 0.7 and budget.take(now):
                    taken.append(now)
                    due = sum(now - 20 < one <= now for one in asked) * 0.2 + 20
                    self.assertLessEqual(sum(now - 10 < one <= now for one in taken), due)
            self.assertGreater(len(taken), 100)
            self.assertEqual(budget.taken, len(taken))
