"""Does compression begin only when there is time for it?"""

from __future__ import annotations

from proxyd.policy.compression import LATE, MOST, CpuGuard
from tests.support.case import Case


class Guards(Case):
    def test_share(self) -> None:
        """Above its share of a core nothing begins, until so much time has passed that it is kept."""
        guard = CpuGuard(0.2)
        self.assertTrue(guard.allows(100.0, 0.0))
        guard.spent(0.19)
        self.assertTrue(guard.allows(100.0, 0.0))
        guard.spent(0.21)
        self.assertFalse(guard.allows(100.0, 0.0))
        self.assertFalse(guard.allows(100.5, 0.0))
        self.assertTrue(guard.allows(101.1, 0.0))

    def test_late(self) -> None:
        """Nor does it while the event loop is late; a whole core is always to be had."""
        always, guard = CpuGuard(1.0), CpuGuard(0.99)
        always.spent(9.0)
        self.assertTrue(always.allows(1.0, 1.0))
        self.assertEqual(
            [guard.allows(1.0, lag) for lag in (0.0, LATE / 2, LATE, 1.0)], [True, True, False, False]
        )

    def test_many(self) -> None:
        """Nor while there are very many under way."""
        guard = CpuGuard(1.0)
        guard.under_way = MOST - 1
        self.assertTrue(guard.allows(1.0, 0.0))
        guard.under_way += 1
        self.assertFalse(guard.allows(1.0, 0.0))
