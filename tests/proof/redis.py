"""Are two hundred thousand requests to Redis all answered, one at a time and sixteen at a time?"""

from __future__ import annotations

import csv

from tests.proof._footing import footprint, prove, unchanged
from tests.support.daemon import Daemon, relay
from tests.support.services import redis
from tests.support.stage import Stage, program

REQUESTS = 200_000
LIMIT_SECONDS = 300.0


async def increments(stage: Stage, daemon: Daemon, count: int, pipeline: int) -> float:
    """Count up so many times, and see that the server has counted them all; return how many a second."""
    where = ["-h", daemon.front.host, "-p", str(daemon.front.port)]
    cli = [program("redis-cli", "redis-tools"), *where]
    await stage.check(*cli, "flushall")
    out = await stage.check(
        program("redis-benchmark", "redis-tools"), *where, "-n", str(count), "-c", "50",
        "-P", str(pipeline), "-t", "incr", "--csv", seconds=LIMIT_SECONDS,
    )  # fmt: skip
    counted = int(await stage.check(*cli, "get", "counter:__rand_int__"))
    assert counted == count, f"{counted} of {count} requests arrived"
    [row] = csv.DictReader(out.decode().splitlines())
    print(f"{count} requests, {pipeline} at a time: {row}")
    return float(row["rps"])


async def proof(stage: Stage) -> str:
    server = await redis(stage)
    daemon = await relay(stage, server.place)
    for pipeline in (1, 16):
        await increments(stage, daemon, 2000, pipeline)
    before = await footprint(daemon)
    single = await increments(stage, daemon, REQUESTS, 1)
    pipelined = await increments(stage, daemon, REQUESTS, 16)
    kept = await unchanged(daemon, before)
    return f"{REQUESTS} requests at {single:.0f}/s, and at {pipelined:.0f}/s sixteen at a time; {kept}"


if __name__ == "__main__":
    prove(proof)
