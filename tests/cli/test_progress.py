"""Is somebody who waits at a terminal told how far it is, and nobody else?"""

from __future__ import annotations

import io

from proxyd.cli.progress import Progress
from tests.support.case import Case


class Terminal(io.StringIO):
    """What is a terminal."""

    def isatty(self) -> bool:
        return True


class ProgressTests(Case):
    def test_on_a_terminal(self) -> None:
        """A line is written over now and then, and is gone at the end."""
        terminal = Terminal()
        progress = Progress(terminal, "lines read")
        for count in range(1, 120_001):
            progress.at(count)
        progress.over()
        self.assertEqual(terminal.getvalue(), "\r50,000 lines read\r100,000 lines read\r" + " " * 18 + "\r")

    def test_nothing_to_show(self) -> None:
        """What is done at once shows nothing."""
        terminal = Terminal()
        progress = Progress(terminal, "lines read")
        progress.at(1)
        progress.over()
        self.assertEqual(terminal.getvalue(), "")

    def test_elsewhere(self) -> None:
        """A file gets nothing of it."""
        file = io.StringIO()
        progress = Progress(file, "lines read")
        progress.at(50_000)
        progress.over()
        self.assertEqual(file.getvalue(), "")
