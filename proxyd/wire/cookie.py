"""
What do the cookies of a message say, and what is left of them without one?

RFC 6265: what a client sends (4.2.1), and what a server gives (4.1.1).  Names are compared letter by letter;
quotes around a value are part of how it is written.
"""

from __future__ import annotations

from typing import Iterable, Iterator, Sequence

from proxyd.wire.httpfields import END_TO_END, SET_COOKIE, Field

COOKIE = b"cookie"

_BLANKS = b" \t"


def sent(fields: Iterable[Field], name: bytes) -> Iterator[bytes]:
    """The values of the cookies of this name that a request has, the first one first."""
    for field in fields:
        if field[0] == COOKIE and name in field[1]:
            for pair in field[1].split(b";"):
                key, _, value = pair.partition(b"=")
                if key.strip(_BLANKS) == name:
                    yield _bare(value)


def without(fields: Iterable[Field], name: bytes) -> list[Field]:
    """The fields of a request as they are without the cookies of this name."""
    left: list[Field] = []
    for field in fields:
        if field[0] == COOKIE and name in field[1]:
            pairs = [
                pair.strip(_BLANKS)
                for pair in field[1].split(b";")
                if pair.partition(b"=")[0].strip(_BLANKS) != name
            ]
            value = b"; ".join(filter(None, pairs))
            if value:
                left.append((COOKIE, value, b"%s: %s\r\n" % (field[2][: len(COOKIE)], value), END_TO_END))
        else:
            left.append(field)
    return left


def given(fields: Sequence[Field], name: bytes) -> bytes:
    """The value of the cookie of this name that an answer gives last; b"" for none, and for one that ends."""
    value = b""
    for field in fields:
        if field[3] == SET_COOKIE and name in field[1]:
            key, _, rest = field[1].partition(b"=")
            if key.strip(_BLANKS) == name:
                value = _bare(rest.partition(b";")[0])
    return value


def _bare(value: bytes) -> bytes:
    value = value.strip(_BLANKS)
    return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else value
