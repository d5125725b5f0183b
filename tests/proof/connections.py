"""Do ten thousand connections each bring their client the right body, and leave nothing in the daemon?"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from time import perf_counter

from twisted.internet.defer import Deferred, gatherResults

from tests.proof._footing import footprint, prove, unchanged
from tests.support.daemon import Daemon, relay
from tests.support.services import Service, nginx
from tests.support.stage import Stage, program

PROCESSES = 4
FILES = 100  # of different lengths and contents
TIMES = 25  # that each process fetches each file
CONNECTIONS = PROCESSES * FILES * TIMES
LIMIT_SECONDS = 300.0


async def fetch(stage: Stage, daemon: Daemon, process: int, times: int) -> None:
    """Fetch every file so many times, over a connection of its own and fifty at once."""
    (stage.folder / f"got-{process}").mkdir(exist_ok=True)
    await stage.check(
        program("curl", "curl"), "--silent", "--show-error", "--fail", "--parallel", "--parallel-max", "50",
        "--header", "Connection: close", "--output", f"got-{process}/#1-#2",
        f"http://{daemon.front}/[0-{FILES - 1}]?[1-{times}]", seconds=LIMIT_SECONDS,
    )  # fmt: skip


async def fetch_all(stage: Stage, daemon: Daemon, times: int) -> None:
    """Have all processes fetch at the same time."""
    await gatherResults(
        [Deferred.fromCoroutine(fetch(stage, daemon, number, times)) for number in range(PROCESSES)]
    )


def make_files(server: Service) -> list[str]:
    """Write the files; return their checksums."""
    checksums = []
    for number in range(FILES):
        content = os.urandom(100 + number * 700)
        (server.folder / "files" / str(number)).write_bytes(content)
        checksums.append(hashlib.sha256(content).hexdigest())
    return checksums


def wrong_bodies(stage: Stage, checksums: list[str]) -> int:
    """How many bodies are missing or wrong."""
    wrong = 0
    for process in range(PROCESSES):
        for number, checksum in enumerate(checksums):
            for time in range(1, TIMES + 1):
                got = stage.folder / f"got-{process}" / f"{number}-{time}"
                if not got.exists() or hashlib.sha256(got.read_bytes()).hexdigest() != checksum:
                    wrong += 1
    return wrong


async def proof(stage: Stage) -> str:
    server = await nginx(stage)
    checksums = make_files(server)
    daemon = await relay(stage, server.place)
    await fetch_all(stage, daemon, 1)
    before = await footprint(daemon)
    passed = len(await daemon.records(PROCESSES * FILES))

    began = perf_counter()
    await fetch_all(stage, daemon, TIMES)
    seconds = perf_counter() - began
    wrong = wrong_bodies(stage, checksums)
    assert wrong == 0, f"{wrong} of {CONNECTIONS} bodies are missing or wrong"
    records = (await daemon.records(passed + CONNECTIONS))[passed:]
    assert len(records) == CONNECTIONS, f"{len(records)} connections were made"
    reasons = Counter(record["reason"] for record in records)
    print(f"{CONNECTIONS} bodies are right; the connections ended so: {dict(reasons)}")
    # Who says goodbye first is the client's and the server's affair; a reset would not be.
    assert set(reasons) <= {"client_finished", "server_finished"}, reasons
    metrics = await daemon.metrics()
    counted = sum(metrics[name] for name in metrics if name.startswith("proxyd_connections_total{"))
    assert counted == passed + CONNECTIONS, f"the metrics count {counted:g}"
    kept = await unchanged(daemon, before)
    return f"{CONNECTIONS} connections, every body right, {CONNECTIONS / seconds:.0f}/s; {kept}"


if __name__ == "__main__":
    prove(proof)
