"""
Which stored answers does a request make invalid?

RFC 9111, section 4.4: what changes something at a URL makes what is stored of it invalid, and of those that
its answer names, as far as they are of the same origin: nobody says what becomes of others'.
"""

from __future__ import annotations

from typing import Sequence
from urllib.parse import urljoin

from proxyd.policy.cachekey import url
from proxyd.policy.freshness import values
from proxyd.wire.httpfields import Field

SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"QUERY", b"PROPFIND", b"REPORT", b"SEARCH"})


def invalidated(method: bytes, status: int, asked: bytes, fields: Sequence[Field]) -> list[bytes]:
    """
    The URLs, of which ``asked`` is that of the request, in the form of `proxyd.policy.cachekey.url`.

    ``fields`` and ``status`` are those of the answer; one that says that nothing was done changes nothing.
    """
    if method in SAFE or not 200 <= status < 400:
        return []
    found = [asked]
    for name in (b"location", b"content-location"):
        for value in values(fields, name)[:1]:
            place = _within(asked, value)
            if place and place not in found:
                found.append(place)
    return found


def _within(base: bytes, reference: bytes) -> bytes:
    """The URL of a reference, if it is of the same origin as its base; else b""."""
    try:
        whole = urljoin(base.decode("latin-1"), reference.decode("latin-1")).encode("latin-1")
    except ValueError:
        return b""
    scheme, _, rest = whole.partition(b"://")
    authority, slash, path = rest.partition(b"/")
    if scheme.lower() not in (b"http", b"https"):
        return b""
    place = url(scheme.lower() == b"https", authority, slash + path.partition(b"#")[0])
    return place if place.split(b"/", 3)[:3] == base.split(b"/", 3)[:3] else b""
