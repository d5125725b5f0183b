"""
Which servers read whatever comes, or answer what nobody asked?

`Echo` takes anything for a request that could be one, and answers with its target; it keeps all bytes, so
that `requests_in` can say, with no leniency at all, which requests they are.  `Hostile` answers ``/evil/N``
with the N-th of some `Split`s, and what else it is asked with its target.  Both have threads of their own.
"""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from time import sleep
from typing import Optional, Sequence

from tests.support.splitting import Split
from tests.support.stage import Place, Stage

SLOWLY = 0.01  # seconds: a second answer is most harmful when the first is over

_HEAD = re.compile(rb"(?:\r?\n)*(?P<line>[^\r\n]*)(?:\r?\n|\r)(?P<fields>.*?)(?:\r?\n){2}", re.DOTALL)
_TARGET = re.compile(rb"[ \t]+(/[^ \t]*)").search
_LENGTH = re.compile(rb"(?im)^[ \t]*content[-_]length[ \t]*:[^0-9\r\n]*([0-9]*)").search
_CHUNKED = re.compile(rb"(?im)^[ \t]*transfer[-_]encoding[ \t]*:.*chunked").search
_BODILESS = re.compile(rb"(GET|HEAD|OPTIONS|DELETE) ").match
_EXPECTS = re.compile(rb"(?im)^expect:").search
_LAST = re.compile(rb"(?m)^0+[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n").search

_EXACT_LINE = re.compile(rb"[A-Z-]+ (/[\x21-\x7e]*|\*) HTTP/1\.1").fullmatch
_EXACT_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\x20-\x7e\x80-\xff\t]*)").fullmatch
_EXACT_CHUNK = re.compile(rb"([1-9a-f][0-9a-f]*)\r\n")


def requests_in(data: bytes) -> list[tuple[bytes, bytes]]:
    """
    The targets and bodies of the requests that these bytes are, each with one framing at most.

    The last may be cut.  What could be read in another way is an AssertionError.
    """
    found = []
    while data:
        head, complete, data = data.partition(b"\r\n\r\n")
        if not complete:
            break
        line, *fields = head.split(b"\r\n")
        assert head.count(b"\r") == head.count(b"\n") == len(fields), head
        match = _EXACT_LINE(line)
        assert match is not None, head
        parts = [_EXACT_FIELD(field) for field in fields]
        values: dict[bytes, list[bytes]] = {}
        for part in parts:
            assert part is not None, head
            values.setdefault(part.group(1).lower().replace(b"_", b"-"), []).append(part.group(2))
        assert len(values[b"host"]) == 1, head
        framing = values.get(b"content-length", []) + values.get(b"transfer-encoding", [])
        assert len(framing) <= 1, head
        body: Optional[bytes] = b""
        if b"transfer-encoding" in values:
            assert framing == [b"chunked"], head
            body, data = _chunks_in(data)
        elif framing:
            length = int(framing[0])
            assert framing[0] == b"%d" % length, head
            body, data = (data[:length], data[length:]) if len(data) >= length else (None, b"")
        if body is None:
            break
        found.append((match.group(1), body))
    return found


def _chunks_in(data: bytes) -> tuple[Optional[bytes], bytes]:
    """What is in a chunked body, None if it is cut, and what is behind it."""
    body = b""
    while not data.startswith(b"0\r\n"):
        match = _EXACT_CHUNK.match(data)
        if match is None:
            assert re.fullmatch(rb"[0-9a-f]*\r?", data) is not None, data
            return None, b""
        size, begin = int(match.group(1), 16), match.end()
        if len(data) < begin + size + 2:
            return None, b""
        body += data[begin : begin + size]
        assert data[begin + size : begin + size + 2] == b"\r\n", data
        data = data[begin + size + 2 :]
    trailers, complete, data = data[1:].partition(b"\r\n\r\n")
    for line in trailers.split(b"\r\n")[1:]:
        assert _EXACT_FIELD(line) is not None, trailers
    return (body, data) if complete else (None, b"")


def _end_of_chunks(data: bytes, begin: int) -> int:
    """Where a chunked body ends, -1 if it does not yet: as it says, or else at what looks like an end."""
    try:
        body, rest = _chunks_in(data[begin:])
    except AssertionError:
        last = _LAST(data, begin)
        return last.end() if last is not None else -1
    return -1 if body is None else len(data) - len(rest)


def answer(target: bytes) -> bytes:
    """The answer that belongs to this target."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), target)


class Connections(socketserver.ThreadingTCPServer):
    """A server with a thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, stage: Stage) -> None:
        self.place: Place = stage.tcp()
        super().__init__((self.place.host, self.place.port), socketserver.BaseRequestHandler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        stage.add_cleanup(self._stop)

    def _stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def finish_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.converse(request)
        except ConnectionError:
            pass  # the daemon has cut it

    def converse(self, skt: socket.socket) -> None:
        """What is done with a connection."""
        raise NotImplementedError


class Echo(Connections):
    """
    Permissive: what it has heard is in ``heard``, by connection.

    A ``careless`` one answers without reading the body, where it expects none or might have refused it, and
    takes that for the next request (CL.0).
    """

    def __init__(self, stage: Stage, careless: bool = False) -> None:
        self.heard: list[bytearray] = []
        self._careless = careless
        super().__init__(stage)

    def converse(self, skt: socket.socket) -> None:
        heard = bytearray()
        self.heard.append(heard)
        data = b""
        while more := skt.recv(65536):
            heard += more
            data += more
            while True:
                match = _HEAD.match(data)
                if match is None:
                    break
                fields, end = match.group("fields"), match.end()
                length = _LENGTH(fields)
                if self._careless and (_BODILESS(match.group("line")) or _EXPECTS(fields)):
                    pass
                elif _CHUNKED(fields):
                    end = _end_of_chunks(data, end)
                    if end < 0:
                        break
                elif length is not None:
                    end += int(length.group(1) or 0)
                    if len(data) < end:
                        break
                target = _TARGET(match.group("line"))
                data = data[end:]
                if target is None or target.group(1) == b"/smuggled":
                    sleep(SLOWLY)
                skt.sendall(answer(target.group(1) if target else b"?"))


class Hostile(Connections):
    """``said`` is set when all is said that is said to an evil request."""

    def __init__(self, stage: Stage, splits: Sequence[Split]) -> None:
        self.splits = splits
        self.said = threading.Event()
        self.kept = threading.Event()  # set by the test: the client has its answer
        self.accepted = 0  # connections
        super().__init__(stage)

    def converse(self, skt: socket.socket) -> None:
        self.accepted += 1
        data = b""
        while more := skt.recv(65536):
            data += more
            while b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                target = head.split(b" ")[1]
                if target.startswith(b"/evil/"):
                    self._attack(skt, self.splits[int(target[6:])])
                else:
                    skt.sendall(answer(target))

    def _attack(self, skt: socket.socket, split: Split) -> None:
        try:
            skt.sendall(split.data)
            if split.later:
                self.kept.wait(10)
                skt.sendall(split.later)
        finally:
            self.said.set()
