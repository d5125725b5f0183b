"""
Which connections are open now, and what does the kernel know of them?  A command of the admin socket.

The kernel is asked (TCP_INFO) only if that is wanted, and only of the connections that are shown.
"""

from __future__ import annotations

from itertools import islice
from typing import Iterator, Optional

from proxyd.config.options import unknown
from proxyd.ops.command import Answer, Caller, Command, Declined, Given, Parameter, Steered
from proxyd.snapshots import ConnectionSnapshot

ROWS = 100  # if nobody says how many
MOST_ROWS = 1000  # in one answer: with what the kernel knows they take some 50 ms, in which nobody is served


def _show_connections(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    limit = given.get("limit", ROWS)
    if not 1 <= limit <= MOST_ROWS:
        raise Declined("bad_parameter", f"limit: {limit} is not a number of rows; write 1 to {MOST_ROWS}")
    counts = {spec.name: count for spec, count in steered.listeners()}
    listener = given.get("listener", "")
    if listener and listener not in counts:
        raise Declined("unknown_listener", f"listener: {unknown(listener, counts)}")
    tcp = bool(given.get("tcp", 0))
    rows = list(_rows(steered, listener, tcp, limit))
    return {"open": counts[listener] if listener else sum(counts.values()), "connections": rows}


def _rows(steered: Steered, listener: str, tcp: bool, limit: int) -> Iterator[Answer]:
    now = steered.seconds()
    for seen in islice(steered.connections(listener, tcp), limit):
        row = _row(seen, now)
        yield {**row, "client_tcp": seen.client_tcp, "server_tcp": seen.server_tcp} if tcp else row


def _row(seen: ConnectionSnapshot, now: float) -> Answer:
    return {
        "listener": seen.listener,
        "client": seen.client,
        "pool": seen.pool,
        "server": seen.server,
        "server_address": seen.server_address,
        "chosen": seen.chosen,
        "for_seconds": round(now - seen.started, 3),
        "bytes_in": seen.bytes_in,
        "bytes_out": seen.bytes_out,
    }


COMMANDS = (
    Command(
        "show connections",
        "the open connections: from whom to which server, for how long, how many bytes",
        _show_connections,
        (
            Parameter("listener", "the name of one listener"),
            Parameter("limit", f"so many at most, 1 to {MOST_ROWS}; {ROWS} if not given", int),
            Parameter("tcp", "1 to be told what the kernel knows of both sides (TCP_INFO)", int),
        ),
    ),
)
