"""
What does it cost to remember so many clients?

``python -m bench.affinity [--entries N]`` prints, for a table that is full: the memory of an entry; the
microseconds for a connection of a client that comes back, of a new one that pushes another out, and of one
in a pool that remembers nobody; and how long the garbage collector, a dump, and taking that back stop all.
The numbers are never a failure.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from multiprocessing import get_context
from random import Random
from typing import Callable, Optional, Sequence

from proxyd.config.address import TcpAddress
from proxyd.config.affinity import AffinitySpec
from proxyd.config.balance import BalanceSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.policy.affinity import Affinity
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import make_balancer
from proxyd.policy.pool import Pool

CONNECTIONS = 200_000
SERVERS = 10


def resident() -> int:
    """Bytes of memory that the process has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def made(affinity: Optional[AffinitySpec]) -> Pool:
    """A pool that takes turns, and remembers if it is told to."""
    servers = tuple(ServerSpec(f"s{n}", TcpAddress("10.0.0.1", n + 1)) for n in range(SERVERS))
    balance = BalanceSpec("roundrobin")
    return Pool(
        PoolSpec("web", servers, balance, affinity=affinity),
        make_balancer(balance, Random(1).random, lambda: 0.0),
    )


def client(number: int, six: bool) -> Arrival:
    """One of many clients."""
    if six:
        return Arrival(f"2001:db8:{number >> 16:x}:{number & 65535:x}::1", 4711)
    return Arrival(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 4711)


def each(pool: Pool, numbers: Sequence[int], six: bool) -> float:
    """Microseconds for a connection of each of these clients; making the clients is not counted."""
    clients = [client(number, six) for number in numbers]
    began = time.perf_counter()
    for arrival in clients:
        pool.pick((), arrival, 1.0)
    return (time.perf_counter() - began) / len(clients) * 1e6


def timed(what: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    what()
    return (time.perf_counter() - began) * 1e3


def row(entries: int, six: bool) -> str:
    """All that is known of a table with so many entries."""
    gc.freeze()
    gc.disable()
    dice = Random(1)
    pool = made(AffinitySpec("source", size=entries))
    affinity = pool.affinity
    assert affinity is not None
    before = resident()
    for number in range(entries):
        pool.pick((), client(number, six), 0.0)
    size = (resident() - before) / entries
    again = each(pool, [dice.randrange(entries) for _ in range(CONNECTIONS)], six)
    new = each(pool, range(entries, entries + CONNECTIONS), six)
    without = each(made(None), range(CONNECTIONS), six)
    collected = timed(gc.collect)
    dumped = ""

    def dump() -> None:
        nonlocal dumped
        dumped = json.dumps(affinity.dump(1.0, entries))

    dumping = timed(dump)
    restoring = timed(lambda: Affinity(affinity.spec, False).restore(json.loads(dumped), 1.0))
    cells = f"{size:10.0f}{again:10.2f}{new:10.2f}{without:10.2f}"
    return (
        f"{'IPv6' if six else 'IPv4':5}{entries:10}{cells}{collected:10.1f}{dumping:10.0f}{restoring:10.0f}"
    )


def main(words: Optional[Sequence[str]] = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="bench.affinity", description="What does it cost to remember clients?"
    )
    parser.add_argument("--entries", type=int, help="in the table; 100,000 and 1,000,000 if not given")
    asked = parser.parse_args(words)
    titles = ("bytes", "again", "new", "without", "gc", "dump", "restore")
    print("µs for a connection, ms for gc, dump and restore")
    print(f"{'':5}{'entries':>10}" + "".join(f"{title:>10}" for title in titles))
    for entries in (asked.entries,) if asked.entries else (100_000, 1_000_000):
        for six in (False, True):
            # In a process of its own, or what the one before has left would be taken for free memory.
            with get_context("spawn").Pool(1) as child:
                print(child.apply(row, (entries, six)), flush=True)


if __name__ == "__main__":
    main()
