"""
Does what is counted of clients stay small, however many addresses there are?

Five million addresses come once each to the tables of a listener, as in an attack with made-up addresses:
counters with a rule of a time, and the rates of clients.  An entry may not cost more than docs/options.md
tells, also when all are new all the time, which leaves gaps between them; and then there is no growth.
"""

from __future__ import annotations

import gc
from time import perf_counter
from typing import Callable

from bench.affinity import resident
from proxyd.config.counters import CountersSpec, RuleSpec
from proxyd.config.limits import RateSpec
from proxyd.policy.counters import Counters
from proxyd.policy.limits import ClientRates
from tests.proof._footing import GROWTH, MIB, prove
from tests.support.stage import Stage

ADDRESSES = 5_000_000
SIZE = 100_000
WARM = 20  # tables full of addresses that come before growth is looked for

# Bytes for an entry: 400, and 100 for the rule; a rate is a key and a number.
COUNTERS_BUDGET = 400 + 100 + 50  # the table itself is doubled now and then
RATES_BUDGET = 256
SPRAYED = 2  # times that, when addresses are sprayed


def spray(what: str, come: Callable[[bytes, float], object], entries: Callable[[], int], budget: int) -> str:
    """Have all addresses come, one each 20 us of their time; say what an entry and all the rest cost."""
    gc.collect()
    before = resident()
    began, full = perf_counter(), 0
    for number in range(ADDRESSES):
        come((10 << 24 | number).to_bytes(4, "big"), number / 50_000)
        if number == SIZE:
            entry = (resident() - before) / SIZE
        elif number == WARM * SIZE:
            full = resident()
    cost = (perf_counter() - began) / ADDRESSES * 1e6
    grown, sprayed = resident() - full, (resident() - before) / SIZE
    print(
        f"{what}: {entries()} entries of {ADDRESSES} addresses, {entry:.0f} bytes each, sprayed "
        f"{sprayed:.0f}; {grown / MIB:+.1f} MiB since {WARM * SIZE}, {GROWTH / MIB:g} would be allowed; "
        f"{cost:.1f} us each"
    )
    assert entries() <= SIZE, "there are more than may be"
    assert entry <= budget, f"an entry may cost {budget} bytes"
    assert sprayed <= SPRAYED * budget, f"sprayed, it may cost {SPRAYED * budget} bytes"
    assert grown <= GROWTH, "it grows"
    return f"{what} {entry:.0f} bytes an entry, {sprayed:.0f} when sprayed, {grown / MIB:+.1f} MiB"


async def proof(stage: Stage) -> str:
    rule = RuleSpec("flood", "ban", "connection_rate", 100, 10.0, 600.0)
    table = Counters(CountersSpec("clients", size=SIZE, ttl=600.0, rules=(rule,)))

    def come(key: bytes, now: float) -> None:
        entry, _ = table.opened(key, now)
        table.closed(entry, now, True, False, 100, 1000)

    found = [spray("counters", come, lambda: len(table), COUNTERS_BUDGET)]
    rates = ClientRates(RateSpec(1, 600.0), SIZE)
    found.append(spray("rates", rates.take, lambda: len(rates), RATES_BUDGET))
    return f"{ADDRESSES} addresses, {SIZE} entries: " + "; ".join(found)


if __name__ == "__main__":
    prove(proof)
