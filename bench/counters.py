"""
What does it cost to count clients: memory for an entry, and time for a connection?

``python -m bench.counters [--entries N]`` prints for full tables, without rules and with rules of a time: the
bytes of an entry; the microseconds for the beginning and the end of a connection of a client that is known,
and of a new one that pushes another out; and for a look whether a rule denies a client.  Then the same of
what the limits of a listener remember of each client: its rate, and how many it has open.  The numbers are
never a failure.
"""

from __future__ import annotations

import argparse
import gc
import time
from multiprocessing import get_context
from random import Random
from typing import Callable, Iterable, Optional, Sequence

from bench.affinity import resident
from proxyd.config.counters import CountersSpec, RuleSpec
from proxyd.config.limits import RateSpec
from proxyd.config.listener import ListenerSpec
from proxyd.policy.counters import Counters
from proxyd.policy.limits import ClientRates, Limits

CONNECTIONS = 200_000

RULES = (
    RuleSpec("flood", "ban", "connection_rate", 100, 10.0, 600.0),
    RuleSpec("errors", "deny", "errors", 20, 60.0),
    RuleSpec("bytes", "log", "bytes_out", 1 << 30, 60.0),
)

ROWS = ("counters", "counters, 1 rule", "counters, 2 rules", "counters, 3 rules", "rates", "open")


def client(number: int) -> bytes:
    """The key of one of many clients: an IPv4 address."""
    return (10 << 24 | number).to_bytes(4, "big")


def each(what: Callable[[bytes, float], object], numbers: Iterable[int], now: float) -> float:
    """Microseconds for each of these clients; making their keys is not counted."""
    keys = [client(number) for number in numbers]
    began = time.perf_counter()
    for key in keys:
        what(key, now)
    return (time.perf_counter() - began) / len(keys) * 1e6


def connection(table: Counters) -> Callable[[bytes, float], object]:
    """A connection that comes and goes."""

    def come(key: bytes, now: float) -> None:
        entry, _ = table.opened(key, now)
        table.closed(entry, now, False, False, 100, 1000)

    return come


def row(what: str, entries: int) -> str:
    """All that is known of one kind with so many entries."""
    gc.freeze()
    gc.disable()
    dice = Random(1)
    denies: Optional[Callable[[bytes, float], object]] = None
    if what == "rates":
        come: Callable[[bytes, float], object] = ClientRates(RateSpec(100, 600.0), entries).take
    elif what == "open":
        limits = Limits(ListenerSpec("l", (), max_connections_per_client=5))

        def come(key: bytes, now: float) -> object:
            limits.client_entered(key)
            return limits.client_refusal(key, now)

    else:
        rules = RULES[: int(what[10]) if "rule" in what else 0]
        table = Counters(CountersSpec("t", size=entries, rules=rules))
        come = connection(table)
        denies = table.denies
    before = resident()
    for number in range(entries):
        come(client(number), 0.0)
    size = (resident() - before) / entries
    again = each(come, [dice.randrange(entries) for _ in range(CONNECTIONS)], 1.0)
    new = each(come, range(entries, entries + CONNECTIONS), 2.0)
    line = f"{what:20}{entries:10}{size:10.0f}{again:10.2f}{new:10.2f}"
    if denies is not None:
        line += f"{each(denies, [dice.randrange(CONNECTIONS) for _ in range(CONNECTIONS)], 3.0):10.2f}"
    return line


def main(words: Optional[Sequence[str]] = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="bench.counters", description="What does it cost to count clients?")
    parser.add_argument("--entries", type=int, help="in the table; 100,000 and 1,000,000 if not given")
    asked = parser.parse_args(words)
    print(
        "bytes for an entry; µs for a connection of a client that is known, or new, and for a look at rules"
    )
    titles = ("entries", "bytes", "again", "new", "denies")
    print(f"{'':20}" + "".join(f"{title:>10}" for title in titles))
    for entries in (asked.entries,) if asked.entries else (100_000, 1_000_000):
        for what in ROWS:
            # In a process of its own, or what the one before has left would be taken for free memory.
            with get_context("spawn").Pool(1) as child:
                print(child.apply(row, (what, entries)), flush=True)


if __name__ == "__main__":
    main()
