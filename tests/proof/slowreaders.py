"""
What do a thousand clients cost who read slowly, or not at all?

Each asks for 64 MiB: a quarter by HTTP/1.1 and reads nothing, a quarter so and reads a little now and then;
and the same by streams of HTTP/2, ten on a connection, whose windows stay closed, or open a little now and
then.  While they stand, the daemon holds no more than what ARCHITECTURE.md promises for each, and another
client is answered as without them.  Those that take nothing are cut after ``idle_timeout``, and nobody else
is.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import threading
from collections import Counter, deque
from itertools import cycle
from time import perf_counter
from typing import Optional, Sequence

from hpack import Encoder
from twisted.internet.threads import deferToThread

from tests.proof._footing import MIB, footprint, prove, unchanged
from tests.proof.stalled import Taken
from tests.support.daemon import Daemon, relay
from tests.support.markers import Client
from tests.support.markers2 import ACK, DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame
from tests.support.services import nginx_http
from tests.support.stage import Place, Stage

LARGE = 64 * MIB
EACH = 250  # clients of each kind
STREAMS = 10  # on a connection
IDLE_SECONDS = 20
REQUESTS = 2000  # of the other client
PAUSE, AT_ONCE = 0.02, 10  # seconds, and how many then take a little: each does about once a second
LITTLE = 4096  # bytes that they read at a time

# What may be held for each: both buffers of a connection of HTTP/1.1; of a stream what waits for its window.
PER_CONNECTION = 160 * 1024
PER_STREAM = 128 * 1024

# How late another client may be beside them: the load shares its core with other things than the daemon.
WORSE_TIMES = 5
WORSE_SECONDS = 0.02

WINDOW_UPDATE = 8


class Reader:
    """A connection of HTTP/1.1 that is read a little at a time, or not at all."""

    def __init__(self, front: Place, said: bytes) -> None:
        self.skt = socket.socket()
        self.skt.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.skt.connect((front.host, front.port))
        self.skt.sendall(said)

    def take(self) -> None:
        """Take a little, or nothing where TCP has not brought more yet."""
        with contextlib.suppress(BlockingIOError):
            self.skt.recv(LITTLE, socket.MSG_DONTWAIT)


class Streams(Reader):
    """One of HTTP/2, all of which is read; its windows are opened as little, or not at all."""

    def __init__(self, front: Place) -> None:
        encoder = Encoder()
        asks = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/large")]
        heads = [
            frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * number, encoder.encode(asks))
            for number in range(STREAMS)
        ]
        more = frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big"))
        super().__init__(
            front, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0) + more + b"".join(heads)
        )
        self._data = self._said = b""
        self._came: deque[bytes] = deque()  # of which streams

    def take(self) -> None:
        if self._came:
            more = LITTLE.to_bytes(4, "big")
            self._say(frame(WINDOW_UPDATE, 0, int.from_bytes(self._came.popleft(), "big"), more))

    def _say(self, said: bytes) -> None:
        """Say it now or later: who waited until there is room would not read, and so there would be none."""
        self._said += said
        with contextlib.suppress(BlockingIOError):
            self._said = self._said[self.skt.send(self._said, socket.MSG_DONTWAIT) :]

    def read(self) -> None:
        """Read what there is."""
        self._data += self.skt.recv(65_536)
        while len(self._data) >= 9:
            end = 9 + int.from_bytes(self._data[:3], "big")
            if len(self._data) < end:
                return
            kind, flags, stream = self._data[3], self._data[4], self._data[5:9]
            self._data = self._data[end:]
            if kind == SETTINGS and not flags & ACK:
                self._say(frame(SETTINGS, ACK, 0))
            elif kind == DATA:
                self._came.append(stream)


class Slowly(threading.Thread):
    """Takes a little from some in turn, with pauses, and reads all that there is from others."""

    def __init__(self, slow: Sequence[Reader], read: Sequence[Streams]) -> None:
        super().__init__(daemon=True)
        self._slow, self._read_from = slow, read
        self._over = threading.Event()
        self.wrong: Optional[BaseException] = None

    def run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001 - told by who has started it
            self.wrong = error

    def _read(self) -> None:
        there = selectors.DefaultSelector()
        for streams in self._read_from:
            there.register(streams.skt, selectors.EVENT_READ, streams)
        turns = cycle(self._slow)
        while not self._over.wait(PAUSE):
            for key, _ in there.select(0):
                key.data.read()
            for _ in range(AT_ONCE):
                next(turns).take()

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self.join()
        assert self.wrong is None, repr(self.wrong)


def ask(front: Place, times: int) -> Taken:
    """How long another client waits for its answers."""
    client, taken = Client(front, "127.0.0.3"), []
    for _ in range(times):
        began = perf_counter()
        client.send(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
        found = client.hear()
        taken.append(perf_counter() - began)
        assert found is not None and (found.status, found.body) == (200, b"small"), found
    client.close()
    taken.sort()
    return Taken(taken[times // 2], taken[times * 99 // 100])


def cut(daemon: Daemon) -> Counter[str]:
    """How many have been cut because they took nothing, by version of HTTP."""
    # Other lines are not parsed, which would keep the thread that reads from its turns.
    lines = [line for line in daemon.access_log.read_text().splitlines() if '"client_stalled"' in line]
    return Counter(json.loads(line)["version"] for line in lines)


async def proof(stage: Stage) -> str:
    server = await nginx_http(stage, "root files; location /small { return 200 small; }")
    files = stage.subfolder("nginx/files")
    (files / "large").touch()
    os.truncate(files / "large", LARGE)
    daemon = await relay(
        stage,
        server.place,
        listener=f"protocol = http\nidle_timeout = {IDLE_SECONDS}s\nmax_requests = 100000",
        pool="idle_connection_timeout = 1s",
    )
    await deferToThread(ask, daemon.front, 100)
    before = await footprint(daemon)
    alone = await deferToThread(ask, daemon.front, REQUESTS)

    request = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"
    still = [Reader(daemon.front, request) for _ in range(EACH)]
    slow = [Reader(daemon.front, request) for _ in range(EACH)]
    closed = [Streams(daemon.front) for _ in range(EACH // STREAMS)]
    narrow = [Streams(daemon.front) for _ in range(EACH // STREAMS)]
    reading = Slowly([*slow, *(one for one in narrow for _ in range(STREAMS))], closed + narrow)
    reading.start()
    beside = await deferToThread(ask, daemon.front, REQUESTS)
    held = daemon.resident() - before.resident
    connections, streams = 2 * EACH + len(closed) + len(narrow), 2 * EACH
    bound = connections * PER_CONNECTION + streams * PER_STREAM
    print(f"{2 * EACH} connections and {streams} streams: {held / MIB:.1f} of {bound / MIB:.1f} MiB")
    assert held <= bound, "more is held than may be"
    print(f"another client: {alone} without them, {beside} beside them")
    assert beside.half <= WORSE_TIMES * alone.half, "another client was held up"
    assert beside.late <= max(WORSE_TIMES * alone.late, WORSE_SECONDS), "another client was held up"

    late = 3.0 * IDLE_SECONDS
    stalled = Counter({"1.1": EACH, "2.0": EACH})
    await stage.until(
        lambda: sum(cut(daemon).values()) >= 2 * EACH, "the end of those that take nothing", late
    )
    await deferToThread(ask, daemon.front, REQUESTS)
    most = daemon.resident() - before.resident
    assert cut(daemon) == stalled, f"{cut(daemon)} were cut"
    assert most <= bound, f"{most / MIB:.1f} MiB: more is held than may be"
    reading.stop()
    for reader in (*still, *slow, *closed, *narrow):
        reader.skt.close()
    kept = await unchanged(daemon, before, bound)  # of which the allocator keeps some
    bounded = f"{max(held, most) / MIB:.1f} MiB, of {bound / MIB:.0f} that may be"
    return (
        f"{2 * EACH} connections and {streams} streams: {bounded}; another client {alone} without them, "
        f"{beside} beside them; the {2 * EACH} that take nothing are cut, and no other; then {kept}"
    )


if __name__ == "__main__":
    prove(proof)
