"""
What do the servers of a chaos answer, so that it can be checked, and what do they do instead?

`Origin` answers ``/echo/NAME/SIZE`` with `answer_of` that name and the body, ``/page/N`` with `page` N, for a
cache, and ``/tunnel/NAME`` with what is sent there.  A bad one does one of `BAD` now and then instead.
`Gatekeeper` is a service for ``forward_auth``: it tells of each who it is, and denies some.
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections import Counter
from functools import lru_cache
from io import BufferedReader
from random import Random
from time import sleep
from typing import Optional

from attrs import frozen

from tests.support.origins import Connections
from tests.support.stage import Stage

PAGES = 8
STALL_SECONDS = 1.5  # longer than `response_timeout`
MOMENT = 0.03  # seconds
INSTEAD = ("close", "reset", "garbage", "early", "early and stay")  # of an answer
BAD = (*INSTEAD, "cut", "stall", "pause", "503", "500")
BAD_SHARE = 0.25  # of the requests to a bad server
FRAMINGS = ("length", "length", "chunked", "chunked", "close")
DENIED = "no-"  # names that begin so are denied

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)").search
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked").search
_EXPECTS = re.compile(rb"(?i)\r\nexpect: *100-continue").search
_USER = re.compile(rb"(?i)\r\nx-user: *([^\r]+)").search
_TAG = re.compile(rb'(?i)\r\nif-none-match: *"(\d+)"').search
_NAME = re.compile(rb"(?i)\r\nx-name: *([^\r]+)").search


def answer_of(name: str, body: bytes, size: int) -> bytes:
    """What the request of this name is answered, with this body, and so many bytes behind the digests."""
    own = hashlib.sha256(name.encode()).hexdigest()
    begin = f"{name} {own} {hashlib.sha256(body).hexdigest()}\n".encode()
    return begin + (own.encode() * (size // len(own) + 1))[:size]


@lru_cache(PAGES)
def page(number: int) -> bytes:
    """The text of this page."""
    return b"".join(b"page %d, line %d\n" % (number, line) for line in range(60 << number))


@frozen
class Heard:
    """A request's head."""

    method: bytes
    target: str
    head: bytes

    def body(self, file: BufferedReader) -> bytes:
        """Read its body; EOFError if that is cut."""
        if _CHUNKED(self.head) is None:
            length = _LENGTH(self.head)
            return _exactly(file, int(length[1])) if length is not None else b""
        pieces = []
        while size := int(file.readline() or b"x", 16):
            pieces.append(_exactly(file, size + 2)[:-2])
        while file.readline() not in (b"\r\n", b""):
            pass  # trailers
        return b"".join(pieces)


def _exactly(file: BufferedReader, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def hear(file: BufferedReader) -> Optional[Heard]:
    """The next request's head, or None at the end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        if not line:
            return None
        head += line
    method, target, _ = head.split(b" ", 2)
    return Heard(method, target.decode(), head)


class Origin(Connections):
    """A server; ``did`` counts what a bad one has done."""

    def __init__(self, stage: Stage, seed: str, bad: bool = False) -> None:
        self.did: Counter[str] = Counter()
        self._seeds, self._bad = Random(seed), bad
        super().__init__(stage)

    def converse(self, skt: socket.socket) -> None:
        random = Random(self._seeds.random())
        with skt.makefile("rb") as file:
            try:
                while (heard := hear(file)) is not None and self._answer(skt, file, heard, random):
                    pass
            except (EOFError, ValueError):
                pass  # a body that is cut, in the midst or at a chunk's size

    def _answer(self, skt: socket.socket, file: BufferedReader, heard: Heard, random: Random) -> bool:
        """Answer it, or do something else; whether the connection stays."""
        kind, name, *size = heard.target.split("?")[0].lstrip("/").split("/")
        bad = random.choice(BAD) if self._bad and random.random() < BAD_SHARE else ""
        self.did[bad] += 1
        if bad in INSTEAD:
            return self._break_off(skt, file, heard, name, bad)
        if _EXPECTS(heard.head) is not None:
            skt.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if kind == "tunnel":
            skt.sendall(b"HTTP/1.1 101 Now\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            while more := file.read1(65536):
                skt.sendall(more)
            return False
        body = heard.body(file)
        if bad == "stall":
            sleep(STALL_SECONDS)
        elif random.random() < 0.1:
            sleep(random.random() * 5 * MOMENT)
        if random.random() < 0.1:
            skt.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        framing = random.choice(("length", "chunked")) if bad == "cut" else random.choice(FRAMINGS)
        if bad in ("503", "500"):
            answer = _framed(heard, name, b"bad", f"{bad} No", framing)
        elif kind == "page":
            answer = _page(heard, int(name), framing)
        else:
            answer = _framed(heard, name, answer_of(name, body, int(size[0])), "200 OK", framing)
        middle = random.randrange(len(answer))
        skt.sendall(answer[:middle])
        if bad == "cut":
            return False
        if bad == "pause":
            sleep(MOMENT)
        skt.sendall(answer[middle:])
        return framing != "close"

    def _break_off(self, skt: socket.socket, file: BufferedReader, heard: Heard, name: str, bad: str) -> bool:
        """Do this instead of an answer; whether the connection stays."""
        if bad == "reset":
            skt.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        elif bad == "garbage":
            skt.sendall(b"this is no answer\r\n\r\n")
        elif bad.startswith("early"):
            skt.sendall(_framed(heard, name, b"early", "413 No", "length"))
            if bad == "early and stay":
                heard.body(file)
                return True
        return False


def _page(heard: Heard, number: int, framing: str) -> bytes:
    """The answer that is this page, or that it is still the same."""
    lines = f'Cache-Control: max-age=1\r\nETag: "{number}"\r\n'
    tag = _TAG(heard.head)
    if tag is not None and int(tag[1]) == number:
        lines += "Connection: close\r\n" if framing == "close" else ""
        return f"HTTP/1.1 304 Same\r\n{lines}\r\n".encode()
    return _framed(heard, str(number), page(number), "200 OK", framing, lines)


def _framed(heard: Heard, name: str, body: bytes, status: str, framing: str, lines: str = "") -> bytes:
    """An answer."""
    user = _USER(heard.head)
    lines += f"X-Name: {name}\r\nContent-Type: text/plain\r\n"
    if user is not None:
        lines += f"X-Is: {user[1].decode()}\r\n"
    if framing == "length":
        lines += f"Content-Length: {len(body)}\r\n"
    elif framing == "chunked":
        lines += "Transfer-Encoding: chunked\r\n"
        pieces = [body[at : at + 30_000] for at in range(0, len(body), 30_000)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        body += b"0\r\nX-Sum: 7\r\n\r\n"
    else:
        lines += "Connection: close\r\n"
    head = f"HTTP/1.1 {status}\r\n{lines}\r\n".encode()
    return head if heard.method == b"HEAD" else head + body


class Gatekeeper(Connections):
    """Who asks is who says so, in ``X-Name``; some are denied."""

    def converse(self, skt: socket.socket) -> None:
        with skt.makefile("rb") as file:
            while (heard := hear(file)) is not None:
                named = _NAME(heard.head)
                name = named[1].decode() if named is not None else ""
                status = "403 No" if name.startswith(DENIED) else "200 OK"
                said = f"HTTP/1.1 {status}\r\nX-User: {name}\r\nContent-Length: 0\r\n\r\n"
                skt.sendall(said.encode())
