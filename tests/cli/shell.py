"""How does a test run ``proxyctl``, and see what it says?"""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

from proxyd import cli
from tests.config.ini import IniCase


def proxyctl(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            status = cli.main(arguments)
        except SystemExit as leave:
            assert isinstance(leave.code, int)
            status = leave.code
    return status, out.getvalue(), err.getvalue()


class ShellCase(IniCase):
    """A test of commands, with a folder for configurations."""

    def run_it(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        return proxyctl(*arguments)
