"""Can it be said what becomes of connections when servers go and come?"""

from __future__ import annotations

from typing import Optional

from tests.config.ini import MINIMAL, IniCase

DOWN: list[tuple[str, Optional[float]]] = [("keep", None), ("close", 0.0), ("close_after 30s", 30.0)]

REFUSED = [
    ("on_down = kill", '"kill" is not known; known here: keep, close, close_after'),
    ("on_down = close 30s", 'close stands alone, and "30s" follows'),
    ("on_down = close_after", "close_after takes one duration; write close_after 30s, for example"),
    ("on_down = close_after soon", '"soon" is not a duration; write a whole number and ms, s, m, h or d'),
    ("on_up = close", '"close" is not known; known here: keep, close_backups'),
]


class FailoverTests(IniCase):
    def test_given(self) -> None:
        """Each word means itself; without any, connections are kept."""
        for text, seconds in DOWN:
            self.assertEqual(self.load(f"{MINIMAL}on_down = {text}\n").pools[0].on_down, seconds)
        pool = self.load(f"{MINIMAL}on_up = close_backups\n").pools[0]
        self.assertEqual((pool.on_down, pool.on_up), (None, "close_backups"))

    def test_refused(self) -> None:
        """Anything else is refused."""
        for text, reason in REFUSED:
            option = text.split()[0]
            self.assertEqual(
                self.problems(f"{MINIMAL}{text}\n"), [f"proxy.ini:6: [pool p] {option}: {reason}"]
            )
