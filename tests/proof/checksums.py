"""Is a gigabyte the same after it has gone to a server, and come back from it?"""

from __future__ import annotations

import os
from pathlib import Path

from tests.proof._footing import MIB, footprint, prove, unchanged
from tests.support.daemon import relay
from tests.support.services import nginx
from tests.support.stage import Stage, program

BLOCKS = 1024  # of a MiB, each different
LIMIT_SECONDS = 300.0


async def proof(stage: Stage) -> str:
    server = await nginx(stage)
    daemon = await relay(stage, server.place)
    url = f"http://{daemon.front}"
    curl = [program("curl", "curl"), "--silent", "--show-error", "--fail"]

    async def checksum(path: Path) -> bytes:
        return (await stage.check("sha256sum", "--binary", path, seconds=LIMIT_SECONDS)).split()[0]

    sent, got = stage.folder / "sent", stage.folder / "got"
    random = os.urandom(MIB)
    with open(sent, "wb") as file:
        for block in range(BLOCKS):
            file.write(random[block:] + random[:block])

    await stage.check(*curl, "--upload-file", "/dev/null", f"{url}/first")
    before = await footprint(daemon)
    await stage.check(*curl, "--upload-file", sent, f"{url}/large", seconds=LIMIT_SECONDS)
    await stage.check(*curl, "--output", got, f"{url}/large", seconds=LIMIT_SECONDS)
    wanted = await checksum(sent)
    print(f"sent            {wanted.decode()}")
    assert await checksum(server.folder / "files" / "large") == wanted, "the server has other bytes"
    assert await checksum(got) == wanted, "the client has other bytes"
    up, down = (await daemon.records(3))[1:]
    print(f"at the server   the same, {up['bytes_in'] / up['total_seconds'] / MIB:.0f} MiB/s")
    print(f"at the client   the same, {down['bytes_out'] / down['total_seconds'] / MIB:.0f} MiB/s")
    kept = await unchanged(daemon, before)
    return f"{BLOCKS} MiB to the server and back, the same by SHA-256; {kept}"


if __name__ == "__main__":
    prove(proof)
