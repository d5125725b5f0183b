"""
By what of a request may a route go?  The conditions of a ``[route]`` for listeners with ``protocol =
http``.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, ClassVar, Iterator, Mapping, Optional, Sequence

from attrs import fields_dict, frozen

from proxyd.config.forms import Pattern
from proxyd.config.lists import Clients, ClientsForm
from proxyd.config.options import Fail, Form, OneWord, Option, Several
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

ANY_NAME = "*"

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.ASCII)
_LONGEST_NAME = 253
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)  # RFC 9110, 5.6.2
_PATH = re.compile(r"/[^\x00-\x20\x7f?#;\\]{0,2000}")

PATTERN_SIGN = "~"
ANYTHING = "*"

# What says how a message is framed, or for whom it is, is no field like others.
_ELSEWHERE = {
    "host": "write host = NAME for that",
    "cookie": "write cookie NAME = VALUE for that",
}
_OF_ONE_HOP = frozenset(
    "connection content-length expect http2-settings keep-alive proxy-connection te transfer-encoding "
    "upgrade".split()
)


@frozen
class Values:
    """
    What a value may be: one of these texts, or what one of these patterns finds itself in; or ``anything``.
    """

    anything: bool = False
    texts: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


@frozen
class ConditionSpec:
    """
    What must hold of a request; what is empty holds always.

    ``host`` are names in lower case, addresses, ``*.`` and a name, or ``*``.  ``path`` and ``path_exact`` are
    without escapes.  ``header``, by names in lower case, ``query`` and ``cookie`` have the values that are
    sought.
    """

    host: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    path_exact: tuple[str, ...] = ()
    path_regex: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    header: tuple[tuple[str, Values], ...] = ()
    query: tuple[tuple[str, Values], ...] = ()
    cookie: tuple[tuple[str, Values], ...] = ()
    client: Optional[Clients] = None

    @property
    def by_path(self) -> bool:
        """Whether the path decides."""
        return bool(self.path or self.path_exact or self.path_regex)

    def covers(self, other: ConditionSpec) -> bool:
        """Whether all that meet the other meet this, as far as one can see; False if that is not clear."""
        return (
            _cover(self.host, other.host, names_cover)
            and _cover(self.path, other.path + other.path_exact, is_below)
            and all(
                _cover(own, theirs, _same)
                for own, theirs in (
                    (self.path_exact, other.path_exact),
                    (self.path_regex, other.path_regex),
                    (self.method, other.method),
                )
            )
            and all(
                set(own) <= set(theirs)
                for own, theirs in (
                    (self.header, other.header),
                    (self.query, other.query),
                    (self.cookie, other.cookie),
                )
            )
            and self.client in (None, other.client)
        )


def names_cover(pattern: str, name: str) -> bool:
    """Whether a name, which may be a wildcard itself, is one that this pattern is for."""
    if pattern == ANY_NAME:
        return True
    return pattern == name or (pattern[:2] == "*." and name.removeprefix("*").endswith(pattern[1:]))


def is_below(prefix: str, path: str) -> bool:
    """Whether a path is this one, or below it: a prefix ends where a segment does."""
    return path.startswith(prefix) and (
        prefix[-1:] == "/" or path[len(prefix) : len(prefix) + 1] in ("", "/")
    )


def _same(one: str, other: str) -> bool:
    return one == other


def _cover(own: Sequence[str], others: Sequence[str], covers: Any) -> bool:
    """Whether each of the others is covered by one of ours; none of ours is no condition."""
    if not own:
        return True
    return bool(others) and all(any(covers(one, other) for one in own) for other in others)


def host_name(word: Word) -> str:
    """A name as clients ask for it, in lower case, or a wildcard for several.  Raises `Invalid`."""
    if not word.text.isascii():
        raise Invalid(
            f"{quoted(word.text)} has letters that no name has on the wire; write it as its xn-- form, "
            "as in xn--bcher-kva.example"
        )
    if word.text == ANY_NAME:
        return ANY_NAME
    name = word.text.lower()
    name = name[:-1] if name.endswith(".") else name
    if "*" in name.removeprefix("*."):
        raise Invalid(f"{quoted(word.text)}: a * stands alone, or once and before the first dot")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise Invalid(f"{quoted(word.text)} is not the name of a host")
    return name


def address_of(name: str) -> str:
    """The address that a name is, as it is written plainly; "" if it is none."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return ""


@frozen
class HostName(OneWord):
    """Whom a request is for: a name, a wildcard, or an address."""

    shape: ClassVar[str] = "a name, `*.` and a name, `*` for any name, or an address; without a port"

    def read(self, word: Word) -> str:
        text = word.text[1:-1] if word.text[:1] == "[" and word.text[-1:] == "]" else word.text
        address = address_of(text)
        if address:
            return address
        name, colon, port = text.rpartition(":")
        if colon and port.isdigit():
            raise Invalid(f"{quoted(word.text)} has a port, which makes no difference; write {name}")
        return host_name(word)


@frozen
class PathName(OneWord):
    """A path, without escapes."""

    shape: ClassVar[str] = "a path as people write it, without escapes"

    def read(self, word: Word) -> str:
        text = word.text
        if "%" in text:
            raise Invalid(
                f"{quoted(text)} has a %; paths are compared without escapes, so write the letter itself"
            )
        if ";" in text:
            raise Invalid(f"{quoted(text)} has a ;, and what is behind it in a segment is not compared")
        if not _PATH.fullmatch(text):
            raise Invalid(
                f"{quoted(text)} is not a path; it begins with / and has no blank, ?, # or backslash"
            )
        if "//" in text or any(part in (".", "..") for part in text.split("/")):
            raise Invalid(f"{quoted(text)} is never met: paths are compared without //, . and ..")
        return text


@frozen
class Method(OneWord):
    """A method of HTTP."""

    shape: ClassVar[str] = "a method of HTTP"

    def read(self, word: Word) -> str:
        if not _TOKEN.fullmatch(word.text):
            raise Invalid(f"{quoted(word.text)} is not a method")
        if word.text in ("CONNECT", "TRACE"):
            raise Invalid(f"{word.text} is never passed on")
        if (
            word.text.upper() in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
            and word.text.islower()
        ):
            raise Invalid(
                f"{quoted(word.text)}: methods are in capitals (RFC 9110, 9.1); write {word.text.upper()}"
            )
        return word.text


class ValuesForm(Form):
    """The values that are sought."""

    shape: ClassVar[str] = (
        "the value, or several; `*` for any; `~` and a regular expression that finds itself in it"
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Values:
        texts: dict[str, None] = {}
        patterns: dict[str, None] = {}
        anything = False
        for word in words:
            if word.text == ANYTHING:
                anything = True
            elif word.text.startswith(PATTERN_SIGN):
                try:
                    patterns[Pattern().read(Word(word.text[1:], word.path, word.line))] = None
                except Invalid as why:
                    fail(word.line, str(why))
            else:
                texts[word.text] = None
        if len({word.text for word in words}) < len(words):
            fail(words[-1].line, "has the same value twice")
        elif anything and len(words) > 1:
            fail(words[0].line, "* is any value, so no other need be written")
        return Values(anything, tuple(texts), tuple(patterns))


OPTIONS = (
    Option(
        "host",
        Several(HostName()),
        "With `protocol = http`: whom the request is for. `*.example.com` covers all names below "
        "example.com, however deep, and not example.com itself; `*` covers any name that is given. The "
        "port, the case and a dot at the end make no difference.",
        "host = api.example.com *.api.example.com",
        otherwise="any host, or none",
    ),
    Option(
        "path",
        Several(PathName()),
        "With `protocol = http`: the path is one of these, or below it: `/v1` covers `/v1`, `/v1/` and "
        "`/v1/users`, and not `/v10`; `/v1/` covers only what is below `/v1/`, and that itself. Where a "
        "listener has a route with `path`, `path_exact` or `path_regex`, paths are brought into their "
        "normal form (RFC 3986, 6.2.2): escapes that need not be are undone, `.` and `..` are resolved, "
        "several slashes become one. That form is what servers get; compared are its letters without "
        "escapes and without parameters (`;x=y`), with regard to case. What servers could read in two ways "
        "is answered 400: escapes that are none, control characters, what leads above the root, and "
        "slashes that are escaped (`encoded_slashes`).",
        "path = /v1 /v2",
        otherwise="any path",
    ),
    Option(
        "path_exact",
        Several(PathName()),
        "With `protocol = http`: the path is one of these, and nothing is below it.",
        "path_exact = /health",
        otherwise="any path",
    ),
    Option(
        "path_regex",
        Several(Pattern()),
        "With `protocol = http`: one of these finds itself in the path, which is in the form that `path` "
        "describes; `^` is its beginning, `$` its end, and `(?i)` at the beginning ignores case, as some "
        "servers do. A search that takes too long is given up, and the request is answered 500.",
        r"path_regex = ^/users/[0-9]+$$",
        otherwise="any path",
    ),
    Option(
        "method",
        Several(Method()),
        "With `protocol = http`: the method is one of these. `GET` is also for HEAD, as in nginx.",
        "method = POST PUT",
        otherwise="any method",
    ),
    Option(
        "header",
        ValuesForm(),
        "With `protocol = http`: the request has a field of this name, with one of these values. What says "
        "for whom a proxy speaks (X-Forwarded-… and Forwarded) counts only from those that are `trusted`.",
        "header X-Api-Version = 2",
        otherwise="any fields",
        named=True,
    ),
    Option(
        "query",
        ValuesForm(),
        "With `protocol = http`: the query has a parameter of this name, with one of these values, which "
        "are without escapes.",
        "query debug = *",
        otherwise="any query",
        named=True,
    ),
    Option(
        "cookie",
        ValuesForm(),
        "With `protocol = http`: the request has a cookie of this name, with one of these values.",
        "cookie beta = yes",
        otherwise="any cookies",
        named=True,
    ),
    Option(
        "client",
        ClientsForm("client"),
        "With `protocol = http`: the client's address is in one of these networks or lists.",
        "client = 10.0.0.0/8 @office",
        otherwise="any client",
    ),
)

_NAMED = ("header", "query", "cookie")


def asked(given: dict[str, Any]) -> dict[str, Any]:
    """Take the values that a `ConditionSpec` is made of out of those of a route."""
    found = {name: given.pop(name) for name in fields_dict(ConditionSpec) if name in given}
    for name in _NAMED:
        if name in found:
            fields = (
                (key.lower() if name == "header" else key, values) for key, values in found[name].items()
            )
            found[name] = tuple(fields)
    return found


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go together in the conditions: each an option, and what is wrong with it."""
    if "path" in given and "path_exact" in given:
        yield "path_exact", "is for other paths than path; a route has one of them"
    seen: set[str] = set()
    for name in given.get("header", ()):
        lower = name.lower()
        if lower in _OF_ONE_HOP:
            yield f"header {name}", "is between the client and this proxy, so no route goes by it"
        elif lower in _ELSEWHERE:
            yield f"header {name}", f"is no field like others; {_ELSEWHERE[lower]}"
        elif lower in seen:
            yield f"header {name}", "is given twice, since case makes no difference"
        seen.add(lower)
