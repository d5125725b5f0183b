"""
By which answers has a server made one client's answer another one's?

`answers` has them by category, each with the section of the RFC that forbids it, the same ones for the same
seed.  Each is what a hostile server says to one request (and what it says later, while nobody has asked it
anything), with a second answer, `SPLIT`, that no request was ever asked for.
"""

from __future__ import annotations

from random import Random
from typing import Callable, Iterator, Sequence

from attrs import frozen

SPLIT = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_LAST = b"0\r\n\r\n"


@frozen
class Split:
    """What a server says: at once, and later; and to which method."""

    category: str
    section: str
    data: bytes
    later: bytes = b""
    method: bytes = b"GET"


def answers(seed: int = 1) -> list[Split]:
    """All of them."""
    random = Random(seed)
    found = [
        Split(category, section, data)
        for category, section, make in _CATEGORIES
        for data in dict.fromkeys(make(random))
    ]
    for data in (_OK + b"Content-Length: 2\r\n\r\nok", _OK + _CHUNKED + b"\r\n2\r\nok\r\n" + _LAST):
        for later in (
            SPLIT,
            SPLIT * 3,
            SPLIT[:9],
            b"\r\n",
            b"x",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"\r\n" + SPLIT,
        ):
            found.append(Split("unasked", "9112 9.3", data, later))
    for status in (b"200 OK", b"204 No Content", b"304 Not Modified", b"404 Not Found"):
        for fields in (b"", b"Content-Length: %d\r\n" % len(SPLIT), _CHUNKED):
            for method in (b"HEAD", b"GET"):
                if method == b"HEAD" or status[:3] in (b"204", b"304"):
                    data = b"HTTP/1.1 %s\r\n%s\r\n" % (status, fields)
                    found.append(Split("no body", "9112 6.3", data + SPLIT, b"", method))
    return found


def _extra(random: Random) -> Iterator[bytes]:
    for extra in (
        SPLIT,
        SPLIT * 5,
        SPLIT[:20],
        b"\r\n",
        b"\n",
        b"x",
        b"\0" * 100,
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ):
        yield _OK + b"Content-Length: 2\r\n\r\nok" + extra
        yield _OK + b"Content-Length: 0\r\n\r\n" + extra
        yield _OK + _CHUNKED + b"\r\n2\r\nok\r\n" + _LAST + extra
        yield b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok" + extra
    for before in (b"\r\n", b"\n", b" ", b"x", b"\0", b"smuggled\r\n\r\n"):
        yield before + SPLIT


def _lengths(random: Random) -> Iterator[bytes]:
    for one, other in ((0, 2), (2, 0), (2, 2), (2, 45), (45, 2)):
        yield _OK + b"Content-Length: %d\r\nContent-Length: %d\r\n\r\nok" % (one, other) + SPLIT
        yield _OK + b"Content-Length: %d, %d\r\n\r\nok" % (one, other) + SPLIT
        yield _OK + b"Content-Length: %d\r\nX: y\r\ncontent-length: %d\r\n\r\nok" % (one, other) + SPLIT
    for value in (
        b"+2",
        b"-2",
        b"0x2",
        b"2 2",
        b"",
        b"2;",
        b"1" * 19,
        b"2\0",
        b"\x0b2",
        b"two",
        b"2,",
        b"2.0",
    ):
        yield _OK + b"Content-Length: %s\r\n\r\nok" % value + SPLIT
    for coding in (
        b"chunked",
        b"Chunked",
        b"gzip, chunked",
        b"x",
        b"identity",
        b"chunked, chunked",
        b"\x0bchunked",
    ):
        yield _OK + b"Transfer-Encoding: %s\r\nContent-Length: 2\r\n\r\n" % coding + _LAST + SPLIT
        yield b"HTTP/1.0 200 OK\r\nTransfer-Encoding: %s\r\n\r\n" % coding + _LAST + SPLIT
        if coding.lower() != b"chunked":
            yield _OK + b"Transfer-Encoding: %s\r\n\r\n" % coding + _LAST + SPLIT
    yield _OK + _CHUNKED * 2 + b"\r\n" + _LAST + SPLIT


def _heads(random: Random) -> Iterator[bytes]:
    for line in (
        *(
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1 200\tOK",
            b"HTTP/2.0 200 OK",
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 2000 OK",
        ),
        *(b"http/1.1 200 OK", b"HTTP/1.1 200 O\0K", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 000 OK", b"ICY 200 OK"),
        *(b"HTTP/1.1 600 OK", b"HTTP/1.1 +20 OK", b"", b"smuggled"),
    ):
        yield line + b"\r\nContent-Length: 2\r\n\r\nok" + SPLIT
    for field in (
        *(
            b"Content-Length : 2",
            b" Content-Length: 2",
            b"X: y\r\n Content-Length: 2",
            b"X: \rContent-Length: 2",
        ),
        *(
            b"X: y\nContent-Length: 2",
            b"Content-Length: 2\n",
            b"X: \0",
            b"X: a\x0bb",
            b": 2",
            b"X",
            b"\0X: y",
        ),
        *(
            b"Content_Length: 2",
            b"Transfer_Encoding: chunked",
            b"Connection: content-length\r\nContent-Length: 2",
        ),
        *(b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked", b"X: \r\n\r Content-Length: 2"),
    ):
        yield _OK + field + b"\r\n\r\nok" + SPLIT
    yield b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok" + SPLIT
    yield _OK + b"X: y\r\n" * 1000 + b"\r\n" + SPLIT
    yield _OK + b"X: " + b"y" * 20000 + b"\r\n\r\n" + SPLIT


def _chunks(random: Random) -> Iterator[bytes]:
    head = _OK + _CHUNKED + b"\r\n"
    for size in (
        b"+2",
        b"-2",
        b"0x2",
        b" 2",
        b"2 ",
        b"",
        b"g",
        b"2\n",
        b"2\r",
        b"2;\0",
        b"2;a\n",
        b"1" * 16,
        b"\x002",
    ):
        yield head + size + b"\r\nok\r\n" + _LAST + SPLIT
    for end in (b"", b"\n", b"\r", b"x\r\n", b"\r\r\n", b"\n\r\n", b"xx"):
        yield head + b"2\r\nok" + end + _LAST + SPLIT
        yield head + b"2\r\nok\r\n0" + (end or b"x") + b"\r\n\r\n" + SPLIT
    for trailer in (
        b"Content-Length: 2",
        b"Transfer-Encoding: chunked",
        b"X : y",
        b" X: y",
        b"X",
        b"Set-Cookie: a=b",
    ):
        yield head + b"2\r\nok\r\n0\r\n" + trailer + b"\r\n\r\n" + SPLIT


def _interim(random: Random) -> Iterator[bytes]:
    final = _OK + b"Content-Length: 2\r\n\r\nok"
    for status in (b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 X"):
        interim = b"HTTP/1.1 %s\r\n" % status
        yield (interim + b"\r\n") * 20 + final + SPLIT
        yield (interim + b"\r\n") * 10000 + final + SPLIT
        yield interim + b"Content-Length: %d\r\n\r\n" % len(SPLIT) + SPLIT
        yield interim + b"Content-Length: 0\r\n\r\n" + final + SPLIT
        yield interim + _CHUNKED + b"\r\n" + _LAST + final + SPLIT
        yield interim + b"Connection: close\r\n\r\n" + final + SPLIT
    for fields in (
        b"",
        b"Upgrade: websocket\r\nConnection: upgrade\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    ):
        yield b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n" + SPLIT


_CATEGORIES: Sequence[tuple[str, str, Callable[[Random], Iterator[bytes]]]] = (
    ("more than was asked", "9112 9.2", _extra),
    ("length and coding", "9112 6.3", _lengths),
    ("heads", "9112 4", _heads),
    ("chunks", "9112 7.1", _chunks),
    ("interim answers", "9110 15.2", _interim),
)
