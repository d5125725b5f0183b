"""Do twenty clients of PostgreSQL work through the daemon for ten seconds without one error?"""

from __future__ import annotations

import re

from tests.proof._footing import footprint, prove, unchanged
from tests.support.daemon import relay
from tests.support.services import postgres_program, postgresql
from tests.support.stage import Stage

CLIENTS = 20
SECONDS = 10


async def proof(stage: Stage) -> str:
    server = await postgresql(stage)
    daemon = await relay(stage, server.place)
    where = ["-h", daemon.front.host, "-p", str(daemon.front.port), "-U", "postgres", "postgres"]
    pgbench = [postgres_program("pgbench"), *where]
    await stage.check(*pgbench, "-i", "-q", "-s", "10")
    await stage.check(*pgbench, "-n", "-c", str(CLIENTS), "-T", "1")
    before = await footprint(daemon)
    done = await stage.run(*pgbench, "-c", str(CLIENTS), "-j", "2", "-T", str(SECONDS), "-M", "prepared")
    print(done.out.decode())
    # "vacuuming..." is all that belongs there.
    errors = [line for line in done.err.splitlines() if b"error" in line.lower() or b"aborted" in line]
    assert done.status == 0 and not errors, str(done)
    assert b"number of failed transactions: 0 " in done.out, str(done)
    processed = re.search(rb"transactions actually processed: (\d+)", done.out)
    rate = re.search(rb"tps = ([\d.]+)", done.out)
    assert processed and rate, str(done)
    counted = await stage.check(
        postgres_program("psql"), "-qAt", "-h", server.place.host, "-p", str(server.place.port),
        "-U", "postgres", "-c", "SELECT count(*) FROM pgbench_history",
    )  # fmt: skip
    # pgbench empties the history when it begins, so the server has just those of this run.
    assert int(counted) == int(processed[1]), f"{int(counted)} transactions arrived"
    kept = await unchanged(daemon, before)
    per_second = float(rate[1])
    return f"{int(processed[1])} transactions of {CLIENTS} clients, none failed, {per_second:.0f}/s; {kept}"


if __name__ == "__main__":
    prove(proof)
