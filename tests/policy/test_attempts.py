"""Is an authority left alone that fails, or that wants to be?"""

from __future__ import annotations

from proxyd.policy.attempts import LONGEST_ASKED, Attempts
from tests.support.case import Case


class AttemptsTests(Case):
    def pauses(self, count: int, chance: float = 0.5, wait: float = 0.0) -> list[float]:
        """The seconds between so many failures, one after another."""
        attempts, now, found = Attempts(), 1000.0, []
        for _ in range(count):
            attempts = attempts.failed(now, "no", wait, chance)
            found.append(attempts.not_before - now)
            now = attempts.not_before
        self.assertEqual((attempts.failures, attempts.why), (count, "no"))
        return found

    def test_patience(self) -> None:
        """A minute, and twice as long each time, up to six hours, a quarter more or less."""
        hour = 3600.0
        usual = [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0, 7680.0, 15360.0, 6 * hour, 6 * hour]
        self.assertEqual(self.pauses(11), usual)
        self.assertEqual(self.pauses(2, chance=0.0), [45.0, 90.0])
        self.assertEqual(self.pauses(2, chance=1.0), [75.0, 150.0])
        self.assertEqual(self.pauses(2000)[-1], 6 * hour)

    def test_asked(self) -> None:
        """The authority may ask for more, but not for ever."""
        self.assertEqual(self.pauses(3, wait=100.0), [100.0, 120.0, 240.0])
        self.assertEqual(self.pauses(1, wait=1e9), [LONGEST_ASKED])

    def test_next_process(self) -> None:
        """Whoever mends something and starts again need not wait, unless it is the authority that says so."""
        long = Attempts(9, "no", 50_000.0, 0.0)
        self.assertEqual(long.taken_over(1000.0), Attempts(9, "no", 1060.0, 0.0))
        self.assertEqual(long.taken_over(49_990.0), long)
        self.assertEqual(Attempts(9, "no", 50_000.0, 50_000.0).taken_over(1000.0).not_before, 50_000.0)
        torn = Attempts(9, "no", 1e11, 1e11).taken_over(1000.0)
        self.assertEqual(torn.not_before, 1000.0 + LONGEST_ASKED)
