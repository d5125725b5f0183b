"""What of the running daemon can be forgotten?  ``proxyctl clear``: an entry of a table, or all of them."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from proxyd.cli.admin import ask, takes_socket
from proxyd.cli.command import Command
from proxyd.config.words import printable

LONGEST_KEY = 200  # letters


def _takes_entry(parser: ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="what to forget", metavar="WHAT", dest="what", required=True)
    one = kinds.add_parser(
        "table",
        help="an entry of a table, or all of them",
        description="Forget an entry of a table, as if that client had never come. It does not end a ban.",
        epilog="example: proxyctl clear table counters/clients 192.0.2.7",
    )
    one.add_argument("table", metavar="TABLE", help="its name, as show tables has it")
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "key", metavar="KEY", nargs="?", help="the entry, as the first column of show table has it"
    )
    which.add_argument("--all", action="store_true", help="all entries")
    takes_socket(one)


def _clear(arguments: Namespace) -> int:
    given = {"key": arguments.key, "all": True if arguments.all else None}
    answer = ask(arguments, "clear table", table=arguments.table, **given)
    if arguments.json:
        print(json.dumps(answer, indent=2))
    elif arguments.all:
        print(f"{answer['table']} has forgotten all of its entries, {answer['entries']}")
    else:
        print(f"{answer['table']} has forgotten {printable(answer['key'], LONGEST_KEY)}")
    return 0


COMMANDS = (
    Command(
        "clear",
        help="have the running daemon forget an entry of a table, or all",
        description="Have the running daemon forget what it knows of a client. The exit status is 0 if it "
        "is done, 1 if the daemon has refused, 3 if it cannot be reached.",
        example="proxyctl clear table counters/clients 192.0.2.7",
        arguments=_takes_entry,
        run=_clear,
    ),
)
