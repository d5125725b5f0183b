"""
How many tests passed, failed and were skipped in these runs of trial?

A script for CI, of the standard library alone: it takes files with the output of one run each, and
prints the sums as ``N passed, N failed, N skipped``.  It exits with 1 unless every run has passed at
least one test, failed none and skipped none.

Of a long output often only the end is kept, so what went wrong is said again before the sums: the
tracebacks, bounded, and after them a line for each test.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Iterable, NamedTuple

_SUMMARY = re.compile(r"^(PASSED|FAILED)(?: \((\w+=\d+(?:, \w+=\d+)*)\))?$", re.MULTILINE)

# A test that is known to fail is not a test, so an expected failure counts as one too.
_PASSED = ("successes",)
_FAILED = ("failures", "errors", "unexpectedSuccesses", "expectedFailures")
_SKIPPED = ("skips",)

# What trial prints of tests that went wrong alike: a kind, a reason, an empty line, their names.
_REPORT = re.compile(
    r"^={79}\n\[(FAIL|ERROR|SUCCESS!\?!|SKIPPED|TODO)\]\n(.*?)(?=^={79}$|^-{79}$|\Z)", re.M | re.S
)
_NAME = re.compile(r"\w+(\.\w+)*$")
# The line of a traceback that names the exception, and says what it says first.
_EXCEPTION = re.compile(r"(?!Traceback)[\w.]+: ")
# A line of the tree that trial prints while it runs: a module, a class or, with its end, a test.
_BRANCH = re.compile(r"^( *)(\w[\w.]*)(?: \.\.\. +\[(.+)\])?$")

_LINES_OF_A_REASON = 40
_LINES_OF_REASONS = 200
_LINES_OF_NAMES = 50
_LAST_LINES = 10
_WIDTH = 240


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


class Trouble(NamedTuple):
    """A test that did not pass, or several that went wrong alike."""

    kind: str  # trial's word: FAIL, ERROR, SKIPPED, TODO, SUCCESS!?!
    reason: list[str]  # the lines of a traceback or a message; none if the run ended before it told
    tests: list[str]


def troubles(output: str) -> list[Trouble]:
    """Read which tests did not pass, and why; of a run that died before it told, at least which."""
    found = []
    for kind, text in _REPORT.findall(output):
        reason, _, tests = text.rstrip("\n").rpartition("\n\n")
        names = [line for line in tests.splitlines() if _NAME.match(line)]
        found.append(Trouble(kind, reason.splitlines(), names))
    return found or _of_the_tree(output)


def _of_the_tree(output: str) -> list[Trouble]:
    found = []
    above: list[tuple[int, str]] = []
    for line in output.splitlines():
        branch = _BRANCH.match(line)
        if not branch:
            continue
        indent = len(branch[1])
        above = [(depth, name) for depth, name in above if depth < indent]
        if branch[3] is None:
            above.append((indent, branch[2]))
        elif branch[3] != "OK":
            found.append(Trouble(branch[3], [], [".".join([*(name for _, name in above), branch[2]])]))
    return found


def told(runs: Iterable[tuple[str, str]]) -> list[str]:
    """
    Say what went wrong in these runs, each a name and an output.

    Reasons come first, and after them a line for each test: if anything is read, it is the end.
    """
    reasons: list[str] = []
    names: list[str] = []
    for run, output in runs:
        for kind, reason, tests in troubles(output):
            gist = next((line for line in reason if _EXCEPTION.match(line)), " ".join(reason[-1:]))
            names += [f"{run}: {kind} {test} {gist}".rstrip() for test in tests]
            # The end of a traceback says most.
            reasons += (
                ["", f"{run}: {kind} {' '.join(tests)}", *reason[-_LINES_OF_A_REASON:]] if reason else []
            )
        if not _SUMMARY.search(output):
            names.append(f"{run}: ended without a summary; its last lines:")
            names += [f"{run}: | {line}" for line in output.splitlines()[-_LAST_LINES:]]
    return [line[:_WIDTH] for line in _bounded(reasons, _LINES_OF_REASONS) + _bounded(names, _LINES_OF_NAMES)]


def _bounded(lines: list[str], limit: int) -> list[str]:
    return lines if len(lines) <= limit else [*lines[: limit - 1], f"and {len(lines) - limit + 1} more lines"]


def add(tallies: Iterable[Tally]) -> Tally:
    """Sum up several runs."""
    return Tally(*map(sum, zip(Tally(), *tallies)))


def main(paths: list[str]) -> int:
    """Print the sums over these files, and on stderr what was not good, and why; return the exit status."""
    runs = []
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as file:
            runs.append((os.path.basename(path), file.read()))
    for line in told(runs):
        print(line, file=sys.stderr)
    tallies = [count(output) for _, output in runs]
    for (run, _), tally in zip(runs, tallies):
        if not tally.good:
            print(f"{run}: {tally}; every test must run, and pass", file=sys.stderr)
    print(add(tallies))
    return 0 if tallies and all(tally.good for tally in tallies) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
