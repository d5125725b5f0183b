"""Which requests are under way now?  A command of the admin socket."""

from __future__ import annotations

from itertools import islice
from typing import Optional

from proxyd.config.options import unknown
from proxyd.ops.command import Answer, Caller, Command, Declined, Given, Parameter, Steered
from proxyd.ops.connections import MOST_ROWS, ROWS
from proxyd.snapshots import RequestSnapshot

HTTP = "http"


def _show_requests(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    limit, older = given.get("limit", ROWS), given.get("older", 0)
    if not 1 <= limit <= MOST_ROWS:
        raise Declined("bad_parameter", f"limit: {limit} is not a number of rows; write 1 to {MOST_ROWS}")
    if older < 0:
        raise Declined("bad_parameter", f"older: {older} is not a number of seconds")
    names = [spec.name for spec, _ in steered.listeners() if spec.protocol == HTTP]
    listener = given.get("listener", "")
    if listener and listener not in names:
        raise Declined("unknown_listener", f"listener: {unknown(listener, names)}, with protocol = http")
    found = steered.requests(listener, float(older))
    seen = sorted(islice(found, limit), key=lambda one: one.started)
    now = steered.seconds()
    return {"requests": [_row(one, now) for one in seen], "more": next(found, None) is not None}


def _row(seen: RequestSnapshot, now: float) -> Answer:
    return {
        "listener": seen.listener,
        "client": seen.client,
        "method": seen.method,
        "host": seen.host,
        "target": seen.target,
        "version": seen.version,
        "state": seen.state,
        "for_seconds": round(now - seen.started, 3),
        "status": seen.status,
        "route": seen.route,
        "pool": seen.pool,
        "server": seen.server,
        "server_address": seen.server_address,
        "chosen": seen.chosen,
        "retries": seen.retries,
        "bytes_in": seen.bytes_in,
        "bytes_out": seen.bytes_out,
    }


COMMANDS = (
    Command(
        "show requests",
        "the requests of HTTP that are under way: of whom, for what, how far, for how long, at which server",
        _show_requests,
        (
            Parameter("listener", "the name of one listener"),
            Parameter("limit", f"so many at most, 1 to {MOST_ROWS}; {ROWS} if not given", int),
            Parameter("older", "those alone that are under way for so many seconds", int),
        ),
    ),
)
