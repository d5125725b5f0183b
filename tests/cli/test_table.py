"""Can a table be read down?"""

from __future__ import annotations

from proxyd.cli.table import aligned
from tests.support.case import Case


class TableTests(Case):
    def test_columns(self) -> None:
        """Words begin at the left, numbers end at the right, and no line ends in blanks."""
        self.assertEqual(
            list(
                aligned(
                    [["SERVER", "OPEN", "WHY"], ["a", "1,000", ""], ["b", "7", "x y"]], [False, True, False]
                )
            ),
            ["SERVER   OPEN  WHY", "a       1,000", "b           7  x y"],
        )
