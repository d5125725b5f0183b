"""Do iperf3's gigabytes go through in both directions, and does the daemon keep none of them?"""

from __future__ import annotations

import json

from tests.proof._footing import footprint, prove, unchanged
from tests.support.daemon import Daemon, relay
from tests.support.services import iperf3
from tests.support.stage import Stage, program

GIB = 1024 * 1024 * 1024
FIRST = 64 * 1024 * 1024
LIMIT_SECONDS = 300.0


async def transfer(stage: Stage, daemon: Daemon, amount: int, *direction: str) -> float:
    """Send so many bytes over four connections; return Gbit/s."""
    out = await stage.check(
        program("iperf3", "iperf3"), "--client", daemon.front.host, "--port", str(daemon.front.port),
        "--parallel", "4", "--bytes", str(amount), "--json", *direction, seconds=LIMIT_SECONDS,
    )  # fmt: skip
    end = json.loads(out)["end"]
    assert end["sum_sent"]["bytes"] >= amount, end["sum_sent"]
    await daemon.leaves_nothing()
    return float(end["sum_received"]["bits_per_second"]) / 1e9


async def proof(stage: Stage) -> str:
    server = await iperf3(stage)
    daemon = await relay(stage, server.place)
    for direction in ((), ("--reverse",)):
        await transfer(stage, daemon, FIRST, *direction)
    before = await footprint(daemon)
    up = await transfer(stage, daemon, GIB)
    down = await transfer(stage, daemon, GIB, "--reverse")
    kept = await unchanged(daemon, before)
    return f"1 GiB to the server at {up:.1f} Gbit/s, 1 GiB to the client at {down:.1f} Gbit/s; {kept}"


if __name__ == "__main__":
    prove(proof)
