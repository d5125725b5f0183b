"""What can be changed in the running daemon?  ``proxyctl drain``, ``disable``, ``enable`` and ``weight``."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from time import monotonic, sleep
from typing import Any

from proxyd.cli.admin import REFUSED, ask, takes_socket
from proxyd.cli.command import Command
from proxyd.cli.show import weight
from proxyd.config.options import Duration, show_duration
from proxyd.config.pool import HEAVIEST
from proxyd.config.reader import Word
from proxyd.config.words import Invalid

LOOK_SECONDS = 0.5  # between two looks whether connections are left


def _duration(text: str) -> float:
    """A time as in the configuration."""
    try:
        return Duration().read(Word(text, "", 0))
    except Invalid as why:
        raise ArgumentTypeError(str(why)) from None


def _takes_server(parser: ArgumentParser) -> None:
    parser.add_argument("server", metavar="POOL/SERVER", help="the server, such as db/a")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the log and for show servers")
    takes_socket(parser)


def _takes_drained(parser: ArgumentParser) -> None:
    _takes_server(parser)
    parser.add_argument(
        "--wait",
        metavar="TIME",
        type=_duration,
        help="wait until it has no open connections, for so long at most: 90s, 5m; status 1 if it still has",
    )


def _takes_place(parser: ArgumentParser) -> None:
    parser.add_argument(
        "server", metavar="POOL[/SERVER]", help="the server, such as db/a, or a pool as a whole, such as db"
    )
    parser.add_argument("--reason", metavar="TEXT", help="why, for the log and for show servers and pools")
    takes_socket(parser)


def _takes_weight(parser: ArgumentParser) -> None:
    _takes_server(parser)
    parser.add_argument("weight", metavar="WEIGHT", type=int, help=f"0 to {HEAVIEST}")


def _steer(arguments: Namespace) -> int:
    """Have the daemon do it, and say what has become of the server."""
    given = {"server": arguments.server, "reason": arguments.reason}
    if arguments.command == "weight":
        given["weight"] = arguments.weight
    result = ask(arguments, arguments.command, **given)
    _tell(arguments, result)
    return _wait(arguments, result["server"]) if getattr(arguments, "wait", None) else 0


def _tell(arguments: Namespace, result: dict[str, Any]) -> None:
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    row = result.get("server") or result["pool"]
    count = _count(row)
    if "server" in result:
        print(f"{row['pool']}/{row['name']} is {_state(row)}, weight {weight(row)}, with {count}")
    else:
        what = "is in maintenance" if row["maintenance"] is not None else "serves its clients"
        print(f"pool {row['name']} {what}, with {count}")
    for note in result["notes"]:
        print(f"note: {note}", file=sys.stderr)


def _state(row: dict[str, Any]) -> str:
    return "in maintenance" if row["state"] == "maintenance" else str(row["state"])


def _count(row: dict[str, Any]) -> str:
    return f"{row['open']} open connection{'' if row['open'] == 1 else 's'}"


def _wait(arguments: Namespace, row: dict[str, Any]) -> int:
    """Wait until a server that is drained has no open connections, or is no more."""
    sys.stdout.flush()
    end = monotonic() + arguments.wait  # each look takes its time, too
    while row["open"] and row["state"] == "draining" and monotonic() < end:
        sleep(LOOK_SECONDS)
        rows = ask(arguments, "show servers", pool=row["pool"])["servers"]
        row = next((one for one in rows if one["name"] == row["name"]), {**row, "open": 0})
    trouble = "" if row["state"] == "draining" else f"is {_state(row)} now"
    if row["open"] or trouble:
        trouble = trouble or f"still has {_count(row)} after {show_duration(arguments.wait)}"
        print(f"proxyctl: {arguments.server} {trouble}", file=sys.stderr)
        return REFUSED
    if not arguments.json:
        print(f"{arguments.server} has no open connections")
    return 0


_TAKES = {"weight": _takes_weight, "drain": _takes_drained, "disable": _takes_place, "enable": _takes_place}


def _command(name: str, help: str, description: str, example: str) -> Command:
    takes = _TAKES.get(name, _takes_server)
    more = (
        "It holds until the daemon ends, and longer if [proxyd] has state. The exit status is 0 if it is "
        "done, 1 if the daemon has refused, 3 if it cannot be reached."
    )
    return Command(name, help, f"{description} {more}", example, takes, _steer)


COMMANDS = (
    _command(
        "drain",
        "give a server no new connections",
        "Give a server of the running daemon no new connections; it keeps those that it has, and its checks "
        "go on. It says how many are left; show servers says it again, and with --wait they are waited for.",
        "proxyctl drain db/a --reason 'kernel update' --wait 5m",
    ),
    _command(
        "disable",
        "take a server or a pool into maintenance",
        "Take a server of the running daemon into maintenance: it gets no new connections, and is not "
        "checked. It keeps the connections that it has, unless its pool has on_down. A pool turns its "
        "clients away, but for those of its maintenance_allow; its servers stay, and checks go on.",
        "proxyctl disable db/a --reason 'new disk'",
    ),
    _command(
        "enable",
        "undo drain and disable",
        "Have a server of the running daemon take connections again, after drain, disable or an ejection. "
        "If its pool has a check, it is checked first, unless it was checked all along. A pool serves its "
        "clients again.",
        "proxyctl enable db/a",
    ),
    _command(
        "weight",
        "give a server another weight",
        "Give a server of the running daemon another weight. With 0 it gets no new connections, and keeps "
        "those that it has.",
        "proxyctl weight db/a 50 --reason 'half of its memory is gone'",
    ),
)
