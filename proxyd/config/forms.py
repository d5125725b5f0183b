"""How are the parts of a dialogue written: what is sent in a check, and what must come back?"""

from __future__ import annotations

import re
from typing import ClassVar, Union

from attrs import field, frozen

from proxyd.config.options import OneWord, Secret
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)  # RFC 9110, 5.6.2
_PATH = re.compile(r"/[!-~]{0,2000}", re.ASCII)
_STATUSES = re.compile(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?", re.ASCII)
_OURS = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")
_CLASS = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)
_LONGEST_PATTERN = 1000
_HELO = re.compile(r"[A-Za-z0-9.-]{1,255}|\[[0-9A-Za-z.:]{1,64}\]", re.ASCII)
_ESCAPE = re.compile(r"\\(?:([rnt0\\])|x([0-9A-Fa-f]{2})|)")
_ESCAPED = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


@frozen
class Send:
    """A step of a script: these bytes are said."""

    data: bytes


@frozen
class Expect:
    """A step of a script: what matches this regular expression must come."""

    pattern: bytes


@frozen
class Method(OneWord):
    """A method of HTTP."""

    shape: ClassVar[str] = "a method of HTTP"

    def read(self, word: Word) -> str:
        if not _TOKEN.fullmatch(word.text):
            raise Invalid(f"{quoted(word.text)} is not a method")
        if word.text == "CONNECT":
            raise Invalid('"CONNECT" is for proxies')
        return word.text


@frozen
class Path(OneWord):
    """The path of a request."""

    shape: ClassVar[str] = "a path as it is sent"

    def read(self, word: Word) -> str:
        if not _PATH.fullmatch(word.text) or "#" in word.text:
            raise Invalid(f"{quoted(word.text)} is not a path; it begins with / and is ASCII without blanks")
        return word.text


@frozen
class Statuses(OneWord):
    """Statuses of HTTP, as ``200,300-302``: ranges with both ends."""

    shape: ClassVar[str] = "statuses and ranges of them, with commas"

    def read(self, word: Word) -> tuple[tuple[int, int], ...]:
        ranges = []
        for part in word.text.split(","):
            found = _STATUSES.fullmatch(part)
            low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
            if low > high:
                raise Invalid(f"{quoted(part)} is neither a status nor a range, such as 200-299")
            ranges.append((low, high))
        return tuple(ranges)


@frozen
class Pattern(OneWord):
    """A regular expression."""

    shape: ClassVar[str] = "a regular expression of Python"

    def read(self, word: Word) -> str:
        if len(word.text) > _LONGEST_PATTERN:
            raise Invalid(f"is longer than {_LONGEST_PATTERN} letters")
        import regex  # not needed by most configurations, and proxyctl starts quickly

        try:
            regex.compile(word.text.encode("utf-8"))
        except (regex.error, RecursionError, OverflowError) as why:
            raise Invalid(f"{quoted(word.text)} is not a regular expression: {why}") from None
        return word.text


@frozen
class HeaderField(Secret):
    """A header of HTTP, ``Name: value``; the value may be a secret."""

    shape: ClassVar[str] = "a name, a colon and a value, which no message and no log repeats"

    def read(self, word: Word) -> tuple[str, str]:  # type: ignore[override]
        name, colon, value = word.text.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise Invalid("is not a header; write Name: value, in quotes")
        if name.lower() in _OURS:
            raise Invalid(f"{name} is made by the check itself; the host is given by host=")
        if not value.isprintable():
            raise Invalid(f"{name} has a value with control characters")
        return name, value.strip()


@frozen
class ClassPath(OneWord):
    """Where a class of Python is."""

    shape: ClassVar[str] = "a module, a dot, and the name of a class in it"

    def read(self, word: Word) -> str:
        if not _CLASS.fullmatch(word.text):
            raise Invalid(f"{quoted(word.text)} is not the path of a class, such as probes.queue.Length")
        return word.text


@frozen
class NamedValue(Secret):
    """A name and what it stands for."""

    shape: ClassVar[str] = "a name, `=` and a value, which no message and no log repeats"

    def read(self, word: Word) -> tuple[str, str]:  # type: ignore[override]
        name, equals, value = word.text.partition("=")
        if not equals or not name.isidentifier():
            raise Invalid("is not a name, = and a value")
        return name, value


@frozen
class Helo(OneWord):
    """The name that a client of SMTP gives itself."""

    shape: ClassVar[str] = "a domain, or an address in brackets"

    def read(self, word: Word) -> str:
        if not _HELO.fullmatch(word.text):
            raise Invalid(f"{quoted(word.text)} is neither a domain nor an address in brackets")
        return word.text


@frozen
class Step(Secret):
    """A step of a script: what is said or expected, which may be a secret."""

    shape: ClassVar[str] = "text (with `\\r`, `\\n`, `\\t`, `\\0`, `\\\\`, `\\x0f`), which no log repeats"
    expected: bool = field(default=False, kw_only=True)

    def data(self, text: str) -> bytes:
        """The bytes that are meant.  Raises `Invalid`."""
        return unescaped(text)

    def read(self, word: Word) -> Union[Send, Expect]:  # type: ignore[override]
        data = self.data(super().read(word))
        return Expect(re.escape(data)) if self.expected else Send(data)


@frozen
class HexStep(Step):
    """The same in hexadecimal."""

    shape: ClassVar[str] = "bytes in hexadecimal, which no log repeats"

    def data(self, text: str) -> bytes:
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise Invalid("is not hexadecimal; write two digits for each byte") from None


@frozen
class PatternStep(Secret):
    """A step of a script: what matches this must come."""

    shape: ClassVar[str] = "a regular expression of Python, which no log repeats"

    def read(self, word: Word) -> Expect:  # type: ignore[override]
        try:
            return Expect(Pattern().read(word).encode("utf-8"))
        except Invalid:
            raise Invalid("is not a regular expression") from None


def unescaped(text: str) -> bytes:
    """Text with escapes, as the bytes that it stands for.  Raises `Invalid`."""
    parts, place = [], 0
    for found in _ESCAPE.finditer(text):
        if found[0] == "\\":
            raise Invalid("has a backslash that begins none of \\r \\n \\t \\0 \\\\ \\x0f")
        parts.append(text[place : found.start()].encode("utf-8"))
        parts.append(_ESCAPED[found[1]] if found[1] else bytes.fromhex(found[2]))
        place = found.end()
    return b"".join(parts) + text[place:].encode("utf-8")
