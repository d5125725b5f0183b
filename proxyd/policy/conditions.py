"""
Does a request with conditions get the stored answer, a part of it, or nothing but its status?

RFC 9110, 13.2.2 (the order of conditions) and 14.2 (ranges), asked of an answer that is held whole; and the
other way: what is asked of a server about a stored answer, and what its 304 changes (RFC 9111, 4.3).
"""

from __future__ import annotations

import re
from typing import Optional, Sequence, Union

from proxyd.policy.freshness import values
from proxyd.wire.http1 import Answer
from proxyd.wire.httpdate import parse_date
from proxyd.wire.httpfields import Field

# What is answered.
WHOLE, NOT_MODIFIED, FAILED, UNSATISFIABLE = 200, 304, 412, 416

_TAG = re.compile(rb'[ \t,]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)').match
_RANGE = re.compile(rb"[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*").fullmatch
_CONDITION = re.compile(
    rb"\r\n(?:If-(?:Match|None-Match|Modified-Since|Unmodified-Since|Range)|Range): [^\r]*", re.IGNORECASE
)

# What a 304 does not change, as the stored body was made by it (RFC 9111, 3.2).
_KEPT = frozenset({b"content-encoding", b"content-length", b"content-md5", b"content-range", b"etag", b"age"})

# The first and the last byte of a part.
Part = tuple[int, int]


def answer_to(
    fields: Sequence[Field], stored: Sequence[Field], length: int, wall: float, status: int = WHOLE
) -> Union[int, Part]:
    """
    What a GET or HEAD with these fields gets of an answer of ``length`` bytes: a status, or a part of it.

    Only an answer of 200 is looked at so closely; a HEAD gets no part, so who asks leaves Range out.
    """
    if status != WHOLE:
        return status
    tag = (values(stored, b"etag") or [b""])[0]
    modified = _date(stored, b"last-modified", wall)
    # RFC 9110, 13.2.2, in its order.
    match = values(fields, b"if-match")
    if match:
        if not _listed(match, tag, strong=True):
            return FAILED
    else:
        since = _date(fields, b"if-unmodified-since", wall)
        if since is not None and (modified is None or modified > since):
            return FAILED
    none = values(fields, b"if-none-match")
    if none:
        if _listed(none, tag, strong=False):
            return NOT_MODIFIED
    else:
        since = _date(fields, b"if-modified-since", wall)
        changed = modified if modified is not None else _date(stored, b"date", wall)  # RFC 9111, 4.3.2
        if since is not None and changed is not None and changed <= since:
            return NOT_MODIFIED
    wanted = values(fields, b"range")
    if len(wanted) != 1 or not _still(values(fields, b"if-range"), stored, tag, modified, wall):
        return WHOLE
    return part_of(wanted[0], length)


def part_of(wanted: bytes, length: int) -> Union[int, Part]:
    """
    The part that a Range asks for, `UNSATISFIABLE`, or `WHOLE` for one that is not heeded (RFC 9110, 14.2).

    Several parts at once are not.
    """
    unit, equals, ranges = wanted.partition(b"=")
    match = _RANGE(ranges) if equals and unit.strip(b" \t").lower() == b"bytes" else None
    if match is None:
        return WHOLE
    first, last = match.groups()
    if not first:
        count = int(last) if last else 0
        if not last:
            return WHOLE
        return (max(0, length - count), length - 1) if count and length else UNSATISFIABLE
    begin = int(first)
    end = int(last) if last else length - 1
    if last and end < begin:
        return WHOLE
    return (begin, min(end, length - 1)) if begin < length else UNSATISFIABLE


def _still(
    condition: Sequence[bytes], stored: Sequence[Field], tag: bytes, modified: Optional[int], wall: float
) -> bool:
    """Whether a part still is one of what its client has (RFC 9110, 13.1.5)."""
    if not condition:
        return True
    wanted = condition[0]
    if wanted[:1] == b'"' or wanted[:2] == b"W/":
        return wanted == tag and tag[:1] == b'"'
    since = parse_date(wanted, wall)
    date = _date(stored, b"date", wall)
    # It is strong only if a second has passed in which it could have been changed unseen (RFC 9110, 8.8.2.2).
    return since is not None and since == modified and date is not None and date > since


def _listed(lines: Sequence[bytes], tag: bytes, strong: bool) -> bool:
    """Whether an entity tag is among those of a condition (RFC 9110, 8.8.3.2)."""
    if lines[0].strip(b" \t") == b"*":
        return True
    if not tag or (strong and tag[:2] == b"W/"):
        return False
    text = b",".join(lines)
    opaque = tag[2:] if tag[:2] == b"W/" else tag
    place = 0
    while True:
        found = _TAG(text, place)
        if found is None:
            return False
        each = found.group(1)
        if (each == tag) if strong else ((each[2:] if each[:2] == b"W/" else each) == opaque):
            return True
        place = found.end()


def _date(fields: Sequence[Field], name: bytes, wall: float) -> Optional[int]:
    found = values(fields, name)
    return parse_date(found[0], wall) if len(found) == 1 else None


def asked_about(head: bytes, stored: Optional[Sequence[Field]] = None) -> bytes:
    """
    The head of a request, as it goes to a server, that asks for the whole.

    With the fields of a stored answer it asks for it if that has changed (RFC 9111, 4.3.1).
    """
    plain = _CONDITION.sub(b"", head)
    if stored is None:
        return plain
    lines = [b"If-None-Match: %s\r\n" % each for each in values(stored, b"etag")[:1]]
    lines += [b"If-Modified-Since: %s\r\n" % each for each in values(stored, b"last-modified")[:1]]
    return b"%s%s\r\n" % (plain[:-2], b"".join(lines))


def confirms(fields: Sequence[Field], stored: Sequence[Field]) -> bool:
    """Whether a 304 with these fields is about this stored answer (RFC 9111, 4.3.4)."""
    for name in (b"etag", b"last-modified"):
        said, ours = values(fields, name), values(stored, name)
        if said:
            return said[:1] == ours[:1] or (name == b"etag" and _weak(said[0]) == _weak((ours or [b""])[0]))
    return True


def contradicts(answer: Answer, status: int, stored: Sequence[Field], length: int) -> bool:
    """Whether an answer to a HEAD is about another body than the stored one (RFC 9111, 4.3.5)."""
    if answer.status != status:
        return False
    said = answer.said
    for name in (b"etag", b"last-modified"):
        new, old = values(said.fields, name), values(stored, name)
        if new and old and _weak(new[0]) != _weak(old[0]):
            return True
    return said.declared is not None and said.declared != length


def _weak(tag: bytes) -> bytes:
    return tag[2:] if tag[:2] == b"W/" else tag


def freshened(stored: Sequence[Field], fields: Sequence[Field]) -> list[Field]:
    """The fields of a stored answer after a 304 with these (RFC 9111, 3.2)."""
    new = [field for field in fields if field[0] not in _KEPT]
    names = {field[0] for field in new} | {b"age"}
    return [field for field in stored if field[0] not in names] + new


def along(stored: Sequence[Field]) -> list[Field]:
    """
    The fields of a stored answer that go along with a 304 (RFC 9110, 15.4.5): all but what is of its body.
    """
    return [
        field for field in stored if not field[0].startswith(b"content-") or field[0] == b"content-location"
    ]
