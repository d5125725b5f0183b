"""Does `make proof` say which proofs hold, and notice when one does not?"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

from tests.proof.__main__ import Outcome, main, names, prove, table
from tests.support.case import Case


def run(script: str, timeout: float = 60.0) -> tuple[Outcome, str]:
    """Run this script as a proof; return what came of it, and all that was printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        outcome = prove("example", [sys.executable, "-u", "-c", script], timeout)
    return outcome, printed.getvalue()


class Proofs(Case):
    """The runner of the long proofs."""

    def test_holds(self) -> None:
        """A proof that exits with 0 holds; its output is passed on and its last line is kept."""
        outcome, printed = run("print('one'); print('3 KB a connection')")
        self.assertTrue(outcome.holds)
        self.assertEqual(outcome.found, "3 KB a connection")
        self.assertEqual(printed, "== example\none\n3 KB a connection\n")

    def test_fails(self) -> None:
        """A proof that raises does not hold, and the table says what it raised."""
        outcome, _ = run("raise ValueError('too much')")
        self.assertFalse(outcome.holds)
        self.assertEqual(outcome.found, "ValueError: too much")

    def test_hangs(self) -> None:
        """A proof that hangs is killed together with what it started, and does not hold."""
        outcome, _ = run(
            "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import signal; signal.pause()'])",
            timeout=0.5,
        )
        self.assertFalse(outcome.holds)
        self.assertEqual(outcome.found, "killed after 0.5 s")

    def test_order(self) -> None:
        """The proofs are the modules of the folder in the order of their names; private ones are none."""
        folder = Path(self.mktemp())
        folder.mkdir()
        for name in ("soak.py", "memory.py", "__main__.py", "__init__.py", "_load.py", "notes.txt"):
            (folder / name).touch()
        self.assertEqual(names(folder), ["memory", "soak"])

    def test_table(self) -> None:
        """A line for each, in columns."""
        self.assertEqual(
            table([Outcome("memory", True, 1.25, "3 KB"), Outcome("soak", False, 100.0, "killed")]),
            "pass  memory     1.2 s  3 KB\nFAIL  soak     100.0 s  killed",
        )

    def test_unknown_name(self) -> None:
        """A name that is no proof runs nothing, and is an exit status of 1."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self.assertEqual(main(["no_such_proof"]), 1)
        self.assertIn("no such proof: no_such_proof", printed.getvalue())
