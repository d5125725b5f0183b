"""
How is a request rebuilt for its server?

From what was understood of it: the line and the Host from their parts, the fields that are passed on, one
framing, and what we have to say ourselves.  Sources: RFC 9110 7.6 (fields of one hop, Via), RFC 7239
(Forwarded).
"""

from __future__ import annotations

import ipaddress
from typing import Any, Optional, Sequence

from proxyd.config.http import BOTH, FORWARDED, X_FORWARDED_FOR, HttpSpec
from proxyd.config.proxyprotocol import Network
from proxyd.policy.encoding import for_origin
from proxyd.wire.http1 import CHUNKED, Request, Said
from proxyd.wire.httpfields import FORWARDED as TELLS_OF_CLIENT
from proxyd.wire.httpfields import Field

_OFF: tuple[str, ...] = (X_FORWARDED_FOR, BOTH)
_ALSO: tuple[str, ...] = (FORWARDED, BOTH)


class Introduction:
    """Who a client is, as servers are told; it is the same for all of its connections that are alike."""

    __slots__ = ("_host", "_own", "_recodes", "_spec", "_via", "asked", "request", "secure", "trusted")

    def __init__(
        self, spec: HttpSpec, address: Any, secure: bool, recodes: bool = False, version: bytes = b""
    ) -> None:
        """
        ``address`` is the client's, and ``secure`` says that it came by TLS.

        ``recodes`` is whether answers are compressed, so that it may have validators that we have made weak;
        ``version`` that of HTTP, which it speaks, b"" for what its requests say.  `trusted` will say that
        what it tells of others is believed, and `asked` is the whole request with which it has begun a
        connection last, in bytes and as it was understood: programs do so again and again.
        """
        host = getattr(address, "host", "")
        self._spec = spec
        self._host = host.encode()
        self._recodes = recodes
        self.secure = secure
        self.asked = b""
        self.request: Optional[Request] = None
        self.trusted = bool(spec.trusted) and is_in(host, spec.trusted)
        self._via = (self._via_of(version or b"1.0"), self._via_of(version or b"1.1"))
        told = b"" if self.trusted else self._told(b"", b"", b"")
        self._own = (told + self._via[0], told + self._via[1])  # behind requests of HTTP/1.0 and 1.1

    def _via_of(self, version: bytes) -> bytes:
        """The last of the lines, and the end of the head (RFC 9110, 7.6.3)."""
        return b"Via: %s %s\r\n\r\n" % (version, self._spec.via.encode()) if self._spec.via else b"\r\n"

    def head(
        self,
        request: Request,
        transport: Any,
        target: bytes = b"",
        host: bytes = b"",
        rest: Optional[bytes] = None,
    ) -> bytes:
        """
        The whole head; ``transport`` is the client's, whose near end stands for a Host that is missing.

        ``target``, ``host`` and ``rest`` are what the server gets if not what the client has said.
        """
        as_said = rest is None and not (target or host)
        if as_said and request.rendered is not None:
            return request.rendered
        said = request.said
        if rest is None:
            if said.rendered is None:
                said.rendered = self._passed_on(said, said.fields)
            rest = said.rendered + self._introduced(said, said.fields)
        place = host or request.host or _place_of(transport)
        head = b"%s %s HTTP/1.1\r\nHost: %s\r\n%s" % (request.method, target or request.target, place, rest)
        if as_said and request.host:
            request.rendered = head
        return head

    def rest(self, said: Said, fields: Sequence[Field]) -> bytes:
        """All behind the Host, with these fields."""
        return self._passed_on(said, fields) + self._introduced(said, fields)

    def _passed_on(self, said: Said, fields: Sequence[Field]) -> bytes:
        """What the request says, whoever its client is."""
        if self._recodes:
            fields = for_origin(fields) or fields
        lines = [field[2] for field in fields if field[3] != TELLS_OF_CLIENT]
        if said.length == CHUNKED:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        elif said.declared is not None:
            lines.append(b"Content-Length: %d\r\n" % said.declared)
        if said.expects:
            lines.append(b"Expect: 100-continue\r\n")
        named = []
        if said.upgrade:
            named.append(b"Upgrade")
            lines.append(b"Upgrade: %s\r\n" % said.upgrade)
        if said.trailers:
            named.append(b"TE")
            lines.append(b"TE: trailers\r\n")
        if named:
            lines.append(b"Connection: %s\r\n" % b", ".join(named))
        return b"".join(lines)

    def _introduced(self, said: Said, fields: Sequence[Field]) -> bytes:
        """Who the client is, and how it has come; of a proxy that is trusted what it has told, too."""
        if not self.trusted:
            return self._own[said.minor]
        told: dict[bytes, list[bytes]] = {}
        lines = []
        for name, value, line, kind in fields:
            if kind == TELLS_OF_CLIENT:
                told.setdefault(name, []).append(value)
                if name not in (b"x-forwarded-for", b"forwarded", b"x-forwarded-proto"):
                    lines.append(line)
        before = [
            b", ".join(told.get(name, ()))
            for name in (b"x-forwarded-for", b"forwarded", b"x-forwarded-proto")
        ]
        return b"".join([*lines, self._told(*before), self._via[said.minor]])

    def _told(self, others: bytes, forwarded: bytes, proto: bytes) -> bytes:
        """Our own fields, behind what others have told before."""
        lines = []
        own = proto or (b"https" if self.secure else b"http")
        if self._spec.forwarded in _OFF:
            if self._host:
                others = b"%s, %s" % (others, self._host) if others else self._host
            if others:
                lines.append(b"X-Forwarded-For: %s\r\n" % others)
            lines.append(b"X-Forwarded-Proto: %s\r\n" % own)
        elif others:
            lines.append(b"X-Forwarded-For: %s\r\n" % others)
        if self._spec.forwarded in _ALSO:
            node = b'"[%s]"' % self._host if b":" in self._host else self._host or b"unknown"
            element = b"for=%s;proto=%s" % (node, b"https" if self.secure else b"http")
            forwarded = b"%s, %s" % (forwarded, element) if forwarded else element
        if forwarded:
            lines.append(b"Forwarded: %s\r\n" % forwarded)
        return b"".join(lines)


def _place_of(transport: Any) -> bytes:
    """What a client of HTTP/1.0 has connected to (RFC 9112, 3.3)."""
    own = transport.getHost()
    if not hasattr(own, "host"):
        return b"localhost"
    return (
        b"[%s]:%d" % (own.host.encode(), own.port)
        if ":" in own.host
        else b"%s:%d" % (own.host.encode(), own.port)
    )


def is_in(host: str, networks: Sequence[Network]) -> bool:
    """Whether an IP address is in one of these networks; "" is in none."""
    if not host:
        return False
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
