"""Does proxyctl know its commands, and say how they are used?"""

from __future__ import annotations

import io
import os
import subprocess
import sys

from proxyd import cli
from proxyd.native import version
from tests.cli.shell import ShellCase
from tests.config.ini import MINIMAL
from tests.support.stage import PYTHONPATH

AS_IT_STARTS = """
import sys
import proxyd.cli
heavy = [name for name in sys.modules if name.split(".")[0] in ("twisted", "zope", "OpenSSL")]
ours = [name for name in sys.modules if name.startswith(("proxyd.policy", "proxyd.interfaces"))]
print(*heavy, *ours)
"""


class CliTests(ShellCase):
    def test_wrong_usage(self) -> None:
        """A command line that is not understood exits with 2 and says how it is written."""
        for arguments in ((), ("check",), ("chekc", "x"), ("check", "a", "b")):
            status, out, err = self.run_it(*arguments)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("usage: proxyctl", err)

    def test_version(self) -> None:
        """The version is that of the package."""
        self.assertEqual(self.run_it("--version"), (0, f"proxyctl {version()}\n", ""))

    def test_help(self) -> None:
        """Help has an example that one can copy, of each command its own."""
        for arguments in ([], *([command.name] for command in cli.COMMANDS)):
            status, out, _ = self.run_it(*arguments, "--help")
            self.assertEqual(status, 0)
            self.assertIn(f"example: proxyctl {arguments[0] if arguments else 'check'} ", out)

    def test_starts_quickly(self) -> None:
        """What only some commands need is not loaded for all of them."""
        ran = subprocess.run(
            [sys.executable, "-c", AS_IT_STARTS],
            env={"PYTHONPATH": PYTHONPATH},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(ran.stdout.split(), [])

    def test_nobody_reads(self) -> None:
        """Who reads no further, as head does, is not told that this is an error."""
        unread, out = os.pipe()
        os.close(unread)
        self.addCleanup(os.close, out)
        ran = subprocess.run(
            [sys.executable, "-c", "import sys; from proxyd.cli import main; sys.exit(main())", "check"]
            + [self.write(MINIMAL)],
            env={"PYTHONPATH": PYTHONPATH},
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        self.assertEqual((ran.returncode, ran.stderr), (141, ""))

    def test_letters_the_terminal_does_not_have(self) -> None:
        """On a terminal without them, letters are spelled out and nothing breaks."""
        written = io.BytesIO()
        out = io.TextIOWrapper(written, encoding="ascii")
        self.patch(sys, "stdout", out)
        path = self.write(MINIMAL.replace("tcp:80", "unix:/run/é.sock"))
        self.assertEqual(cli.main(["check", path]), 0)
        out.flush()
        self.assertIn(b"unix:/run/\\xe9.sock", written.getvalue())
