"""
Does anybody notice when servers are killed under load?

Three nginx serve wrk.  One after another is killed by SIGKILL, and begins again a while later, and so it goes
on.  With retries, no request fails.  Without any, only those fail that the killed server had, or got in that
moment: no more of them than wrk has connections.
"""

from __future__ import annotations

import re
import shutil

from twisted.internet.task import deferLater

from tests.proof._footing import prove
from tests.support.daemon import Daemon, relay
from tests.support.services import Service, nginx_http
from tests.support.stage import Stage, program

CONNECTIONS = 64
KILLS = 9  # in each part
AWAY_SECONDS, THERE_SECONDS = 0.5, 1.2
POOL = "eject = 5 time=1s max_time=1s most=100%\nbalance = roundrobin\nidle_connection_timeout = 1s"


async def begin(stage: Stage, name: str, number: int, before: Service) -> Service:
    """The server that was there before, again."""
    return await nginx_http(stage, f"return 200 {name};", place=before.place, name=f"{name}{number}")


async def outages(stage: Stage, daemon: Daemon, servers: dict[str, Service], first: int) -> str:
    """Kill one after another under load; return what wrk says at the end."""
    seconds = int(KILLS * (AWAY_SECONDS + THERE_SECONDS)) + 2
    load = stage.spawn(
        program("wrk", "wrk"), "--threads", "1", "--connections", str(CONNECTIONS), "--timeout", "10s",
        "--duration", f"{seconds}s", f"http://{daemon.front}/",
    )  # fmt: skip
    for number in range(first, first + KILLS):
        name = "abc"[number % 3]
        await deferLater(stage.reactor, THERE_SECONDS)
        servers[name].child.signal("KILL")
        await servers[name].child.exits()
        await deferLater(stage.reactor, AWAY_SECONDS)
        servers[name] = await begin(stage, name, number, servers[name])
    await load.ends(60.0)
    return load.out.decode()


def failed(said: str) -> int:
    """How many requests wrk says have failed."""
    assert "Socket errors" not in said, said
    found = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return int(found[1]) if found is not None else 0


def answered(said: str) -> int:
    """How many it had answered in all."""
    found = re.search(r"(\d+) requests in", said)
    assert found is not None, said
    return int(found[1])


async def proof(stage: Stage) -> str:
    found = []
    for number, retries in enumerate((2, 0)):
        servers = {
            name: await nginx_http(stage, f"return 200 {name};", name=f"{name}-{number}") for name in "abc"
        }
        daemon = await relay(
            stage,
            *(each.place for each in servers.values()),
            listener="protocol = http\nmax_requests = 1000000",
            pool=f"{POOL}\nretries = {retries}",
        )
        said = await outages(stage, daemon, servers, number * KILLS)
        count, bad = answered(said), failed(said)
        metrics = await daemon.metrics()
        ejected = daemon.log.count("ejected")
        print(f"retries = {retries}: {count} answered, {bad} failed, {ejected} ejections")
        assert ejected >= KILLS, f"{ejected} ejections"
        if retries:
            assert not bad, f"{bad} of {count} failed"
            again = metrics['proxyd_connect_retries_total{pool="servers"}']
            assert again, "nothing was asked again"
            found.append(f"{KILLS} kills under {count} requests, {again:g} asked again, none failed")
        else:
            assert 0 < bad <= KILLS * CONNECTIONS, f"{bad} of {count} failed"
            found.append(f"without retries {bad} of {count}, at most {CONNECTIONS} a kill")
        await daemon.leaves_nothing()
        await daemon.stop()
        for server in servers.values():
            await server.child.stop()
        shutil.rmtree(daemon.folder)
    return "; ".join(found)


if __name__ == "__main__":
    prove(proof)
