"""
What can be asked of the running daemon?

`COMMANDS` is the table: a command is its name, its parameters, and a function that is given what there is to
steer, the values of the parameters, and who asks.  The function returns what the answer holds, in values that
JSON has, or raises `Declined`.  Whatever it changes it also logs, with who asked.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Callable, Optional

from twisted.logger import Logger

from proxyd.config.options import unknown
from proxyd.config.pool import HEAVIEST
from proxyd.config.words import printable, quoted
from proxyd.native import version
from proxyd.ops import bans, cache, certificates, changes, checks, connections, requests, tables
from proxyd.ops.command import (
    LONGEST_REASON,
    NOBODY_KNOWN,
    Answer,
    Caller,
    Command,
    Declined,
    Given,
    Parameter,
    Steered,
)
from proxyd.policy.adaptive import Adaptive
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server

log = Logger()


# To see


def _show_pools(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    return {"pools": [_pool_row(pool) for pool in steered.pools.values()]}


def _pool_row(pool: Pool) -> Answer:
    return {
        "name": pool.name,
        "balance": pool.spec.balance.name,
        "check": ", ".join(check.kind for check in pool.spec.checks) or None,
        "servers": len(pool.servers),
        "states": dict(Counter(server.state.value for server in pool.servers)),
        "panic": pool.panic,
        "open": sum(server.open for server in pool.servers),
        "waiting": len(pool.queue) if pool.queue is not None else 0,
        "queue_length": pool.queue.length if pool.queue is not None else 0,
        "maintenance": pool.maintenance.why if pool.maintenance.on else None,
    }


def _show_servers(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    pools = steered.pools.values() if "pool" not in given else [steered.pool(given["pool"])]
    return {"servers": [_server_row(steered, server) for pool in pools for server in pool.servers]}


def _server_row(steered: Steered, server: Server) -> Answer:
    now = steered.seconds()
    checked = steered.pools[server.pool].spec.checks != ()
    return {
        "pool": server.pool,
        "name": server.name,
        "address": str(server.address),
        "origin": str(server.origin) if server.origin is not None else None,
        "state": server.state.value,
        "for_seconds": round(now - (server.since or steered.started), 3),
        "returns_in_seconds": round(server.until - now, 3) if server.until else None,
        "why": server.why,
        "health": server.health.value if checked else None,
        "weight": server.weight,
        "effective_weight": server.effective_weight,
        "configured_weight": server.configured,
        "open": server.open,
        "max_connections": server.max_connections,
        "tls_failures": server.tls_failures if server.tls is not None else None,
        "failures": server.failures,
        "trial": server.trial,
        "adaptive": _adaptive(server.adaptive) if server.adaptive is not None else None,
        "backup": server.backup,
        "priority": server.priority,
    }


def _adaptive(adaptive: Adaptive) -> Answer:
    """Between what its limit moves, and how long its responses took when there were few, and lately."""
    usual = adaptive.usual
    return {
        "least": adaptive.least,
        "most": adaptive.most,
        "usual_seconds": round(usual, 6) if usual is not None else None,
        "lately_seconds": round(adaptive.lately, 6) if usual is not None else None,
    }


def _show_listeners(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    return {
        "listeners": [
            {
                "name": spec.name,
                "protocol": spec.protocol,
                "open": count,
                "binds": [bind.text for bind in spec.binds],
                "pools": list(spec.pools),
            }
            for spec, count in steered.listeners()
        ]
    }


def _show_names(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    return {
        "names": [
            {
                "name": name.name,
                "addresses": list(name.addresses),
                "servers": [f"{pool}/{server}" for pool, server in name.servers],
                "again_in_seconds": round(name.ttl_seconds, 3),
                "lookups": name.lookups,
                "failures": name.failures,
                "trouble": name.trouble,
            }
            for name in steered.names()
        ]
    }


def _show_acme(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    wall = steered.wall.now()
    return {
        "acme": [
            {
                "authority": one.authority,
                "certificate": one.certificate,
                "names": list(one.names),
                "expires_in_seconds": round(one.not_after - wall, 3) if one.not_after else None,
                "next_in_seconds": round(max(0.0, one.next_at - wall), 3),
                "renewed": one.renewed,
                "failed": one.failed,
                "failures": one.failures,
                "trouble": one.trouble,
            }
            for one in steered.acme()
        ]
    }


def _show_info(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    return {
        "version": version(),
        "pid": os.getpid(),
        "up_seconds": round(steered.seconds() - steered.started, 3),
        "open": sum(count for _, count in steered.listeners()),
        "max_connections": steered.max_connections,
    }


def _help(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    return {
        "commands": [
            {
                "command": command.name,
                "doc": command.doc,
                "parameters": [
                    {"name": one.name, "doc": one.doc, "required": one.required} for one in command.parameters
                ],
            }
            for command in COMMANDS.values()
        ]
    }


# To steer


def _drain(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    return _steer(steered, given, caller, "drain", Pool.drain)


def _disable(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    if "/" not in given["server"]:
        return _turn(steered, given, caller, "disable", True)
    return _steer(steered, given, caller, "disable", Pool.disable)


def _enable(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    if "/" not in given["server"]:
        return _turn(steered, given, caller, "enable", False)
    answer = _steer(steered, given, caller, "enable", Pool.enable)
    if answer["server"]["weight"] == 0:
        answer["notes"].append(f"{given['server']} gets no connections, because its weight is 0")
    return answer


def _weight(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    def weigh(pool: Pool, server: Server, why: str, now: float) -> None:
        pool.weigh(server, given["weight"], why, now)

    return _steer(steered, given, caller, f"weight {given['weight']}", weigh)


def _steer(
    steered: Steered,
    given: Given,
    caller: Optional[Caller],
    what: str,
    change: Callable[[Pool, Server, str, float], None],
) -> Answer:
    """Change a server, and log who wanted it and why; the answer is what has become of it."""
    pool, server = _server(steered, given["server"])
    because = _because(given)
    try:
        change(pool, server, f"by {caller or NOBODY_KNOWN}{because}", steered.seconds())
    except ValueError as error:
        raise Declined("refused", f"{given['server']}: {error}") from None
    _log_who(caller, what, given["server"], because)
    notes = []  # what may not have been meant
    if not any(pool.serves(other) for other in pool.servers):
        notes.append(f"no server of pool {pool.name} gets connections now; clients are refused")
    return {"server": _server_row(steered, server), "notes": notes}


def _turn(steered: Steered, given: Given, caller: Optional[Caller], what: str, on: bool) -> Answer:
    """Begin or end the maintenance of a pool; the same."""
    pool, because = steered.pool(given["server"]), _because(given)
    pool.maintenance.turn(on, f"by {caller or NOBODY_KNOWN}{because}", steered.wall.now())
    _log_who(caller, what, f"pool {pool.name}", because)
    notes = []
    if on and not pool.maintenance.allowed:
        notes.append("clients are turned away, all of them: there is no maintenance_allow")
    return {"pool": _pool_row(pool), "notes": notes}


def _because(given: Given) -> str:
    """The reason that was given, behind a colon."""
    reason = given.get("reason", "")
    if len(reason) > LONGEST_REASON:
        raise Declined(
            "bad_parameter", f"reason: has {len(reason)} letters; at most {LONGEST_REASON} are kept"
        )
    return f": {printable(reason, LONGEST_REASON)}" if reason else ""


def _log_who(caller: Optional[Caller], what: str, whom: str, because: str) -> None:
    log.info(
        "admin: {who} has asked for {what} of {whom}{because}",
        who=f"{caller} (pid {caller.pid})" if caller else NOBODY_KNOWN,
        what=what,
        whom=whom,
        because=because,
    )


def _server(steered: Steered, place: str) -> tuple[Pool, Server]:
    pool_name, slash, name = place.partition("/")
    if not slash:
        raise Declined(
            "bad_parameter", f"server: {quoted(place)} is not POOL/SERVER; write db/a, for example"
        )
    pool = steered.pool(pool_name)
    servers = {server.name: server for server in pool.servers}
    if name not in servers:
        raise Declined("unknown_server", f"server of pool {pool.name}: {unknown(name, servers)}")
    return pool, servers[name]


SERVER = Parameter("server", "POOL/SERVER, such as db/a", required=True)
PLACE = Parameter("server", "POOL/SERVER, such as db/a, or a POOL as a whole", required=True)
REASON = Parameter("reason", f"why, for the log and for show servers; up to {LONGEST_REASON} letters")

COMMANDS = {
    command.name: command
    for command in (
        Command("help", "what can be asked", _help),
        Command("show acme", "the certificates that authorities give out, and their renewal", _show_acme),
        Command("show info", "the daemon: its version, its process, its connections", _show_info),
        Command("show listeners", "the listeners and how many connections each has", _show_listeners),
        Command("show names", "the names that servers are given by, and what they stand for", _show_names),
        Command("show pools", "the pools and the states of their servers", _show_pools),
        Command(
            "show servers",
            "the servers: their states and why, weights, connections",
            _show_servers,
            (Parameter("pool", "the name of one pool"),),
        ),
        Command(
            "drain",
            "give a server no new connections; it keeps those that it has, and is checked on",
            _drain,
            (SERVER, REASON),
        ),
        Command(
            "disable",
            "take a server into maintenance: no new connections, and no checks; or a pool: its clients are "
            "turned away, and its servers are checked on",
            _disable,
            (PLACE, REASON),
        ),
        Command(
            "enable",
            "undo drain and disable, and end an ejection",
            _enable,
            (PLACE, REASON),
        ),
        Command(
            "weight",
            "give a server another weight; 0 drains it",
            _weight,
            (SERVER, Parameter("weight", f"0 to {HEAVIEST}", int, required=True), REASON),
        ),
        *changes.COMMANDS,
        *checks.COMMANDS,
        *certificates.COMMANDS,
        *connections.COMMANDS,
        *requests.COMMANDS,
        *tables.COMMANDS,
        *bans.COMMANDS,
        *cache.COMMANDS,
    )
}
