"""
What has each check of a server said last, and when is the next one?  A command of the admin socket.

So one sees why a server is down, and also what does not decide: a check that has begun to fail, one that is
outvoted by others, and one by which nothing is learnt.
"""

from __future__ import annotations

from typing import Optional

from proxyd.ops.command import Answer, Caller, Command, Given, Parameter, Steered
from proxyd.snapshots import CheckSnapshot


def _show_checks(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    pool = steered.pool(given["pool"]).name if "pool" in given else ""
    return {"checks": [_row(seen) for seen in steered.checks() if pool in ("", seen.pool)]}


def _row(seen: CheckSnapshot) -> Answer:
    return {
        "pool": seen.pool,
        "server": seen.server,
        "check": seen.check,
        "kind": seen.kind,
        "address": seen.address,
        "state": seen.state,
        "found": seen.found,
        "ago_seconds": _rounded(seen.ago_seconds),
        "took_seconds": _rounded(seen.took_seconds, 6),
        "against": seen.against,
        "needed": seen.needed,
        "next_in_seconds": _rounded(seen.next_seconds),
        "rests": seen.rests or None,
        "passed": seen.passed,
        "failed": seen.failed,
        "unable": seen.unable,
    }


def _rounded(seconds: Optional[float], digits: int = 3) -> Optional[float]:
    return round(seconds, digits) if seconds is not None else None


COMMANDS = (
    Command(
        "show checks",
        "the checks of the servers, and their agents: what each has found last, and when it looks again",
        _show_checks,
        (Parameter("pool", "the name of one pool"),),
    ),
)
