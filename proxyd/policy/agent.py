"""
What follows from an agent's report?

An agent sets weights and bounds, and takes its server out and back, as in HAProxy.  What others have taken
out it leaves alone: what it has done itself is known by the reason, which begins with `PREFIX`.
"""

from __future__ import annotations

from proxyd.config.pool import HEAVIEST
from proxyd.config.words import printable
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.state import OUT, State
from proxyd.wire.agent import Report

PREFIX = "agent: "


def heed(pool: Pool, server: Server, report: Report, now: float) -> str:
    """Do what the report asks for, but for up and down; what could not be done is returned, for people."""
    if report.max_connections is not None:
        pool.limit(server, report.max_connections, now)
    _take_out_or_back(pool, server, report, now)
    # A weight of 0 is somebody's drain, and the agent's own is a drain in name, too.
    if not report.percent or not server.weight:
        return ""
    weight = min(HEAVIEST, -(-server.configured * report.percent // 100))  # rounded up, as HAProxy does
    if weight == server.weight:
        return ""
    if not pool.takes(server, weight):
        return f"its agent's weight {report.percent}% cannot be had with balance {pool.spec.balance.name}"
    pool.weigh(server, weight, f"{PREFIX}{report.percent}%", now)
    return ""


def _take_out_or_back(pool: Pool, server: Server, report: Report, now: float) -> None:
    out = server.state in OUT
    if server.leaving or (out and not server.why.startswith(PREFIX)):
        return
    reason = f" ({printable(report.text.decode('utf-8', 'backslashreplace'))})" if report.text else ""
    nothing = f"{PREFIX}0%"
    why = f"{PREFIX}{report.admin}{reason}"
    if report.admin == "maint":
        if server.state is not State.MAINTENANCE:
            pool.disable(server, why, now)
    elif report.admin == "drain" or report.percent == 0:
        if server.state is not State.DRAINING:
            pool.drain(server, why if report.admin == "drain" else f"{nothing}{reason}", now)
    elif out and (report.admin == "ready" or (report.percent and server.why.startswith(nothing))):
        pool.enable(server, f"{PREFIX}{report.admin or f'{report.percent}%'}{reason}", now)
