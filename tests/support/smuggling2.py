"""
By which requests of HTTP/2 could one be smuggled to a server that is asked by HTTP/1.1?

HTTP/2 has frames, so a length, a coding or an end of line that is said in it says nothing; whoever writes it
down in HTTP/1.1 makes a second request of it (H2.CL, H2.TE, and injection).  `corpus` has such requests by
category, each with the section of the RFC that forbids it; `lawful` those that are right, with `SMUGGLED` in
their bodies; and `translated` makes a request of HTTP/2 of each one of `tests.support.smuggling`, of which
some are right then.
"""

from __future__ import annotations

from typing import Callable, Iterator, Optional, Sequence

from attrs import frozen

from tests.support.smuggling import SMUGGLED
from tests.support.smuggling import Attack as Attack1

Headers = tuple[tuple[bytes, bytes], ...]

POST: Headers = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"victim"),
    (b":path", b"/first"),
)
GET: Headers = ((b":method", b"GET"), *POST[1:])

HIDDEN = b"0\r\n\r\n" + SMUGGLED  # what a chunked body would end before


@frozen
class Attack:
    """
    What is sent: a head, the pieces of a body, if there is one, and trailers.

    ``head_is_wrong`` says that nothing more of it need come to be refused.
    """

    category: str
    section: str
    headers: Headers
    body: Optional[tuple[bytes, ...]] = None
    trailers: Headers = ()
    head_is_wrong: bool = True


def corpus() -> list[Attack]:
    """All of them."""
    return [one for make in _CATEGORIES for one in dict.fromkeys(make())]


def _with(*more: tuple[bytes, bytes], head: Headers = POST) -> Headers:
    return (*head, *more)


def _instead(name: bytes, *values: bytes, head: Headers = GET) -> Headers:
    """The head with other values of a field, or none."""
    found: list[tuple[bytes, bytes]] = []
    for header in head:
        found += [(name, value) for value in values] if header[0] == name else [header]
    return tuple(found)


def _lengths() -> Iterator[Attack]:
    """H2.CL: a length that is not that of the body."""
    for length in (0, 1, 5, len(SMUGGLED) - 1, len(SMUGGLED) + 1, 1000):
        headers = _with((b"content-length", b"%d" % length))
        yield Attack("length of another body", "9113 8.1.1", headers, (SMUGGLED,), head_is_wrong=False)
        pieces = (SMUGGLED[:5], SMUGGLED[5:])
        yield Attack("length of another body", "9113 8.1.1", headers, pieces, head_is_wrong=False)
        if length:
            yield Attack("length, and no body", "9113 8.1.1", headers)
    for one, other in ((0, 44), (44, 0), (44, 44)):
        lengths = [(b"content-length", b"%d" % length) for length in (one, other)]
        yield Attack("several lengths", "9110 8.6", _with(*lengths), (SMUGGLED,))
    for value in (
        b"+44",
        b"-44",
        b"0x2c",
        b"44,44",
        b"44, 0",
        b"4 4",
        b"44.0",
        b"",
        b"44;",
        b"1" * 20,
        b"\xb24",
    ):
        yield Attack("lengths", "9110 8.6", _with((b"content-length", value)), (SMUGGLED,))


def _codings() -> Iterator[Attack]:
    """H2.TE: a coding, which HTTP/2 does not have."""
    for value in (
        b"chunked",
        b"Chunked",
        b"identity",
        b"xchunked",
        b"gzip, chunked",
        b"chunked, identity",
        b"",
    ):
        for more in ((), ((b"content-length", b"%d" % len(HIDDEN)),)):
            headers = _with((b"transfer-encoding", value), *more)
            yield Attack("coding", "9113 8.2.2", headers, (HIDDEN,))
    for name in (b"Transfer-Encoding", b"transfer-Encoding", b"transfer-encoding ", b" transfer-encoding"):
        yield Attack("coding", "9113 8.2.1", _with((name, b"chunked")), (HIDDEN,))
    for name in (b"transfer_encoding", b"content_length"):
        yield Attack("coding by another name", "9110 5.1", _with((name, b"5")), (HIDDEN,))


def _of_connections() -> Iterator[Attack]:
    for name, value in (
        *((b"connection", value) for value in (b"close", b"keep-alive", b"content-length", b"x", b"upgrade")),
        *((b"upgrade", value) for value in (b"h2c", b"websocket", b"HTTP/1.1")),
        *((b"te", value) for value in (b"chunked", b"gzip", b"trailers, chunked", b"trailers;q=1")),
        (b"proxy-connection", b"keep-alive"),
        (b"keep-alive", b"timeout=5"),
        (b"http2-settings", b"AAMAAABkAAQAAP__"),
    ):
        yield Attack("of a connection", "9113 8.2.2", _with((name, value), head=GET))


def _injections() -> Iterator[Attack]:
    """What would be lines of their own, or a request of its own."""
    request = b"x\r\n\r\n" + SMUGGLED
    coding = b"x\r\ntransfer-encoding: chunked"
    for text in (
        request,
        coding,
        b"x\r\nhost: other",
        b"x\ny: z",
        b"x\ry",
        b"x\0y",
        b"\r\n",
        b"\n",
        b"x\r",
        b"\0",
    ):
        for name in (b"x", b"cookie", b"host", b"user-agent", b"content-length"):
            yield Attack("line ends in values", "9113 8.2.1", _with((name, text)), (HIDDEN,))
        yield Attack("line ends in names", "9113 8.2.1", _with((b"x: " + text, b"y")), (HIDDEN,))
        for name, value in GET:
            found = _instead(name, value + text)
            yield Attack("line ends in pseudo-fields", "9113 8.2.1", found)
    for text in (b" HTTP/1.1\r\nhost: victim\r\n\r\n" + SMUGGLED, b" HTTP/1.1", b"\tx", b" "):
        yield Attack("a path that is a line", "9113 8.3.1", _instead(b":path", b"/first" + text))
        yield Attack("a method that is a line", "9113 8.3.1", _instead(b":method", b"GET /smuggled" + text))
    for value in (b" x", b"x ", b"\tx", b"x\t"):
        yield Attack("blanks around values", "9113 8.2.1", _with((b"x", value), head=GET))


def _names() -> Iterator[Attack]:
    names = (
        b"X",
        b"Host",
        b"cOntent-length",
        b"",
        b"x y",
        b"x:",
        b":",
        b"x\t",
        b"x\x7f",
        b"x\xe4",
        b"(x)",
        b'"x"',
    )
    for name in names:
        yield Attack("names", "9113 8.2.1", _with((name, b"5"), head=GET))


def _pseudo_fields() -> Iterator[Attack]:
    for name, value in GET:
        yield Attack("twice", "9113 8.3", (*GET, (name, value)))
        yield Attack("twice", "9113 8.3", _instead(name, value, b"x"))
        yield Attack("behind the fields", "9113 8.3", (*_instead(name), (b"x", b"y"), (name, value)))
        yield Attack("empty", "9113 8.3.1", _instead(name, b""))
        yield Attack("missing", "9113 8.3.1", _instead(name))
        yield Attack("in capitals", "9113 8.3", (*_instead(name), (name.upper(), value)))
    for name in (b":status", b":protocol", b":version", b":x", b":host", b"::path", b":path "):
        yield Attack("unknown", "9113 8.3", (*GET, (name, b"200")))


def _targets() -> Iterator[Attack]:
    for path in (
        b"first",
        b"http://victim/first",
        b"https://other/",
        b"victim",
        b"?x",
        b"/#x",
        b"/\x80",
        b"*",
        b"#",
    ):
        yield Attack("paths", "9113 8.3.1", _instead(b":path", path))
    for method in (b"G(T", b"G T", b"GET:", b"\xe4", b"CONNECT", b"TRACE", b"GET\x7f"):
        yield Attack("methods", "9113 8.3.1", _instead(b":method", method))
    for scheme in (b"ftp", b"http://victim/smuggled?", b"HTTP/1.1", b"file", b"ws"):
        yield Attack("schemes", "9113 8.3.1", _instead(b":scheme", scheme))
    for name in (
        b"a b",
        b"user@victim",
        b"victim/x",
        b"victim:80:80",
        b"[::1",
        b"a?b",
        b"a#b",
        b"\xe4",
        b"a\\b",
    ):
        yield Attack("authorities", "9113 8.3.1", _instead(b":authority", name))
        yield Attack("authorities", "9113 8.3.1", (*_instead(b":authority"), (b"host", name)))
    for host in (b"other", b"victim:80", b"victim, other"):
        yield Attack("Host that is another", "9113 8.3.1", _with((b"host", host), head=GET))
    for hosts in ((b"victim", b"victim"), (b"victim", b"other")):
        yield Attack("several Hosts", "9112 3.2", _with(*((b"host", host) for host in hosts), head=GET))


def _expectations() -> Iterator[Attack]:
    for value in (b"x", b"100", b"100-continue, x", b"100-continue;x"):
        yield Attack("expectations", "9110 10.1.1", _with((b"expect", value)), (HIDDEN,))


def _trailers() -> Iterator[Attack]:
    for trailer in (
        (b"content-length", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"content_length", b"5"),
        (b"host", b"other"),
        (b":path", b"/smuggled"),
        (b":status", b"200"),
        (b"connection", b"close"),
        (b"authorization", b"x"),
        (b"cookie", b"a=b"),
        (b"X", b"y"),
        (b"x", b"y\r\n\r\n" + SMUGGLED),
        (b"x\r\n\r\n" + SMUGGLED, b"y"),
        (b"x", b"y\0"),
        (b"x ", b"y"),
        (b"", b"y"),
    ):
        yield Attack("trailers", "9113 8.1", POST, (HIDDEN,), (trailer,), head_is_wrong=False)


_CATEGORIES: Sequence[Callable[[], Iterator[Attack]]] = (
    _lengths,
    _codings,
    _of_connections,
    _injections,
    _names,
    _pseudo_fields,
    _targets,
    _expectations,
    _trailers,
)


def lawful() -> list[Attack]:
    """All that are led on, each of them one request for ``/first``."""
    found = []
    for body in (SMUGGLED, HIDDEN, b"5\r\nabcde\r\n" + HIDDEN):
        length = (b"content-length", b"%d" % len(body))
        for head in (POST, GET, _instead(b":method", b"PUT"), _instead(b":method", b"X-OTHER")):
            for pieces in ((body,), (body[:3], b"", body[3:]), (b"", body, b"")):
                found += [
                    Attack("body", "9113 8.1", _with(*more, head=head), pieces) for more in ((), (length,))
                ]
        for trailer in ((b"x", b"y"), (b"x-content-length", b"5")):
            found.append(Attack("trailers", "9113 8.1", _with((b"te", b"trailers")), (body,), (trailer,)))
        for name in (b"x-transfer-encoding", b"transfer-encodings", b"content-lengths", b"trailer", b"x"):
            found.append(Attack("fields", "9113 8.2", _with((name, b"chunked"), length), (body,)))
    return found


def translated(one: Attack1) -> Attack:
    """This request of HTTP/1.1 as who knows no better would put it into HTTP/2."""
    head, _, body = one.data.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    words = line.split(b" ")
    pseudo = [(b":method", words[0]), (b":scheme", b"http"), (b":path", b" ".join(words[1:-1]) or b"/first")]
    fields = []
    for each in lines:
        name, _, value = each.partition(b":")
        fields.append((name.lower(), value.strip(b" \t")))
    return Attack(one.category, one.section, (*pseudo, *fields), (body,))
