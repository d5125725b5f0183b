"""
What has each check of a server said last, and when is the next one?

A command of the admin socket tells, and so do metrics.  So one sees why a server is down, and also what does
not decide: a check that has begun to fail, that is outvoted by others, or by which nothing is learnt.
"""

from __future__ import annotations

from typing import Iterator, Optional

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from proxyd.ops.command import Answer, Caller, Command, Given, Parameter, Steered
from proxyd.policy.state import State
from proxyd.snapshots import CheckSnapshot, Snapshot


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


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """The checks as metrics; one that has no name goes by its kind, which for an agent is that."""
    labels = ("pool", "server", "check")
    up = GaugeMetricFamily(
        "proxyd_check_up", "1 if that check alone has the server up, else 0.", labels=labels
    )
    took = GaugeMetricFamily("proxyd_check_seconds", "How long the last one of them took.", labels=labels)
    made = CounterMetricFamily(
        "proxyd_checks",
        "Checks that passed, that failed, and that were unable to learn anything of the server.",
        labels=(*labels, "outcome"),
    )
    for seen in snapshot.checks:
        which = (seen.pool, seen.server, seen.check or seen.kind)
        up.add_metric(which, seen.state == State.UP.value)
        if seen.took_seconds is not None:
            took.add_metric(which, seen.took_seconds)
        made.add_metric((*which, "passed"), seen.passed)
        made.add_metric((*which, "failed"), seen.failed)
        if seen.unable:  # which is rare, and a series for each server costs a scrape its time
            made.add_metric((*which, "unable"), seen.unable)
    yield from (up, took, made)


COMMANDS = (
    Command(
        "show checks",
        "the checks of the servers, and their agents: what each has found last, and when it looks again",
        _show_checks,
        (Parameter("pool", "the name of one pool"),),
    ),
)
