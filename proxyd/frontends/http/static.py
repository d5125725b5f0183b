"""
What is there in a folder that is served without a server?

A `Site` finds the file that a path means.  Nobody gets out of its folder: each name is opened in the folder
before it, and no symbolic link is followed (openat(2) with O_NOFOLLOW), unless that is wanted.  What was
found is remembered for `FRESH`, small files with what is in them, so that who asks again costs no system
call; a file that has changed is seen after that time.  One that has not keeps what was made of it in codings
(`proxyd.frontends.http.filecoding`).

Files are opened in the event loop, as nginx does it, which takes some 10 µs; what the page cache does not
have of them is read in threads while they are sent (`proxyd.relay.sendfile`).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Callable, Iterator, Optional

from proxyd.config.static import StaticSpec
from proxyd.frontends.http.filebody import InThread
from proxyd.policy.encoding import Decision, choose
from proxyd.policy.static import SUFFIXES, fields_of, names_of
from proxyd.relay.sendfile import cached_part
from proxyd.wire.httpfields import Field
from proxyd.wire.target import parse_target

FRESH = 1.0  # seconds; nginx's open_file_cache_valid is 60

SMALL = 64 * 1024  # bytes of a file that are held

REMEMBERED = 1000  # paths
HELD = 16 * 1024 * 1024  # bytes of all of them

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO must not be waited for

# What changes with a file: its device, its number there, its size, and when it was written.
Mark = tuple[int, int, int, int]

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})


class Absent(Exception):
    """There is no such file: how that is answered.  ``folder`` is whether there is a folder of that name."""

    def __init__(self, status: int, folder: bool = False) -> None:
        super().__init__(status)
        self.status = status
        self.folder = folder


class File:
    """
    One file as it was a moment ago; ``body`` is what is in it, if that is little.

    ``variants`` are the same as it leaves by decisions of compression, its body in a ``coding`` or not.  It
    is ``live`` while it is remembered.
    """

    __slots__ = (
        "_mark",
        "_names",
        "_site",
        "body",
        "coding",
        "fields",
        "lines",
        "live",
        "rendered",
        "second",
        "size",
        "variants",
    )

    def __init__(
        self,
        site: Site,
        names: list[bytes],
        mark: Mark,
        fields: list[Field],
        body: Optional[bytes],
        size: int,
        coding: str = "",
    ) -> None:
        self._site = site
        self._names = names
        self._mark = mark
        self.fields = fields
        self.lines = b"".join([field[2] for field in fields])
        self.size = size
        self.body = body
        self.coding = coding  # that it was put in here
        self.variants: dict[Decision, File] = {}
        self.live = False
        self.rendered = b""  # the whole answer, as it was in that second
        self.second = -1

    def is_still(self, found: os.stat_result, fields: list[Field]) -> bool:
        """Whether a file that was found is this one, and the same is said of it."""
        whole = self.body is not None or self.size > SMALL
        return whole and self._mark == _mark(found) and self.fields == fields

    def variant(self, decision: Decision, body: Optional[bytes]) -> File:
        """The same as it leaves by a decision, with this body if that is held; kept if this one is."""
        size = self.size if body is None else len(body)
        fields = decision.fields(self.fields)
        made = File(self._site, self._names, self._mark, fields, body, size, decision.encodes)
        if self.live and self._site.has_room(0 if body is self.body else size):
            self.variants[decision] = made
        return made

    def open(self) -> Optional[int]:
        """A descriptor of it; None if it is another one by now.  Raises `OSError`."""
        with self._site.folder_of(self._names) as folder:
            fd = folder.open(self._names[-1])
        if _mark(os.fstat(fd)) == self._mark:
            return fd
        os.close(fd)
        return None


class _Folder:
    """A folder that is open while it is looked into."""

    def __init__(self, fd: int, flags: int) -> None:
        self._fd = fd
        self._flags = flags

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def enter(self, name: bytes) -> None:
        """Go to a folder in it."""
        before, self._fd = self._fd, os.open(name, _FOLDER | self._flags, dir_fd=self._fd)
        os.close(before)

    def open(self, name: bytes) -> int:
        return os.open(name, _FILE | self._flags, dir_fd=self._fd)

    def look(self, name: bytes) -> Optional[os.stat_result]:
        """What is known of a file in it; None if there is no such file."""
        try:
            found = os.stat(name, dir_fd=self._fd, follow_symlinks=not self._flags)
        except OSError:
            return None
        return found if stat.S_ISREG(found.st_mode) else None


class Site:
    """The files of one folder."""

    def __init__(self, spec: StaticSpec, seconds: Callable[[], float], in_thread: InThread) -> None:
        """``in_thread`` does what waits for the disk."""
        self.spec = spec
        self.in_thread = in_thread
        self._root = os.fsencode(spec.path)
        self._flags = 0 if spec.symlinks else os.O_NOFOLLOW
        self._seconds = seconds
        self._known: dict[bytes, tuple[float, dict[str, File]]] = {}
        self._held = 0

    def load(self) -> Iterator[str]:
        """A line for what is wrong with it."""
        try:
            os.close(os.open(self._root, _FOLDER))
        except OSError as error:
            yield f"root: {self.spec.path}: {error.strerror}"

    def find(self, path: bytes, accept: Optional[bytes]) -> File:
        """
        The file that a path means, in a coding that a client takes if there is one.

        Raises `Absent`, or `proxyd.wire.httpfields.Unacceptable`.
        """
        known = self._known.get(path)
        now = self._seconds()
        if known is None or now - known[0] >= FRESH:
            known = (now, self._look_for(path, {} if known is None else known[1]))
            self._remember(path, known)
        files = known[1]
        if len(files) == 1:
            return files[""]
        return files[choose(accept, [name for name in self.spec.precompressed if name in files])]

    def forget(self, path: bytes) -> None:
        """What was known of it is so no more."""
        known = self._known.pop(path, None)
        if known is not None:
            self._let_go(known[1])

    def has_room(self, count: int) -> bool:
        """Whether so many bytes more may be held; then they are."""
        if self._held + count > HELD:
            return False
        self._held += count
        return True

    def folder_of(self, names: list[bytes]) -> _Folder:
        """The folder in which the last of these names is.  Raises `OSError`."""
        folder = _Folder(os.open(self._root, _FOLDER), self._flags)
        try:
            for name in names[:-1]:
                folder.enter(name)
        except OSError:
            folder.__exit__()
            raise
        return folder

    def _remember(self, path: bytes, known: tuple[float, dict[str, File]]) -> None:
        self.forget(path)
        if len(self._known) >= REMEMBERED or self._held > HELD:
            for each in self._known.values():
                self._let_go(each[1])
            self._known.clear()
        self._known[path] = known
        self._held += _size(known[1])
        for file in known[1].values():
            file.live = True

    def _let_go(self, files: dict[str, File]) -> None:
        self._held -= _size(files)
        for file in files.values():
            file.live = False

    def _look_for(self, path: bytes, was: dict[str, File]) -> dict[str, File]:
        """The files that a path means, by their codings; ``was`` is what they were when it was last asked."""
        names = names_of(parse_target(path).path, self.spec.dotfiles)
        if names is None:
            raise Absent(404)
        try:
            with self.folder_of(names) as folder:
                if names[-1]:
                    return self._all_of(folder, names, was)
                for index in self.spec.index:
                    if folder.look(os.fsencode(index)) is not None:
                        return self._all_of(folder, [*names[:-1], os.fsencode(index)], was)
                raise Absent(404)
        except OSError as error:
            if error.errno in _ABSENT:
                raise Absent(404) from None
            raise Absent(403 if error.errno in _FORBIDDEN else 503) from None

    def _all_of(self, folder: _Folder, names: list[bytes], was: dict[str, File]) -> dict[str, File]:
        """The file, and what is beside it in another coding and not older."""
        name = names[-1]
        codings = {}
        plain = folder.look(name)
        for coding in self.spec.precompressed if plain is not None else ():
            beside = folder.look(name + SUFFIXES[coding])
            if beside is not None and plain is not None and beside.st_mtime_ns >= plain.st_mtime_ns:
                codings[coding] = name + SUFFIXES[coding]
        files = {"": self._file(folder, names, "", name, bool(codings), was.get(""))}
        for coding, other in codings.items():
            files[coding] = self._file(folder, [*names[:-1], other], coding, name, True, was.get(coding))
        return files

    def _file(
        self,
        folder: _Folder,
        names: list[bytes],
        coding: str,
        called: bytes,
        varies: bool,
        was: Optional[File],
    ) -> File:
        fd = folder.open(names[-1])
        try:
            found = os.fstat(fd)
            if stat.S_ISDIR(found.st_mode):
                raise Absent(301, folder=True)
            if not stat.S_ISREG(found.st_mode):
                raise Absent(404)
            fields = fields_of(called, found.st_size, found.st_mtime_ns, coding, varies)
            if was is not None and was.is_still(found, fields):
                return was
            body: Optional[bytes] = None
            if found.st_size <= SMALL:
                body = cached_part(fd, found.st_size + 1)
                found = os.fstat(fd)
                if body is not None and len(body) != found.st_size:
                    body = None  # it is being written, or not all in the page cache: it is sent as it is then
        finally:
            os.close(fd)
        fields = fields_of(called, found.st_size, found.st_mtime_ns, coding, varies)
        return File(self, names, _mark(found), fields, body, found.st_size)


def _mark(found: os.stat_result) -> Mark:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _size(files: dict[str, File]) -> int:
    """The bytes that are held of these."""
    held = 0
    for file in files.values():
        held += len(file.body or b"")
        held += sum(len(made.body or b"") for made in file.variants.values() if made.body is not file.body)
    return held
