"""
Which stored answer is one to this request?

An answer is known by what its server was asked: the URL in one form, the way that the request took, and,
where the answer says so, fields of the request (Vary).  Whatever else of a request could change an answer
does not reach the server where its answer may be stored (`guarded`), so that nobody makes one for others.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Iterable, Optional, Sequence

from proxyd.config.cache import DROP, SORT
from proxyd.errors import Malformed
from proxyd.wire.httpfields import FORWARDED, Field, show
from proxyd.wire.target import parse_target

_PORTS = {b"http": b":80", b"https": b":443"}

# Lists whose order and case mean nothing, or so little that no server goes by it.
_LISTS = frozenset({b"accept", b"accept-charset", b"accept-encoding", b"accept-language"})

_SHORT = 256  # bytes of such a list whose normal form is remembered

# Frameworks make another target, host or method of these; no client needs them.  CGI makes "-" and "_" one.
_MISLEADING = re.compile(
    rb"\r\n(X-Original-URL|X-Original-Host|X-Rewrite-URL|X-Host|X-Forwarded-Scheme|X-Forwarded-Protocol"
    rb"|X-HTTP-Method|X-HTTP-Method-Override|X-Method-Override|X-HTTP-Host-Override|Forwarded-Host"
    rb"|X-Forwarded-Ssl|X-Url-Scheme|Front-End-Https): [^\r]*".replace(b"-", b"[-_]"),
    re.IGNORECASE,
)

# What is told of a client by us, or what we add that to (`proxyd.frontends.http.request`).
TOLD_OF_CLIENTS = frozenset({b"x-forwarded-for", b"x-real-ip", b"forwarded"})

# Of what a proxy before us tells, this is of the client alone, whose address no answer should go by.
_OF_CLIENTS = frozenset({b"x-forwarded-for", b"x-real-ip"})

_PLACES = re.compile(rb"(?:host|proto)=(?:\"[^\"]*\"|[^;,\" \t]*)", re.IGNORECASE)


def url(secure: bool, host: bytes, target: bytes) -> bytes:
    """The URL of a request in the form in which it is looked for (RFC 9110, 4.2.3)."""
    scheme = b"https" if secure else b"http"
    host = host.lower()
    if host.endswith(_PORTS[scheme]):
        host = host[: -len(_PORTS[scheme])]
    return b"%s://%s%s" % (scheme, host, target)


def read_url(text: bytes) -> bytes:
    """The same of a URL as people write it.  Raises `proxyd.errors.Malformed`."""
    scheme, colon, rest = text.partition(b"://")
    if not colon or scheme.lower() not in _PORTS:
        raise Malformed(f"{show(text)} does not begin with http:// or https://")
    authority, slash, path = rest.partition(b"/")
    target = parse_target(slash + path or b"/", True)
    return url(scheme.lower() == b"https", authority, target.whole)


def read_prefix(text: bytes) -> bytes:
    """How such URLs begin, as people write it.  Raises `proxyd.errors.Malformed`."""
    scheme, colon, rest = text.partition(b"://")
    scheme = scheme.lower()
    if scheme not in _PORTS if colon else not b"https".startswith(scheme):
        raise Malformed(f"{show(text)} does not begin with http:// or https://")
    authority, slash, path = rest.partition(b"/")
    if slash:
        return url(scheme == b"https", authority, slash + path)
    return scheme + colon + authority.lower()


def normal_query(query: Optional[bytes], how: str, ignored: Sequence[str] = ()) -> Optional[bytes]:
    """A query with its parameters in order or not at all, and none of those that are ignored."""
    if query is None or how == DROP:
        return None
    if ignored:
        kept = [
            pair
            for pair in query.split(b"&")
            if not any(fnmatchcase(pair.partition(b"=")[0].decode("latin-1"), name) for name in ignored)
        ]
        if not kept:
            return None
    else:
        kept = query.split(b"&")
    if how == SORT:
        kept.sort()
    return b"&".join(kept)


def way(name: str, fields: Iterable[Field], trusted: bool) -> bytes:
    """
    Which way a request takes: ``name`` is that of its route or pool.

    What a trusted proxy says of where its client has asked is a part of it, as servers go by that.
    """
    told = b""
    if trusted:
        for field in fields:
            if field[3] != FORWARDED or field[0] in _OF_CLIENTS:
                continue
            value = b";".join(_PLACES.findall(field[1])) if field[0] == b"forwarded" else field[1]
            if value:
                told += b"\n%s: %s" % (field[0], value)
    return name.encode("utf-8") + told


def of_pool(name: str) -> str:
    """The ``name`` of the way that leads to a pool by no route: a route may be called as a pool is."""
    return f"pool {name}"


def guarded(head: bytes, ours: frozenset[bytes] = frozenset()) -> bytes:
    """
    The head of a request, as it goes to a server, without what could lead that server astray.

    The fields of these names, in lower case, are said by ``ours`` and by no client: they stay.
    """
    return _MISLEADING.sub(lambda match: match.group() if match.group(1).lower() in ours else b"", head)


def chosen_by(names: Iterable[bytes], fields: Sequence[Field]) -> tuple[bytes, ...]:
    """What a request says in the fields of these names, so that it may be compared (RFC 9111, 4.1)."""
    return tuple([_normal(name, [field[1] for field in fields if field[0] == name]) for name in names])


class Chosen:
    """What a request says in fields, to be compared with many answers: each list of names is read once."""

    __slots__ = ("_fields", "_found")

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = fields
        self._found: dict[tuple[bytes, ...], tuple[bytes, ...]] = {}

    def by(self, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """As `chosen_by`."""
        found = self._found.get(names)
        if found is None:
            found = self._found[names] = chosen_by(names, self._fields)
        return found


def _normal(name: bytes, found: Sequence[bytes]) -> bytes:
    """The values of one field as one; one that is not there is like none other."""
    if not found:
        return b"-"
    whole = found[0] if len(found) == 1 else b",".join(found)
    if name in _LISTS:
        return _normal_list(whole) if len(whole) <= _SHORT else _normal_list.__wrapped__(whole)
    if b"," not in whole:
        return b"=" + whole
    return b"=" + b",".join([part.strip(b" \t") for part in whole.split(b",")])


@lru_cache(maxsize=1024)
def _normal_list(value: bytes) -> bytes:
    parts = re.sub(rb"[ \t]", b"", value).lower().split(b",")
    return b"=" + b",".join(sorted({part for part in parts if part}))
