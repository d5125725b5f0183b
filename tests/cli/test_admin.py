"""Does proxyctl find the daemon that is meant, and say whose fault it is when there is no answer?"""

from __future__ import annotations

import json
import os
import socket

from proxyd.cli import admin
from tests.cli.daemon import AskingCase
from tests.config.ini import MINIMAL


class WhichTests(AskingCase):
    """Where the admin socket is."""

    def ask(self, *options: str) -> tuple[int, str, str]:
        return self.run_it("show", "pools", *options)

    def test_environment(self) -> None:
        """The environment names the socket for all commands."""
        self.answering({"pools": []})
        self.assertEqual(self.ask(), (0, "POOL  BALANCE  CHECK  OPEN  QUEUE  SERVERS\n", ""))
        self.assertEqual(self.asked, [{"command": "show pools"}])

    def test_option(self) -> None:
        """What the command line says comes before the environment."""
        path, self.path = self.path, os.path.join(self.folder, "other.sock")
        self.answering({"pools": []})
        self.assertEqual(self.ask("--socket", path)[0], 3)
        self.assertEqual(self.ask("--socket", self.path)[0], 0)

    def test_configuration(self) -> None:
        """The configuration that the daemon was started with names the socket too."""
        self.patch(os, "environ", {})
        self.answering({"pools": []})
        file = self.write(f"{MINIMAL}[proxyd]\nadmin = unix:admin.sock\n")
        self.assertEqual(self.ask("--config", file)[0], 0)

    def test_configuration_without(self) -> None:
        """A configuration that names none is told what to write; one that cannot be read, what is wrong."""
        file = self.write(MINIMAL)
        self.assertEqual(
            self.ask("--config", file),
            (
                1,
                "",
                f"proxyctl: {file} has no admin socket; "
                "write admin = unix:/run/proxyd/admin.sock in [proxyd]\n",
            ),
        )
        status, _, err = self.ask("--config", self.write("x"))
        self.assertEqual((status, "proxy.ini:1:" in err), (1, True))

    def test_default(self) -> None:
        """Without a word about it, it is where the examples have it."""
        self.patch(os, "environ", {})
        self.patch(admin, "DEFAULT_PATH", self.path)
        self.answering({"pools": []})
        self.assertEqual(self.ask()[0], 0)

    def test_both(self) -> None:
        """Two ways at once are one too many."""
        status, _, err = self.ask("--socket", "a", "--config", "b")
        self.assertEqual((status, "not allowed with argument" in err), (2, True))


class AnswerTests(AskingCase):
    """What comes of an answer, and of none."""

    def fails(self, status: int, text: str) -> None:
        self.assertEqual(self.run_it("show", "pools"), (status, "", f"proxyctl: {text}\n"))

    def test_json(self) -> None:
        """The answer is to be had as it is, for programs."""
        self.answering({"pools": [], "more": "é"})
        status, out, err = self.run_it("show", "pools", "--json")
        self.assertEqual((status, json.loads(out), err), (0, {"pools": [], "more": "é"}, ""))

    def test_refused(self) -> None:
        """What the daemon refuses is said in its words, with status 1."""
        self.answering(raw=b'{"error":"no","code":"refused"}\n')
        self.fails(1, "no")

    def test_nobody(self) -> None:
        """No socket, or one that a killed daemon left behind."""
        self.fails(
            3,
            f"there is no {self.path}; is the daemon running, and does its [proxyd] have "
            f"admin = unix:{self.path}?",
        )
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(self.path)
        self.fails(3, f"nobody listens on {self.path}; the daemon that made it has ended")

    def test_odd_paths(self) -> None:
        """A path that leads nowhere is no traceback."""
        for path in (self.folder, self.folder + "/x/" * 100, "a" * 200):
            status, out, err = self.run_it("show", "pools", "--socket", path)
            self.assertEqual((status, out, err.count("\n")), (3, "", 1), path)

    def test_permission(self) -> None:
        """Who may not write to the socket is told who may."""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.path)
            os.chmod(self.path, 0o600)
            owner = os.stat(self.path)

            def denied(path: str, request: bytes) -> bytes:
                raise PermissionError(13, "Permission denied")  # root, who runs some tests, may always

            self.patch(admin, "_exchange", denied)
            self.fails(
                3,
                f"you (uid {os.geteuid()}) may not write to {self.path}, "
                f"which has mode 600 and is of uid {owner.st_uid} and gid {owner.st_gid}",
            )

    def test_silence(self) -> None:
        """A daemon that is stopped is not waited for without end."""
        self.patch(admin, "PATIENCE", 0.05)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.path)
            listening.listen(0)
            self.fails(3, f"the daemon on {self.path} does not answer; it is stopped, or far too busy")
            with socket.socket(socket.AF_UNIX) as other:
                other.setblocking(False)
                other.connect_ex(self.path)  # the queue is full now
                self.fails(3, f"the daemon on {self.path} does not answer; it is stopped, or far too busy")

    def test_hung_up(self) -> None:
        """A daemon that hangs up without a word."""
        self.answering(raw=b"")
        self.fails(3, f"the daemon on {self.path} has hung up without an answer; its log may say why")

    def test_another_program(self) -> None:
        """What is no answer of the daemon's is not taken for one."""
        for raw in (b"HTTP/1.1 400 Bad Request\n", b"[]\n", b"{}\n", b'{"result":1}\n', b"\xff\n"):
            self.answering(raw=raw)
            self.fails(3, f"what listens on {self.path} does not answer as proxyd does")

    def test_endless(self) -> None:
        """An answer without an end is given up."""
        self.patch(admin, "LONGEST_ANSWER", 1000)
        self.answering(raw=b"x" * 1001)
        self.fails(3, f"what listens on {self.path} does not answer as proxyd does")
