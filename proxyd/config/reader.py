"""
What is written in the ini files?  Sections, options and words, each with its file and line.

The standard `configparser` lower-cases names, keeps comments in values, stops at the first duplicate and
forgets lines, so this is a reader of our own.  It knows how ini text is written, not what it means:

- ``[kind]`` and ``[kind name]`` begin a section; ``key = words`` and ``key name = words`` are options.
- An indented line goes on with the value above it; its words keep their own line.
- Lines that begin with ``;`` or ``#`` are comments; `proxyd.config.words` has the rest.
- ``include = conf.d/*.ini`` reads other files in its place, relative to the file it stands in.  An included
  file begins outside any section, and the section with the ``include`` goes on after it.

It never stops at a fault: it notes it, passes over the line, and reads on.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from typing import Mapping, Optional

from attrs import define, field, frozen

from proxyd.config.words import BLANKS, Invalid, printable, quoted, split, unprintable
from proxyd.errors import Problem

MAX_FILE_BYTES = 1 << 20  # a hand-written file is a few KiB; a larger one is a mistaken path
MAX_FILES = 1000
MAX_DEPTH = 16
LONGEST_PATH = 4096  # PATH_MAX of Linux

_HEADER = re.compile(r"\[([^\]]*)\][ \t]*(?:[;#].*)?")
_INDENTED_OPTION = re.compile(r"[A-Za-z_]+([ \t]+[A-Za-z0-9_.-]+)?[ \t]+=([ \t]|$)")


@frozen
class Word:
    """One word of a value, and where it stands."""

    text: str
    path: str
    line: int


@define
class Entry:
    """``key = words`` or ``key name = words``; the words may stand on several lines."""

    key: str
    line: int
    name: str = ""
    words: list[Word] = field(factory=list)
    whole: bool = True  # False: a line of it could not be read, and that has been noted

    @property
    def title(self) -> str:
        return f"{self.key} {self.name}".strip()


@define
class Section:
    """``[kind name]`` and the options below it, all of one file."""

    path: str
    line: int
    kind: str
    name: str = ""
    entries: list[Entry] = field(factory=list)

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}".strip()

    def problem(self, line: int, text: str, option: str = "") -> Problem:
        """Something that is wrong in this section."""
        return Problem(self.path, line, text, printable(self.title), printable(option))


@frozen
class Reading:
    """All that could be read, and what was wrong in the writing of it."""

    sections: tuple[Section, ...]
    files: tuple[str, ...]
    problems: tuple[Problem, ...]


def read(path: str, environ: Mapping[str, str]) -> Reading:
    """Read a file and all that it includes."""
    reader = _Reader(environ)
    try:
        reader.read(path, ())
    except Invalid as why:
        reader.problems.append(Problem(path, 0, str(why)))
    return Reading(tuple(reader.sections), tuple(reader.files), tuple(reader.problems))


class _Reader:
    """What has been gathered so far from all files."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.sections: list[Section] = []
        self.files: list[str] = []
        self.problems: list[Problem] = []

    def read(self, path: str, above: tuple[str, ...]) -> None:
        """Read one file; ``above`` are the files that led here.  Raises `Invalid` if it cannot be had."""
        if len(above) >= MAX_DEPTH:
            raise Invalid(f"files include each other more than {MAX_DEPTH} deep")
        if len(self.files) >= MAX_FILES:
            raise Invalid(f"more than {MAX_FILES} files are included")
        content = _content(path)
        if os.path.realpath(path) in map(os.path.realpath, above):
            raise Invalid("files include each other in a circle: " + " -> ".join((*above, path)))
        self.files.append(path)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.note(path, line, f"is not UTF-8 text (byte 0x{content[error.start]:02x})")
            return
        lines = text.split("\n")
        foreign = _foreign(lines)
        if foreign is not None:
            self.note(path, *foreign)
            return
        _File(self, path, above).read(lines)

    def note(self, path: str, line: int, text: str, section: str = "", option: str = "") -> None:
        self.problems.append(Problem(path, line, text, printable(section), printable(option)))


def _content(path: str) -> bytes:
    """The bytes of a file.  Raises `Invalid`; a pipe or a device is refused, for it could block."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Invalid("is a folder, not a file" if os.path.isdir(path) else "is not a regular file")
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise Invalid(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_FILE_BYTES:
        raise Invalid(f"is longer than {MAX_FILE_BYTES} bytes, so it is hardly a configuration")
    return content


def _foreign(lines: list[str]) -> Optional[tuple[int, str]]:
    """The line and the name of the first character that does not belong in ini text, if there is one."""
    if lines[0].startswith("\ufeff"):
        return 1, "begins with a byte order mark; save the file as plain UTF-8"
    for number, line in enumerate(lines, 1):
        found = unprintable(line)
        if found is None:
            continue
        if found.group() == "\r":
            return number, "has a carriage return; save the file with plain line ends (LF, not CR LF)"
        return number, f"has the control character 0x{ord(found.group()):02x}"
    return None


class _File:
    """
    One file while it is read.  The current section and entry are where the next line belongs; after a
    fault they are ones that nobody keeps, so that what follows is passed over and not misread.
    """

    def __init__(self, reader: _Reader, path: str, above: tuple[str, ...]) -> None:
        self.reader = reader
        self.path = path
        self.above = (*above, path)
        self.section: Optional[Section] = None
        self.entry: Optional[Entry] = None

    def read(self, lines: list[str]) -> None:
        for number, line in enumerate(lines, 1):
            bare = line.strip(BLANKS)
            if not bare or bare[0] in ";#":
                continue
            try:
                if line[0] in BLANKS:
                    self.go_on(number, line, bare)
                elif line[0] == "[":
                    self.begin_section(number, bare)
                else:
                    self.begin_entry(number, line)
            except Invalid as why:
                self.note(number, str(why))

    def note(self, line: int, text: str) -> None:
        self.reader.note(
            self.path,
            line,
            text,
            self.section.title if self.section else "",
            self.entry.title if self.entry else "",
        )

    def begin_section(self, number: int, bare: str) -> None:
        self.entry = None
        self.section = Section(self.path, number, "")
        found = _HEADER.fullmatch(bare)
        words = found.group(1).split() if found else []
        if not 1 <= len(words) <= 2:
            raise Invalid(f"{quoted(bare)} is not a section; write [kind] or [kind name]")
        self.section = Section(self.path, number, *words)
        self.reader.sections.append(self.section)

    def begin_entry(self, number: int, line: str) -> None:
        before, equals, value = line.partition("=")
        key, *names = before.split() or [""]
        self.entry = Entry("", number)
        if not equals or not key or len(names) > 1:
            raise Invalid(f"{quoted(line.strip(BLANKS))} is not an option; write it as: name = value")
        self.entry = Entry(key, number, "".join(names))
        if self.entry.title != "include":
            if self.section is None:
                raise Invalid("stands before the first [section] of its file")
            self.section.entries.append(self.entry)
        self.take(number, value)

    def go_on(self, number: int, line: str, bare: str) -> None:
        if self.entry is None or _INDENTED_OPTION.match(bare):
            raise Invalid(
                f"{quoted(bare)} is indented, so it belongs to the value above; options begin a line"
            )
        if self.entry.title:
            self.take(number, line)

    def take(self, number: int, text: str) -> None:
        """Add the words of a line to the current entry, or read the files that they name."""
        assert self.entry is not None
        try:
            words = split(text, self.reader.environ)
        except Invalid:
            self.entry.whole = False
            raise
        if self.entry.title == "include":
            for word in words:
                self.include(number, word)
        else:
            self.entry.words.extend(Word(word, self.path, number) for word in words)

    def include(self, number: int, name: str) -> None:
        folder = os.path.dirname(self.path)
        paths = [os.path.join(folder, name)]
        if glob.has_magic(name):
            try:
                paths = sorted(glob.glob(os.path.join(glob.escape(folder), name)))
            except re.error as error:  # Python 3.9 has no mercy with a range such as [z-a]
                raise Invalid(f"{quoted(name)} is not a pattern of file names: {error}") from None
        for path in paths:
            try:
                self.reader.read(path, self.above)
            except Invalid as why:
                self.note(number, f"{printable(path, LONGEST_PATH)}: {why}")
