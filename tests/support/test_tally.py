"""Does the count that CI prints say what trial said?"""

from __future__ import annotations

import contextlib
import io

from tests.support.case import Case
from tests.support.tally import Tally, Trouble, add, count, main, told, troubles

DOUBLE = "=" * 79
SINGLE = "-" * 79
SUMMARY = "\nFAILED (failures=1, errors=2, successes=3)\n"

TREE = """Running 5 tests.
tests.test_x
  Some
    test_good ...                                                              [OK]
    test_bad ...                                                             [FAIL]
  Other
    test_raises ...                                                         [ERROR]
  Some
    test_later ...                                                             [OK]
tests
  test_y ...                                                                [ERROR]
"""

FAILURE = """Traceback (most recent call last):
  File "/somewhere/tests/test_x.py", line 7, in test_bad
    self.assertEqual(a, b)
twisted.trial.unittest.FailTest: Lists differ: [7] != [8]

First differing element 0:
- [7]
+ [8]
"""

ERROR = """Traceback (most recent call last):
Failure: twisted.trial.util.DirtyReactorAggregateError: Reactor was unclean.
DelayedCalls: (set twisted.internet.base.DelayedCall.debug = True to debug)
<DelayedCall 0x7f [99.9s] called=0 cancelled=0 int()>
"""

REPORTS = f"""
{DOUBLE}
[FAIL]
{FAILURE}
tests.test_x.Some.test_bad
{DOUBLE}
[ERROR]
{ERROR}
tests.test_x.Other.test_raises
tests.test_y
{SINGLE}
Ran 5 tests in 0.1s
"""


class Counting(Case):
    """One run of trial becomes one tally."""

    def test_summaries(self) -> None:
        """Failures, errors and todos in either sense are failures; skips are counted apart."""
        for summary, expected in (
            ("PASSED (successes=10)", Tally(10, 0, 0)),
            ("PASSED (skips=1, successes=10)", Tally(10, 0, 1)),
            ("FAILED (failures=1, errors=2, successes=3)", Tally(3, 3, 0)),
            ("PASSED (expectedFailures=2, successes=3)", Tally(3, 2, 0)),
            ("FAILED (unexpectedSuccesses=1, successes=3)", Tally(3, 1, 0)),
            ("PASSED (skips=4)", Tally(0, 0, 4)),
            ("PASSED", Tally(0, 0, 0)),
            ("FAILED", Tally(0, 1, 0)),
        ):
            output = f"some_test ... [OK]\n\n-----\nRan 10 tests in 0.1s\n\n{summary}\n"
            self.assertEqual(count(output), expected, summary)

    def test_no_summary(self) -> None:
        """A run that died before its summary has failed."""
        self.assertEqual(count("make: *** [Makefile:14: test] Error 2\n"), Tally(0, 1, 0))

    def test_last_summary_counts(self) -> None:
        """What a test prints, or make after it, is not taken for trial's last word."""
        output = "PASSED (successes=7)\nFAILED (failures=1, successes=2)\nmake: *** Error 1\n"
        self.assertEqual(count(output), Tally(2, 1, 0))

    def test_summary_in_a_sentence(self) -> None:
        """Only a line of its own is a summary."""
        self.assertEqual(count("it said PASSED (successes=7)\n"), Tally(0, 1, 0))


class Telling(Case):
    """What went wrong is said again, since of a long output often only the end is kept."""

    def test_reports(self) -> None:
        """Each report is a kind, a reason and the tests that went wrong so."""
        expected = [
            Trouble("FAIL", FAILURE.splitlines(), ["tests.test_x.Some.test_bad"]),
            Trouble("ERROR", ERROR.splitlines(), ["tests.test_x.Other.test_raises", "tests.test_y"]),
        ]
        self.assertEqual(troubles(TREE + REPORTS + SUMMARY), expected)
        self.assertEqual(troubles("test_good ... [OK]\n\nPASSED (successes=3)\n"), [])

    def test_names_come_last(self) -> None:
        """The last lines name each test, its suite, and shortly why; the reasons are before them."""
        lines = told([("good", "PASSED (successes=3)\n"), ("test", TREE + REPORTS + SUMMARY)])
        lists = "twisted.trial.unittest.FailTest: Lists differ: [7] != [8]"
        dirty = "Failure: twisted.trial.util.DirtyReactorAggregateError: Reactor was unclean."
        self.assertEqual(
            lines[-3:],
            [
                f"test: FAIL tests.test_x.Some.test_bad {lists}",
                f"test: ERROR tests.test_x.Other.test_raises {dirty}",
                f"test: ERROR tests.test_y {dirty}",
            ],
        )
        text = "\n".join(lines)
        self.assertIn(FAILURE, text)
        self.assertIn("test: ERROR tests.test_x.Other.test_raises tests.test_y\n" + ERROR, text)

    def test_died(self) -> None:
        """A run that was cut names what had failed by then, and shows its last lines."""
        lines = told([("test", TREE + "test was cut: it had run for 900 s\n")])
        self.assertEqual(
            lines[:4],
            [
                "test: FAIL tests.test_x.Some.test_bad",
                "test: ERROR tests.test_x.Other.test_raises",
                "test: ERROR tests.test_y",
                "test: ended without a summary; its last lines:",
            ],
        )
        self.assertEqual(lines[-1], "test: | test was cut: it had run for 900 s")

    def test_bounded(self) -> None:
        """Whatever went wrong, the rest of the output stays in sight: of one reason its end is kept."""
        long = "".join(f"{'x' * 500} {number}\n" for number in range(100)) + "builtins.ValueError: the end\n"
        many = "".join(f"{DOUBLE}\n[ERROR]\n{long}\ntests.test_{number}\n" for number in range(100))
        lines = told([("test", many + SINGLE + SUMMARY)])
        self.assertLessEqual(len(lines), 250)
        self.assertLessEqual(max(map(len, lines)), 240)
        self.assertIn("builtins.ValueError: the end", lines[:42])
        self.assertEqual(lines[-1], "and 51 more lines")
        self.assertIn("test: ERROR tests.test_48 builtins.ValueError: the end", lines)


class Exit(Case):
    """The script's last line and its exit status."""

    def run_on(self, *outputs: str) -> tuple[int, str]:
        """Run the script on files with these contents; return the exit status and what it printed."""
        paths = []
        for output in outputs:
            paths.append(self.mktemp())
            with open(paths[-1], "w", encoding="utf-8") as file:
                file.write(output)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            status = main(paths)
        return status, printed.getvalue()

    def test_sum(self) -> None:
        """Two good runs are added up."""
        self.assertEqual(add([Tally(1, 2, 3), Tally(10, 20, 30)]), Tally(11, 22, 33))
        status, printed = self.run_on("PASSED (successes=10)\n", "PASSED (successes=5)\n")
        self.assertEqual((status, printed), (0, "15 passed, 0 failed, 0 skipped\n"))

    def test_not_good(self) -> None:
        """A failure, a skip, a run without tests or no run at all is an exit status of 1."""
        good = "PASSED (successes=10)\n"
        for outputs, expected in (
            ((good, "FAILED (errors=1, successes=4)\n"), "14 passed, 1 failed, 0 skipped\n"),
            ((good, "PASSED (skips=1, successes=4)\n"), "14 passed, 0 failed, 1 skipped\n"),
            ((good, "PASSED\n"), "10 passed, 0 failed, 0 skipped\n"),
            ((good, ""), "10 passed, 1 failed, 0 skipped\n"),
            ((), "0 passed, 0 failed, 0 skipped\n"),
        ):
            self.assertEqual(self.run_on(*outputs), (1, expected))
