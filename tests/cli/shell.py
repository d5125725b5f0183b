"""How does a test run ``proxyctl``, and see what it says?"""

from __future__ import annotations

import io
import sys

from proxyd import cli
from tests.config.ini import IniCase


class ShellCase(IniCase):
    """A test of commands, with a folder for configurations."""

    def run_it(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        try:
            status = cli.main(arguments)
        except SystemExit as leave:
            assert isinstance(leave.code, int)
            status = leave.code
        return status, out.getvalue(), err.getvalue()
