"""
Do the well-behaved notice a flood, are those who flood banned, and are they let in again?

Two hundred addresses make 5000 connections a second, or as many as this machine gives, while 20 clients from
other addresses exchange 64 bytes 100 times a second each.  A rule of counters bans who floods: `proxyctl`
lists the bans, and they end.  How late the well-behaved are is printed, from the moment each exchange was
due: without a flood, during one until the bans, and with all of it banned; medians of short measurements.
Daemon and load have a core each.  For how long others had the daemon's is printed as well: on a busy machine
it is that which is measured, and only on a quiet one the well-behaved have to be within three times of quiet.
"""

from __future__ import annotations

import json
import sys
from os import sched_setaffinity
from statistics import median
from typing import Any, Sequence

from attrs import frozen
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from bench.load import Load, Result, cores, keep_to
from tests.proof._footing import MIB, footprint, prove, unchanged
from tests.support.daemon import Daemon, start, status
from tests.support.stage import PYTHONPATH, Stage

SOURCES = 200  # addresses of the flood, in bench/load.c
RATE = 5000
GOOD = 20  # well-behaved clients
PULSE = 100  # exchanges a second of each
LATER_TIMES = 3  # that the well-behaved may be
LATER_SECONDS = 0.0005  # and what one wakeup of a virtual machine may add
QUIET_SHARE = 0.02  # of the daemon's core that others have on a quiet machine
ALLOWED = 50  # connections of an address in 10 s
SLICES = 7  # measurements of each kind
SLICE_SECONDS = 0.5
PAUSE_SECONDS = 0.3  # between them: who has polled all the time is put back by the kernel

# What the daemon may take beyond what it had: the load has up to 4096 connections open at once, at 4 KiB
# each; entries and bans of 200 addresses are nothing beside that.
MOST = 16 * MIB

SECTIONS = """
[listener front]
bind = {front}
pool = servers
track = clients
[counters clients]
rule flood = ban 30s when connection_rate > {allowed}/10s
[pool servers]
{servers}
"""


async def bans(stage: Stage, daemon: Daemon) -> list[str]:
    """Who is banned, as proxyctl lists it."""
    out = await stage.check(
        sys.executable, "-m", "proxyd.cli", "bans", "list", "--json",
        environment={"PYTHONPATH": PYTHONPATH, "PROXYD_ADMIN": str(daemon.folder / "admin.sock")},
    )  # fmt: skip
    return [row["network"] for row in json.loads(out)["bans"]]


@frozen
class Taken:
    """What came of some measurements: medians, and the rates of all of them; seconds."""

    half: float
    late: float
    rate: float
    served: float
    exchanges: float
    others: float

    def __str__(self) -> str:
        return (
            f"{self.exchanges:4.0f} exchanges/s: p50 {self.half * 1e3:.2f} ms, p99 {self.late * 1e3:.2f} ms; "
            f"{self.rate:4.0f} connections/s, of which {self.served:4.0f} served; others had "
            f"{self.others:.0%} of the daemon's core"
        )


def taken(results: Sequence[Result]) -> Taken:
    """Bring measurements together."""
    seconds = sum(one["seconds"] for one in results)
    opened, connects, exchanges, waited = (
        sum(one[name] for one in results) / seconds for name in ("opened", "connects", "exchanges", "waited")
    )
    half, late = (median(one[name] for one in results) / 1e6 for name in ("p50", "p99"))
    return Taken(half, late, opened, connects, exchanges, waited)


async def proof(stage: Stage) -> str:
    core, other = cores()
    keep_to(other)
    load = Load()
    stage.add_cleanup(load.stop)
    front = stage.tcp()
    servers = "\n".join(f"server s{number} = {place}" for number, place in enumerate(load.servers))
    daemon = await start(
        stage,
        SECTIONS.format(front=f"tcp:{front.port}", servers=servers, allowed=ALLOWED),
        front,
        proxyd="admin = unix:admin.sock",
    )
    sched_setaffinity(daemon.child.pid, {core})

    async def measure(**options: Any) -> Result:
        await deferLater(stage.reactor, PAUSE_SECONDS)
        result: Result = await deferToThread(
            load.measure, port=front.port, pid=daemon.child.pid, exchangers=GOOD, pulse=PULSE, warmup=0.2,
            seconds=SLICE_SECONDS, **options,
        )  # fmt: skip
        return result

    async def banned_now() -> float:
        return (await daemon.metrics())["proxyd_bans{}"]

    await measure()
    before = await footprint(daemon)
    quiet = taken([await measure() for _ in range(SLICES)])
    print(f"quiet:   {quiet}")
    results = [await measure(rate=RATE)]
    while not await banned_now():
        results.append(await measure(rate=RATE))
    flooded = taken(results)
    print(f"flooded: {flooded}")
    while await banned_now() < SOURCES:
        await measure(rate=RATE)
    banned = taken([await measure(rate=RATE) for _ in range(SLICES)])
    print(f"banned:  {banned}")

    for one in flooded, banned:
        if max(quiet.others, one.others) < QUIET_SHARE:
            assert one.late <= LATER_TIMES * quiet.late + LATER_SECONDS, "the well-behaved are held up"

    listed = await bans(stage, daemon)
    assert sorted(listed) == sorted(f"127.1.0.{n}" for n in range(1, SOURCES + 1)), listed
    assert banned.served == 0, "somebody was served that is banned"
    metrics = await daemon.metrics()
    refused = metrics['proxyd_refused_total{listener="front",reason="banned"}']
    assert refused > 0, "nobody was refused"
    grown = status(daemon.child.pid, "VmHWM") * 1024 - before.resident
    print(f"memory: {grown / MIB:.1f} MiB more at the most; {MOST / MIB:g} would be allowed")
    assert grown <= MOST, f"memory has grown by {grown / MIB:.1f} MiB"

    while await banned_now():
        await deferLater(stage.reactor, 1.0)
    assert not await bans(stage, daemon)
    again = await measure(rate=SOURCES)
    assert again["connects"] > 0 and not again["errors"], f"who was banned is not served: {again}"
    kept = await unchanged(daemon, before, MOST)
    return (
        f"p99 {quiet.late * 1e3:.2f} ms quiet, {flooded.late * 1e3:.2f} at {flooded.rate:.0f} connections/s, "
        f"{banned.late * 1e3:.2f} at {banned.rate:.0f}/s that are banned; {SOURCES} bans, listed and over; "
        f"{kept}"
    )


if __name__ == "__main__":
    prove(proof)
