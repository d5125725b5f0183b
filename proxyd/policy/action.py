"""What comes of a route: where is a client sent, which path does a server get, and which fields?"""

from __future__ import annotations

import re
from typing import Mapping, Optional, Sequence

import regex

from proxyd.config.action import (
    ADD,
    GROUP,
    HOST,
    PATH,
    QUERY,
    REMOVE,
    SCHEME,
    URI,
    EditSpec,
    RedirectSpec,
    RewriteSpec,
)
from proxyd.config.template import Template
from proxyd.policy.asked import Asked, host_of
from proxyd.wire.httpfields import END_TO_END, Field, parse_field
from proxyd.wire.target import Target, parse_target

SEARCH_SECONDS = 0.01  # of the processor, as for a condition

_DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE).match
_LEADING = re.compile(r"^[/\\]+")


def words_of(asked: Asked) -> dict[str, str]:
    """What the places of a `Template` stand for that are about the request; it is safe in a field."""
    # For browsers a path that begins with two slashes is another host, and a backslash is a slash.
    path = _LEADING.sub("/", asked.target.path.decode("ascii")).replace("\\", "%5C")
    path = "/" if path == "*" else path  # of OPTIONS, which asks about all of the host (RFC 9110, 9.3.7)
    query = (asked.target.query or b"").decode("ascii")
    name = host_of(asked.host)[0]
    return {
        SCHEME: asked.scheme,
        HOST: f"[{name}]" if ":" in name else name,
        PATH: path,
        QUERY: query,
        URI: path if asked.target.query is None else f"{path}?{query}",
    }


def fill(template: Template, words: Mapping[str, str]) -> str:
    """The text with these words in its places."""
    return "".join([text + (words[name] if name else "") for text, name in template.parts])


def location(spec: RedirectSpec, asked: Asked) -> str:
    """Where a request is sent."""
    return fill(spec.location, words_of(asked))


def is_there(place: str, asked: Asked) -> bool:
    """Whether a place is what was asked for: who is sent there would come back for ever."""
    path = _LEADING.sub("/", asked.target.whole.decode("ascii"))
    match = _URL(place)
    if match is None:
        return place == path
    scheme, authority, rest = match.groups()
    name, port = host_of(authority.encode("ascii", "replace"))
    own_name, own_port = host_of(asked.host)
    default = _DEFAULT_PORTS[scheme.lower()]
    return (scheme.lower(), name, port or default, rest or "/") == (
        asked.scheme,
        own_name,
        own_port or default,
        path,
    )


class Rewriter:
    """What is made of paths."""

    def __init__(self, spec: RewriteSpec) -> None:
        """``both_ways`` is as in the spec."""
        self._spec = spec
        self.both_ways = spec.both_ways
        self._pattern: Optional[regex.Pattern[str]] = regex.compile(spec.found) if spec.pattern else None
        self._from = _escaped(spec.found)
        self._to = _escaped(spec.to)

    def rewrite(self, target: Target, slashes: bool = False) -> Target:
        """
        The target that the server gets.

        Raises `proxyd.wire.httpfields.Unacceptable` if what comes of a pattern is no path, and
        TimeoutError if it takes too long.
        """
        if target.path == b"*":
            return target
        if self._pattern is None:
            return self._below(target)
        found = self._pattern.search(target.path.decode("ascii"), timeout=SEARCH_SECONDS)
        if found is None:
            return target
        put = GROUP.sub(lambda match: found.group(int(match.group(1))) or "", self._spec.to)
        path = (found.string[: found.start()] + put + found.string[found.end() :]).encode("ascii")
        # What has come together anew may be two slashes, or two dots (as with nginx's alias).
        again = parse_target(path if path[:1] == b"/" else b"/" + path, slashes)
        return Target(again.path, again.plain, target.query)

    def _below(self, target: Target) -> Target:
        path, prefix, to = target.path, self._from, self._to
        rest = path[len(prefix) :]
        if not path.startswith(prefix) or (prefix[-1:] != b"/" and rest[:1] not in (b"", b"/", b";")):
            return target
        if prefix[-1:] == b"/":
            rest = b"/" + rest
        if to[-1:] == b"/":
            rest = rest.partition(b"/")[2]
        return Target(to + rest, target.plain, target.query)

    def back(self, path: bytes) -> bytes:
        """What clients call a path of the server's, query and all; as it is if they cannot ask for it."""
        own, theirs = self._from.rstrip(b"/"), self._to.rstrip(b"/")
        if self._pattern is not None or not _is_below(path, theirs):
            return path
        if _is_below(own, theirs) and _is_below(path, own):
            return path  # it knows what it is called
        return own + path[len(theirs) :] or b"/"

    def cookie_back(self, path: bytes) -> bytes:
        """The same of the path of a cookie, which is for all below it."""
        return self.back(path) if path != b"/" else self.back(path).rstrip(b"/") or b"/"


def _is_below(path: bytes, other: bytes) -> bool:
    """Whether a path is another one, or below it, which has no slash at its end: the root is empty."""
    return path.startswith(other) and (path[len(other) : len(other) + 1] in _ENDS or not other)


def _escaped(path: str) -> bytes:
    """A path as it leaves, of one as people write it: what stands in no path is escaped."""
    return b"".join(
        bytes((letter,)) if letter in _PLAIN else b"%%%02X" % letter for letter in path.encode("utf-8")
    )


_ENDS = frozenset((b"", b"/", b";", b"?", b"#"))

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/")


class Editor:
    """What is changed in the fields of a message."""

    def __init__(self, specs: Sequence[EditSpec]) -> None:
        self._specs = specs
        # What is the same each time is made once.
        self._fields = [
            field_of(spec.name, fill(spec.value, {})) if spec.how != REMOVE and not spec.value.names else None
            for spec in specs
        ]
        self.fixed = not any(spec.value.names for spec in specs)

    def edit(self, fields: Sequence[Field], words: Mapping[str, str]) -> list[Field]:
        """The fields afterwards; ``words`` are what the places stand for."""
        edited = list(fields)
        for spec, made in zip(self._specs, self._fields):
            if spec.how != ADD:
                edited = without(edited, spec.name.lower().encode("ascii"))
            if spec.how != REMOVE:
                edited.append(made or field_of(spec.name, fill(spec.value, words)))
        return edited


def without(fields: Sequence[Field], name: bytes) -> list[Field]:
    """The fields but for those of a name, and for those that CGI, and what is made like it, takes for one."""
    name = name.replace(b"_", b"-")
    return [field for field in fields if field[0].replace(b"_", b"-") != name]


def field_of(name: str, value: str) -> Field:
    """A field of ours; it is passed on whatever its name says."""
    lower, value_bytes, line, _ = parse_field(f"{name}: {value}".encode("utf-8", "surrogateescape"))
    return lower, value_bytes, line, END_TO_END
