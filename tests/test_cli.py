"""Does proxyctl say what an operator asked, where, and with which exit status?"""

from __future__ import annotations

import io
import os
import sys

from proxyd import cli
from proxyd.native import version
from tests.config.ini import MINIMAL, IniCase


class CliTests(IniCase):
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

    def test_check(self) -> None:
        """A configuration that can be used is summed up."""
        self.assertEqual(
            self.run_it("check", self.write(MINIMAL)),
            (
                0,
                "ok\nlistener l: tcp on tcp:80, to pool p\npool p: 1 server, balance p2c, check none\n",
                "",
            ),
        )

    def test_check_finds_faults(self) -> None:
        """One that cannot be used: every problem is on standard error, and nothing elsewhere."""
        path = self.write(MINIMAL.replace("tcp:80", "x") + "retires = 1\n")
        status, out, err = self.run_it("check", path)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual([line.split(" ")[0] for line in err.splitlines()], [f"{path}:2:", f"{path}:6:"])

    def test_check_of_nothing(self) -> None:
        """A file that is not there is a fault like any other."""
        status, out, err = self.run_it("check", os.path.join(self.folder, "no.ini"))
        self.assertEqual((status, out), (1, ""))
        self.assertIn("no.ini: cannot be read: No such file or directory", err)

    def test_variables(self) -> None:
        """Variables are those of the process."""
        self.patch(os, "environ", {"PROXYD_TEST_PORT": "8123"})
        path = self.write(MINIMAL.replace("tcp:80", "tcp:${PROXYD_TEST_PORT}"))
        self.assertIn("tcp:8123", self.run_it("check", path)[1])

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
        """Help has an example that one can copy."""
        for arguments in (("--help",), ("check", "--help")):
            status, out, _ = self.run_it(*arguments)
            self.assertEqual(status, 0)
            self.assertIn("example: proxyctl check /etc/proxyd/proxy.ini", out)

    def test_letters_the_terminal_does_not_have(self) -> None:
        """On a terminal without them, letters are spelled out and nothing breaks."""
        written = io.BytesIO()
        out = io.TextIOWrapper(written, encoding="ascii")
        self.patch(sys, "stdout", out)
        path = self.write(MINIMAL.replace("tcp:80", "unix:/run/é.sock"))
        self.assertEqual(cli.main(["check", path]), 0)
        out.flush()
        self.assertIn(b"unix:/run/\\xe9.sock", written.getvalue())
