"""Does ``proxyctl check`` say what a configuration does, or what is wrong with it?"""

from __future__ import annotations

import os

from tests.cli.shell import ShellCase
from tests.config.ini import MINIMAL
from tests.support.authority import DAY, NOW, self_signed


class CheckTests(ShellCase):
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

    def test_check_reads_lists(self) -> None:
        """The files of lists are read as well, each once, and what is wrong in them is told."""
        path = self.write(f"{MINIMAL}[list a]\nnetworks = file:bad.txt\n")
        bad = self.write("10.0.0.0/8\nten\n", "bad.txt")
        status, out, err = self.run_it("check", path)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual([line.split(" ")[0] for line in err.splitlines()], [f"{bad}:2:"])
        self.write("10.0.0.0/8\n", "bad.txt")
        self.assertEqual(self.run_it("check", path)[0], 0)

    def test_check_reads_pages_and_secrets(self) -> None:
        """The files of pages and of secrets, each once, as the daemon does at its start."""
        text = MINIMAL.replace(
            "pool = p\n", "pool = p\nprotocol = http\nerror_page 5xx = file:a.html file:b.json\n"
        )
        text += "affinity = cookie name=SRV secret=file:key\nmaintenance_page = file:a.html\n"
        text += "maintenance_allow = file:office\n[route r]\nlistener = l\npool = p\npath = /x\n"
        text += "error_page 404 = file:c\n"
        path = self.write(text)
        self.write("too short", "key")
        status, out, err = self.run_it("check", path)
        self.assertEqual((status, out), (1, ""))
        missing = "cannot be read: No such file or directory"
        expected = [f"{name}: {missing}" for name in ("office", "a.html", "b.json", "c")]
        expected.append("key: is shorter than 16 bytes, and could be guessed")
        self.assertEqual([self.local(line) for line in err.splitlines()], expected)
        for name in ("office", "a.html", "b.json", "c", "key"):
            self.write("# of more than sixteen letters\n", name)
        self.assertEqual(self.run_it("check", path)[::2], (0, ""))

    def test_check_finds_programs(self) -> None:
        """A program of a check must be there, and such that it can be run."""
        path = self.write(MINIMAL + "check = command path=queue interval=30s\n")
        for _ in ("it is not there", "it may not be run"):
            status, out, err = self.run_it("check", path)
            self.assertEqual((status, out), (1, ""))
            self.assertEqual(self.local(err), "queue: is not a program that can be run\n")
            program = self.write("#!/bin/sh\n", "queue")
        os.chmod(program, 0o755)
        self.assertEqual(self.run_it("check", path)[::2], (0, ""))

    def test_check_reads_certificates(self) -> None:
        """Certificates are read with their keys, and what the daemon would not start with is told."""
        path = self.write(MINIMAL.replace("pool = p\n", "pool = p\ntls = ./certs default=a.example\n"))
        issued = self_signed("a.example")
        self.write(issued.chain, "certs/a.crt")
        crt = os.path.join(self.folder, "certs", "a.crt")
        status, out, err = self.run_it("check", path)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(
            err.splitlines(),
            [
                f"[listener l] tls: {crt}: has no private key, and neither has a.key beside it",
                f"[listener l] tls: {os.path.dirname(crt)}: has no certificate for default=a.example",
            ],
        )
        self.write(issued.key, "certs/a.key")
        os.chmod(os.path.join(self.folder, "certs", "a.key"), 0o640)
        status, out, err = self.run_it("check", path)
        self.assertEqual((status, err), (0, ""))
        day = f"{NOW + DAY:%Y-%m-%d}"
        self.assertIn(f"\nnote: [listener l] tls: {crt}: expires on {day}\n", out)

    def test_check_looks_for_folders(self) -> None:
        """Folders of files and of caches are to be there, as when the daemon starts."""
        text = MINIMAL.replace("pool = p\n", "protocol = http\nroot = /none/www\n")
        text += "[route r]\nlistener = l\npath = /x\nroot = /none/x\n[cache c]\npath = /none/c\n"
        status, out, err = self.run_it("check", self.write(text))
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(
            err.splitlines(),
            [
                "[cache c] path: /none/c is no folder",
                "[listener l] root: /none/www is no folder",
                "[route r] root: /none/x is no folder",
            ],
        )

    def test_check_of_nothing(self) -> None:
        """A file that is not there is a fault like any other."""
        status, out, err = self.run_it("check", os.path.join(self.folder, "no.ini"))
        self.assertEqual((status, out), (1, ""))
        self.assertIn("no.ini: cannot be read: No such file or directory", err)
