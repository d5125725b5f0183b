"""
Is anything torn served when the daemon is killed at any moment while it writes what it stores?

Clients ask for bodies that follow from their paths, of up to 400 KB, as fast as they come; the daemon writes
them to the disk, and is killed after a time of chance.  Then it is started again, and whatever is asked for
must be right, and the disk no fuller than it may be.  In the end half of the files are torn by hand, as a
power cut does it.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.proof._footing import MIB, prove
from tests.support.daemon import twistd
from tests.support.stage import Stage

KILLS = 50
SEED = 9111
FROM_SECONDS, TO_SECONDS = 0.2, 1.0  # of load, before each
CLIENTS = 8
PATHS = 300
DISK = 20 * MIB
SLACK = 1 * MIB  # what was just being written, or taken away

SECTIONS = """
[listener front]
bind = {front}
protocol = http
pool = servers
cache = pages
[cache pages]
size = 2M
path = {folder}
disk_size = 20M
[pool servers]
server a = 127.0.0.1:{port}
"""


def body_of(path: bytes) -> bytes:
    """What is at a path."""
    digest = hashlib.sha256(path).digest()
    return (digest * 12_600)[: int.from_bytes(digest[:3], "big") % 400_000]


class Bodies(Resource):
    """A server that knows them all."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        request.setHeader(b"cache-control", b"max-age=86400")
        return body_of(request.path)


def used(folder: Path) -> int:
    """The disk that files there use."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def main(stage: Stage) -> str:
    """Load it, kill it, look, and start it again."""
    server = stage.reactor.listenTCP(0, Site(Bodies()), interface="127.0.0.1")
    stage.add_cleanup(server.stopListening)
    folder, front = stage.subfolder("pages"), stage.tcp()
    config = stage.folder / "proxy.ini"
    config.write_text(SECTIONS.format(front=front.bind, folder=folder, port=server.getHost().port))
    chance = random.Random(SEED)
    seen: Counter[bytes] = Counter()
    wrong: list[bytes] = []
    largest = 0

    async def ask(agent: Agent, path: bytes) -> None:
        response = await agent.request(b"GET", b"http://%s%s" % (str(front).encode(), path))
        body = await readBody(response)
        word = response.headers.getRawHeaders(b"cache-status", [b""])[0]
        seen[b"hit" if b"; hit" in word else b"miss"] += 1
        if body != body_of(path):
            wrong.append(path)

    async def load(stop: list[bool]) -> None:
        pool = HTTPConnectionPool(stage.reactor)
        agent = Agent(stage.reactor, pool=pool)
        while not stop:
            try:
                await ask(agent, b"/%d" % chance.randrange(PATHS))
            except Exception:
                if not stop:
                    raise
        await pool.closeCachedConnections()

    async def begin() -> Any:
        child = twistd(stage, "-n", "--pidfile=", "tcpproxy", "--config", config)
        await child.says(rb"\[listener front\]")
        return child

    for _ in range(KILLS):
        child = await begin()
        stop: list[bool] = []
        loads = [Deferred.fromCoroutine(load(stop)) for _ in range(CLIENTS)]
        await deferLater(stage.reactor, chance.uniform(FROM_SECONDS, TO_SECONDS))
        stop.append(True)
        child.signal("KILL")
        await child.ends()
        await gatherResults(loads, consumeErrors=True)
        largest = max(largest, used(folder))
        assert not wrong, f"wrong bodies: {wrong}"
        assert largest <= DISK + SLACK, f"{largest} bytes on the disk"
    killed = seen.copy()
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "new"]
    for path in files[::2]:
        os.truncate(path, chance.randrange(path.stat().st_size))
    child = await begin()
    agent = Agent(stage.reactor)
    for number in range(PATHS):
        await ask(agent, b"/%d" % number)
    assert not wrong, f"wrong bodies: {wrong}"
    child.signal("TERM")
    await child.ends()
    hits = seen[b"hit"] - killed[b"hit"]
    return (
        f"killed {KILLS} times, {sum(seen.values())} bodies all right, {seen[b'hit']} of them stored; "
        f"at most {largest / MIB:.1f} MiB of {DISK // MIB} on the disk; "
        f"{len(files[::2])} files torn, {hits} others served"
    )


if __name__ == "__main__":
    prove(main)
