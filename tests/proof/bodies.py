"""
Do bodies of HTTP pass through without staying?

A gigabyte is sent to nginx and fetched again through a daemon that speaks HTTP, while its memory is looked
at: with lengths and in chunks, plain, under TLS, and by HTTP/2.  Then a thousand clients ask for 20 MB each
and read nothing: what the daemon holds for them is what the sum of their buffers may be, and one who reads
is served beside them.
"""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from typing import Sequence

from tests.proof._footing import MIB, footprint, prove, unchanged
from tests.support.certificate import key_and_certificate
from tests.support.daemon import Daemon, start
from tests.support.services import nginx_http
from tests.support.stage import Stage, program

SIZE = 1024 * MIB
MOST_GROWTH = 50 * MIB
READERS = 1000
PER_READER = 160 * 1024  # bytes: what ARCHITECTURE.md promises of a stalled connection
LARGE = 20 * MIB
IDLE_SECONDS = 1  # so that connections to nginx are gone when they are counted

# What is at /chunked is passed through a filter that changes nothing, but forgets the length.
FILES = """
    root files;
    dav_methods PUT;
    location /chunked/ {
        alias files/;
        sub_filter_types *;
        sub_filter what-no-file-has-in-it "";
    }
"""

CHUNKED = ("--header", "Transfer-Encoding: chunked")
WAYS: dict[str, Sequence[str]] = {
    "plain": ("--http1.1",),
    "TLS": ("--http1.1", "--insecure"),
    "h2": ("--http2", "--insecure"),
    "h2c": ("--http2-prior-knowledge",),
}


async def curl(stage: Stage, *arguments: object) -> bytes:
    """Run curl, which must succeed."""
    quiet = ("--silent", "--show-error", "--fail")
    return await stage.check(program("curl", "curl"), *quiet, *map(str, arguments), seconds=300.0)


def digest(path: object) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with open(str(path), "rb") as file:
        for piece in iter(lambda: file.read(MIB), b""):
            found.update(piece)
    return found.hexdigest()


async def there_and_back(stage: Stage, daemon: Daemon, way: str, url: str, files: Path) -> float:
    """Send the gigabyte and fetch it, with a length and without; by how much the daemon has grown, MiB."""
    sent, got = stage.folder / "sent", stage.folder / "got"
    before, grown = daemon.resident(), []
    for name, upload, path in (("large", (), "large"), ("again", CHUNKED, "chunked/again")):
        for arguments in (
            (*upload, "--upload-file", sent, f"{url}/{name}"),
            ("--output", got, f"{url}/{path}"),
        ):
            await curl(stage, *WAYS[way], *arguments)
            grown.append((daemon.resident() - before) / MIB)
        assert digest(got) == digest(files / name) == digest(sent), f"{way}: {name} is not what was sent"
        got.unlink()
    up, down, up_chunked, down_chunked = grown
    print(
        f"1 GiB, {way}: up {up:+.1f} MiB, down {down:+.1f}; "
        f"in chunks up {up_chunked:+.1f}, down {down_chunked:+.1f}"
    )
    return max(grown)


async def proof(stage: Stage) -> str:
    server = await nginx_http(stage, FILES)
    files = server.folder / "files"
    files.mkdir()
    front, secure = stage.tcp(), stage.tcp()
    (stage.folder / "web.pem").write_bytes(key_and_certificate("localhost"))
    daemon = await start(
        stage,
        f"[listener front]\nbind = {front.bind}\nprotocol = http\npool = servers\n"
        f"[listener secure]\nbind = {secure.bind}\nprotocol = http\npool = servers\n"
        f"tls = {stage.folder}/web.pem\n"
        f"[pool servers]\nserver a = {server.place}\nidle_connection_timeout = {IDLE_SECONDS}s\n",
        front,
    )
    url = f"http://{front}"
    urls = {"plain": url, "h2c": url, "TLS": f"https://{secure}", "h2": f"https://{secure}"}
    (files / "small").write_bytes(os.urandom(1024))
    for way, at in urls.items():
        await curl(stage, *WAYS[way], f"{at}/small")
    before = await footprint(daemon)

    sent, got = stage.folder / "sent", stage.folder / "got"
    with open(sent, "wb") as file:
        for _ in range(SIZE // MIB):
            file.write(os.urandom(MIB))
    most = {way: await there_and_back(stage, daemon, way, urls[way], files) for way in WAYS}
    assert max(most.values()) * MIB <= MOST_GROWTH, "bodies stay in memory"

    os.truncate(files / "large", LARGE)
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
    bodies = "1 GiB there and back, with a length and in chunks: " + ", ".join(
        f"{way} {grown:+.1f} MiB at most" for way, grown in most.items()
    )
    return f"{bodies}; {held / 1024:.1f} KiB for each of {READERS} that do not read; then {kept}"


if __name__ == "__main__":
    prove(proof)
