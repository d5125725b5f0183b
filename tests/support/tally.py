"""
How many tests passed, failed and were skipped in these runs of trial?

A script for CI, of the standard library alone: it takes files with the output of one run each, and
prints the sums as ``N passed, N failed, N skipped``.  It exits with 1 unless every run has passed at
least one test, failed none and skipped none.
"""

from __future__ import annotations

import re
import sys
from typing import Iterable, NamedTuple

_SUMMARY = re.compile(r"^(PASSED|FAILED)(?: \((\w+=\d+(?:, \w+=\d+)*)\))?$", re.MULTILINE)

# A test that is known to fail is not a test, so an expected failure counts as one too.
_PASSED = ("successes",)
_FAILED = ("failures", "errors", "unexpectedSuccesses", "expectedFailures")
_SKIPPED = ("skips",)


class Tally(NamedTuple):
    """What came of the tests of a run, or of several."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def good(self) -> bool:
        """Whether tests ran, and all of them passed."""
        return self.passed > 0 and self.failed == 0 and self.skipped == 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def count(output: str) -> Tally:
    """
    Read trial's last summary line.

    A run without one has died, and one that says FAILED without a number has failed all the same:
    both count as one failure.
    """
    summaries = list(_SUMMARY.finditer(output))
    if not summaries:
        return Tally(failed=1)
    found = summaries[-1]
    numbers = {word: int(number) for word, number in re.findall(r"(\w+)=(\d+)", found[2] or "")}

    def total(words: Iterable[str]) -> int:
        return sum(numbers.get(word, 0) for word in words)

    failed = total(_FAILED)
    if found[1] == "FAILED":
        failed = max(failed, 1)
    return Tally(total(_PASSED), failed, total(_SKIPPED))


def add(tallies: Iterable[Tally]) -> Tally:
    """Sum up several runs."""
    return Tally(*map(sum, zip(Tally(), *tallies)))


def main(paths: list[str]) -> int:
    """Print the sums over these files, and on stderr which run was not good; return the exit status."""
    tallies = []
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as file:
            tally = count(file.read())
        tallies.append(tally)
        if not tally.good:
            print(f"{path}: {tally}; every test must run, and pass", file=sys.stderr)
    print(add(tallies))
    return 0 if tallies and all(tally.good for tally in tallies) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
