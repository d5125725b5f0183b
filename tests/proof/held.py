"""
What does a connection cost the daemon that is idle, and one whose peers both send and never read?

A thousand connections that say nothing, and then a hundred that are full in both directions.  What the daemon
takes for each may not be more than docs/operation.md tells operators to reckon with, on both datapaths.
"""

from __future__ import annotations

import resource
import socket
from typing import Iterator

from twisted.internet.task import deferLater

from tests.proof._footing import footprint, prove
from tests.support.daemon import start, status
from tests.support.stage import Place, Stage

IDLE = 1000
STALLED = 100

# Bytes for each, as docs/operation.md has them.
IDLE_BUDGET = 4 * 1024
STALLED_BUDGET = 160 * 1024  # 64 KiB each way, and what the allocator makes of that

LINE = bytes(64 * 1024)
QUIET_LOOKS = 5  # in which nothing more was taken
LOOK_SECONDS = 0.2

SECTIONS = """
[listener front]
bind = {bind}
datapath = {datapath}
pool = servers
receive_buffer = 64k
send_buffer = 64k
[pool servers]
server a = {server}
receive_buffer = 64k
send_buffer = 64k
"""


class Pairs:
    """Connections through the daemon, of which this process has both ends."""

    def __init__(self, front: Place, server: Place) -> None:
        self._front = front
        self._listening = socket.create_server((server.host, server.port), backlog=64)
        self.ends: list[socket.socket] = []

    def open(self, count: int) -> list[socket.socket]:
        """So many more; the ends of them."""
        made = list(self._made(count))
        self.ends += made
        return made

    def _made(self, count: int) -> Iterator[socket.socket]:
        for _ in range(count):
            client = self._front.socket()
            client.sendall(b"?")
            server, _ = self._listening.accept()
            server.sendall(server.recv(1))
            client.recv(1)
            yield client
            yield server

    def close(self) -> None:
        """All of them, with what is under way."""
        for end in (*self.ends, self._listening):
            end.close()


async def fill(stage: Stage, ends: list[socket.socket]) -> int:
    """Send on all of them until nothing more is taken; how many bytes that were."""
    for end in ends:
        end.setblocking(False)
    taken, quiet = 0, 0
    while quiet < QUIET_LOOKS:
        before = taken
        for end in ends:
            try:
                while True:
                    taken += end.send(LINE)
            except BlockingIOError:
                pass
        quiet = quiet + 1 if taken == before else 0
        await deferLater(stage.reactor, LOOK_SECONDS)
    return taken


async def one(stage: Stage, datapath: str) -> str:
    front, server = stage.tcp(), stage.tcp()
    sections = SECTIONS.format(bind=front.bind, server=server, datapath=datapath)
    daemon = await start(stage, sections, front)
    first = Pairs(front, server)
    first.open(20)
    first.close()
    before = await footprint(daemon)
    pairs = Pairs(front, server)
    stage.add_cleanup(pairs.close)

    pairs.open(IDLE)
    with_idle = daemon.resident()
    idle = (with_idle - before.resident) / IDLE
    print(f"{datapath}: {IDLE} idle connections take {idle:.0f} bytes each; {IDLE_BUDGET} are the budget")
    stalling = pairs.open(STALLED)
    taken = await fill(stage, stalling)
    stalled = (status(daemon.child.pid, "VmHWM") * 1024 - with_idle) / STALLED
    print(
        f"{datapath}: {STALLED} that are full both ways (with {taken / STALLED / 1024:.0f} KiB each, most of "
        f"it in the kernel) take {stalled / 1024:.1f} KiB each at most; {STALLED_BUDGET / 1024:g} are the "
        "budget"
    )
    assert idle <= IDLE_BUDGET, "idle connections are beyond the budget"
    assert stalled <= STALLED_BUDGET, "stalled connections are beyond the budget"
    pairs.close()
    await daemon.leaves_nothing()
    await daemon.stop()
    daemon.folder.rename(stage.folder / datapath)
    return f"{datapath}: {idle:.0f} bytes idle, {stalled / 1024:.1f} KiB stalled"


async def proof(stage: Stage) -> str:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    found = [await one(stage, datapath) for datapath in ("lane", "stock")]
    return "; ".join(found)


if __name__ == "__main__":
    prove(proof)
