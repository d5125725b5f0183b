"""What can be changed in the running daemon?  ``proxyctl drain``, ``disable``, ``enable`` and ``weight``."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace

from proxyd.cli.admin import ask, takes_socket
from proxyd.cli.command import Command
from proxyd.cli.show import weight
from proxyd.config.pool import HEAVIEST


def _takes_server(parser: ArgumentParser) -> None:
    parser.add_argument("server", metavar="POOL/SERVER", help="the server, such as db/a")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the log and for show servers")
    takes_socket(parser)


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
    if arguments.json:
        print(json.dumps(result, indent=2))
        return 0
    row = result.get("server") or result["pool"]
    count = f"{row['open']} open connection{'' if row['open'] == 1 else 's'}"
    if "server" in result:
        state = "in maintenance" if row["state"] == "maintenance" else row["state"]
        print(f"{row['pool']}/{row['name']} is {state}, weight {weight(row)}, with {count}")
    else:
        what = "is in maintenance" if row["maintenance"] is not None else "serves its clients"
        print(f"pool {row['name']} {what}, with {count}")
    for note in result["notes"]:
        print(f"note: {note}", file=sys.stderr)
    return 0


_TAKES = {"weight": _takes_weight, "disable": _takes_place, "enable": _takes_place}


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
        "go on. It says how many are left; show servers says it again.",
        "proxyctl drain db/a --reason 'kernel update'",
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
