"""What can be changed in the daemon while it runs?  ``proxyctl weight``."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from proxyd.cli.admin import ask, takes_socket
from proxyd.cli.command import Command
from proxyd.config.pool import HEAVIEST


def _takes_server(parser: ArgumentParser) -> None:
    parser.add_argument("server", metavar="POOL/SERVER", help="the server, such as db/a")


def _takes_reason(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", metavar="TEXT", help="why, for the daemon's log and for show servers")
    takes_socket(parser)


def _takes_weight(parser: ArgumentParser) -> None:
    _takes_server(parser)
    parser.add_argument("weight", metavar="WEIGHT", type=int, help=f"0 to {HEAVIEST}")
    _takes_reason(parser)


def _weight(arguments: Namespace) -> int:
    return _steer(arguments, "weight", weight=arguments.weight)


def _steer(arguments: Namespace, command: str, **given: Any) -> int:
    """Have the daemon do it, and print what has become of the server."""
    result = ask(arguments, command, server=arguments.server, reason=arguments.reason, **given)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return 0
    row = result["server"]
    left = f"{row['open']} connection{'' if row['open'] == 1 else 's'} open"
    print(f"{row['pool']}/{row['name']}: {row['state']}, weight {row['weight']}, {left}")
    return 0


COMMANDS = (
    Command(
        "weight",
        help="give a server another weight",
        description="Give a server of the running daemon another weight, by the admin socket. With 0 it gets "
        "no new connections, and keeps those that it has. It holds until the daemon ends.",
        example="proxyctl weight db/a 50 --reason 'half of its memory is gone'",
        arguments=_takes_weight,
        run=_weight,
    ),
)
