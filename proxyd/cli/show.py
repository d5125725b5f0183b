"""What is the running daemon doing?  ``proxyctl show``: its servers, pools and listeners, as tables."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import Any, Callable, Iterator, Optional, Sequence

from attrs import frozen

from proxyd.cli.admin import ask, takes_socket
from proxyd.cli.command import Command
from proxyd.cli.table import aligned
from proxyd.config.words import printable

LONGEST_CELL = 200  # letters
NOTHING = "-"

Row = dict[str, Any]


@frozen
class Column:
    """A column of a table: its title, what of a row stands in it, and whether it is numbers."""

    title: str
    cell: Callable[[Row], object]
    right: bool = False


@frozen
class View:
    """
    One thing that can be shown: the rows of an answer, as a table.

    ``rows`` is what the answer calls them; one without them is a single row.  Without ``columns`` the answer
    says which there are.
    """

    name: str
    help: str
    columns: tuple[Column, ...] = ()
    rows: str = ""
    options: Callable[[ArgumentParser], object] = lambda parser: None
    given: Callable[[Namespace], dict[str, Any]] = lambda arguments: {}
    example: str = ""

    def show(self, arguments: Namespace) -> int:
        """Ask the daemon, and print what it says."""
        result = ask(arguments, f"show {self.name}", **self.given(arguments))
        if arguments.json:
            print(json.dumps(result, indent=2))
        else:
            columns = self.columns or [_column(name) for name in result["columns"]]
            for line in table(columns, result[self.rows] if self.rows else [result]):
                print(line)
        return 0


def table(columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[str]:
    """The lines of a table: a title for each column, and below it the cells, in line with each other."""
    grid = [[column.title for column in columns]]
    # A server may have said what stands in a cell, so no cell may speak to the terminal.
    grid += [
        [printable(str(column.cell(row)), LONGEST_CELL) or NOTHING for column in columns] for row in rows
    ]
    return aligned(grid, [column.right for column in columns])


def age(seconds: float) -> str:
    """How long that is, for people: 5s, 3m20s, 2h05m, 4d07h."""
    whole = max(0, int(seconds))
    for size, unit, part, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02}{smaller}"
    return f"{whole}s"


def _column(name: str) -> Column:
    """A column that the daemon has named; one that ends in ``_seconds`` is a duration."""
    title, is_duration, _ = name.partition("_seconds")
    if is_duration:
        return Column(title.upper(), lambda row: age(row[name]), right=True)
    return Column(title.upper(), lambda row: row[name])


def weight(row: Row) -> str:
    """The weight of a server; before it what it comes to at the moment, if the server starts slowly."""
    effective = row["effective_weight"]
    return str(row["weight"]) if effective == row["weight"] else f"{effective:g}/{row['weight']}"


def _state(row: Row) -> str:
    """The state of a server; of one that drains also that its checks fail: enabled, it would be down."""
    fails = row["state"] == "draining" and row["health"] == "down"
    return f"{row['state']} (down)" if fails else str(row["state"])


def _of(count: int, most: int) -> str:
    """How many there are, and how many there may be, if that has a limit."""
    return f"{count}/{most}" if most else str(count)


def _states(row: Row) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in row["states"].items())
    panic = " (panic: all get connections)" if row["panic"] else ""
    return counts + panic + (f"; maintenance {row['maintenance']}" if row["maintenance"] is not None else "")


def _expiry(row: Row) -> str:
    """In how long a certificate expires; before the first there is a placeholder."""
    seconds = row["expires_in_seconds"]
    if seconds is None:
        return "placeholder"
    return age(seconds) if seconds > 0 else "EXPIRED"


def _while(seconds: Optional[float]) -> str:
    return age(seconds) if seconds is not None else NOTHING


def _of_one_pool(parser: ArgumentParser) -> None:
    parser.add_argument("--pool", metavar="POOL", help="the servers of this pool alone")


def _changes_of_one_pool(parser: ArgumentParser) -> None:
    parser.add_argument("--pool", metavar="POOL", help="the changes of this pool alone")
    parser.add_argument("--limit", metavar="ROWS", type=int, help="so many at most (100 if not given)")


def _check(row: Row) -> str:
    """What is checked: its kind, and before it the name that it has if there are several."""
    return f"{row['check']} ({row['kind']})" if row["check"] else str(row["kind"])


def _next(row: Row) -> str:
    """When a check looks again."""
    if row["rests"] is not None:
        return NOTHING
    return "now" if row["next_in_seconds"] is None else f"{row['next_in_seconds']:.1f}s"


def _against(row: Row) -> str:
    """How many results in a row say otherwise, of how many would count; an agent's count at once."""
    return f"{row['against']}/{row['needed']}" if row["needed"] else NOTHING


def _took(row: Row) -> str:
    seconds = row["took_seconds"]
    if seconds is None:
        return NOTHING
    return f"{seconds:.3g}s" if seconds >= 1 else f"{seconds * 1000:.3g}ms"


def _found(row: Row) -> str:
    """What a check has found last, and why it does not look any more."""
    if row["rests"] is None:
        return str(row["found"])
    return f"{row['rests']}; before: {row['found']}" if row["found"] else str(row["rests"])


def _of_one_listener(parser: ArgumentParser) -> None:
    parser.add_argument("--listener", metavar="LISTENER", help="the connections of this listener alone")
    parser.add_argument("--limit", metavar="ROWS", type=int, help="so many at most (100 if not given)")
    parser.add_argument(
        "--tcp", action="store_true", help="ask the kernel: round trips, segments sent again, windows"
    )


def _of_one_http_listener(parser: ArgumentParser) -> None:
    parser.add_argument("--listener", metavar="LISTENER", help="the requests of this listener alone")
    parser.add_argument("--limit", metavar="ROWS", type=int, help="so many at most (100 if not given)")
    parser.add_argument(
        "--older", metavar="SECONDS", type=int, help="those alone that are under way for so long"
    )


def _tcp(row: Row) -> str:
    """What the kernel knows of the client's side and of the server's, as far as it fits a line."""
    sides = (("client", row.get("client_tcp")), ("server", row.get("server_tcp")))
    return "; ".join(f"{name} {_known(info)}" for name, info in sides if info)


def _address(row: Row) -> str:
    """Where a server is, and whether TLS is spoken there."""
    return f"{row['address']} (TLS)" if row["tls_failures"] is not None else str(row["address"])


def _known(info: Row) -> str:
    scale = f"/{info['snd_wscale']}" if "snd_wscale" in info else ""
    window = f", window {info['snd_wnd']}{scale}" if "snd_wnd" in info else ""
    return f"rtt {info['rtt'] * 1000:.3g}ms, again {info['retransmits']}, mss {info['mss']}{window}"


def _of_one_table(parser: ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE", help="its name, as show tables has it")
    parser.add_argument(
        "key", metavar="KEY", nargs="?", help="that entry alone; any address of its network will do"
    )
    parser.add_argument(
        "--limit", metavar="ROWS", type=int, help="so many entries at most (100 if not given)"
    )


def _expires(row: Row) -> str:
    """In how long it does; nothing of a file that no certificate could be had of."""
    return NOTHING if row["expires_in_seconds"] is None else _expiry(row)


VIEWS = (
    View(
        "certificates",
        "each certificate: its names, who issued it, in how long it expires, and what is wrong with it",
        (
            Column("LISTENER", lambda row: row["listener"]),
            Column("FILE", lambda row: row["files"][0]),
            Column("NAMES", lambda row: " ".join(row["names"])),
            Column("KEY", lambda row: row["key_type"]),
            Column("ISSUER", lambda row: row["issuer"]),
            Column("EXPIRES IN", _expires, right=True),
            Column("RENEWED IN", lambda row: _while(row["renewed_in_seconds"]), right=True),
            Column("STAPLE", lambda row: row["staple"]),
            Column("TROUBLE", lambda row: row["trouble"]),
        ),
        rows="certificates",
        example="proxyctl show certificates",
    ),
    View(
        "servers",
        "each server: its state, for how long and why, its weight, its open connections",
        (
            Column("SERVER", lambda row: f"{row['pool']}/{row['name']}"),
            Column("STATE", _state),
            Column("FOR", lambda row: age(row["for_seconds"]), right=True),
            Column("WEIGHT", weight, right=True),
            Column("OPEN", lambda row: _of(row["open"], row["max_connections"]), right=True),
            Column("ADDRESS", _address),
            Column("WHY", lambda row: row["why"]),
        ),
        rows="servers",
        options=_of_one_pool,
        given=lambda arguments: {"pool": arguments.pool},
        example="--pool db",
    ),
    View(
        "checks",
        "each check of each server: what it has found last, how long ago, and when it looks again",
        (
            Column("SERVER", lambda row: f"{row['pool']}/{row['server']}"),
            Column("CHECK", _check),
            Column("SAYS", lambda row: row["state"]),
            Column("AGAINST", _against, right=True),
            Column("AGO", lambda row: _while(row["ago_seconds"]), right=True),
            Column("TOOK", _took, right=True),
            Column("NEXT IN", _next, right=True),
            Column("ADDRESS", lambda row: row["address"]),
            Column("FOUND", _found),
        ),
        rows="checks",
        options=_of_one_pool,
        given=lambda arguments: {"pool": arguments.pool},
        example="--pool db",
    ),
    View(
        "changes",
        "what has become of servers and pools lately, and who or what did it; the newest comes first",
        (
            Column("AGO", lambda row: age(row["ago_seconds"]), right=True),
            Column("SERVER", lambda row: f"{row['pool']}/{row['server']}" if row["server"] else row["pool"]),
            Column("WHAT", lambda row: row["what"]),
            Column("WHY", lambda row: row["why"]),
        ),
        rows="changes",
        options=_changes_of_one_pool,
        given=lambda arguments: {"pool": arguments.pool, "limit": arguments.limit},
        example="--pool db --limit 20",
    ),
    View(
        "pools",
        "each pool: how it balances and checks, the states of its servers, its open connections",
        (
            Column("POOL", lambda row: row["name"]),
            Column("BALANCE", lambda row: row["balance"]),
            Column("CHECK", lambda row: row["check"] or "none"),
            Column("OPEN", lambda row: row["open"], right=True),
            Column("QUEUE", lambda row: _of(row["waiting"], row["queue_length"]), right=True),
            Column("SERVERS", _states),
        ),
        rows="pools",
    ),
    View(
        "listeners",
        "each listener: where it listens, the pools it leads to, its open connections",
        (
            Column("LISTENER", lambda row: row["name"]),
            Column("OPEN", lambda row: row["open"], right=True),
            Column("BINDS", lambda row: " ".join(row["binds"])),
            Column("POOLS", lambda row: " ".join(row["pools"])),
        ),
        rows="listeners",
    ),
    View(
        "connections",
        "each open connection: from whom, to which server, for how long, its bytes; with --tcp its windows",
        (
            Column("LISTENER", lambda row: row["listener"]),
            Column("CLIENT", lambda row: row["client"]),
            Column("SERVER", lambda row: f"{row['pool']}/{row['server']}" if row["server"] else row["pool"]),
            Column("ADDRESS", lambda row: row["server_address"]),
            Column("FOR", lambda row: age(row["for_seconds"]), right=True),
            Column("IN", lambda row: row["bytes_in"], right=True),
            Column("OUT", lambda row: row["bytes_out"], right=True),
            Column("TCP", _tcp),
        ),
        rows="connections",
        options=_of_one_listener,
        given=lambda arguments: {
            "listener": arguments.listener,
            "limit": arguments.limit,
            "tcp": 1 if arguments.tcp else None,
        },
        example="--listener db --tcp",
    ),
    View(
        "requests",
        "each request of HTTP that is under way: of whom, for what, how far it is, for how long, and where",
        (
            Column("LISTENER", lambda row: row["listener"]),
            Column("CLIENT", lambda row: row["client"]),
            Column("STATE", lambda row: f"{row['state']} {row['status']}" if row["status"] else row["state"]),
            Column("FOR", lambda row: age(row["for_seconds"]), right=True),
            Column("ROUTE", lambda row: row["route"]),
            Column("SERVER", lambda row: f"{row['pool']}/{row['server']}" if row["server"] else row["pool"]),
            Column("IN", lambda row: row["bytes_in"], right=True),
            Column("OUT", lambda row: row["bytes_out"], right=True),
            Column("REQUEST", lambda row: f"{row['method']} {row['host']}{row['target']}".strip()),
        ),
        rows="requests",
        options=_of_one_http_listener,
        given=lambda arguments: {
            "listener": arguments.listener,
            "limit": arguments.limit,
            "older": arguments.older,
        },
        example="--listener web --older 10",
    ),
    View(
        "names",
        "each name that servers are given by: its addresses, when it is looked up again, what is wrong",
        (
            Column("NAME", lambda row: row["name"]),
            Column("AGAIN IN", lambda row: age(row["again_in_seconds"]), right=True),
            Column("SERVERS", lambda row: " ".join(row["servers"])),
            Column("ADDRESSES", lambda row: " ".join(row["addresses"])),
            Column("TROUBLE", lambda row: row["trouble"]),
        ),
        rows="names",
    ),
    View(
        "acme",
        "each certificate from an authority: until when it is good, when it is renewed, what went wrong",
        (
            Column("CERTIFICATE", lambda row: f"{row['authority']}/{row['certificate']}"),
            Column("EXPIRES IN", _expiry, right=True),
            Column("NEXT IN", lambda row: age(row["next_in_seconds"]), right=True),
            Column("RENEWED", lambda row: row["renewed"], right=True),
            Column("FAILED", lambda row: row["failed"], right=True),
            Column("NAMES", lambda row: " ".join(row["names"])),
            Column("TROUBLE", lambda row: row["trouble"]),
        ),
        rows="acme",
    ),
    View(
        "ocsp",
        "what authorities say of each certificate that they are asked of: for how long it holds",
        (
            Column("FILE", lambda row: row["file"]),
            Column("HOLDS FOR", lambda row: _while(row["holds_for_seconds"]), right=True),
            Column("NEXT IN", lambda row: _while(row["next_in_seconds"]), right=True),
            Column("FETCHED", lambda row: row["fetched"], right=True),
            Column("FAILED", lambda row: row["failed"], right=True),
            Column("RESPONDER", lambda row: row["url"]),
            Column("TROUBLE", lambda row: row["trouble"]),
        ),
        rows="ocsp",
    ),
    View(
        "tables",
        "each table of what is remembered: how many entries it has, and how many it may have",
        (
            Column("TABLE", lambda row: row["name"]),
            Column("KIND", lambda row: row["kind"]),
            Column("ENTRIES", lambda row: row["entries"], right=True),
            Column("SIZE", lambda row: row["size"], right=True),
        ),
        rows="tables",
    ),
    View(
        "table",
        "the entries of a table, those that were used last first, or one of them",
        rows="rows",
        options=_of_one_table,
        given=lambda arguments: {
            "table": arguments.table,
            "limit": arguments.limit,
            "key": arguments.key,
        },
        example="affinity/db 10.1.2.3",
    ),
    View(
        "info",
        "the daemon itself: its version, its process, its open connections",
        (
            Column("VERSION", lambda row: row["version"]),
            Column("PID", lambda row: row["pid"], right=True),
            Column("UP", lambda row: age(row["up_seconds"]), right=True),
            Column("OPEN", lambda row: _of(row["open"], row["max_connections"]), right=True),
        ),
    ),
)


def _takes_view(parser: ArgumentParser) -> None:
    views = parser.add_subparsers(title="what to show", metavar="WHAT", dest="view", required=True)
    for view in VIEWS:
        one = views.add_parser(
            view.name,
            help=view.help,
            description=f"Show {view.help}.",
            epilog=f"example: proxyctl show {view.name} {view.example or '--json'}",
        )
        view.options(one)
        takes_socket(one)
        one.set_defaults(show=view.show)


def _show(arguments: Namespace) -> int:
    status: int = arguments.show(arguments)
    return status


COMMANDS = (
    Command(
        "show",
        help="what the running daemon is doing: its servers, pools and listeners",
        description="Ask the running daemon, by its admin socket, what it is doing. The exit status is 0 if "
        "it has answered, 1 if it has refused to, 3 if it cannot be reached.",
        example="proxyctl show servers --pool db",
        arguments=_takes_view,
        run=_show,
    ),
)
