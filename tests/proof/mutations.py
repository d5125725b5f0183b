"""
Do a hundred thousand broken openings end as they should when it is certain which bytes are read together?

As in `tests.proof.openings`, but in memory: without sockets, each opening is read in exactly two pieces, and
the deadline is a clock's that the test turns.
"""

from __future__ import annotations

import sys
from random import Random
from time import perf_counter
from unittest import TestResult

from tests.relay.test_opening import MutationTests

OPENINGS = 100_000
SEED = 1147


class Mutations(MutationTests):
    """The same as in the suite, but many more."""

    def runTest(self) -> None:
        self.check(Random(SEED), OPENINGS)


def main() -> int:
    """Return the exit status."""
    result = TestResult()
    began = perf_counter()
    Mutations().run(result)
    seconds = perf_counter() - began
    for _, trace in (*result.errors, *result.failures):
        print(trace)
    if not result.wasSuccessful() or not result.testsRun:
        return 1
    print(f"{OPENINGS} openings, each ended for the right reason, {OPENINGS / seconds:.0f}/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
