"""What is stored?  ``proxyctl cache list`` and ``proxyctl cache purge``."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import Any, Callable

from proxyd.cli.admin import ask, takes_socket
from proxyd.cli.command import Command
from proxyd.cli.show import Column, table

COLUMNS = (
    Column("CACHE", lambda row: row["name"]),
    Column("ENTRIES", lambda row: str(row["entries"]), right=True),
    Column("USED", lambda row: f"{row['used'] / row['size']:.0%}", right=True),
    Column("ON-DISK", lambda row: _of_disk(row, lambda disk: str(disk["entries"])), right=True),
    Column(
        "DISK-USED", lambda row: _of_disk(row, lambda disk: f"{disk['used'] / disk['size']:.0%}"), right=True
    ),
    Column("HITS", lambda row: _ratio(row["requests"]), right=True),
    Column("EVICTED", lambda row: str(row["evicted"]), right=True),
    Column("PURGED", lambda row: str(row["purged"]), right=True),
)

_HITS = ("hit", "stale", "revalidated", "coalesced")


def _of_disk(row: Any, what: Callable[[Any], str]) -> str:
    return "-" if row["disk"] is None else what(row["disk"])


def _ratio(requests: dict[str, int]) -> str:
    """The share of requests that needed no answer of a server's own."""
    whole = sum(requests.values())
    return f"{sum(requests[word] for word in _HITS) / whole:.0%}" if whole else "-"


def _list(arguments: Namespace) -> int:
    answer = ask(arguments, "cache list")
    if arguments.json:
        print(json.dumps(answer, indent=2))
        return 0
    for line in table(COLUMNS, answer["caches"]):
        print(line)
    return 0


def _purge(arguments: Namespace) -> int:
    answer = ask(
        arguments,
        "cache purge",
        cache=arguments.cache,
        url=arguments.url,
        prefix=arguments.prefix,
        tag=arguments.tag,
    )
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        rest = "; what is left is given no more, and is being removed" if answer["going_on"] else ""
        print(f"answers purged: {answer['purged']}{rest}")
    return 0


def _takes(parser: ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="what to do", metavar="WHAT", dest="what", required=True)

    def add(name: str, run: Any, help: str, example: str) -> ArgumentParser:
        one = kinds.add_parser(name, help=help, description=help, epilog=f"example: proxyctl cache {example}")
        takes_socket(one)
        one.set_defaults(run=run)
        return one

    add("list", _list, "the caches, how full they are, and which share of requests they answer", "list")
    one = add(
        "purge",
        _purge,
        "throw away what is stored: one URL, all that begin so, or all that has a tag",
        "purge pages --tag article-7",
    )
    one.add_argument("cache", metavar="CACHE", help="its name in the configuration")
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument("--url", metavar="URL", help="one URL, with its scheme and host")
    which.add_argument("--prefix", metavar="TEXT", help="how URLs begin")
    which.add_argument("--tag", metavar="WORD", help="a word of Surrogate-Key or Cache-Tag")


COMMANDS = (
    Command(
        "cache",
        help="see what the running daemon has stored, and throw it away",
        description="See what the caches of the running daemon have stored, and throw it away. The exit "
        "status is 0 if it is done, 1 if the daemon has refused, 3 if it cannot be reached.",
        example="proxyctl cache purge pages --prefix https://www.example.com/images/",
        arguments=_takes,
        run=_list,
    ),
)
