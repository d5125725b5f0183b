"""
What outlives the process, and how does it get to the disk whole?

The state folder has a file for each section, ``NAME.json``.  Whoever has something that the next process
should know gives the section a name, and a function that makes plain values (what JSON has) of it::

    kept = folder.read("affinity")                 # what the process before has kept, and when it was written
    folder.keep("affinity", table.dump)            # from now on
    folder.changed("affinity")                     # whenever there is something new

All times in it are wall time, since no other means anything to the next process.  What is read was checked to
be a section of that name and no more: whoever reads it judges the values, and says with `StateFolder.refuse`
that they are of no use.

A section that is large can be kept for the stop alone, since making its values takes time.  Any other is
written `GATHER_SECONDS` after it has changed, again each `REFRESH_SECONDS`, so that its age
tells for how long nobody has looked after it, and at the stop.  It is written beside the old one, forced to
the disk, and then takes its place: whatever happens, one is whole.  That is done in a thread, since a disk
may take its time; making the values is not, and must be quick.

What cannot be read (torn, foreign, too long) is told and left out; what cannot be written is told, once for
as long as the trouble is the same, and tried again.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import Any, Callable, Optional

from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from proxyd.errors import StartError
from proxyd.upkeep.periodic import InThread
from proxyd.walltime import WallTime

GATHER_SECONDS = 1.0
REFRESH_SECONDS = 60.0
LONGEST = 64 * 1024 * 1024  # bytes of a section
FORMAT = "proxyd state 1"
MODE = 0o600  # addresses of clients may be in it

Dump = Callable[[], Any]


@define
class _Section:
    name: str
    dump: Dump
    at_stop: bool = False  # and at no other time
    call: Any = None  # the delayed call that will write it
    writing: bool = False
    again: bool = False  # it has changed while it was written
    trouble: str = ""


class StateFolder:
    """A folder of sections; without a path nothing is kept, and nothing is read."""

    log = Logger()

    def __init__(self, path: str, reactor: Any, in_thread: InThread, wall: WallTime) -> None:
        """``in_thread`` calls a function elsewhere and fires when it has returned, or with what it raised."""
        self._path = path
        self._reactor = reactor
        self._in_thread = in_thread
        self._wall = wall
        self._sections: dict[str, _Section] = {}
        self._running = False
        self._writes: set[Deferred[None]] = set()

    def check(self) -> None:
        """Raise `StartError` unless there is such a folder."""
        if not self._path:
            return
        try:
            if not stat.S_ISDIR(os.stat(self._path).st_mode):
                raise StartError((f"[proxyd] state: {self._path} is not a folder",))
        except OSError as error:
            line = f"[proxyd] state: {self._path}: {error.strerror}; make such a folder"
            raise StartError((line,)) from None

    def read(self, name: str) -> Optional[tuple[Any, float]]:
        """What the process before has kept, and when it was written; None if there is nothing to be had."""
        if not self._path:
            return None
        path = self._file(name)
        try:
            return _read(path, name)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self.refuse(name, str(error))
            return None

    def refuse(self, name: str, why: str) -> None:
        """Say that what was read is of no use, to whoever wonders what has become of it."""
        self.log.warn("{path} is left out: {why}", path=self._file(name), why=why)

    def keep(self, name: str, dump: Dump, at_stop: bool = False) -> None:
        """
        Keep what ``dump`` returns, under this name; it is called whenever that is to be written.

        With ``at_stop`` that is once, at the stop.
        """
        self._sections[name] = _Section(name, dump, at_stop)

    def start(self) -> None:
        """Begin to write."""
        self._running = bool(self._path)
        for section in self._sections.values():
            self._write_after(section, GATHER_SECONDS)

    def changed(self, name: str) -> None:
        """There is something new in a section."""
        self._write_after(self._sections[name], GATHER_SECONDS)

    def stop(self) -> Deferred[None]:
        """Write all of it a last time; fires when it is on the disk, or could not be written."""
        was_running, self._running = self._running, False
        for section in self._sections.values():
            if section.call is not None:
                section.call.cancel()
                section.call = None
        if not was_running:
            return succeed(None)
        return Deferred.fromCoroutine(self._write_all())

    async def _write_all(self) -> None:
        for write in list(self._writes):
            await write
        for section in self._sections.values():
            await self._write(section)

    def _write_after(self, section: _Section, seconds: float) -> None:
        if not self._running or section.at_stop:
            return
        if section.writing:
            section.again = True
            return
        if section.call is not None:
            if section.call.getTime() <= self._reactor.seconds() + seconds:
                return
            section.call.cancel()
        section.call = self._reactor.callLater(seconds, self._begin, section)

    def _begin(self, section: _Section) -> None:
        section.call = None
        write = Deferred.fromCoroutine(self._write(section))
        if not write.called:
            self._writes.add(write)
            write.addBoth(lambda _: self._writes.discard(write))

    async def _write(self, section: _Section) -> None:
        section.writing, section.again = True, False
        try:
            text = _text(section.name, section.dump(), self._wall.now())
            path = self._file(section.name)
            await self._in_thread(lambda: replace(path, text))
            section.trouble = ""
        except Exception as error:  # noqa: BLE001 - nothing that fails here may take the daemon along
            trouble = f"{type(error).__name__}: {error}"
            if trouble != section.trouble:
                section.trouble = trouble
                self.log.warn(
                    "{path} cannot be written, and is tried again: {trouble}",
                    path=self._file(section.name),
                    trouble=trouble,
                )
        section.writing = False
        self._write_after(section, GATHER_SECONDS if section.again else REFRESH_SECONDS)

    def _file(self, name: str) -> str:
        return os.path.join(self._path, f"{name}.json")


def _text(name: str, content: Any, wall: float) -> bytes:
    file = {"format": FORMAT, "section": name, "written": wall, "content": content}
    text = json.dumps(file, ensure_ascii=True, allow_nan=False).encode()
    if len(text) > LONGEST:
        raise ValueError(f"it would be {len(text)} bytes long, and at most {LONGEST} are read again")
    return text


def _read(path: str, name: str) -> tuple[Any, float]:
    """A section and when it was written.  Raises OSError or ValueError, which has everything of json."""
    with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a file")
        text = file.read(LONGEST + 1)
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} bytes")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is torn, or was not written by proxyd") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("section") != name:
        raise ValueError(f"it is not {FORMAT!r} of the section {name!r}")
    written = found.get("written")
    if not isinstance(written, (int, float)) or "content" not in found:
        raise ValueError("it does not say what it has, and when it was written")
    return found["content"], float(written)


def replace(path: str, text: bytes) -> None:
    """Give the file this content, whole or not at all.  Raises OSError."""
    new = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(new)  # left over by a process that was killed
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
    try:
        with open(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.rename(new, path)
    except OSError:
        with suppress(OSError):
            os.unlink(new)
        raise
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
