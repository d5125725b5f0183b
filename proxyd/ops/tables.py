"""
What does the daemon remember, how is it shown, and how forgotten?  The commands of the admin socket for that.

A table is something with entries that come and go by themselves.  Each kind is made a `Table` here, and so is
shown and cleared by the same commands, and by ``proxyctl`` without a change to that.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, Optional, Sequence

from attrs import frozen
from twisted.logger import Logger

from proxyd.config.counters import SOURCE
from proxyd.config.options import unknown
from proxyd.config.words import Invalid, printable
from proxyd.ops.command import NOBODY_KNOWN, Answer, Caller, Command, Declined, Given, Parameter, Steered
from proxyd.policy import affinity as affinities
from proxyd.policy import counters
from proxyd.policy.affinity import Affinity
from proxyd.policy.counters import Counters

ROWS = 100  # if nobody says how many
MOST_ROWS = 1000  # in one answer: they take some 10 ms, in which nobody else is served

LONGEST_KEY = 200  # letters, in the log

log = Logger()


@frozen
class Table:
    """
    A table for people.

    Its ``name`` is its kind and whose it is; it has so many ``entries`` of at most ``size``.  ``rows`` gives
    no more than so many of them, those that were used last first, each with a value for each column; a column
    that ends in ``_seconds`` is a duration.  ``row`` gives the one that the first column calls so, if it is
    there, and ``clear`` forgets it, and returns whether it was there; both raise `Invalid` for what can be
    none.  ``clear_all`` forgets them all.
    """

    name: str
    kind: str
    entries: int
    size: int
    columns: tuple[str, ...]
    rows: Callable[[int], Iterable[Sequence[Any]]]
    row: Callable[[str], Optional[Sequence[Any]]]
    clear: Callable[[str], bool]
    clear_all: Callable[[], None]


def tables(steered: Steered) -> Iterator[Table]:
    """All tables that there are."""
    for pool in steered.pools.values():
        if pool.affinity is not None and pool.affinity.remembers:
            yield _affinity(pool.name, pool.affinity, steered.seconds())
    for table in steered.counters:
        yield _counters(table, steered.seconds())


def _affinity(pool: str, affinity: Affinity, now: float) -> Table:
    def key_called(text: str) -> bytes:
        return affinities.key_called(affinity.spec, text)

    def shown(entry: affinities.Entry) -> Sequence[Any]:
        row = entry.key, entry.server, round(entry.left, 3), entry.uses
        return (*row, entry.first) if affinity.failback else row

    columns = ("client", "server", "left_seconds", "connections")
    return Table(
        name=f"affinity/{pool}",
        kind="affinity",
        entries=len(affinity.table),
        size=affinity.spec.size,
        columns=(*columns, "first") if affinity.failback else columns,  # whom clients are led back to
        rows=lambda most: map(shown, affinity.entries(now, most)),
        row=lambda text: _if_there(shown, affinity.entry(key_called(text), now)),
        clear=lambda text: affinity.table.clear(key_called(text)),
        clear_all=affinity.table.clear_all,
    )


def _counters(table: Counters, now: float) -> Table:
    spec = table.spec

    def shown(row: counters.Row) -> Sequence[Any]:
        return (
            counters.shown(spec, row.key),
            row.open, row.connections, row.errors, row.protocol_errors, row.bytes_in, row.bytes_out,
            round(row.idle_seconds, 3),
        )  # fmt: skip

    return Table(
        name=f"counters/{spec.name}",
        kind="counters",
        entries=len(table),
        size=spec.size,
        columns=(
            "client" if spec.key == SOURCE else "name",
            "open", "connections", "errors", "protocol_errors", "bytes_in", "bytes_out", "idle_seconds",
        ),
        rows=lambda most: map(shown, table.rows(now, most)),
        row=lambda text: _if_there(shown, table.row(counters.key_called(spec, text), now)),
        clear=lambda text: table.clear(counters.key_called(spec, text)),
        clear_all=table.clear_all,
    )  # fmt: skip


def _if_there(shown: Callable[[Any], Sequence[Any]], found: Optional[Any]) -> Optional[Sequence[Any]]:
    return shown(found) if found is not None else None


def _show_tables(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    return {"tables": [_row(table) for table in tables(steered)]}


def _show_table(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    table = _table(steered, given["table"])
    limit = given.get("limit", ROWS)
    if not 1 <= limit <= MOST_ROWS:
        raise Declined("bad_parameter", f"limit: {limit} is not a number of rows; write 1 to {MOST_ROWS}")
    found = table.rows(limit) if "key" not in given else [_of_key(table, given["key"], table.row)]
    rows = [dict(zip(table.columns, row)) for row in found]
    return {**_row(table), "columns": list(table.columns), "rows": rows}


def _of_key(table: Table, key: str, asked: Callable[[str], Any]) -> Any:
    """What is so of the entry that is called so.  Raises `Declined` if there is none, or can be none."""
    try:
        found = asked(key)
    except Invalid as why:
        raise Declined("bad_parameter", f"key: {why}") from None
    if not found:
        raise Declined("unknown_key", f"key: {table.name} has no {printable(key, LONGEST_KEY)}")
    return found


def _clear_table(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    table, key = _table(steered, given["table"]), given.get("key")
    if (key is not None) is given.get("all", False):
        raise Declined("bad_parameter", "clear table: write key or all, and not both")
    if key is None:
        table.clear_all()
        return _cleared(table, caller, f"all {table.entries} entries", {"entries": table.entries})
    _of_key(table, key, table.clear)
    return _cleared(table, caller, printable(key, LONGEST_KEY), {"key": key})


def _cleared(table: Table, caller: Optional[Caller], what: str, answer: Answer) -> Answer:
    log.info(
        "admin: {who} has cleared {what} in {table}",
        who=f"{caller} (pid {caller.pid})" if caller else NOBODY_KNOWN,
        what=what,
        table=table.name,
    )
    return {"table": table.name, **answer}


def _table(steered: Steered, name: str) -> Table:
    known = {table.name: table for table in tables(steered)}
    if name not in known:
        raise Declined("unknown_table", f"table: {unknown(name, known)}")
    return known[name]


def _row(table: Table) -> Answer:
    return {"name": table.name, "kind": table.kind, "entries": table.entries, "size": table.size}


TABLE = Parameter("table", "its name, such as affinity/db or counters/clients", required=True)

COMMANDS = (
    Command("show tables", "the tables of what is remembered, and how full they are", _show_tables),
    Command(
        "show table",
        "the entries of a table, those that were used last first, or one of them",
        _show_table,
        (
            TABLE,
            Parameter("limit", f"so many entries at most, 1 to {MOST_ROWS}; {ROWS} if not given", int),
            Parameter("key", "that entry alone; any address of its network will do"),
        ),
    ),
    Command(
        "clear table",
        "forget an entry of a table, or all of them, as if that client had never come",
        _clear_table,
        (
            TABLE,
            Parameter("key", "what show table has in its first column"),
            Parameter("all", "true to forget all entries", bool),
        ),
    ),
)
