"""
Do bodies of HTTP pass through without staying?

A gigabyte is sent to nginx and fetched again through a daemon that speaks HTTP, with lengths and in chunks,
while its memory is looked at.  Then a thousand clients ask for 20 MB each and read nothing: what the daemon
holds for them is what the sum of their buffers may be, and one who reads is served beside them.
"""

from __future__ import annotations

import hashlib
import os
import socket
from typing import Awaitable

from tests.proof._footing import MIB, footprint, prove, unchanged
from tests.support.daemon import Daemon, relay
from tests.support.services import nginx
from tests.support.stage import Stage, program

SIZE = 1024 * MIB
MOST_GROWTH = 50 * MIB
READERS = 1000
PER_READER = 160 * 1024  # bytes: what ARCHITECTURE.md promises of a stalled connection
LARGE = 20 * MIB
IDLE_SECONDS = 1  # so that connections to nginx are gone when they are counted


async def curl(stage: Stage, *arguments: object) -> bytes:
    """Run curl, which must succeed."""
    quiet = ("--silent", "--show-error", "--fail")
    return await stage.check(program("curl", "curl"), *quiet, *map(str, arguments), seconds=300.0)


async def watched(daemon: Daemon, before: int, work: Awaitable[bytes]) -> float:
    """Await the work; return what the daemon has grown by, in MiB."""
    await work
    return (daemon.resident() - before) / MIB


def digest(path: object) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with open(str(path), "rb") as file:
        for piece in iter(lambda: file.read(MIB), b""):
            found.update(piece)
    return found.hexdigest()


async def proof(stage: Stage) -> str:
    server = await nginx(stage)
    daemon = await relay(
        stage,
        server.place,
        listener="protocol = http",
        pool=f"idle_connection_timeout = {IDLE_SECONDS}s",
    )
    url = f"http://{daemon.front}"
    (server.folder / "files" / "small").write_bytes(os.urandom(1024))
    await curl(stage, f"{url}/small")
    before = await footprint(daemon)

    sent, got = stage.folder / "sent", stage.folder / "got"
    with open(sent, "wb") as file:
        for _ in range(SIZE // MIB):
            file.write(os.urandom(MIB))
    up = await watched(daemon, before.resident, curl(stage, "--upload-file", sent, f"{url}/large"))
    down = await watched(daemon, before.resident, curl(stage, "--output", got, f"{url}/large"))
    assert digest(got) == digest(sent), "it is not what was sent"
    chunked = await watched(
        daemon,
        before.resident,
        curl(stage, "--header", "Transfer-Encoding: chunked", "--upload-file", sent, f"{url}/again"),
    )
    assert digest(server.folder / "files" / "again") == digest(sent), "in chunks it is not what was sent"
    print(f"1 GiB up: {up:+.1f} MiB, down: {down:+.1f} MiB, up in chunks: {chunked:+.1f} MiB")
    assert max(up, down, chunked) * MIB <= MOST_GROWTH, "bodies stay in memory"

    os.truncate(server.folder / "files" / "large", LARGE)
    clients = []
    for _ in range(READERS):
        skt = socket.socket()
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        skt.connect((daemon.front.host, daemon.front.port))
        skt.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        clients.append(skt)
    await curl(stage, "--output", got, f"{url}/large")
    held = (daemon.resident() - before.resident) / READERS
    print(f"{READERS} that do not read: {held / 1024:.1f} KiB each")
    assert got.stat().st_size == LARGE, "one who reads was not served beside them"
    assert held <= PER_READER, f"{held:.0f} bytes are held for each"
    for skt in clients:
        skt.close()
    kept = await unchanged(daemon, before, READERS * PER_READER)  # of which the allocator keeps some
    bodies = f"1 GiB up {up:+.1f}, down {down:+.1f}, up in chunks {chunked:+.1f} MiB"
    return f"{bodies}; {held / 1024:.1f} KiB for each of {READERS} that do not read; then {kept}"


if __name__ == "__main__":
    prove(proof)
