"""
What does the head of a request of HTTP/2 say in the words of HTTP/1.1?

RFC 9113, 8.2 and 8.3.  What only HTTP/2 forbids is judged here: the fields that begin with a colon, names
with capitals, fields of a connection, blanks around a value.  The rest is for `proxyd.wire.http1`, to which
the head goes next, so that a request is judged as strictly whichever way it came.
"""

from __future__ import annotations

import re
from typing import Iterable, Sequence

from proxyd.wire.http1 import CHUNKED
from proxyd.wire.httpfields import NOT_IN_TRAILERS, Field, Unacceptable, parse_field, show

FIRST_LINE = 18  # bytes of the preface, which are no request of HTTP/1.1

H2 = b"h2"  # what it is called in ALPN (RFC 9113, 3.2)

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?").fullmatch
_PATH = re.compile(rb"/[\x21-\x22\x24-\x7e]*|\*").fullmatch
_LENGTH = re.compile(rb"[0-9]{1,18}").fullmatch
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch

# RFC 9113, 8.2.2
_OF_CONNECTIONS = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"http2-settings"}
)

_PSEUDO = (b":method", b":scheme", b":authority", b":path")

Header = tuple[bytes, bytes]


class Head:
    """A head of HTTP/1.1; ``length`` is that of the body behind it in bytes, or `CHUNKED`."""

    __slots__ = ("head", "length", "method")

    def __init__(self, method: bytes, head: bytes, length: int) -> None:
        self.method = method
        self.head = head
        self.length = length


def request_head(headers: Iterable[Sequence[bytes]], ended: bool) -> Head:
    """
    The head of a request; ``ended`` says that no body follows.

    Raises `Unacceptable`.
    """
    pseudo: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    crumbs: list[bytes] = []
    host, length = b"", b""
    for header in headers:
        name, value = header[0], header[1]
        if _VALUE(value) is None:
            raise Unacceptable(400, f"the value of {show(name)}", "9113 8.2.1")
        if name[:1] == b":":
            if lines or name in pseudo or name not in _PSEUDO:
                raise Unacceptable(400, f"{show(name)}, twice, unknown or behind the fields", "9113 8.3")
            pseudo[name] = value
            continue
        _judge(name, value)
        if name == b"host":
            if host:
                raise Unacceptable(400, "two Host fields", "9112 3.2")
            host = value
            lines.append(b"")  # its line is the first one
        elif name == b"cookie":
            crumbs.append(value)
            lines.append(b"")
        else:
            if name == b"content-length":
                length = value
            lines.append(b"%s: %s\r\n" % (name, value))
    method, authority = _named(pseudo, host)
    if length and _LENGTH(length) is None:
        raise Unacceptable(400, f"Content-Length: {show(length)}", "9110 8.6")
    if ended and length.strip(b"0"):
        raise Unacceptable(400, "Content-Length, and no body", "9113 8.1.1")
    if crumbs:
        lines.append(b"cookie: %s\r\n" % b"; ".join(crumbs))  # RFC 9113, 8.2.3
    chunked = not ended and not length
    head = b"%s %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n" % (
        method,
        pseudo[b":path"],
        authority,
        b"Transfer-Encoding: chunked\r\n" if chunked else b"",
        b"".join(lines),
    )
    return Head(method, head, CHUNKED if chunked else int(length or b"0"))


def trailer_fields(headers: Iterable[Sequence[bytes]]) -> list[Field]:
    """The trailers of a request.  Raises `Unacceptable`."""
    found = []
    for header in headers:
        name, value = header[0], header[1]
        if _VALUE(value) is None:
            raise Unacceptable(400, f"the value of {show(name)}", "9113 8.2.1")
        _judge(name, value)
        if name in NOT_IN_TRAILERS or name.replace(b"_", b"-") in NOT_IN_TRAILERS:
            raise Unacceptable(400, f"{show(name)} in the trailers", "9110 6.5.1")
        found.append(parse_field(b"%s: %s" % (name, value)))
    return found


def _judge(name: bytes, value: bytes) -> None:
    """Whether a field may come in HTTP/2 at all."""
    if _NAME(name) is None:
        raise Unacceptable(400, f"a field called {show(name)}", "9113 8.2.1")
    if name in _OF_CONNECTIONS or (name == b"te" and value.lower() != b"trailers"):
        raise Unacceptable(400, f"{show(name)}, which is of a connection", "9113 8.2.2")


def _named(pseudo: dict[bytes, bytes], host: bytes) -> tuple[bytes, bytes]:
    """The method and the host that is asked for."""
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if method == b"CONNECT":
        raise Unacceptable(501, "method CONNECT", "9110 9.1")
    if not _METHOD(method) or not _PATH(path) or pseudo.get(b":scheme") not in (b"http", b"https"):
        raise Unacceptable(400, "no :method, :scheme or :path, or one that is none", "9113 8.3.1")
    authority = pseudo.get(b":authority", b"") or host
    if not authority:
        raise Unacceptable(400, "neither :authority nor Host", "9113 8.3.1")
    if host and host.lower() != authority.lower():
        raise Unacceptable(400, "a Host that is not :authority", "9113 8.3.1")
    return method, authority
