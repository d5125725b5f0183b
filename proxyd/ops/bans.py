"""How are bans made, ended, listed and taken over at run time?  The commands of the admin socket for that."""

from __future__ import annotations

import math
from itertools import islice
from typing import Optional

from twisted.logger import Logger

from proxyd.config.words import Invalid
from proxyd.ops.command import NOBODY_KNOWN, Answer, Caller, Command, Declined, Given, Parameter, Steered
from proxyd.policy.bans import Ban, make_ban, read_bans, read_network, show_network

ROWS = 1000  # in one answer: they take some 10 ms, in which nobody else is served

log = Logger()


def _list(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    skipped, wall = max(0, given.get("skip", 0)), steered.wall.now()
    rows = [_row(ban, wall) for ban in islice(steered.bans, skipped, skipped + ROWS) if ban.until > wall]
    return {"bans": rows, "next": skipped + ROWS if skipped + ROWS < len(steered.bans) else None}


def _row(ban: Ban, wall: float) -> Answer:
    return {
        "network": show_network(ban.network),
        "until": None if ban.until == math.inf else ban.until,
        "for_seconds": None if ban.until == math.inf else round(ban.until - wall, 3),
        "reason": ban.reason,
        "line": ban.line,
    }


def _add(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    wall = steered.wall.now()
    try:
        ban = make_ban(given["network"], given["until"], given.get("reason", ""), wall)
    except Invalid as why:
        raise Declined("bad_parameter", str(why)) from None
    if ban.until <= wall:
        raise Declined("bad_parameter", f"until: {given['until']} is over")
    notes = _take(steered, [ban])
    cut = steered.cut(ban) if given.get("cut") else 0
    _tell(caller, f"banned {ban}" + (f", and cut its {cut} connections" if given.get("cut") else ""))
    return {"ban": _row(ban, wall), "cut": cut, "notes": notes}


def _remove(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    try:
        network = read_network(given["network"])
    except Invalid as why:
        raise Declined("bad_parameter", str(why)) from None
    if not steered.bans.remove(network):
        raise Declined("unknown_ban", f"network: {show_network(network)} is not banned")
    _tell(caller, f"ended the ban of {show_network(network)}")
    return {"network": show_network(network)}


def _import(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    bans, wrong = read_bans(given["lines"].split("\n"), steered.wall.now())
    notes = _take(steered, bans)
    _tell(caller, f"imported {len(bans)} bans")
    return {"added": len(bans), "wrong": [{"line": line, "why": why} for line, why in wrong], "notes": notes}


def _take(steered: Steered, bans: list[Ban]) -> list[str]:
    before = steered.bans.dropped
    for ban in bans:
        steered.bans.add(ban)
    dropped = steered.bans.dropped - before
    if not dropped:
        return []
    return [
        f"max_bans: there are {steered.bans.most}; bans that would have ended first were dropped: {dropped}"
    ]


def _tell(caller: Optional[Caller], what: str) -> None:
    who = f"{caller} (pid {caller.pid})" if caller else NOBODY_KNOWN
    log.info("admin: {who} has {what}", who=who, what=what)


NETWORK = Parameter("network", "an address or a network, such as 192.0.2.7 or 2001:db8::/64", required=True)

COMMANDS = (
    Command(
        "bans list",
        f"who is banned, until when and why; {ROWS} in an answer, which says how many to skip for the next",
        _list,
        (Parameter("skip", "how many to leave out, 0 for none", int),),
    ),
    Command(
        "bans add",
        "close the connections of an address or a network at accept, at all listeners, until it ends",
        _add,
        (
            NETWORK,
            Parameter("until", "a duration such as 10m, seconds since the epoch, or never", required=True),
            Parameter("reason", "why, for the records of those who are refused"),
            Parameter("cut", "whether its open connections are ended, too", bool),
        ),
    ),
    Command("bans remove", "let a network in again, which was banned as such", _remove, (NETWORK,)),
    Command(
        "bans import",
        "add bans as they are listed: on each line a network, its end and its reason",
        _import,
        (Parameter("lines", "lines such as: 192.0.2.7 10m too many errors", required=True),),
    ),
)
