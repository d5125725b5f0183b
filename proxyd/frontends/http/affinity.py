"""
How does a browser come back to its server?

What a session does with the cookies of one request where its pool goes by them: which one it brings, what of
its fields the server gets, and what the answer tells the browser, or us.
"""

from __future__ import annotations

from secrets import token_bytes
from typing import Optional, Sequence

from proxyd.frontends.http.pages import Edit
from proxyd.policy.affinity import Affinity, SealedAffinity
from proxyd.policy.arrival import Arrival
from proxyd.policy.cookie import NONCE
from proxyd.policy.server import Server
from proxyd.wire.cookie import given, sent, without
from proxyd.wire.http1 import Answer, Said
from proxyd.wire.httpfields import SET_COOKIE, Field, parse_field

_CACHE_CONTROL = b"cache-control"
_PRIVATE = parse_field(b"Cache-Control: private")


class Brought:
    """
    What one head brings to a pool that goes by cookies.

    ``cookie`` is the value, b"" for none; ``fields`` are those that the server gets, and ``rest`` is for who
    makes lines of them.  ``arrival`` is for who asks the pool: all of a connection have one client.
    """

    __slots__ = ("affinity", "arrival", "cookie", "fields", "rest", "said")

    def __init__(self, said: Said, affinity: Affinity) -> None:
        self.said = said
        self.affinity = affinity
        self.fields: Sequence[Field] = said.fields
        self.rest: Optional[bytes] = None
        self.arrival: Optional[Arrival] = None
        values = list(sent(said.fields, affinity.cookie))
        self.cookie = values[0] if values else b""  # the one with the longest path (RFC 6265, 5.4)
        if values and not affinity.remembers:
            self.fields = without(said.fields, affinity.cookie)


def learn(affinity: Affinity, answer: Answer, server: Server, now: float) -> None:
    """Learn which cookie a server has given."""
    cookie = given(answer.said.fields, affinity.cookie)
    if cookie:
        affinity.learn(affinity.key(Arrival(cookie=cookie)), server.name, now)


def giving(affinity: SealedAffinity, server: Server, secure: bool, edit: Optional[Edit]) -> Optional[Edit]:
    """Have a browser told its server, besides what ``edit`` changes; ``secure`` is one that came by TLS."""
    value = affinity.give(server.name, token_bytes(NONCE), secure)
    return _giving(value, edit) if value else edit


def _giving(value: bytes, edit: Optional[Edit]) -> Edit:
    def edited(fields: Sequence[Field]) -> list[Field]:
        found = list(fields) if edit is None else edit(fields)
        found.append((b"set-cookie", value, b"Set-Cookie: %s\r\n" % value, SET_COOKIE))
        if not any(field[0] == _CACHE_CONTROL and _is_of_one(field[1]) for field in found):
            found.append(_PRIVATE)  # a cache that others use, too, would lead them all to this server
        return found

    return edited


def _is_of_one(control: bytes) -> bool:
    words = [word.strip(b" \t").lower() for word in control.split(b",")]
    return b"private" in words or b"no-store" in words
