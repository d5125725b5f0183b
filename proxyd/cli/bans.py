"""Who is banned?  ``proxyctl bans list``, ``add``, ``remove``, ``export`` and ``import``."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import Any, Iterator

from proxyd.cli.admin import ask, takes_socket
from proxyd.cli.command import Command
from proxyd.cli.show import Column, age, table

LONGEST_LINE = 1000  # letters; what is more of a reason is cut anyway
BATCH_BYTES = 8000  # of lines in one request, which has at most 16 KiB

COLUMNS = (
    Column("NETWORK", lambda row: row["network"]),
    Column("FOR", lambda row: "ever" if row["for_seconds"] is None else age(row["for_seconds"]), right=True),
    Column("REASON", lambda row: row["reason"]),
)


def _rows(arguments: Namespace) -> Iterator[dict[str, Any]]:
    """All bans; the daemon tells them in pieces, between which it serves its clients."""
    skip = 0
    while skip is not None:
        answer = ask(arguments, "bans list", skip=skip)
        yield from answer["bans"]
        skip = answer["next"]


def _list(arguments: Namespace) -> int:
    rows = list(_rows(arguments))
    if arguments.json:
        print(json.dumps({"bans": rows}, indent=2))
        return 0
    for line in table(COLUMNS, rows):
        print(line)
    return 0


def _export(arguments: Namespace) -> int:
    for row in _rows(arguments):
        print(row["line"])
    return 0


def _add(arguments: Namespace) -> int:
    answer = ask(
        arguments,
        "bans add",
        network=arguments.network,
        until=arguments.until,
        reason=arguments.reason,
        cut=arguments.cut or None,
    )
    if arguments.json:
        print(json.dumps(answer, indent=2))
        return 0
    seconds = answer["ban"]["for_seconds"]
    cut = f"; connections cut: {answer['cut']}" if arguments.cut else ""
    print(f"{answer['ban']['network']} is banned for {'ever' if seconds is None else age(seconds)}{cut}")
    return _noted(answer["notes"])


def _remove(arguments: Namespace) -> int:
    answer = ask(arguments, "bans remove", network=arguments.network)
    print(json.dumps(answer, indent=2) if arguments.json else f"{answer['network']} is let in again")
    return 0


def _import(arguments: Namespace) -> int:
    try:
        with sys.stdin if arguments.file == "-" else open(arguments.file, encoding="utf-8") as file:
            lines = [line[:LONGEST_LINE] for line in file.read().split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        print(f"proxyctl: {arguments.file}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 1
    added, wrong, notes = 0, [], list[str]()
    for first, batch in _batches(lines):
        answer = ask(arguments, "bans import", lines="\n".join(batch))
        added += answer["added"]
        wrong += [{"line": first + one["line"], "why": one["why"]} for one in answer["wrong"]]
        notes += answer["notes"]
    if arguments.json:
        print(json.dumps({"added": added, "wrong": wrong, "notes": notes}, indent=2))
        return 1 if wrong else 0
    for one in wrong:
        print(f"{arguments.file}:{one['line']}: {one['why']}", file=sys.stderr)
    print(f"bans added: {added}")
    _noted(notes)
    return 1 if wrong else 0


def _batches(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The lines in batches that fit into a request, each with the number of lines before it."""
    batch, size, first = list[str](), 0, 0
    for place, line in enumerate(lines):
        length = len(json.dumps(line))
        if batch and size + length > BATCH_BYTES:
            yield first, batch
            batch, size, first = [], 0, place
        batch.append(line)
        size += length
    if batch:
        yield first, batch


def _noted(notes: list[str]) -> int:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _takes(parser: ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="what to do", metavar="WHAT", dest="what", required=True)

    def add(name: str, run: Any, help: str, example: str) -> ArgumentParser:
        one = kinds.add_parser(name, help=help, description=help, epilog=f"example: proxyctl bans {example}")
        takes_socket(one)
        one.set_defaults(do=run)
        return one

    add("list", _list, "who is banned, for how much longer, and why", "list")
    add("export", _export, "print all bans as lines that import takes", "export > bans.txt")
    one = add(
        "add", _add, "ban an address or a network", "add 192.0.2.7 10m --reason 'too many logins' --cut"
    )
    one.add_argument(
        "network", metavar="NETWORK", help="such as 192.0.2.7, or 2001:db8::1/64 for its network"
    )
    one.add_argument("until", metavar="UNTIL", help="10m or 1d from now, seconds since the epoch, or never")
    one.add_argument("--reason", metavar="TEXT", help="why, for the records of those who are refused")
    one.add_argument("--cut", action="store_true", help="end the connections that are open, too")
    one = add("remove", _remove, "let an address or a network in again", "remove 192.0.2.7")
    one.add_argument("network", metavar="NETWORK", help="as it was banned")
    one = add(
        "import",
        _import,
        "add bans from lines of a network, its end and a reason; the exit status is 1 if a line was wrong",
        "import bans.txt",
    )
    one.add_argument("file", metavar="FILE", help="the file, or - for standard input")


def _run(arguments: Namespace) -> int:
    status: int = arguments.do(arguments)
    return status


COMMANDS = (
    Command(
        "bans",
        help="who is banned from all listeners; ban somebody, or end a ban",
        description="See and change who is banned from all listeners of the running daemon. The exit status "
        "is 0 if it is done, 1 if the daemon has refused, 3 if it cannot be reached.",
        example="proxyctl bans add 192.0.2.7 10m --reason 'too many logins'",
        arguments=_takes,
        run=_run,
    ),
)
