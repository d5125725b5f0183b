"""Are answers that are failures named as operators name them?"""

from __future__ import annotations

from proxyd.config.reader import Word
from proxyd.config.status import Statuses
from proxyd.config.words import Invalid
from tests.support.case import Case


class StatusTests(Case):
    def test_right(self) -> None:
        """A number, a class, or several."""
        for text, found in [
            ("503", {503}),
            ("400,599", {400, 599}),
            ("5xx", set(range(500, 600))),
            ("4xx,500", {*range(400, 500), 500}),
        ]:
            self.assertEqual(Statuses().read(Word(text, "", 1)), found)

    def test_wrong(self) -> None:
        """What is no failure, or no status."""
        for text in ("200", "399", "600", "5XX", "3xx", "50", "5\u0660\u0663", "503,", "", "503 504"):
            self.assertRaises(Invalid, Statuses().read, Word(text, "", 1))
