"""
How much of its share does a server get while it is new?

One that was down has cold caches, and no connections, so the ways that count connections would give it every
new one.  Its share grows in steps, since with each a balancer has to take up a new list.  HAProxy and nginx
call this slow start.
"""

from __future__ import annotations

FULL = 16  # steps to a whole share, as in HAProxy; a power of two, so fractions are as exact as they were


def step(seconds: float, slow_start: float) -> int:
    """How many steps of `FULL` a server has come after so many seconds: one at once, all after slow_start."""
    if seconds >= slow_start:
        return FULL
    return 1 + int(seconds * (FULL - 1) / slow_start)
