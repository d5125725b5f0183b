"""Does the count that CI prints say what trial said?"""

from __future__ import annotations

import contextlib
import io

from tests.support.case import Case
from tests.support.tally import Tally, add, count, main


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
