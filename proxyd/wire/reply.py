"""
What does a server answer whose replies begin with three digits?  SMTP (RFC 5321, 4.2) and FTP (RFC 959, 4.2).

A reply of several lines begins with the digits and a hyphen, and ends with a line of the same digits and
a blank.
"""

from __future__ import annotations

import re
from typing import Optional

from attrs import frozen

from proxyd.errors import Malformed

LONGEST = 16 * 1024  # bytes of a reply; banners of FTP can be a page of text
LONGEST_LINE = 2048

_FIRST = re.compile(rb"([1-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_SHOWN = 60


@frozen
class Reply:
    """Its three digits, and the text of its last line."""

    code: int
    text: bytes


def reply(data: bytes) -> Optional[tuple[Reply, int]]:
    """The first reply in these bytes and its length, or None for more.  Raises `Malformed`."""
    place, code = 0, b""
    while True:
        line = _line(data, place)
        if line is None:
            return None
        place += len(line) + 1
        line = line[:-1] if line.endswith(b"\r") else line
        found = _FIRST.fullmatch(line)
        if not code and found is None:
            raise Malformed(f"{line[:_SHOWN]!r}, which does not begin with three digits")
        if found is not None and found[1] == (code or found[1]) and found[2] != b"-":
            return Reply(int(found[1]), found[3] or b""), place
        code = code or (found[1] if found is not None else b"")


def _line(data: bytes, start: int) -> Optional[bytes]:
    """The line that begins there, if it is complete."""
    end = data.find(b"\n", start, start + LONGEST_LINE)
    if end < 0 and len(data) >= start + LONGEST_LINE:
        raise Malformed(f"a line of more than {LONGEST_LINE} bytes")
    if start > LONGEST:
        raise Malformed(f"a reply of more than {LONGEST} bytes")
    return data[start:end] if end >= 0 else None
