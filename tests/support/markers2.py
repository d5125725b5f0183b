"""
Does each client of HTTP/2 get the answers to its own requests, and no others?

A `Client` is a connection to the daemon whose frames nobody has judged before they are sent.  `attack` is
what `tests.support.markers` has for HTTP/1.1: it sends one attack and a request behind it, and meanwhile
somebody else asks through the same kept connections; each answer must have the marker of its own request.
"""

from __future__ import annotations

import socket
from time import sleep
from typing import Optional

from hpack import Decoder, Encoder

from tests.support.markers import PAUSE, Answered, get
from tests.support.markers import Client as Client1
from tests.support.smuggling2 import GET, Attack
from tests.support.stage import Place

WAYS = ("whole", "behind another", "paused")

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
ACK, END_STREAM, END_HEADERS = 1, 1, 4


def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
    """A frame."""
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data


class Client:
    """A client's connection, which is told at most as much as fits the first windows."""

    def __init__(self, front: Place, source: str) -> None:
        self._skt = front.socket(source)
        self._skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._encoder, self._decoder = Encoder(), Decoder()
        self._data = b""
        self._next = 1
        self._heads: dict[int, dict[bytes, bytes]] = {}
        self._bodies: dict[int, bytes] = {}
        self._ended: set[int] = set()  # by an answer that is complete
        self._reset: set[int] = set()
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))

    def close(self) -> None:
        self._skt.close()

    def send(self, data: bytes) -> None:
        """Send these bytes."""
        try:
            self._skt.sendall(data)
        except ConnectionError:
            pass  # it was closed meanwhile, and what it has been told is there to be read

    def ask(self, one: Attack, pause: float = 0.0) -> int:
        """Send a request, with pauses between its frames; its stream."""
        stream, self._next = self._next, self._next + 2
        frames = [frame(HEADERS, END_HEADERS, stream, self._encoder.encode(one.headers))]
        frames += [frame(DATA, 0, stream, piece) for piece in one.body or ()]
        if one.trailers:
            frames.append(frame(HEADERS, END_HEADERS, stream, self._encoder.encode(one.trailers)))
        last = frames.pop()
        frames.append(last[:4] + bytes([last[4] | END_STREAM]) + last[5:])
        for each in frames if pause else [b"".join(frames)]:
            self.send(each)
            sleep(pause)
        return stream

    def hear(self, stream: int) -> Optional[Answered]:
        """The answer on a stream, or None if it is reset, or the connection has ended."""
        while stream not in self._ended and stream not in self._reset:
            if not self._more():
                return None
        if stream in self._reset:
            return None
        return Answered(int(self._heads[stream][b":status"]), self._bodies[stream])

    def _more(self) -> bool:
        while len(self._data) < 9 or len(self._data) < 9 + int.from_bytes(self._data[:3], "big"):
            try:
                more = self._skt.recv(65536)
            except ConnectionError:
                return False
            if not more:
                return False
            self._data += more
        length = int.from_bytes(self._data[:3], "big")
        kind, flags, stream = self._data[3], self._data[4], int.from_bytes(self._data[5:9], "big")
        data, self._data = self._data[9 : 9 + length], self._data[9 + length :]
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == HEADERS:
            assert flags & END_HEADERS
            self._heads[stream] = dict(self._decoder.decode(data, raw=True))
            self._bodies.setdefault(stream, b"")
        elif kind == DATA:
            self._bodies[stream] += data
        elif kind == RST_STREAM and stream not in self._ended:
            self._reset.add(stream)
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._ended.add(stream)
        return True


def request(target: bytes) -> Attack:
    """A request for this."""
    return Attack("", "", (*GET[:3], (b":path", target)))


def attack(
    front: Place, other: Client1, one: Attack, number: int, way: str, lawful: Optional[bool]
) -> list[bytes]:
    """
    Send it in this way, and see that everybody gets the own answers; return the targets that were answered.

    ``lawful`` are led on, and may be answered, those that are not are refused; None is for either.
    """
    before, own, others = b"/before/%d" % number, b"/own/%d" % number, b"/other/%d" % number
    client = Client(front, "127.0.0.2")
    asked = []
    if way == "behind another":
        asked.append((before, client.ask(request(before))))
    stream = client.ask(one, PAUSE if way == "paused" else 0.0)
    asked.append((own, client.ask(request(own))))
    other.send(get(others))
    answered = [others]
    found = client.hear(stream)
    if found is None:
        assert not lawful, f"no answer: {one}, {way}"
    elif found.status == 200:
        early = not one.head_is_wrong and found.body == b"/first"  # a server that does not wait for the body
        assert lawful is not False or early, f"{found}: {one}, {way}"
        answered.append(found.body)
    else:
        assert found.status >= 400, f"{found}: {one}, {way}"
        assert not lawful or found.status in (405, 501), (
            f"{found}: {one}, {way}"
        )  # a server that does not take it
    for target, its in asked:
        found = client.hear(its)
        if found is not None:
            assert (found.status, found.body) == (200, target), f"{found} instead of {target!r}: {one}, {way}"
            answered.append(target)
        else:
            assert not lawful, f"no answer to {target!r}: {one}, {way}"
    client.close()
    other.gets_own(others)
    return answered
