"""Is a response fetched anew long before it ends?"""

from __future__ import annotations

from proxyd.policy.ocsp import refresh_at
from tests.support.case import Case

DAY = 86400.0


class RefreshTests(Case):
    def test_halfway(self) -> None:
        """Halfway, a tenth more or less; but not at once, however short it holds."""
        for left, chance, expected in (
            (4 * DAY, 0.5, 2 * DAY),
            (4 * DAY, 0.0, 1.8 * DAY),
            (4 * DAY, 1.0, 2.2 * DAY),
            (10.0, 0.5, 60.0),
            (-10.0, 0.5, 60.0),
        ):
            self.assertAlmostEqual(refresh_at(1e9, 1e9 + left, chance) - 1e9, expected, 3)
