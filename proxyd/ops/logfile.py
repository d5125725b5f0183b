"""
How do lines get into a file that others rotate, on a disk that may be full?

Lines are gathered and written together, so a line costs its caller a list append.  The file is opened
for appending, so `logrotate` may truncate it in place (``copytruncate``); and when its name has come to
mean another file (``create``), that one is opened.  Writes go to a local file and may take as long as
the disk takes; a pipe or a terminal is never waited for.

What this file guards against:

- The disk is full.  We go on, keep the oldest lines up to `KEPT_BYTES`, count the others, and say when
  it began and, when lines are written again, how many are missing.  A line that was cut in the middle
  is completed by the next write.
- The file was moved away and a new one may not be made (the privileges are dropped by now).  We go on
  writing to the file we have.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Optional

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from proxyd.errors import StartError

log = Logger(__name__)

GATHER_SECONDS = 0.2  # soon enough for `tail -f`, and five writes a second at most
GATHER_BYTES = 64 * 1024
KEPT_BYTES = 1024 * 1024  # some five thousand connections while a disk is full
RETRY_SECONDS = 1.0
LOOK_SECONDS = 1.0  # how often the name is compared with the open file
MODE = 0o640  # addresses of clients are nobody else's business


def open_for_appending(path: str) -> int:
    """A descriptor that appends to `path`, which is created if need be; raises `OSError`, never waits."""
    return os.open(
        path,
        # O_NONBLOCK: without it a named pipe that nobody reads would hold up the daemon.
        os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK,
        MODE,
    )


class LogFile:
    """
    A file of lines that keeps up with rotation and outlives a full disk.

    ``dropped`` is how many lines have been lost since all was last well.
    """

    def __init__(self, path: str, clock: IReactorTime) -> None:
        self.path = os.path.abspath(path)  # twistd changes its directory later
        self.dropped = 0
        self._clock = clock
        self._fd = -1
        self._lines: list[str] = []
        self._size = 0
        self._timer: Optional[IDelayedCall] = None
        self._looked = 0.0
        self._failing = False
        self._left_behind = False
        self._cut = False  # the file ends within a line, and the rest of it comes first in _lines

    def open(self) -> None:
        """Open the file, or raise `StartError` with the path and the system's own word for it."""
        try:
            self._take(open_for_appending(self.path))
        except OSError as error:
            raise StartError((f"{self.path}: cannot be opened for appending: {error.strerror}",)) from error
        self._looked = self._clock.seconds()

    def append(self, line: str) -> None:
        """Take one line, ASCII with its newline; it is in the file `GATHER_SECONDS` later at the latest."""
        size = self._size + len(line)
        if self._fd < 0 or (self._failing and size > KEPT_BYTES):
            self.dropped += 1
            return
        self._lines.append(line)
        self._size = size
        if size >= GATHER_BYTES and not self._failing:
            self.flush()
        elif self._timer is None:
            self._timer = self._clock.callLater(GATHER_SECONDS, self._due)

    def flush(self) -> None:
        """Write what has been gathered; what cannot be written is kept for another try."""
        self._stop_timer()
        if self._fd < 0 or not self._lines:
            return
        self._keep_up_with_rotation()
        data = "".join(self._lines).encode("ascii", "backslashreplace")
        rest = data
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self._failed(error)
        else:
            self._succeeded()
        written = len(data) - len(rest)
        if written:
            self._cut = data[written - 1 : written] != b"\n"
        self._lines = [rest.decode("ascii")] if rest else []
        self._size = len(rest)

    def close(self) -> None:
        """Write what is left and close the file; lines that come later are dropped."""
        self.flush()
        self._stop_timer()
        if self._fd < 0:
            return
        lost = "".join(self._lines).count("\n") + self.dropped
        if lost:
            log.error("{path}: closed, {lost} lines are lost", path=self.path, lost=lost)
        self._lines, self._size = [], 0
        self._take(-1)

    def _due(self) -> None:
        self._timer = None
        self.flush()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _take(self, fd: int) -> None:
        old, self._fd = self._fd, fd
        if old >= 0:
            with suppress(OSError):  # a late write error of a network file system; Linux has closed it
                os.close(old)

    def _keep_up_with_rotation(self) -> None:
        now = self._clock.seconds()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            if self._moved_away():
                self._take(open_for_appending(self.path))
                self._leave_cut_line()
        except OSError as error:
            if not self._left_behind:
                log.error(
                    "{path}: was moved away and cannot be opened anew: {why}; going on in the old file",
                    path=self.path,
                    why=error.strerror,
                )
            self._left_behind = True
        else:
            self._left_behind = False

    def _moved_away(self) -> bool:
        mine = os.fstat(self._fd)
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return True
        return (mine.st_dev, mine.st_ino) != (named.st_dev, named.st_ino)

    def _leave_cut_line(self) -> None:
        """A new file does not begin with the end of a line whose beginning is in the old one."""
        if self._cut:
            kept = self._lines[0].partition("\n")[2]
            self._size -= len(self._lines[0]) - len(kept)
            self._lines[0] = kept
            self._cut = False
            self.dropped += 1

    def _failed(self, error: OSError) -> None:
        if not self._failing:
            log.error(
                "{path}: cannot be written: {why}; up to {kept} bytes are kept and tried again",
                path=self.path,
                why=error.strerror,
                kept=KEPT_BYTES,
            )
        self._failing = True
        self._timer = self._clock.callLater(RETRY_SECONDS, self._due)

    def _succeeded(self) -> None:
        if self._failing:
            log.warn(
                "{path}: is written again; {dropped} lines are lost", path=self.path, dropped=self.dropped
            )
            self.dropped = 0
        self._failing = False
