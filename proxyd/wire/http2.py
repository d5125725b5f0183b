"""
What does the head of a request of HTTP/2 say in the words of HTTP/1.1?

RFC 9113, 8.2 and 8.3.  What only HTTP/2 forbids is judged here: the fields that begin with a colon, names
with capitals, fields of a connection, blanks around a value.  The rest is for `proxyd.wire.http1`, to which
the head goes next, so that a request is judged as strictly whichever way it came.

A WebSocket on a stream (RFC 8441) becomes one of HTTP/1.1 (RFC 6455): CONNECT with a ``:protocol`` is GET
with Upgrade.
"""

from __future__ import annotations

import re
from typing import Callable, Iterable, Optional, Sequence

from proxyd.wire.http1 import CHUNKED
from proxyd.wire.httpfields import NOT_IN_TRAILERS, Field, Unacceptable, parse_field, show

FIRST_LINE = 18  # bytes of the preface, which are no request of HTTP/1.1

H2 = b"h2"  # what it is called in ALPN (RFC 9113, 3.2)

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?").fullmatch
_PATH = re.compile(rb"/[\x21-\x22\x24-\x7e]*|\*").fullmatch
TUNNEL = -3  # beside `CHUNKED`: it is no body

_UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: %s\r\n"

_LENGTH = re.compile(rb"[0-9]{1,18}").fullmatch
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch

# RFC 9113, 8.2.2
_OF_CONNECTIONS = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"http2-settings"}
)

_PSEUDO = (b":method", b":scheme", b":authority", b":path", b":protocol")

WEBSOCKET = b"websocket"  # RFC 6455, 4.1
_OF_HANDSHAKES = (b"sec-websocket-key", b"sec-websocket-accept")  # which HTTP/2 has no use for (RFC 8441, 5)

KNOWN = 64  # fields of a connection whose lines are remembered
LONGEST_KNOWN = 256  # bytes of a line

Header = tuple[bytes, bytes]


class Head:
    """A head of HTTP/1.1; ``length`` is that of the body behind it in bytes, `CHUNKED`, or `TUNNEL`."""

    __slots__ = ("head", "length", "method")

    def __init__(self, method: bytes, head: bytes, length: int) -> None:
        self.method = method
        self.head = head
        self.length = length


def request_head(
    headers: Iterable[Header],
    ended: bool,
    known: Optional[dict[Header, bytes]] = None,
    key: Callable[[], bytes] = bytes,
) -> Head:
    """
    The head of a request; ``ended`` says that no body follows.

    ``known`` are the lines of fields that were judged before, which is added to, up to `KNOWN`; ``key`` makes
    what a WebSocket is asked for with (RFC 6455, 4.1).  Raises `Unacceptable`.
    """
    known = {} if known is None else known
    pseudo: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    crumbs: list[bytes] = []
    host, length = b"", b""
    for header in headers:
        line = known.get(header)
        if line is not None:
            lines.append(line)
            continue
        name, value = header
        if _VALUE(value) is None:
            raise Unacceptable(400, f"the value of {show(name)}", "9113 8.2.1")
        if name[:1] == b":":
            if lines or name in pseudo or name not in _PSEUDO:
                raise Unacceptable(400, f"{show(name)}, twice, unknown or behind the fields", "9113 8.3")
            pseudo[name] = value
            continue
        _judge(name, value)
        line = b""
        if name == b"host":
            if host:
                raise Unacceptable(400, "two Host fields", "9112 3.2")
            host = value  # its line is the first one
        elif name == b"cookie":
            crumbs.append(value)
        elif name == b"content-length":
            length = value
            line = b"content-length: %s\r\n" % value
        elif name not in _OF_HANDSHAKES:
            line = b"%s: %s\r\n" % header
            if len(line) <= LONGEST_KNOWN:
                if len(known) >= KNOWN:
                    known.clear()
                known[header] = line
        lines.append(line)
    method, authority = _named(pseudo, host)
    if crumbs:
        lines.append(b"cookie: %s\r\n" % b"; ".join(crumbs))  # RFC 9113, 8.2.3
    framing, found = _framing(b":protocol" in pseudo, length, ended, key)
    head = b"%s %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n" % (
        method,
        pseudo[b":path"],
        authority,
        framing,
        b"".join(lines),
    )
    return Head(method, head, found)


def _framing(tunnel: bool, length: bytes, ended: bool, key: Callable[[], bytes]) -> tuple[bytes, int]:
    """The lines that say what is behind a head, and that as `Head` has it."""
    if tunnel:
        if ended or length:
            raise Unacceptable(400, "a tunnel with a length", "8441 4")
        return _UPGRADE % key(), TUNNEL
    if length and _LENGTH(length) is None:
        raise Unacceptable(400, f"Content-Length: {show(length)}", "9110 8.6")
    if ended and length.strip(b"0"):
        raise Unacceptable(400, "Content-Length, and no body", "9113 8.1.1")
    if ended or length:
        return b"", int(length or b"0")
    return b"Transfer-Encoding: chunked\r\n", CHUNKED


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
    protocol = pseudo.get(b":protocol")
    if protocol is not None and method != b"CONNECT":
        raise Unacceptable(400, ":protocol of another method than CONNECT", "8441 4")
    if protocol == WEBSOCKET:
        method = b"GET"
    elif method == b"CONNECT":
        raise Unacceptable(
            501, f"CONNECT {show(protocol or b'')}".strip(), "8441 4" if protocol else "9110 9.1"
        )
    if not _METHOD(method) or not _PATH(path) or pseudo.get(b":scheme") not in (b"http", b"https"):
        raise Unacceptable(400, "no :method, :scheme or :path, or one that is none", "9113 8.3.1")
    authority = pseudo.get(b":authority", b"") or host
    if not authority:
        raise Unacceptable(400, "neither :authority nor Host", "9113 8.3.1")
    if host and host.lower() != authority.lower():
        raise Unacceptable(400, "a Host that is not :authority", "9113 8.3.1")
    return method, authority
