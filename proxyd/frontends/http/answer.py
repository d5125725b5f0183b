"""
What becomes of a server's answer on its way to the client?

`Delivery` is the one way that it takes: its head is rebuilt, and its body passes as pieces, which know
nothing of the framing on either side.  So this is the room in which an answer is compressed, stored, or
taken from a store: whoever wants to sits between what came and what leaves.

Servers stay hidden: where they name themselves, the client reads the name that it has asked for (Location,
RFC 9110 10.2.2; the Domain of Set-Cookie, RFC 6265 4.1.2.3).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Optional, Sequence

from proxyd.config.address import TcpAddress
from proxyd.config.http import DROP, REPLACE, HttpSpec
from proxyd.frontends.http.pages import Edit, date
from proxyd.policy.action import Rewriter
from proxyd.policy.encoding import Decision
from proxyd.policy.server import Server
from proxyd.walltime import WallTime
from proxyd.wire.chunked import chunk, last
from proxyd.wire.http1 import Answer, Request
from proxyd.wire.httpfields import DATE, END_TO_END, LOCATION, SERVER, SET_COOKIE, Field, parse_field

_OWN_NAME = b"Server: proxyd\r\n"

_ABSOLUTE = re.compile(rb"(?:https?:)?//([^/?#]*)", re.IGNORECASE).match

_COOKIE_PATH = re.compile(rb";[ \t]*path[ \t]*=[ \t]*([^;]*)", re.IGNORECASE)

_DOMAIN = re.compile(rb";[ \t]*domain[ \t]*=[ \t]*\.?([^;]*)", re.IGNORECASE)


class Delivery:
    """
    How one answer after another goes to the client of a connection.

    After `head`, ``chunked`` says how the body is framed, and ``closes`` that the connection ends with it.
    """

    __slots__ = ("_secure", "_spec", "_wall", "chunked", "closes", "via")

    def __init__(self, spec: HttpSpec, wall: WallTime, secure: bool) -> None:
        self._spec = spec
        self._wall = wall
        self._secure = secure
        self.via = _via(spec.via)
        self.chunked = False
        self.closes = False

    @property
    def verbatim(self) -> bool:
        """Whether the bytes of the body leave as they come, so that they need not be looked at."""
        return not self.chunked

    def head(
        self,
        answer: Answer,
        request: Request,
        keep: bool,
        server: Server,
        edit: Optional[Edit] = None,
        decision: Optional[Decision] = None,
    ) -> bytes:
        """
        The head, with ``keep`` for a connection that is to go on.

        Its fields are changed by ``decision``, if the answer is or could be encoded, and then by ``edit``.
        """
        said, minor = answer.said, request.said.minor
        recodes = decision is not None and decision.recodes
        endless = said.length < 0 or (recodes and said.length > 0)
        self.chunked = endless and minor == 1
        if endless and not minor:
            keep = False  # HTTP/1.0 has no other end for a body of unknown length
        self.closes = not keep
        if edit is None and decision is None and minor:
            known = said.rendered if keep else said.rendered_last
            if known is not None:
                return known
        lines = [b"HTTP/1.1 %d %s\r\n" % (answer.status, answer.reason)]
        fields: Sequence[Field] = said.fields
        if decision is not None:
            fields = decision.fields(fields)
        if edit is not None:
            fields = edit(fields)
        if answer.status == 426 and said.upgrade and minor:  # RFC 9110, 15.5.22
            lines.append(b"Connection: Upgrade\r\nUpgrade: %s\r\n" % said.upgrade)
        same = self._fields(lines, fields, request, server) and edit is None and decision is None
        self._frame(lines, None if recodes else said.declared, minor)
        head = b"".join(lines)
        if same and minor and keep:
            said.rendered = head
        elif same and minor:
            said.rendered_last = head
        return head

    def _frame(self, lines: list[bytes], declared: Optional[int], minor: int) -> None:
        """Add what says how the body is framed, and whether the connection goes on behind it."""
        if self.chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        elif declared is not None:
            lines.append(b"Content-Length: %d\r\n" % declared)
        lines.append(self.via)
        if self.closes:
            lines.append(b"Connection: close\r\n")
        elif not minor:
            lines.append(b"Connection: keep-alive\r\n")
        lines.append(b"\r\n")

    def settled(self, fields: Sequence[Field], request: Request, server: Server) -> list[Field]:
        """The fields as they leave for any client, so that they can be kept; `held` takes them."""
        lines: list[bytes] = []
        self._fields(lines, fields, request, server)
        read = [parse_field(line[:-2]) for line in lines]
        return [(name, value, line, END_TO_END) for name, value, line, _ in read]

    def held(
        self,
        status: int,
        reason: bytes,
        fields: Sequence[Field],
        declared: Optional[int],
        minor: int,
        keep: bool,
        told: bytes = b"",
    ) -> bytes:
        """
        The head of an answer that is held, with fields that are settled.

        ``declared`` is what Content-Length says, None where the length of the body is not known; ``told`` are
        lines behind the fields.
        """
        unknown = declared is None and status not in (204, 304)
        self.chunked = unknown and minor == 1
        self.closes = not keep or (unknown and not minor)
        lines = [b"HTTP/1.1 %d %s\r\n" % (status, reason)]
        lines += [field[2] for field in fields]
        lines.append(told)
        self._frame(lines, declared, minor)
        return b"".join(lines)

    def interim(self, answer: Answer, edit: Optional[Edit] = None) -> bytes:
        """The head of an answer before the answer, or of one that switches protocols (RFC 9110, 15.2)."""
        lines = [b"HTTP/1.1 %d %s\r\n" % (answer.status, answer.reason)]
        fields = answer.said.fields
        lines += [field[2] for field in (fields if edit is None else edit(fields))]
        if answer.status == 101:
            lines.append(b"Connection: Upgrade\r\nUpgrade: %s\r\n" % answer.said.upgrade)
        lines.append(b"\r\n")
        return b"".join(lines)

    def data(self, data: bytes) -> bytes:
        """Some of the body as it leaves; never called with nothing."""
        return chunk(data) if self.chunked else data

    def end(self, trailers: Sequence[Field] = ()) -> bytes:
        """What leaves behind the body."""
        return last(list(trailers)) if self.chunked else b""

    def _fields(self, lines: list[bytes], fields: Sequence[Field], request: Request, server: Server) -> bool:
        """Add the fields; whether they are the same for every request."""
        same, dated = True, False
        for field in fields:
            kind = field[3]
            if kind == END_TO_END:
                lines.append(field[2])
            elif kind == LOCATION:
                same = False
                lines.append(self._relocated(field, request, server))
            elif kind == SET_COOKIE:
                lines.append(_for_our_domain(field, server))
            elif kind == SERVER:
                if self._spec.server_header != DROP:
                    lines.append(_OWN_NAME if self._spec.server_header == REPLACE else field[2])
            else:
                dated = dated or kind == DATE
                lines.append(field[2])
        if not dated:
            same = False
            lines.append(date(self._wall.now()))  # RFC 9110, 6.6.1
        return same

    def _relocated(self, field: Field, request: Request, server: Server) -> bytes:
        name, value, line, _ = field
        match = _ABSOLUTE(value)
        if match is None or not request.host or not _is_at(match.group(1), request.host, server):
            return line
        scheme = b"https" if self._secure else b"http"
        original = line[: len(name)]
        return b"%s: %s://%s%s\r\n" % (original, scheme, request.host, value[match.end() :])


@lru_cache(maxsize=64)
def _via(name: str) -> bytes:
    return b"Via: 1.1 %s\r\n" % name.encode() if name else b""


def _names(server: Server) -> list[tuple[str, int]]:
    """What a server may call itself: the addresses and the names that it is known by."""
    places: list[Any] = [server.address, server.origin, *getattr(server.address, "each", ())]
    return [(place.host.lower(), place.port) for place in places if isinstance(place, TcpAddress)]


def _is_at(authority: bytes, asked: bytes, server: Server) -> bool:
    """Whether an authority is the server's: its own, or the name that was asked for and the server's port."""
    host, _, port = authority.lower().decode("ascii", "replace").rpartition(":")
    if not host or port.endswith("]"):
        host, port = authority.lower().decode("ascii", "replace"), ""
    host = host.strip("[]")
    wanted = _without_port(asked)
    for name, number in _names(server):
        if port in (str(number), "") and host == name:
            return True
        if port == str(number) and host == wanted and authority.lower() != asked.lower():
            return True
    return False


def _without_port(authority: bytes) -> str:
    text = authority.lower().decode("ascii", "replace")
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _for_our_domain(field: Field, server: Server) -> bytes:
    """A cookie for the server's own name is for whom the client has asked."""
    name, value, line, _ = field
    match = _DOMAIN.search(value)
    if match is None:
        return line
    domain = match.group(1).strip(b" \t").lower().decode("ascii", "replace")
    if domain not in [host for host, _ in _names(server)]:
        return line
    return b"%s: %s%s\r\n" % (line[: len(name)], value[: match.start()], value[match.end() :])


# What says where something is, on this server or another.
_LOCATIONS = frozenset((b"location", b"content-location"))
_PLACES = _LOCATIONS | {b"set-cookie"}


def names_places(fields: Sequence[Field]) -> bool:
    """Whether an answer may have paths that clients know by other names."""
    return any(field[0] in _PLACES for field in fields)


def led_back(
    fields: Sequence[Field], rewriter: Rewriter, asked: bytes, server: Optional[Server]
) -> list[Field]:
    """
    The fields of an answer to a request whose path was rewritten, with the paths that its client knows.

    ``asked`` is the host that the client has asked for.
    """
    found: list[Field] = []
    for field in fields:
        name, value, line, kind = field
        start, path = 0, b""
        if name in _LOCATIONS:
            start = _place_of_path(value, rewriter.both_ways, asked, server)
            path = rewriter.back(value[start:]) if start >= 0 else b""
            end = len(value)
            if not start and path[1:2] in (b"/", b"\\"):
                path = b"/." + path  # else its first part would be a host (RFC 3986, 4.2)
        elif name == b"set-cookie" and rewriter.both_ways:
            match = _COOKIE_PATH.search(value)
            if match is not None:
                start, end = match.span(1)
                path = rewriter.cookie_back(match.group(1))
        if path:
            value = value[:start] + path + value[end:]
            field = name, value, b"%s: %s\r\n" % (line[: len(name)], value), kind
        found.append(field)
    return found


def _place_of_path(value: bytes, both_ways: bool, asked: bytes, server: Optional[Server]) -> int:
    """Where the path begins in a reference to something on the server, -1 for what is elsewhere."""
    match = _ABSOLUTE(value)
    if match is None:
        return 0 if both_ways and value[:1] == b"/" else -1
    authority = match.group(1)
    named = server is not None and _is_at(authority, asked, server)
    return match.end() if named or (both_ways and authority.lower() == asked.lower()) else -1
