"""
Does each client get the answers to its own requests, and no others?

A `Client` is a connection to the daemon that reads answers as HTTP frames them.  `attack` sends one attack
and a request behind it, and meanwhile another client asks through the same kept connections; each answer
must have the marker of its own request.  `provoke` does the same while a hostile server answers.
"""

from __future__ import annotations

import os
import signal
import socket
from random import Random
from time import sleep
from typing import Optional

from attrs import frozen

from tests.support.origins import Hostile
from tests.support.smuggling import Attack
from tests.support.stage import Place

WAYS = ("whole", "behind another", "cut", "paused")
PAUSE = 0.005  # seconds between two pieces, where there is a pause
UNFINISHED = 0.25  # seconds after which a hostile server's answer will not be completed any more


@frozen
class Answered:
    """An answer, without interim ones."""

    status: int
    body: bytes


class Client:
    """A client's connection."""

    def __init__(self, front: Place, source: str) -> None:
        self._front = front
        self._source = source
        self._skt = front.socket(source)
        self._skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""

    def close(self) -> None:
        self._skt.close()

    def send(self, data: bytes) -> None:
        try:
            self._skt.sendall(data)
        except ConnectionError:
            pass  # it was closed meanwhile, and what it has been told is there to be read

    def patience(self, seconds: float) -> None:
        self._skt.settimeout(seconds)

    def _more(self) -> bool:
        try:
            more = self._skt.recv(65536)
        except ConnectionError:
            return False
        self._data += more
        return bool(more)

    def hear(self, method: bytes = b"GET") -> Optional[Answered]:
        """The next answer, or None at the end; one that is cut is none."""
        while True:
            while b"\r\n\r\n" not in self._data:
                if not self._more():
                    return None
            head, _, rest = self._data.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            assert lines[0].startswith(b"HTTP/1.1 "), self._data[:100]
            status = int(lines[0].split(b" ")[1])
            self._data = rest
            if status >= 200:
                break
            assert status != 101, "a tunnel that nobody has asked for"
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:] if b": " in line)
        if method == b"HEAD" or status in (204, 304):
            return Answered(status, b"")
        if fields.get(b"transfer-encoding") == b"chunked":
            return self._chunked(status)
        length = int(fields[b"content-length"]) if b"content-length" in fields else None
        while length is None or len(self._data) < length:
            if not self._more():
                if length is not None:
                    return None
                length = len(self._data)
        body, self._data = self._data[:length], self._data[length:]
        return Answered(status, body)

    def _chunked(self, status: int) -> Optional[Answered]:
        body = b""
        while True:
            while b"\r\n" not in self._data:
                if not self._more():
                    return None
            line, _, self._data = self._data.partition(b"\r\n")
            size = int(line, 16)
            while len(self._data) < size + 2 or (
                not size and self._data[:2] != b"\r\n" and b"\r\n\r\n" not in self._data
            ):
                if not self._more():
                    return None
            if not size:
                self._data = self._data.partition(b"\r\n" if self._data[:2] == b"\r\n" else b"\r\n\r\n")[2]
                return Answered(status, body)
            body, self._data = body + self._data[:size], self._data[size + 2 :]

    def gets_own(self, target: bytes) -> None:
        """What was asked for this target, and nothing else, is answered."""
        found = self.hear()
        assert found is not None and found.body == target, f"{target!r} was answered {found}"
        assert not self._data, f"behind the answer to {target!r}: {self._data!r}"


def get(target: bytes) -> bytes:
    """A request for this."""
    return b"GET %s HTTP/1.1\r\nHost: victim\r\n\r\n" % target


def attack(
    front: Place, other: Client, one: Attack, number: int, way: str, random: Random, lawful: bool
) -> list[bytes]:
    """
    Send it in this way, and see that everybody gets the own answers; return the targets that were answered.

    ``lawful`` are led on, and may be answered; of the others nothing is.
    """
    before, own, others = b"/before/%d" % number, b"/own/%d" % number, b"/other/%d" % number
    expected = [before] * (way == "behind another") + [b"/first", own][: 2 * lawful]
    data = get(before) * (way == "behind another") + one.data + get(own)
    cuts: list[int] = []
    if way == "cut":
        cuts = sorted(random.sample(range(1, len(data)), 4))
    elif way == "paused":
        cuts = sorted({data.find(b"\r\n\r\n") + 4, len(data) - len(get(own)) - 3, len(data) - len(get(own))})
    client = Client(front, "127.0.0.2")
    pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)])]
    for piece in pieces:
        client.send(piece)
        if cuts:
            sleep(PAUSE)
    other.send(get(others))
    answered = [others]
    refused = False
    while True:
        found = client.hear()
        if found is None:
            break
        assert not refused, f"{found} behind a refusal of {one}"
        if expected and found.status == 200:
            assert found.body == expected[0], f"{found} instead of {expected[0]!r}: {one}, {way}"
            answered.append(expected.pop(0))
            if not expected and lawful:
                break
        elif expected and expected[0] == b"/first" and found.status in (405, 501):
            expected.pop(0)  # a server that does not take it
        else:
            # In pieces, what is wrong may be found when a server has answered already.
            early = cuts and found.body == b"/first"
            assert found.status >= 400 or early, f"{found}: {one}, {way}"
            assert b"smuggled" not in found.body, f"{found}: {one}, {way}"
            refused = True
    assert lawful or not expected, f"{expected} was not answered: {one}, {way}"
    client.close()
    other.gets_own(others)
    return answered


def provoke(front: Place, hostile: Hostile, other: Client, number: int, daemon: int = 0) -> None:
    """
    Ask for this evil answer, and see that others get their own.

    With the process id of the daemon, that one is stopped meanwhile: it finds another client's request, and
    what the server has said later, when both have come, in this order.
    """
    split = hostile.splits[number]
    hostile.said.clear()
    hostile.kept.clear()
    client = Client(front, "127.0.0.2")
    client.patience(UNFINISHED)
    client.send(b"%s /evil/%d HTTP/1.1\r\nHost: victim\r\n\r\n" % (split.method, number))
    try:
        first = client.hear(split.method)
    except TimeoutError:
        first = None
    others, own = b"/other/%d" % number, b"/own/%d" % number
    if daemon:
        os.kill(daemon, signal.SIGSTOP)
        other.send(get(others))
    try:
        hostile.kept.set()
        assert hostile.said.wait(10), split
    finally:
        if daemon:
            os.kill(daemon, signal.SIGCONT)
    if not daemon:
        other.send(get(others))
    other.gets_own(others)
    if first is not None:
        client.patience(10.0)
        client.send(get(own))
        found = client.hear()
        assert found is None or found.body == own, f"{own!r} was answered {found}: {split}"
    client.close()
    other.send(get(others))
    other.gets_own(others)
