"""
Is anything torn or lost when the daemon is killed at any moment while it gets its certificates?

It is killed again and again after a time of chance, between its start and its last certificate, while pebble
takes its time to look at names.  After each kill every file must be whole: a certificate that can be served
for each name once the daemon serves, a placeholder or a real one, and account and orders.  When all are there
they are taken away, and it begins anew.  In the end each certificate that pebble has issued must have been
there: none is issued in vain, as authorities give out only so many.  Orders are more, since pebble finds
nobody where it looks while the daemon is not there, and the order is over.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater

from proxyd.upkeep.acme import keys
from tests.proof._footing import prove
from tests.support.acme import Pebble
from tests.support.daemon import twistd
from tests.support.stage import Stage

NAMES = ("a", "b", "c", "d")
KILLS = 60
SEED = 8555
FROM_SECONDS, TO_SECONDS = 0.3, 2.5  # after the start, which takes some half a second

SECTIONS = """
[proxyd]
state = {state}
[listener front]
bind = {tls}
tls = acme:pebble
pool = servers
[pool servers]
server a = 127.0.0.1:9
[acme pebble]
directory = {directory}
ca = {ca}
agree_to_terms = yes
bind = {http}
"""


def look(folder: Path, serves: bool = True) -> set[str]:
    """The ids of the real certificates; each must be whole, and so must all else."""
    real = set()
    for name in NAMES:
        path = folder / "certificates" / f"{name}.pem"
        if serves or path.exists():
            held = keys.held(path.read_text())
            if not held.placeholder:
                real.add(held.id)
    for path in (*folder.glob("*.json"), *folder.glob("orders/*.json")):
        keys.key_in(json.loads(path.read_text())["key"])
    return real


async def main(stage: Stage) -> str:
    """Kill it, look, and start it again."""
    pebble = Pebble(stage)
    await pebble.start(*NAMES, PEBBLE_VA_NOSLEEP="", PEBBLE_VA_SLEEPTIME="2")
    state = stage.subfolder("state")
    folder = state / "acme" / "pebble"
    config = stage.folder / "proxy.ini"
    config.write_text(
        SECTIONS.format(
            state=state, tls=pebble.tls.bind, directory=pebble.directory, ca=pebble.ca, http=pebble.http.bind
        )
        + "".join(f"certificate {name} = {name}.example\n" for name in NAMES)
    )

    def begin() -> Any:
        return twistd(stage, "-n", "--pidfile=", "tcpproxy", "--config", config)

    chance = random.Random(SEED)
    seen: set[str] = set()
    kills = 0
    while kills < KILLS:
        child = begin()
        await deferLater(stage.reactor, chance.uniform(FROM_SECONDS, TO_SECONDS))
        child.signal("KILL")
        await child.ends()
        if (folder / "orders").exists():  # before that it was not there yet
            kills += 1
            found = look(folder, b"[listener front]" in child.out)
            seen |= found
            if len(found) == len(NAMES):
                for path in folder.glob("certificates/*.pem"):
                    path.unlink()
    child = begin()
    await stage.until(lambda: len(look(folder, False)) == len(NAMES), "all certificates", 120.0)
    seen |= look(folder)
    child.signal("TERM")
    await child.ends()
    assert pebble.child is not None
    said = bytes(pebble.child.out + pebble.child.err)
    orders = len(re.findall(rb"Added order ", said))
    issued = len(re.findall(rb"Issued certificate serial", said))
    assert len(seen) == issued, f"{issued} certificates were issued, and {len(seen)} of them were there"
    return f"killed {KILLS} times, every file whole; all {issued} certificates there, of {orders} orders"


if __name__ == "__main__":
    prove(main)
