"""How are the servers of a pool now, in the running daemon, for an explanation that begins with that?"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any, Optional

from attrs import evolve

from proxyd.cli.admin import Refused, ask, ask_gently
from proxyd.config.address import Addresses, ServerAddress
from proxyd.config.affinity import SNI, SOURCE
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.reader import Word

if TYPE_CHECKING:
    from proxyd.policy.explain import Supposed


def as_it_is(file: str, spec: PoolSpec, supposed: Supposed) -> tuple[PoolSpec, Supposed]:
    """
    The pool with the servers that the daemon of this configuration has, and what is so of them.

    What was supposed before stays.  Leaves if the daemon cannot be asked, or does not have the pool.
    """
    from proxyd.policy.state import State

    where = Namespace(socket=None, config=file)
    rows = ask(where, "show servers", pool=spec.name)["servers"]
    [pool] = [row for row in ask(where, "show pools")["pools"] if row["name"] == spec.name]
    written = {server.name: server for server in spec.servers}
    spec = evolve(
        spec,
        servers=tuple(_server(row, written.get(row["name"])) for row in rows),
        maintenance=pool["maintenance"] is not None,
    )
    if not supposed.remembered:
        known = _remembered(where, spec, supposed)
        if known:
            supposed = evolve(supposed, remembered=known[0], first=known[-1])
    return spec, evolve(
        supposed,
        states={**{row["name"]: State(row["state"]) for row in rows}, **supposed.states},
        weights={**{row["name"]: row["weight"] for row in rows}, **supposed.weights},
        open={**{row["name"]: row["open"] for row in rows}, **supposed.open},
    )


def _server(row: dict[str, Any], written: Optional[ServerSpec]) -> ServerSpec:
    """A server of the daemon's, which need not be written: an address of a name may be one."""
    addresses = tuple(map(_address, row["address"].split(",")))
    return evolve(
        written if written is not None else ServerSpec(row["name"], addresses[0]),
        address=addresses[0] if len(addresses) == 1 else Addresses(addresses),
        weight=row["configured_weight"],
        backup=row["backup"],
        priority=row["priority"],
        max_connections=row["max_connections"],
        adaptive=None,  # what it has come to is known
    )


def _address(text: str) -> Any:
    return ServerAddress(may_be_srv=True).parse([Word(text, "", 0)], lambda line, why: None)


def _remembered(where: Namespace, spec: PoolSpec, supposed: Supposed) -> list[str]:
    """
    The servers that the daemon remembers of the client, where that goes by what is supposed of it.

    They are the last one and, where clients are led back to it, the first one, as far as they are there.
    """
    by = spec.affinity.key if spec.affinity is not None else ""
    key = {SOURCE: supposed.arrival.source, SNI: supposed.arrival.sni}.get(by, "")
    if not key:
        return []
    try:
        [row] = ask_gently(where, "show table", table=f"affinity/{spec.name}", key=key)["rows"]
    except Refused:
        return []
    there = [one.name for one in spec.servers]
    return [row[which] for which in ("server", "first") if row.get(which) in there]
