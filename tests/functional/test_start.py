"""Does twistd start the daemon, or say in plain lines why not?"""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.support.daemon import Daemon, DaemonCase, start, status, twistd
from tests.support.peer import listening_socket
from tests.support.services import nginx
from tests.support.stage import Finished, Place, program

NOBODY = "65534"


class Refused(DaemonCase):
    """A start that fails: exit status 1, plain lines on standard error, and nothing left behind."""

    async def twistd(self, *arguments: Any) -> Finished:
        child = twistd(self.stage, *arguments)
        ended = await child.ends()
        return Finished(ended, bytes(child.out), bytes(child.err))

    async def refused(self, text: str, *options: str) -> list[str]:
        """Start with this configuration, which is refused; return the lines on standard error."""
        config = self.stage.folder / "proxy.ini"
        config.write_text(text)
        finished = await self.twistd(*options, "tcpproxy", "--config", config)
        self.assertEqual(finished.status, 1, finished)
        said = (finished.out + finished.err).decode()
        self.assertNotIn("Traceback", said)
        self.assertNotIn("Usage", said)
        for left in ("twistd.pid", "twistd.log"):
            self.assertFalse((self.stage.folder / left).exists(), left)
        return finished.err.decode().replace(str(self.stage.folder) + "/", "").splitlines()

    async def test_port_in_use(self) -> None:
        """A port that somebody has is one line, in the foreground and in the background."""
        taken = listening_socket(socket.AF_INET, 65536)
        self.addCleanup(taken.close)
        bind = Place(*taken.getsockname()).bind
        text = f"[listener a]\nbind = {bind}\npool = b\n[pool b]\nserver c = 127.0.0.1:1\n"
        line = f"cannot listen on {bind}: Address already in use (another process listens there)"
        self.assertEqual(await self.refused(text, "-n"), [line])
        self.assertEqual(await self.refused(text), [line])

    async def test_several_causes(self) -> None:
        """All that is in the way of a start is told at once, and the ports that were free are free again."""
        taken = listening_socket(socket.AF_INET, 65536)
        self.addCleanup(taken.close)
        free = self.stage.tcp()
        text = (
            "[proxyd]\naccess_log = missing/access.log\n"
            f"[listener a]\nbind = {free.bind} {Place(*taken.getsockname()).bind} fd:77\npool = b\n"
            "[pool b]\nserver c = 127.0.0.1:1\n"
        )
        lines = await self.refused(text, "-n")
        self.assertEqual(len(lines), 3, lines)
        self.assertIn("missing/access.log", lines[0])
        self.assertIn("Address already in use", lines[1])
        self.assertIn("fd:77", lines[2])
        self.assertRaises(ConnectionRefusedError, free.socket)

    async def test_checks_of_ones_own(self) -> None:
        """A check that needs a program or a class which cannot be had is told before the daemon starts."""
        text = (
            f"[listener a]\nbind = {self.stage.tcp().bind}\npool = b\n[pool b]\nserver c = 127.0.0.1:1\n"
            "check one = command path=missing\ncheck two = python probe=no_such.Probe\n"
        )
        self.assertEqual(
            await self.refused(text, "-n"),
            [
                "[pool b] check one: missing is not a program that can be run",
                "[pool b] check two: no_such cannot be imported: "
                "ModuleNotFoundError: No module named 'no_such'",
            ],
        )

    async def test_mistakes(self) -> None:
        """Every mistake in a file is told with its place, and with what was probably meant."""
        lines = await self.refused(
            "[listener a]\n"
            "bind = tcp:8080\n"
            "pool = webb\n"
            "idle_timeuot = 5m\n"
            "half_closed_timeout = 30\n"
            "[pool web]\n"
            "balance = leastcon\n"
            "server a = 127.0.0.1\n",
            "-n",
        )
        found = [re.match(r'proxy\.ini:(\d+): \[[a-z]+ [a-z]+\] "?(\w+)', line) for line in lines]
        self.assertEqual(
            [match and (int(match[1]), match[2]) for match in found],
            [
                (3, "pool"),
                (4, "idle_timeuot"),
                (5, "half_closed_timeout"),
                (7, "balance"),
                (8, "server"),
            ],
            lines,
        )
        self.assertIn("web", lines[0])
        self.assertIn("idle_timeout", lines[1])
        self.assertIn("30", lines[2])

    async def test_unreadable_files(self) -> None:
        """A file that is not there, and an include that is not there, are told by name."""
        finished = await self.twistd("-n", "tcpproxy", "--config", self.stage.folder / "missing.ini")
        self.assertEqual(finished.status, 1)
        self.assertIn(b"missing.ini: ", finished.err)
        self.assertNotIn(b"Traceback", finished.err)
        lines = await self.refused("\ninclude = also_missing.ini\n", "-n")
        self.assertTrue(lines[0].startswith("proxy.ini:2: "), lines)
        self.assertIn("also_missing.ini", lines[0])

    async def test_no_config(self) -> None:
        """Without --config it is said what is missing."""
        finished = await self.twistd("-n", "tcpproxy")
        self.assertEqual(finished.status, 1)
        self.assertEqual(
            finished.err.decode(), "tcpproxy: --config FILE is missing; see twistd tcpproxy --help\n"
        )

    async def test_help(self) -> None:
        """The usage is one line, as it is to be typed."""
        finished = await self.twistd("tcpproxy", "--help")
        self.assertEqual(finished.status, 0)
        said = finished.out.decode()
        self.assertEqual(said.count("Usage"), 1, said)
        self.assertRegex(said, r"Usage: \S*twistd \[options\] tcpproxy --config FILE \[--check\]\n")

    async def test_check(self) -> None:
        """With --check a right configuration is summed up, and no port is taken, not even a busy one."""
        taken = listening_socket(socket.AF_INET, 65536)
        self.addCleanup(taken.close)
        config = self.stage.folder / "proxy.ini"
        config.write_text(
            f"[listener a]\nbind = {Place(*taken.getsockname()).bind}\npool = b\n"
            "[pool b]\nserver c = 127.0.0.1:1\n"
        )
        finished = await self.twistd("-n", "tcpproxy", "--config", config, "--check")
        self.assertEqual((finished.status, finished.err), (0, b""), finished)
        self.assertTrue(finished.out.startswith(b"ok\n"), finished)
        config.write_text("[listener a]\npool = b\n")
        self.assertEqual((await self.twistd("-n", "tcpproxy", "--config", config, "--check")).status, 1)


class Started(DaemonCase):
    """The ways to run it."""

    async def test_inherited_socket(self) -> None:
        """A socket that the parent has bound is served, and was never closed in between."""
        web = await nginx(self.stage)
        (web.folder / "files" / "page").write_bytes(b"served\n")
        front = listening_socket(socket.AF_INET, 65536)
        self.addCleanup(front.close)
        place = Place(*front.getsockname())
        early = self.stage.connect(place)  # before there is a daemon
        early.send(b"GET /page HTTP/1.0\r\n\r\n")
        daemon = await start(
            self.stage,
            f"[listener front]\nbind = fd:7\npool = servers\n[pool servers]\nserver a = {web.place}\n",
            place,
            fds={7: front.fileno()},
        )
        self.assertTrue((await early.sees_end()).endswith(b"served\n"))
        early.close()
        await daemon.leaves_nothing()
        await daemon.stop()

    async def test_background(self) -> None:
        """As a daemon it writes its pid and its log, serves, and SIGTERM ends it and removes the pid file."""
        web = await nginx(self.stage)
        (web.folder / "files" / "page").write_bytes(b"served\n")
        front = self.stage.tcp()
        pid_file, log = self.stage.folder / "proxyd.pid", self.stage.folder / "proxyd.log"
        pid = await self.background(front, web.place, "--pidfile", str(pid_file), "--logfile", str(log))
        self.assertEqual(int(pid_file.read_text()), pid)
        self.assertNotEqual(os.getsid(pid), os.getsid(0))
        out = await self.stage.check(program("curl", "curl"), "--silent", "--fail", f"http://{front}/page")
        self.assertEqual(out, b"served\n")
        os.kill(pid, signal.SIGTERM)
        await self.stage.until(lambda: not pid_file.exists(), "the pid file to be removed")
        await self.stage.until(lambda: not Path(f"/proc/{pid}").exists(), "the daemon to end")
        said = log.read_text()
        self.assertIn("Server Shut Down.", said)
        self.assertNotIn("Traceback", said)

    async def background(self, front: Place, server: Place, *options: str) -> int:
        """Start a daemon in the background; return its process id."""
        config = self.stage.folder / "proxy.ini"
        config.write_text(
            f"[proxyd]\naccess_log = access.log\n[listener front]\nbind = {front.bind}\npool = servers\n"
            f"[pool servers]\nserver a = {server}\n"
        )
        child = twistd(self.stage, *options, "tcpproxy", "--config", config)
        ended = await child.exits()  # once all is bound, and with nothing to say
        self.assertEqual((ended, bytes(child.out), bytes(child.err)), (0, b"", b""))
        pid = int((self.stage.folder / "proxyd.pid").read_text())
        self.addCleanup(self.end, pid)
        return pid

    def end(self, pid: int) -> None:
        """End a daemon that did not end by itself."""
        try:
            if b"tcpproxy" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass

    async def test_privileges(self) -> None:
        """A port below 1024 is bound by root, and then the process is nobody's."""
        if os.geteuid() != 0:
            raise SkipTest("a port below 1024 needs root, and so does becoming nobody")
        web = await nginx(self.stage)
        (web.folder / "files" / "page").write_bytes(b"served\n")
        front = self.privileged_port()
        daemon: Daemon = await self.relay(web.place, front=front, options=("--uid", NOBODY, "--gid", NOBODY))
        self.assertEqual(status(daemon.child.pid, "Uid"), int(NOBODY))
        self.assertEqual(status(daemon.child.pid, "Gid"), int(NOBODY))
        out = await self.stage.check(
            program("curl", "curl"), "--silent", "--fail", f"http://{daemon.front}/page"
        )
        self.assertEqual(out, b"served\n")
        self.assertEqual((await daemon.record())["reason"], "client_finished")

    def privileged_port(self) -> Place:
        """A free port below 1024 on the address that only this process uses."""
        host = self.stage.tcp().host
        for port in range(1023, 512, -1):
            with socket.socket() as skt:
                try:
                    skt.bind((host, port))
                    return Place(host, port)
                except OSError:
                    continue
        raise AssertionError("no privileged port is free")
