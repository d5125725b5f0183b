"""What does ``shed =`` of ``[proxyd]`` mean?"""

from __future__ import annotations

from typing import Optional

from proxyd.config.shedding import ShedSpec
from tests.config.ini import MINIMAL, IniCase


class ShedTests(IniCase):
    def test_read(self) -> None:
        """Any of the marks will do, and without the option there is none."""
        cases: tuple[tuple[str, Optional[ShedSpec]], ...] = (
            ("", None),
            ("shed = descriptors=90% memory=2G lag=200ms\n", ShedSpec(90, 2 * 1024**3, 0.2)),
            ("shed = lag=1s\n", ShedSpec(lag=1.0)),
        )
        for text, expected in cases:
            self.assertEqual(self.load(f"[proxyd]\n{text}{MINIMAL}").daemon.shed, expected)

    def test_refused(self) -> None:
        """What cannot be a mark is refused with what would be right."""
        for text, problem in (
            ("descriptors=100%", 'descriptors: "100%" is not a whole number and %, 1% to 99%'),
            ("memory=90%", 'memory: "90%" is not a size; write a whole number of bytes, or k, M or G'),
            ("lag=0s", 'lag: "0s" is too short; it must be more than 0'),
            ("cpu=90%", '"cpu" is not known; known here: descriptors, memory, lag'),
        ):
            expected = [f"proxy.ini:2: [proxyd] shed: {problem}"]
            self.assertEqual(self.problems(f"[proxyd]\nshed = {text}\n{MINIMAL}"), expected)
