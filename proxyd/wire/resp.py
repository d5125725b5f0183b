"""
What does Redis answer?  RESP, version 2, as the Redis serialization protocol specification has it.

Values are what Python has for them: bytes, int, None and tuples; `Status` and `Error` are the others.
"""

from __future__ import annotations

import re
from typing import Any, Optional

from attrs import frozen

from proxyd.errors import Malformed

LONGEST_LINE = 4096  # bytes; a status or an error is a sentence
LONGEST_STRING = 32 * 1024
MOST_ELEMENTS = 1024
DEEPEST = 4  # arrays in arrays; the answer to ROLE has two

_SHOWN = 40  # bytes of what is no reply
_NUMBER = re.compile(rb"-?[0-9]{1,19}")


@frozen
class Status:
    """A simple string, such as ``+PONG``."""

    text: bytes


@frozen
class Error:
    """An error, such as ``-NOAUTH Authentication required.``"""

    text: bytes


def command(*words: str) -> bytes:
    """A command, as an array of its words."""
    encoded = [word.encode("utf-8") for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)


def reply(data: bytes) -> Optional[tuple[Any, int]]:
    """The first reply in these bytes and its length, or None for more.  Raises `Malformed`."""
    return _value(data, 0, 1)


def _value(data: bytes, start: int, depth: int) -> Optional[tuple[Any, int]]:
    """The value that begins there, and the place behind it."""
    line = _line(data, start)
    if line is None:
        return None
    kind, text, place = line[:1], line[1:], start + len(line) + 2
    if kind == b"+":
        return Status(text), place
    if kind == b"-":
        return Error(text), place
    number = _number(line)
    if kind == b":":
        return number, place
    if number == -1:
        return None, place
    return _string(data, place, number) if kind == b"$" else _array(data, place, number, depth)


def _line(data: bytes, start: int) -> Optional[bytes]:
    """The line that begins there, without its end, once it is known to begin a value."""
    end = data.find(b"\r\n", start, start + LONGEST_LINE + 2)
    shown = data[start : min(end if end >= 0 else len(data), start + _SHOWN)]
    if (end >= 0 or len(shown) == _SHOWN) and shown[:1] not in (b"+", b"-", b":", b"$", b"*"):
        raise Malformed(f"{shown!r}, which is no reply of Redis")
    if end < 0 and len(data) - start >= LONGEST_LINE + 2:
        raise Malformed(f"a line of more than {LONGEST_LINE} bytes")
    return data[start:end] if end >= 0 else None


def _number(line: bytes) -> int:
    if not _NUMBER.fullmatch(line, 1):
        raise Malformed(f"{line[:_SHOWN]!r}, which has no number")
    return int(line[1:])


def _string(data: bytes, start: int, length: int) -> Optional[tuple[bytes, int]]:
    if not 0 <= length <= LONGEST_STRING:
        raise Malformed(f"a string of {length} bytes; {LONGEST_STRING} are the most")
    end = start + length
    if len(data) < end + 2:
        return None
    if data[end : end + 2] != b"\r\n":
        raise Malformed("a string that is longer than it says")
    return data[start:end], end + 2


def _array(data: bytes, place: int, count: int, depth: int) -> Optional[tuple[tuple[Any, ...], int]]:
    if not 0 <= count <= MOST_ELEMENTS or depth > DEEPEST:
        raise Malformed(
            f"an array of {count} elements, {depth} deep; {MOST_ELEMENTS} and {DEEPEST} are the most"
        )
    values = []
    for _ in range(count):
        found = _value(data, place, depth + 1)
        if found is None:
            return None
        values.append(found[0])
        place = found[1]
    return tuple(values), place
