"""
Which path does a target name, in whatever way it is written?

RFC 3986, 6.2.2: escapes of letters that need none are undone, `.` and `..` are resolved, and several slashes
become one (nginx's merge_slashes).  That form is what leaves for a server, and it is what is compared, with
the rest of its escapes undone and without parameters (`;x=y`, RFC 3986, 3.3).  Since both are the same path,
nobody gets past a rule by writing it otherwise.

What servers understand in two ways is refused with 400: an escape that is none, a control character (NUL
ends a name in C, and a line feed a line of a pattern), what leads above the root, and a slash or a backslash
that is escaped, or a backslash that is not: for some it parts segments, for others not (Apache's
AllowEncodedSlashes and Tomcat refuse it, too).
"""

from __future__ import annotations

import re
from typing import Optional
from urllib.parse import unquote_to_bytes

from proxyd.wire.httpfields import Unacceptable, show

# What may make a path differ from its normal form; nearly all have nothing of it.
_SUSPECT = re.compile(rb"%|//|/\.|[;\\]").search

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SLASHES = re.compile(rb"%2F|%5C|\\")
_DOTS = (b".", b"..")


class Target:
    """
    A target in origin-form: ``path`` as it leaves, ``plain`` as it is compared, ``query`` behind the ``?``.

    ``query`` is None where there is no such.  The target ``*`` has the path ``*``, which is below nothing.
    """

    __slots__ = ("path", "plain", "query")

    def __init__(self, path: bytes, plain: bytes, query: Optional[bytes]) -> None:
        self.path = path
        self.plain = plain
        self.query = query

    @property
    def whole(self) -> bytes:
        """The path and the query, as they leave."""
        return self.path if self.query is None else b"%s?%s" % (self.path, self.query)


def parse_target(target: bytes, slashes: bool = False) -> Target:
    """
    What a target in origin-form names; with ``slashes`` one that is escaped is a letter like others.

    Raises `Unacceptable`.
    """
    path, mark, rest = target.partition(b"?")
    query = rest if mark else None
    if _SUSPECT(path) is None:
        return Target(path, path, query)
    path = _ESCAPE.sub(_escape, path)
    if not slashes and _SLASHES.search(path):
        raise Unacceptable(400, f"a slash that is escaped in {show(path)}", "3986 2.2")
    segments: list[bytes] = []
    last = b""
    for last in path[1:].split(b"/"):
        name, _, parameters = last.partition(b";")
        if not name and parameters:
            raise Unacceptable(400, f"parameters of no segment in {show(path)}", "3986 3.3")
        if last not in _DOTS and any(part in _DOTS for part in _SLASHES.split(name)):
            raise Unacceptable(400, f"dots that are a segment to some in {show(path)}", "3986 3.3")
        if last == b"..":
            if not segments:
                raise Unacceptable(400, f"{show(path)} leads above the root", "3986 6.2.2.3")
            segments.pop()
        elif last and last != b".":
            segments.append(last)
    if segments and (not last or last in _DOTS):
        segments.append(b"")
    plain = b"/" + b"/".join([segment.partition(b";")[0] for segment in segments])
    if slashes:
        plain = plain.replace(b"%2F", b"%252F")  # so that it is none afterwards
    return Target(b"/" + b"/".join(segments), unquote_to_bytes(plain), query)


def _escape(match: re.Match[bytes]) -> bytes:
    """An escape as it leaves: undone, or in capitals."""
    digits = match.group(1)
    if digits is None:
        raise Unacceptable(400, "a % that begins no escape", "3986 2.1")
    letter = int(digits, 16)
    if letter < 0x20 or letter == 0x7F:
        raise Unacceptable(400, f"the control character %{digits.decode()}", "3986 2.2")
    return bytes((letter,)) if letter in _UNRESERVED else match.group(0).upper()
