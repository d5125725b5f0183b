"""
By which requests has one connection's bytes been made to answer another one's request?

`corpus` has them by category, each with the section of the RFC that forbids it, the same ones for the same
seed.  Each is what an attacker would send at once: a request that two readers could end in different
places, and behind it a second one, `SMUGGLED`, which nobody must ever take for a request.

`lawful` has those that are right, so that they are led on, and have `SMUGGLED` in their body, where only a
careless server would find it.
"""

from __future__ import annotations

from random import Random
from typing import Callable, Iterator, Sequence

from attrs import frozen

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: victim\r\n\r\n"

_POST = b"POST /first HTTP/1.1\r\nHost: victim\r\n"
_GET = b"GET /first HTTP/1.1\r\nHost: victim\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"


@frozen
class Attack:
    """What is sent, which kind of attack it is, and which section it offends against."""

    category: str
    section: str
    data: bytes


def corpus(seed: int = 1) -> list[Attack]:
    """All of them."""
    random = Random(seed)
    return [
        Attack(category, section, data)
        for category, section, make in _CATEGORIES
        for data in dict.fromkeys(make(random))
    ]


def lawful(seed: int = 1) -> list[Attack]:
    """All that are led on, each of them one request for ``/first``."""
    random = Random(seed)
    return [
        Attack(category, section, data)
        for category, section, make in _LAWFUL
        for data in dict.fromkeys(make(random))
    ]


def _body(fields: bytes, body: bytes, head: bytes = _POST) -> bytes:
    return head + fields + b"\r\n" + body + SMUGGLED


def _both(random: Random) -> Iterator[bytes]:
    for length in (0, 4, 5, 6, len(SMUGGLED), 1000):
        for name in (b"Content-Length", b"content-length", b"CONTENT-LENGTH"):
            for coding in (b"chunked", b"Chunked", b"CHUNKED"):
                fields = [b"%s: %d\r\n" % (name, length), b"Transfer-Encoding: %s\r\n" % coding]
                random.shuffle(fields)
                yield _body(b"".join(fields), b"0\r\n\r\n")


def _lengths(random: Random) -> Iterator[bytes]:
    for one, other in ((0, 5), (5, 0), (5, 5), (5, 6), (44, 0), (0, 44)):
        yield _body(b"Content-Length: %d\r\nContent-Length: %d\r\n" % (one, other), b"abcde")
        yield _body(b"Content-Length: %d, %d\r\n" % (one, other), b"abcde")
        yield _body(b"Content-Length: %d\r\nX: y\r\ncontent-length: %d\r\n" % (one, other), b"abcde")
    for value in (
        *(
            b"+5",
            b"-5",
            b"5 5",
            b"0x5",
            b"5.0",
            b"5e0",
            b"5;",
            b"",
            b"five",
            b"5,",
            b",5",
            b"\x0b5",
            b"5\x0b",
        ),
        *(b"1" * 19, b"18446744073709551621", b"5_0", b"\xb25", b"'5'", b'"5"', b"5\x00", b"\x005", b"0o5"),
    ):
        yield _body(b"Content-Length: %s\r\n" % value, b"abcde")
        yield _body(b"Content-Length:\t%s \r\n" % value, b"abcde")


def _codings(random: Random) -> Iterator[bytes]:
    for value in (
        *(b"xchunked", b"chunkedx", b"chunked, identity", b"identity", b"chunked;q=1", b"", b"chunked, gzip"),
        *(
            b"identity, chunked",
            b"gzip, chunked",
            b"chunked, chunked",
            b"chunked,",
            b", chunked",
            b"'chunked'",
        ),
        *(
            b'"chunked"',
            b"chun ked",
            b"x: chunked",
            b"\x0bchunked",
            b"chunked\x0b",
            b"\x00chunked",
            b"chunked\x00",
        ),
        *(b"cow", b"chunked cow", b"deflate", b"trailers", b"chunked\xa0", b"\xefchunked", b"chunKed, x"),
    ):
        yield _body(b"Transfer-Encoding: %s\r\n" % value, b"0\r\n\r\n")
        yield _body(b"Transfer-Encoding: %s\r\nContent-Length: 5\r\n" % value, b"0\r\n\r\n")
    for one in (b"chunked", b"identity", b"x"):
        for other in (b"chunked", b"identity", b"x"):
            yield _body(b"Transfer-Encoding: %s\r\nTransfer-Encoding: %s\r\n" % (one, other), b"0\r\n\r\n")


def _old_version(random: Random) -> Iterator[bytes]:
    for method in (b"POST", b"GET", b"PUT"):
        for connection in (b"", b"Connection: keep-alive\r\n"):
            head = b"%s /first HTTP/1.0\r\nHost: victim\r\n%s" % (method, connection)
            yield _body(_CHUNKED, b"0\r\n\r\n", head)
            yield _body(_CHUNKED + b"Content-Length: 5\r\n", b"0\r\n\r\n", head)


def _names(random: Random) -> Iterator[bytes]:
    for name in (b"Transfer-Encoding", b"Content-Length", b"Host", b"X"):
        value = {b"Transfer-Encoding": b"chunked", b"Content-Length": b"5"}.get(name, b"other")
        for wrong in (
            *(
                name + b" ",
                name + b"\t",
                b" " + name,
                b"\t" + name,
                name + b"\x00",
                b"\x00" + name,
                name + b"\r",
            ),
            *(
                b"\x0b" + name,
                name + b"\x0b",
                name + b"\xa0",
                b"(" + name,
                name + b"@",
                b'"' + name + b'"',
                b"",
            ),
        ):
            yield _body(b"%s: %s\r\n" % (wrong, value), b"0\r\n\r\n")
    for name in (b"Content_Length", b"content_length", b"Transfer_Encoding", b"TRANSFER_ENCODING"):
        yield _body(name + b": 5\r\n", b"abcde")


def _folds(random: Random) -> Iterator[bytes]:
    for blank in (b" ", b"\t", b"   ", b" \t"):
        yield _body(b"Transfer-Encoding:\r\n%schunked\r\n" % blank, b"0\r\n\r\n")
        yield _body(b"Content-Length: 0\r\n%s5\r\n" % blank, b"abcde")
        yield _body(b"X: y\r\n%sTransfer-Encoding: chunked\r\n" % blank, b"0\r\n\r\n")
        yield _body(b"X: y\r\n%sContent-Length: 5\r\n" % blank, b"abcde")
        yield _body(b"%sContent-Length: 5\r\n" % blank, b"abcde")


def _line_ends(random: Random) -> Iterator[bytes]:
    for end in (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\x0b\n", b"\x85", b"\x0c\n"):
        for line in (b"Transfer-Encoding: chunked", b"Content-Length: 5", b"X: y"):
            yield _body(line + end, b"0\r\n\r\n")
            if end != b"\x85":  # which may be in a value, and is no end of a line
                yield _body(b"X: y" + end + line + b"\r\n", b"0\r\n\r\n")
    yield b"GET /first HTTP/1.1\nHost: victim\n\n" + SMUGGLED
    yield b"GET /first HTTP/1.1\r\nHost: victim\n\r\n" + SMUGGLED
    yield b"GET /first HTTP/1.1\r\nHost: victim\r\n\n" + SMUGGLED
    yield b"GET /first HTTP/1.1\r\nX: \r" + SMUGGLED
    yield b"GET /first HTTP/1.1\r\nX: \n" + SMUGGLED


def _chunk_sizes(random: Random) -> Iterator[bytes]:
    for size in (
        *(
            b"+5",
            b"-5",
            b"0x5",
            b" 5",
            b"5 ",
            b"\t5",
            b"5\t",
            b"",
            b"g",
            b"5g",
            b"5.",
            b"5,",
            b"5_",
            b"\x005",
        ),
        *(b"5\x00", b"FFFFFFFFFFFFFFFF", b"10000000000000005", b"0" * 300, b"5" + b"0" * 16, b"'5'", b"5 5"),
        *(b"5;\x00", b"5; a=\x0b", b'5;a="', b"5;a=\rb", b"5;;", b"5; =b", b"5:\xb5", b"\xef5", b"5\x0b"),
    ):
        yield _body(_CHUNKED, size + b"\r\nabcde\r\n0\r\n\r\n")
    for size in (b"5\n", b"5\r", b"5\n\n", b"5;a\n", b"5\r\r\n"):
        yield _body(_CHUNKED, size + b"abcde\r\n0\r\n\r\n")


def _chunk_extensions(random: Random) -> Iterator[bytes]:
    """Lines that end at different places for who takes extensions for anything up to CR LF, or to LF."""
    hidden = b"%x\r\n%s\r\n" % (len(SMUGGLED), SMUGGLED)
    for extension in (b";", b";a", b";a=b", b'; a="b"', b";a=", b';a="', b" ; a"):
        for end in (b"\n", b"\r", b"\n\n", b"\r\r\n", b"\n\r\n", b"\r\n\n"):
            yield _body(_CHUNKED, b"5" + extension + end + b"abcde\r\n0\r\n\r\n")
        yield _body(_CHUNKED, b"5" + extension + b"\nxx\r\n" + hidden + b"0\r\n\r\n")  # TERM.EXT, EXT.TERM
        yield _body(_CHUNKED, b"5\r\nabcde\r\n0" + extension + b"\n\r\n")
    for end in (b"\n", b"\r", b"xx", b"x\n", b"\n\n"):  # SPILL.TERM, TERM.SPILL, and chunks one byte too long
        yield _body(_CHUNKED, b"5\r\nabcde" + end + hidden + b"0\r\n\r\n")
        yield _body(_CHUNKED, b"0" + end + b"\r\n")


def _expectations(random: Random) -> Iterator[bytes]:
    for value in (
        b"",
        b"100",
        b"x",
        b"100-continue, x",
        b"y 100-continue",
        b"100-continue;x",
        b"\x0b100-continue",
    ):
        yield _body(b"Expect: %s\r\nContent-Length: 5\r\n" % value, b"abcde")
        yield _body(b"Expect: %s\r\n" % value + _CHUNKED, b"0\r\n\r\n")
    yield _body(b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", b"abcde")
    yield _body(b"Expect : 100-continue\r\nContent-Length: 5\r\n", b"abcde")
    yield _body(b"Expect:\r\n 100-continue\r\nContent-Length: 5\r\n", b"abcde")


def _chunk_ends(random: Random) -> Iterator[bytes]:
    for end in (b"", b"\n", b"\r", b"\n\r", b"x\r\n", b"\r\r\n", b" \r\n", b"\x00\r\n", b"\n\n"):
        yield _body(_CHUNKED, b"5\r\nabcde" + end + b"0\r\n\r\n")
        yield _body(_CHUNKED, b"5\r\nabcde\r\n0" + (end or b"\x0b") + b"\r\n\r\n")
    for trailer in (
        *(
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
            b"Host: other",
            b"X : y",
            b" X: y",
            b"X\n",
            b": y",
        ),
        *(
            b"X: \x00",
            b"X: y\rz",
            b"Content_Length: 5",
            b"Authorization: x",
            b"Cookie: a=b",
            b"X",
            b"Connection: x",
        ),
    ):
        yield _body(_CHUNKED, b"0\r\n" + trailer + b"\r\n\r\n")


def _values(random: Random) -> Iterator[bytes]:
    for code in (*range(9), *range(11, 32), 127):
        if code != 10 and code != 13:
            yield _GET + b"X: a%cb\r\n\r\n" % code + SMUGGLED


def _hosts(random: Random) -> Iterator[bytes]:
    for lines in (
        *(
            b"",
            b"Host:\r\n",
            b"Host: a\r\nHost: b\r\n",
            b"Host: a\r\nHost: a\r\n",
            b"Host: a, b\r\n",
            b"Host: a b\r\n",
        ),
        *(b"Host: a/b\r\n", b"Host: user@a\r\n", b"Host: a:b\r\n", b"Host: a:80:80\r\n", b"Host: [::1\r\n"),
        *(
            b"Host: a#b\r\n",
            b"Host: a?b\r\n",
            b"Host: \xe4\r\n",
            b"Host: a:123456\r\n",
            b"Host: a%zz\r\n",
            b"Host: a\\b\r\n",
        ),
        *(
            b"Host: a\r\nhost: b\r\n",
            b"Host : a\r\n",
            b'Host: "a"\r\n',
            b"Host: <a>\r\n",
            b"Host: a\t\x0b\r\n",
        ),
    ):
        yield b"GET /first HTTP/1.1\r\n" + lines + b"\r\n" + SMUGGLED
    for target in (
        *(
            b"http://other/",
            b"http://user@victim/",
            b"http:///x",
            b"ftp://victim/",
            b"//",
            b"victim",
            b"victim:80",
        ),
        *(
            b"http:/victim/",
            b"http://vic tim/",
            b"http://victim#/",
            b"http://victim\\@other/",
            b"*",
            b"https://other",
        ),
    ):
        if not target.startswith(b"//"):
            yield b"GET %s HTTP/1.1\r\nHost: victim\r\n\r\n" % target + SMUGGLED


def _request_lines(random: Random) -> Iterator[bytes]:
    for line in (
        *(
            b"GET /first",
            b"GET  /first HTTP/1.1",
            b"GET /first  HTTP/1.1",
            b" GET /first HTTP/1.1",
            b"GET /first HTTP/1.1 ",
        ),
        *(
            b"GET\t/first HTTP/1.1",
            b"GET /first\tHTTP/1.1",
            b"GET /fi rst HTTP/1.1",
            b"GET /first http/1.1",
            b"GET HTTP/1.1",
        ),
        *(
            b"GET /first HTTP/1.10",
            b"GET /first HTTP/11",
            b"GET /first HTTP/2.0",
            b"GET /first HTTP/1.2",
            b"GET /first HTTP/0.9",
        ),
        *(
            b"GET /first HTTP/1,1",
            b"GET /first HTTP/01.1",
            b"GET /first HTTP/1.1x",
            b"G(T /first HTTP/1.1",
            b"/first HTTP/1.1",
        ),
        *(
            b"GET /fi\x00rst HTTP/1.1",
            b"GET /fi\xffrst HTTP/1.1",
            b"GET /first#x HTTP/1.1",
            b"\x00GET /first HTTP/1.1",
        ),
        *(
            b"GET /first HTTP/1.1\x00",
            b"GET /first HTTP/1.\xb1",
            b"GET /first XTTP/1.1",
            b"GET /first",
            b"GET",
            b"",
        ),
        *(
            b"CONNECT victim:80 HTTP/1.1",
            b"TRACE /first HTTP/1.1",
            b"G\rT /first HTTP/1.1",
            b"GET /fi\rrst HTTP/1.1",
        ),
    ):
        yield line + b"\r\nHost: victim\r\nContent-Length: 0\r\n\r\n" + SMUGGLED


def _connections(random: Random) -> Iterator[bytes]:
    for name in (b"Content-Length", b"Transfer-Encoding", b"Host", b"close, content-length", b"host, x"):
        yield _body(b"Connection: %s\r\nContent-Length: 5\r\n" % name, b"abcde")
        yield _body(b"Content-Length: 5\r\nConnection: %s\r\n" % name.upper(), b"abcde")
    for value in (b"a b", b"close;x", b"\x0bclose", b"(close)", b"keep-alive close"):
        yield _body(b"Connection: %s\r\nContent-Length: 0\r\n" % value, b"")


_CATEGORIES: Sequence[tuple[str, str, Callable[[Random], Iterator[bytes]]]] = (
    ("length and coding", "9112 6.1", _both),
    ("several lengths", "9112 6.3", _lengths),
    ("codings", "9112 6.3", _codings),
    ("coding in HTTP/1.0", "9112 6.1", _old_version),
    ("names", "9112 5.1", _names),
    ("folds", "9112 5.2", _folds),
    ("line ends", "9112 2.2", _line_ends),
    ("chunk sizes", "9112 7.1", _chunk_sizes),
    ("chunk ends", "9112 7.1", _chunk_ends),
    ("chunk extensions", "9112 7.1.1", _chunk_extensions),
    ("expectations", "9110 10.1.1", _expectations),
    ("control characters", "9110 5.5", _values),
    ("hosts", "9112 3.2", _hosts),
    ("request lines", "9112 3", _request_lines),
    ("named by Connection", "9110 7.6.1", _connections),
)


def _hidden(fields: bytes, head: bytes = _POST) -> bytes:
    return head + fields + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED


def _hidden_by_length(random: Random) -> Iterator[bytes]:
    for method in (b"POST", b"PUT", b"GET", b"DELETE", b"PATCH", b"X-OTHER"):
        yield _hidden(b"", b"%s /first HTTP/1.1\r\nHost: victim\r\n" % method)
    head = _POST + b"Content-Length: %s%d\r\n\r\n"
    yield head % (b"00000", len(SMUGGLED)) + SMUGGLED
    inner = b"0\r\n\r\n" + SMUGGLED
    for name in (b"X-Transfer-Encoding", b"Transfer-Encodings", b"Transfer.Encoding", b"Transfer--Encoding"):
        yield _POST + b"%s: chunked\r\nContent-Length: %d\r\n\r\n" % (name, len(inner)) + inner
    for name in (b"Content-Lengths", b"X-Content-Length", b"Content.Length", b"TE", b"Trailer", b"X"):
        yield _hidden(b"%s: 0\r\n" % name)
    yield _hidden(b"X: Content-Length: 0\r\n")
    yield _hidden(b"X: \xe5\x8d\x8aTransfer-Encoding: chunked\r\n")
    yield _hidden(b"X:\r\n")


def _hidden_in_chunks(random: Random) -> Iterator[bytes]:
    size = b"%x" % len(SMUGGLED)
    for line in (
        *(size, size.upper(), b"0000" + size, size + b";a", size + b";a=b", size + b';a="b;c"'),
        *(size + b" ; a", size + b';a="0"', size + b";a;b=c;d", size + b';0="\\""'),
    ):
        yield _POST + _CHUNKED + b"\r\n%s\r\n%s\r\n0\r\n\r\n" % (line, SMUGGLED)
    for end in (b"0;a", b"000", b"0\r\nX: y", b"0\r\nX: GET /smuggled HTTP/1.1\r\nY: z"):
        yield _POST + _CHUNKED + b"\r\n%s\r\n%s\r\n%s\r\n\r\n" % (size, SMUGGLED, end)
    for method in (b"GET", b"DELETE", b"PUT"):
        head = b"%s /first HTTP/1.1\r\nHost: victim\r\n" % method
        yield head + _CHUNKED + b"\r\n%s\r\n%s\r\n0\r\n\r\n" % (size, SMUGGLED)
    for _ in range(20):
        cuts = sorted({0, len(SMUGGLED), *random.sample(range(1, len(SMUGGLED)), 3)})
        pieces = [SMUGGLED[one:other] for one, other in zip(cuts, cuts[1:])]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        yield _POST + _CHUNKED + b"\r\n" + body + b"0\r\n\r\n"


def _expected(random: Random) -> Iterator[bytes]:
    for method in (b"POST", b"PUT", b"GET"):
        head = b"%s /first HTTP/1.1\r\nHost: victim\r\n" % method
        for value in (b"100-continue", b"100-CONTINUE"):
            yield _hidden(b"Expect: %s\r\n" % value, head)
            yield head + b"Expect: %s\r\n\r\n" % value
            yield head + b"Expect: %s\r\nContent-Length: 0\r\n\r\n" % value


def _elsewhere(random: Random) -> Iterator[bytes]:
    for target in (b"http://victim/first", b"HTTP://VICTIM/first", b"https://victim/first"):
        yield b"GET %s HTTP/1.1\r\nHost: victim\r\n\r\n" % target
        yield _hidden(b"", b"POST %s HTTP/1.1\r\nHost: victim\r\n" % target)
    for fields in (
        *(b"X-Forwarded-Host: other\r\n", b"X-Host: other\r\n", b"Forwarded: host=other\r\n"),
        *(b"Connection: x-forwarded-for, keep-alive\r\n", b"Connection: x\r\nX: y\r\n"),
        *(b"Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: AAAA\r\n",),
        *(b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"Proxy-Connection: close\r\n"),
    ):
        yield _GET + fields + b"\r\n"
        yield _hidden(fields)
    yield b"\r\n" + _GET + b"\r\n"
    yield b"\r\n" + _hidden(b"")
    yield _hidden(b"Connection: keep-alive\r\n", b"POST /first HTTP/1.0\r\nHost: victim\r\n")


_LAWFUL: Sequence[tuple[str, str, Callable[[Random], Iterator[bytes]]]] = (
    ("a body with a length", "9112 6.2", _hidden_by_length),
    ("a chunked body", "9112 7.1", _hidden_in_chunks),
    ("a body that is expected", "9110 10.1.1", _expected),
    ("for another host, or hop", "9112 3.2.2", _elsewhere),
)
