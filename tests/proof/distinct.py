"""
Does the memory of a cache stay within its budget while a million different answers are stored?

Each has a URL, fields and a body of its own; one in ten is asked for again soon after.  Then two million are
put on a disk that has room for all, and what is known of them must stay within its budget, too.  What the
process has grown by is what the kernel says.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from random import Random

from proxyd.policy.cachestore import Memory, Stored
from proxyd.policy.diskindex import DiskIndex, sign_of
from proxyd.policy.freshness import Rules, terms
from proxyd.wire.httpfields import Field, parse_field

ANSWERS = 1_000_000
BUDGET = 64 * 1024 * 1024
LONGEST = 8000  # bytes of a body
SLACK = 0.15  # of the budget: what the allocator cannot give to others, and the names of what has gone
SEED = 3
MIB = 1024 * 1024


def resident() -> int:
    """What of us is in RAM, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def fields_of(number: int) -> list[Field]:
    """As a server would say it."""
    lines = (
        b"Date: Thu, 01 Jan 1970 00:00:%02d GMT" % (number % 60),
        b"Content-Type: text/html; charset=utf-8",
        b"Cache-Control: max-age=600",
        b'ETag: "%x"' % (number * 7919),
        b"Vary: Accept-Encoding",
        b"X-Request-Id: %032x" % number,
    )
    return [parse_field(line) for line in lines]


def index() -> tuple[DiskIndex, int]:
    """Know of twice as many on a disk; what that takes, bytes."""
    gc.collect()
    known, before = DiskIndex(1 << 50, BUDGET, 4096), resident()
    for number in range(2 * ANSWERS):
        url = b"http://www.example.com/some/path/%d?q=%d" % (number, number)
        known.put((url, b"p", (b"accept-encoding",), (b"=gzip",)), sign_of(url, ()), 8192, number, 0, True)
    return known, resident() - before


def main() -> int:
    """Store them."""
    known, taken = index()
    memory, random = Memory(BUDGET), Random(SEED)
    gc.collect()
    before, most = resident(), 0
    for number in range(ANSWERS):
        fields = fields_of(number)
        found = terms(Rules(), 200, fields, 0.0, 0.0, 0.0)
        assert found is not None
        url = b"http://www.example.com/some/path/%d?q=%d" % (number, number)
        body = bytes(random.randrange(LONGEST))
        memory.put(Stored(url, b"p", (b"accept-encoding",), (b"=gzip",), 200, b"OK", fields, body, found))
        if random.random() < 0.1:
            memory.find(url, b"p", [parse_field(b"Accept-Encoding: gzip")])
        if number % 1000 == 0:
            most = max(most, resident() - before)
    assert memory.used <= BUDGET, f"{memory.used} bytes are counted"
    holds = max(most, taken) <= BUDGET * (1 + SLACK)
    print(
        f"{ANSWERS} answers, {len(memory)} of them kept: at most {most / MIB:.1f} MiB more than before, "
        f"of a budget of {BUDGET // MIB}; {2 * ANSWERS} on a disk, {len(known)} of them known in "
        f"{taken / MIB:.1f} MiB, of {BUDGET // MIB}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
