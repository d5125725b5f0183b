"""
Does a daemon stay within the budgets of its cache while a million different objects are asked for?

Wrk asks nginx for one after another through a cache in memory and on a disk, each once, and looks at none
again.  Meanwhile the daemon's memory and its folder are looked at: the memory may grow by what the cache may
use, and what is known of each answer on the disk; the disk may hold what it may, and what is just written.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.proof._footing import MIB, prove
from tests.support.daemon import Daemon, relay
from tests.support.services import nginx_http
from tests.support.stage import Stage, program

OBJECTS = 1_000_000
LENGTH = 2000  # bytes of a body, of which each is its own
SIZE, DISK = 32 * MIB, 64 * MIB
OF_EACH = 70  # bytes of memory for an answer on the disk, of which each takes a page there
SLACK = 24 * MIB  # what waits to be written, and what the allocator keeps
PARTS_SECONDS = 10
CONNECTIONS = 32

CACHE = f"""
protocol = http
max_requests = 1000000
cache = pages
[cache pages]
size = {SIZE // MIB}M
disk_size = {DISK // MIB}M
path = {{folder}}
"""

# Each run of wrk asks for others than those before it.
SCRIPT = """
function init(given) number = tonumber(given[1]) end
function request()
    number = number + 1
    return wrk.format("GET", "/" .. number)
end
"""


def used(folder: Path) -> int:
    """The disk that files there use; they come and go meanwhile."""
    found = 0
    for path in folder.rglob("*"):
        try:
            found += -(-path.stat().st_size // 4096) * 4096 if path.is_file() else 0
        except FileNotFoundError:
            continue
    return found


async def asked(stage: Stage, daemon: Daemon, script: Path, first: int) -> int:
    """Ask for a part of them, from this number on; how many were answered."""
    said = await stage.check(
        program("wrk", "wrk"), "--threads", "1", "--connections", str(CONNECTIONS), "--timeout", "30s",
        "--duration", f"{PARTS_SECONDS}s", "--script", script, f"http://{daemon.front}/", "--", str(first),
        seconds=PARTS_SECONDS + 60.0,
    )  # fmt: skip
    text = said.decode()
    assert "Socket errors" not in text and "Non-2xx" not in text, text
    found = re.search(r"(\d+) requests in", text)
    assert found is not None, text
    return int(found[1])


async def proof(stage: Stage) -> str:
    """Ask for them all."""
    folder, script = stage.subfolder("pages"), stage.folder / "many.lua"
    script.write_text(SCRIPT)
    body = "${uri} " + "x" * LENGTH
    server = await nginx_http(stage, f'add_header Cache-Control max-age=86400; return 200 "{body}";')
    daemon = await relay(
        stage, server.place, listener=CACHE.format(folder=folder), pool="idle_connection_timeout = 1s"
    )
    await asked(stage, daemon, script, 0)  # so that what is there from the first use on is there
    before = daemon.resident()
    count = most = largest = part = 0
    while count < OBJECTS:
        part += 1
        count += await asked(stage, daemon, script, OBJECTS * part)
        most, largest = max(most, daemon.resident() - before), max(largest, used(folder))
        print(f"{count} of {OBJECTS}: at most {most / MIB:+.1f} MiB, {largest / MIB:.1f} MiB on the disk")
    metrics = await daemon.metrics()
    hits = metrics['proxyd_cache_requests_total{cache="pages",result="hit"}']
    kept = SIZE + OF_EACH * (DISK // 4096) + SLACK
    assert most <= kept, f"the memory has grown by {most / MIB:.1f} MiB, and might by {kept / MIB:.1f}"
    assert largest <= DISK + SLACK, f"{largest / MIB:.1f} MiB on the disk"
    assert not hits, f"{hits:g} were found, and no object was asked for twice"
    await daemon.leaves_nothing()
    await daemon.stop()
    return (
        f"{count} objects: at most {most / MIB:+.1f} MiB of memory (with {SIZE // MIB} MiB for answers), "
        f"{largest / MIB:.1f} MiB on the disk (of {DISK // MIB})"
    )


if __name__ == "__main__":
    prove(proof)
