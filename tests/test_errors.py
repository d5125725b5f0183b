"""Reasons and problems as operators meet them."""

from __future__ import annotations

import re
from pathlib import Path

from proxyd.errors import ConfigError, Problem, Reason
from tests.support.case import Case

ROOT = Path(__file__).resolve().parent.parent


class ReasonTests(Case):
    """The codes that connections end with."""

    def test_the_architecture_lists_every_reason(self) -> None:
        """The table in the documents has each code with its fault and its sentence."""
        page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
        listed = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \|$", page, re.MULTILINE)
        self.assertEqual(listed, [(reason.code, reason.fault.value, reason.text) for reason in Reason])

    def test_codes_are_unique_words(self) -> None:
        """A code can be grepped for and used as a label."""
        codes = [reason.code for reason in Reason]
        self.assertEqual(len(set(codes)), len(codes))
        self.assertEqual([code for code in codes if not re.fullmatch(r"[a-z_]+", code)], [])


class ProblemTests(Case):
    """What is wrong in a configuration, and where."""

    def test_a_problem_names_its_place(self) -> None:
        """File, line, section and option stand before the text, as far as they are known."""
        cases = [
            (Problem("a.ini", 0, "cannot be read"), "a.ini: cannot be read"),
            (Problem("a.ini", 3, "no section"), "a.ini:3: no section"),
            (Problem("a.ini", 3, "bad", "pool web", "balance"), "a.ini:3: [pool web] balance: bad"),
        ]
        for problem, text in cases:
            self.assertEqual(str(problem), text)

    def test_an_error_carries_all_problems(self) -> None:
        """One line each."""
        error = ConfigError((Problem("a", 1, "x"), Problem("a", 2, "y")))
        self.assertEqual(str(error), "a:1: x\na:2: y")
