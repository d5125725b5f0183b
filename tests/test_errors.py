"""Can an operator tell from a word what went wrong, and whose fault it was?"""

from __future__ import annotations

import re

from proxyd.errors import ConfigError, DialFailed, Problem, Reason, StartError
from tests.support.case import Case


class Reasons(Case):
    """Why a connection ended."""

    def test_codes(self) -> None:
        """Each reason has a code of its own, one word for logs and metric labels, which is its name here."""
        for reason in Reason:
            self.assertTrue(re.fullmatch("[a-z]+(_[a-z]+)*", reason.code), reason.code)
            self.assertEqual(reason.code.upper(), reason.name)

    def test_distinct(self) -> None:
        """No two reasons read the same."""
        self.assertEqual(len({reason.text for reason in Reason}), len(Reason.__members__))


class Messages(Case):
    """What the operator reads."""

    def test_problem(self) -> None:
        """A problem leads to its place, in the form that editors jump to, as far as it is known."""
        for problem, expected in (
            (Problem("proxy.ini", 31, "no", "pool web", "balance"), "proxy.ini:31: [pool web] balance: no"),
            (Problem("proxy.ini", 31, "no", "pool web"), "proxy.ini:31: [pool web] no"),
            (Problem("proxy.ini", 31, "no"), "proxy.ini:31: no"),
            (Problem("proxy.ini", 0, "no such file"), "proxy.ini: no such file"),
        ):
            self.assertEqual(str(problem), expected)

    def test_all_problems(self) -> None:
        """An error in the configuration, or at the start, shows everything that is wrong, a line each."""
        problems = (Problem("a.ini", 1, "no"), Problem("a.ini", 2, "nor this"))
        self.assertEqual(str(ConfigError(problems)), "a.ini:1: no\na.ini:2: nor this")
        self.assertEqual(
            str(StartError(("port 80 is taken", "port 81 too"))), "port 80 is taken\nport 81 too"
        )

    def test_dial(self) -> None:
        """A dial that failed says how, and what the system said."""
        self.assertEqual(
            str(DialFailed(Reason.CONNECT_REFUSED, "ECONNREFUSED")), "connect_refused: ECONNREFUSED"
        )
