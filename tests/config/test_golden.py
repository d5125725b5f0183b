"""
Does each piece of ini text mean what is written down beside it?

A file in ``golden`` is ini text, a line of dashes, and the configuration or the problems that come of it;
``$FOLDER`` stands for the folder that the text is in.  `HOST` is "db.example.com" in its environment.
"""

from __future__ import annotations

import glob
import os
from typing import Any

import attrs

from proxyd.config import load
from proxyd.config.action import ActionSpec
from proxyd.config.condition import ConditionSpec
from proxyd.config.ejection import EjectSpec
from proxyd.config.http import HttpSpec
from proxyd.config.retries import BudgetSpec, RetryOnSpec
from proxyd.config.tcp import UNTOUCHED
from proxyd.errors import ConfigError
from tests.config.ini import IniCase

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
LINE = "-" * 40 + "\n"
ENVIRON = {"HOST": "db.example.com"}


def canonical(value: Any, indent: str = "") -> str:
    """A configuration as text, a line for each value, so that two can be compared by eye."""
    if value in (
        UNTOUCHED,
        HttpSpec(),
        ConditionSpec(),
        ActionSpec(),
        EjectSpec(),
        RetryOnSpec(),
        BudgetSpec(),
    ):
        return f"{type(value).__name__}()"
    if attrs.has(type(value)):
        inner = indent + "  "
        lines = [type(value).__name__]
        for name in attrs.fields_dict(type(value)):
            if name != "files":
                lines.append(f"{inner}{name}: {canonical(getattr(value, name), inner)}")
        return "\n".join(lines)
    if isinstance(value, tuple):
        inner = indent + "  "
        return "".join(f"\n{inner}- {canonical(item, inner)}" for item in value) or "()"
    return repr(value)


class GoldenTests(IniCase):
    maxDiff = None

    def outcome(self, text: str) -> str:
        try:
            found = canonical(load(self.write(text), ENVIRON))
        except ConfigError as error:
            found = "\n".join(str(problem) for problem in error.problems)
        found = found.replace(": \n", ":\n")
        return found.replace(f"{self.folder}/proxy.ini", "proxy.ini").replace(self.folder, "$FOLDER") + "\n"

    def test_golden(self) -> None:
        """Each piece of text comes to exactly the configuration, or the problems, written beside it."""
        paths = sorted(glob.glob(os.path.join(GOLDEN, "*.txt")))
        self.assertGreaterEqual(len(paths), 6)
        for path in paths:
            with open(path, encoding="utf-8") as file:
                text, line, expected = file.read().partition(LINE)
            self.assertTrue(line, path)
            self.assertEqual(self.outcome(text), expected, path)
