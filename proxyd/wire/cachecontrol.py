"""
What does Cache-Control say, and what do the fields like it?

RFC 9111, 5.2, and RFC 9213 for those that are meant for some caches alone.  A directive that is not written
as it should be is kept with an argument that is no number, so that who reads it takes the careful side; and
what is in quotes is never taken for a directive.
"""

from __future__ import annotations

import re
from typing import Iterable, Optional

from proxyd.wire.httpfields import TOKEN

MOST_SECONDS = 2**31  # what is said to be longer counts as this (RFC 9111, 1.2.2)

UNREADABLE = b"\0"  # the argument of a directive that is not written as it should be

Directives = dict[bytes, list[bytes]]

_QUOTED = rb'"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*)"'

_DIRECTIVE = re.compile(
    rb"[ \t]*(" + TOKEN + rb")(?:=(?:(" + TOKEN + rb")|" + _QUOTED + rb"))?[ \t]*(?:,|$)"
).match
_ELEMENT = re.compile(rb"(?:[^,\"]|\"(?:[^\"\\]|\\.)*\"|\")*(?:,|$)", re.DOTALL).match
_NAME = re.compile(TOKEN).match
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_DIGITS = re.compile(rb"[0-9]+").fullmatch

# A dictionary of structured fields (RFC 9651, 3.2), whose members are items without parameters that matter.
_KEY = rb"[a-z*][a-z0-9_.*-]*"
_BARE = (
    rb"\?[01]|-?[0-9]{1,15}(?:\.[0-9]{1,3})?|[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*"
    rb"|\"(?:[ !#-\[\]-~]|\\[\"\\])*\"|:[A-Za-z0-9+/=]*:"
)
_MEMBER = re.compile(
    rb"(" + _KEY + rb")(?:=(" + _BARE + rb"))?((?:; *" + _KEY + rb"(?:=(?:" + _BARE + rb"))?)*)"
).match
_BETWEEN = re.compile(rb"[ \t]*,[ \t]*").match


def parse_directives(lines: Iterable[bytes]) -> Directives:
    """The arguments of each directive, by its name in lower case; b"" for one without."""
    found: Directives = {}
    for line in lines:
        place = 0
        while place < len(line):
            match = _DIRECTIVE(line, place)
            if match is not None:
                argument = match.group(2) or match.group(3) or b""
                if b"\\" in argument:
                    argument = _ESCAPED.sub(rb"\1", argument)
                found.setdefault(match.group(1).lower(), []).append(argument)
                place = match.end()
                continue
            name = _NAME(line, place + len(line[place:]) - len(line[place:].lstrip(b" \t")))
            if name is not None:
                found.setdefault(name.group(0).lower(), []).append(UNREADABLE)
            element = _ELEMENT(line, place)
            assert element is not None  # it matches anything
            place = max(element.end(), place + 1)
    return found


def parse_targeted(lines: Iterable[bytes]) -> Optional[Directives]:
    """
    The same of a targeted field (RFC 9213, 2.1), which is stricter: None if it is not to be heeded.

    A member that is false was not given; of members with one name the last counts.
    """
    text = b", ".join(line.strip(b" \t") for line in lines)
    found: Directives = {}
    place = 0
    while place < len(text):
        match = _MEMBER(text, place)
        if match is None:
            return None
        value = match.group(2)
        found.pop(match.group(1), None)
        if value is None or value == b"?1":
            found[match.group(1)] = [b""]
        elif value[:1] == b'"':
            found[match.group(1)] = [_ESCAPED.sub(rb"\1", value[1:-1])]
        elif value != b"?0":
            found[match.group(1)] = [value]
        place = match.end()
        if place < len(text):
            comma = _BETWEEN(text, place)
            if comma is None or comma.end() == len(text):
                return None
            place = comma.end()
    return found or None


def seconds(argument: bytes) -> Optional[int]:
    """A number of seconds (RFC 9111, 1.2.2), or None if it is none."""
    if _DIGITS(argument) is None:
        return None
    return min(int(argument), MOST_SECONDS) if len(argument) <= 10 else MOST_SECONDS


def shortest(found: Directives, name: bytes) -> Optional[int]:
    """
    The seconds that a directive says, None if it is not there.

    Of several the shortest, and 0 for what cannot be read (RFC 9111, 4.2.1).
    """
    given = found.get(name)
    return min(seconds(argument) or 0 for argument in given) if given else None
