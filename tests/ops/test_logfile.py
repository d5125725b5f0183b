"""Does every line get into the file, whatever happens to the file?"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import Callable

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from proxyd.errors import StartError
from proxyd.ops.logfile import GATHER_BYTES, KEPT_BYTES, LogFile
from tests.support.case import Case
from tests.support.descriptors import open_files, open_files_before


class LogFileCase(Case):
    """A log file on a clock, whose complaints are gathered."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = os.path.abspath(self.mktemp())
        captured = capturedLogs()
        self.events = captured.__enter__()
        self.addCleanup(captured.__exit__, None, None, None)
        self.log = LogFile(self.path, self.clock)
        self.log.open()
        self.addCleanup(self.log.close)

    @property
    def said(self) -> list[str]:
        """What the log file had to say in the log of twistd."""
        ours = [event for event in self.events if event["log_namespace"] == "proxyd.ops.logfile"]
        return [formatEvent(event).replace(self.path, "PATH") for event in ours]

    def read(self, path: str = "") -> str:
        with open(path or self.path) as file:
            return file.read()

    def refuse(self, name: str, call: Callable[..., int]) -> None:
        """Let the system call fail as `call` does, until `allow`."""
        self.allowed = self.patch(os, name, call)

    def allow(self) -> None:
        self.allowed.restore()


def no_space(fd: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Gathering(LogFileCase):
    """Lines are written together."""

    def setUp(self) -> None:
        super().setUp()
        self.writes: list[int] = []
        write = os.write

        def noted(fd: int, data: bytes) -> int:
            self.writes.append(len(data))
            return write(fd, data)

        self.patch(os, "write", noted)

    def test_one_write(self) -> None:
        """Lines that come within a fifth of a second are one write, and then no timer is left."""
        for n in range(10):
            self.log.append(f"{n}\n")
        self.assertEqual((self.read(), self.writes), ("", []))
        self.clock.advance(0.2)
        self.assertEqual((self.read(), self.writes), ("".join(f"{n}\n" for n in range(10)), [20]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_much(self) -> None:
        """A flood of lines is written as soon as 64 KiB have gathered."""
        line = "x" * 99 + "\n"
        for _ in range(GATHER_BYTES // 100 + 1):
            self.log.append(line)
        self.assertEqual(len(self.writes), 1)
        self.assertGreaterEqual(self.writes[0], GATHER_BYTES)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_little_by_little(self) -> None:
        """What has been written does not count towards the next 64 KiB."""
        for _ in range(3):
            self.log.append("x" * (GATHER_BYTES - 2) + "\n")
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.advance(0.2)
        self.assertEqual(self.writes, [GATHER_BYTES - 1] * 3)

    def test_close_writes(self) -> None:
        """What was gathered is written at the close, and nothing after it."""
        self.log.append("last\n")
        self.log.close()
        self.log.append("too late\n")
        self.log.close()
        self.assertEqual(self.read(), "last\n")
        self.assertEqual((self.clock.getDelayedCalls(), self.said, self.log.dropped), ([], [], 1))


class Opening(LogFileCase):
    """How the file is opened."""

    def test_mode(self) -> None:
        """The file is for its owner and group, is not inherited, and what was in it stays."""
        fd = self.log._fd
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode) & 0o137, 0)
        self.assertTrue(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)
        self.assertTrue(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND)
        self.log.append("one\n")
        self.log.close()
        again = LogFile(self.path, self.clock)
        again.open()
        again.append("two\n")
        again.close()
        self.assertEqual(self.read(), "one\ntwo\n")

    def test_directory(self) -> None:
        """A directory is refused with the system's own word."""
        error = self.assertRaises(StartError, LogFile("/", self.clock).open)
        self.assertEqual(error.lines, ("/: cannot be opened for appending: Is a directory",))

    def test_pipe_without_reader(self) -> None:
        """A pipe that nobody reads is an error at the start; it does not hold up the daemon."""
        path = self.mktemp()
        os.mkfifo(path)
        self.assertRaises(StartError, LogFile(path, self.clock).open)

    def test_change_of_directory(self) -> None:
        """A relative path means the same file after the daemon has changed its directory."""
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        log = LogFile(os.path.relpath(self.path), self.clock)
        log.open()
        os.chdir("/")
        self.clock.advance(5)
        log.append("line\n")
        log.close()
        self.assertEqual(self.read(), "line\n")


class Rotation(LogFileCase):
    """`logrotate` at work."""

    def rename(self) -> str:
        old: str = self.path + ".1"
        os.rename(self.path, old)
        return old

    def test_create(self) -> None:
        """Once the file has been renamed and a new one stands in its place, lines go there."""
        self.log.append("before\n")
        self.clock.advance(0.2)
        old = self.rename()
        with open(self.path, "w"):
            pass
        self.clock.advance(1)
        self.log.append("after\n")
        self.clock.advance(0.2)
        self.assertEqual((self.read(old), self.read(), self.said), ("before\n", "after\n", []))

    def test_nocreate(self) -> None:
        """If there is no new file, we make it."""
        old = self.rename()
        self.clock.advance(1)
        self.log.append("after\n")
        self.clock.advance(0.2)
        self.assertEqual((self.read(old), self.read(), self.said), ("", "after\n", []))

    def test_copytruncate(self) -> None:
        """If the file is emptied in place, lines begin at its beginning."""
        self.log.append("before\n")
        self.clock.advance(0.2)
        os.truncate(self.path, 0)
        self.log.append("after\n")
        self.clock.advance(0.2)
        self.assertEqual(self.read(), "after\n")

    def test_looks_once_a_second(self) -> None:
        """However much is written, the name is looked at once a second."""
        looks: list[str] = []
        look = os.stat

        def noted(path: str) -> os.stat_result:
            looks.append(path)
            return look(path)

        self.patch(os, "stat", noted)
        for _ in range(20):
            self.log.append("line\n")
            self.clock.advance(0.25)
        self.assertEqual(looks, [self.path] * 5)

    def test_old_file_is_closed(self) -> None:
        """The renamed file is let go of, so that it can be compressed and its space freed."""
        before = open_files_before()
        for n in range(5):
            os.rename(self.path, f"{self.path}.{n}")
            self.clock.advance(1)
            self.log.append("line\n")
            self.clock.advance(0.2)
        self.assertEqual(open_files(), before)

    def test_cannot_open_anew(self) -> None:
        """If we may not open the new file, lines go on into the old one, and that is said once."""

        def denied(*_: object) -> int:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

        old = self.rename()
        self.refuse("open", denied)
        for n in range(3):
            self.clock.advance(1)
            self.log.append(f"{n}\n")
            self.clock.advance(0.2)
        self.assertEqual(self.read(old), "0\n1\n2\n")
        self.assertEqual(
            self.said,
            ["PATH: was moved away and cannot be opened anew: Permission denied; going on in the old file"],
        )
        self.allow()
        self.clock.advance(1)
        self.log.append("3\n")
        self.clock.advance(0.2)
        self.assertEqual((self.read(old), self.read(), len(self.said)), ("0\n1\n2\n", "3\n", 1))


class FullDisk(LogFileCase):
    """The disk is full, and then it is not."""

    BEGAN = "PATH: cannot be written: No space left on device; up to 1048576 bytes are kept and tried again"

    def test_nothing_is_lost(self) -> None:
        """A short trouble loses nothing; its beginning and its end are said once."""
        self.refuse("write", no_space)
        for n in range(5):
            self.log.append(f"{n}\n")
            self.clock.advance(1)
        self.assertEqual((self.read(), self.said), ("", [self.BEGAN]))
        self.allow()
        self.clock.advance(1)
        self.assertEqual(self.read(), "0\n1\n2\n3\n4\n")
        self.assertEqual(self.said, [self.BEGAN, "PATH: is written again; 0 lines are lost"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_memory_is_bounded(self) -> None:
        """A long trouble loses the newest lines, and says how many when it is over."""
        line = "x" * 1023 + "\n"
        self.refuse("write", no_space)
        for _ in range(KEPT_BYTES // 1024 + 10):
            self.log.append(line)
        self.assertEqual(self.log.dropped, 10)
        self.allow()
        self.clock.advance(1)
        self.assertEqual(self.read(), line * (KEPT_BYTES // 1024))
        self.assertEqual(self.said, [self.BEGAN, "PATH: is written again; 10 lines are lost"])
        self.assertEqual(self.log.dropped, 0)

    def test_tried_once_a_second(self) -> None:
        """While the disk is full it is tried once a second, however many lines come."""
        tries: list[int] = []

        def noted(fd: int, data: bytes) -> int:
            tries.append(len(data))
            return no_space(fd, data)

        self.refuse("write", noted)
        self.log.append("x" * GATHER_BYTES + "\n")
        for _ in range(40):
            self.log.append("line\n")
            self.clock.advance(0.25)
        self.assertEqual(len(tries), 11)

    def test_cut_line(self) -> None:
        """A line that was cut by the full disk is completed later."""
        self.cut_at(6)
        self.log.append("first\n")
        self.log.append("second\n")
        self.clock.advance(0.2)
        self.assertEqual(self.read(), "first\n")
        self.allow()
        self.clock.advance(1)
        self.assertEqual(self.read(), "first\nsecond\n")

    def test_cut_line_and_rotation(self) -> None:
        """The rest of a cut line does not open a new file; the line is counted as lost."""
        self.cut_at(3)
        self.log.append("first\n")
        self.log.append("second\n")
        self.clock.advance(0.2)
        os.rename(self.path, self.path + ".1")
        self.allow()
        self.clock.advance(1)
        self.assertEqual((self.read(self.path + ".1"), self.read()), ("fir", "second\n"))
        self.assertEqual(self.said[1:], ["PATH: is written again; 1 lines are lost"])

    def test_close(self) -> None:
        """A daemon that stops while the disk is full stops, and says what is lost."""
        self.refuse("write", no_space)
        self.log.append("one\n")
        self.log.append("two\n")
        self.clock.advance(0.2)
        self.log.close()
        self.assertEqual(self.said, [self.BEGAN, "PATH: closed, 2 lines are lost"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def cut_at(self, count: int) -> None:
        """Let the disk have room for so many bytes more."""
        write = os.write
        room = [count]

        def short(fd: int, data: bytes) -> int:
            if not room[0]:
                return no_space(fd, data)
            written = write(fd, data[: room[0]])
            room[0] -= written
            return written

        self.refuse("write", short)
