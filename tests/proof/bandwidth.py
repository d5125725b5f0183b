"""
Do connections get the bandwidth that they may have, and no more, alone and together?

nginx serves a file, curl fetches it, through a listener that knows connections and one that knows requests:
on one connection, on eight of one client at once, and on eight while another client, which has an allowance
of its own, fetches it too.  What comes is right by its length, and each rate is within a tenth of what is
configured.
"""

from __future__ import annotations

from time import perf_counter

from twisted.internet.defer import Deferred, gatherResults

from tests.proof._footing import MIB, footprint, prove, unchanged
from tests.support.daemon import start
from tests.support.services import nginx
from tests.support.stage import Place, Stage, program

SIZE = 40 * MIB  # of the file
OWN = 10  # MiB/s of a connection
SHARED = 20  # MiB/s of a client
AT_ONCE = 8
OFF = 0.1  # of what is configured: the burst is a tenth of a second's worth, and curl takes a moment to start


async def fetch(stage: Stage, front: Place, count: int, source: str = "127.0.0.1") -> float:
    """Fetch the file so often at once; return how many MiB came in a second, on the whole."""
    began = perf_counter()
    runs = [
        Deferred.fromCoroutine(
            stage.check(
                program("curl", "curl"), "--silent", "--fail", "--interface", source, "--output", "/dev/null",
                "--write-out", "%{size_download}", f"http://{front}/large", seconds=120,
            )
        )
        for _ in range(count)
    ]  # fmt: skip
    sizes = await gatherResults(runs, consumeErrors=True)
    seconds = perf_counter() - began
    assert [int(size) for size in sizes] == [SIZE] * count, sizes
    return count * SIZE / MIB / seconds


def within(found: float, configured: float) -> str:
    """What was found, which may not be much more or less than what was configured."""
    assert abs(found - configured) <= OFF * configured, f"{found:.2f} MiB/s, and not {configured}"
    return f"{found:.2f} of {configured} MiB/s"


async def watch(stage: Stage, name: str, front: Place) -> str:
    """Fetch in each of the three ways, and say how fast it was."""
    one = within(await fetch(stage, front, 1), OWN)
    print(f"{name}: one connection: {one}")
    eight = within(await fetch(stage, front, AT_ONCE), SHARED)
    print(f"{name}: {AT_ONCE} of one client: {eight}")
    mine = Deferred.fromCoroutine(fetch(stage, front, AT_ONCE, "127.0.0.98"))
    other = within(await fetch(stage, front, 1, "127.0.0.99"), OWN)
    mine_too = within(await mine, SHARED)
    print(f"{name}: {AT_ONCE} of one client, {mine_too}, beside one of another, {other}")
    return f"{name}: a connection {one}, {AT_ONCE} of a client {eight}, another beside them {other}"


async def proof(stage: Stage) -> str:
    server = await nginx(stage)
    (server.folder / "files" / "large").write_bytes(bytes(SIZE))
    fronts = {"tcp": stage.tcp(), "http": stage.tcp()}
    sections = [
        f"[listener {name}]\nbind = {front.bind}\npool = servers\nprotocol = {name}\n"
        f"bandwidth = out={OWN}M/s\nbandwidth_per_client = out={SHARED}M/s\n"
        for name, front in fronts.items()
    ]
    sections.append(f"[pool servers]\nserver a = {server.place}\nidle_connection_timeout = 1s\n")
    daemon = await start(stage, "".join(sections), fronts["tcp"])
    for front in fronts.values():
        await fetch(stage, front, 1, "127.0.0.97")  # what a first use takes
    before = await footprint(daemon)
    found = [await watch(stage, name, front) for name, front in fronts.items()]
    kept = await unchanged(daemon, before)
    return f"{'; '.join(found)}; {kept}"


if __name__ == "__main__":
    prove(proof)
