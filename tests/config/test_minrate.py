"""What does ``min_rate`` of a listener mean?"""

from __future__ import annotations

from proxyd.config.minrate import MinRateSpec
from tests.config.ini import IniCase

POOL = "[pool p]\nserver a = h:1\n[listener l]\nbind = tcp:80\npool = p\n"


class MinRateTests(IniCase):
    def test_read(self) -> None:
        """A rate, and a time for which one may be slower."""
        for text, expected in (
            ("500/s after 10s", MinRateSpec(500, 10.0)),
            ("1k/s after 2s", MinRateSpec(1024, 2.0)),
        ):
            self.assertEqual(self.load(f"{POOL}min_rate = {text}\n").listeners[0].min_rate, expected)

    def test_default(self) -> None:
        """Nobody is judged unless it is said; what `[proxyd]` says holds for all listeners."""
        self.assertIsNone(self.load(POOL).listeners[0].min_rate)
        listener = self.load(f"[proxyd]\nmin_rate = 1k/s after 1m\n{POOL}").listeners[0]
        self.assertEqual(listener.min_rate, MinRateSpec(1024, 60.0))

    def test_refused(self) -> None:
        """What is not written so is refused with an example."""
        shape = "is a rate, the word after, and a duration, as in 500/s after 10s"
        for text, problem in (
            ("500/s", shape),
            ("500/s for 10s", shape),
            ("500/s after 10s or so", shape),
            ("500 after 10s", '"500" is not a rate of bytes; write 64k/s or 10M/s, for example'),
            ("0/s after 10s", '"0/s": such a rate is 1/s to 1024G/s'),
            ("500/s after 10", '"10" has no unit; for seconds write "10s"'),
            ("500/s after 1s", "after: the shortest time that can be judged is 2s"),
        ):
            expected = [f"proxy.ini:6: [listener l] min_rate: {problem}"]
            self.assertEqual(self.problems(f"{POOL}min_rate = {text}\n"), expected)
