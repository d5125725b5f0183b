"""How are the parts of a dialogue written: what is sent in a check, and what must come back?"""

from __future__ import annotations

import re
from typing import ClassVar

from attrs import frozen

from proxyd.config.options import OneWord, Secret
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)  # RFC 9110, 5.6.2
_PATH = re.compile(r"/[!-~]{0,2000}", re.ASCII)
_STATUSES = re.compile(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?", re.ASCII)
_OURS = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")
_LONGEST_PATTERN = 1000


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
        try:
            re.compile(word.text.encode("utf-8"))
        except (re.error, RecursionError, OverflowError) as why:
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
