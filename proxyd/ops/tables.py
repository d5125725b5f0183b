"""
What does the daemon remember, and how is it shown?  The commands of the admin socket for that.

A table is something with entries that come and go by themselves.  Each kind is made a `Table` here, and so is
shown by the same commands, and by ``proxyctl`` without a change to that.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, Optional, Sequence

from attrs import frozen

from proxyd.config.options import unknown
from proxyd.ops.command import Answer, Caller, Command, Declined, Given, Parameter, Steered
from proxyd.policy.affinity import Affinity

ROWS = 100  # if nobody says how many
MOST_ROWS = 1000  # in one answer: they take some 10 ms, in which nobody else is served


@frozen
class Table:
    """
    A table for people.

    Its ``name`` is its kind and whose it is; it has so many ``entries`` of at most ``size``.  ``rows`` gives
    no more than so many of them, those that were used last first, each with a value for each column; a column
    that ends in ``_seconds`` is a duration.
    """

    name: str
    kind: str
    entries: int
    size: int
    columns: tuple[str, ...]
    rows: Callable[[int], Iterable[Sequence[Any]]]


def tables(steered: Steered) -> Iterator[Table]:
    """All tables that there are."""
    for pool in steered.pools.values():
        if pool.affinity is not None:
            yield _affinity(pool.name, pool.affinity, steered.seconds())


def _affinity(pool: str, affinity: Affinity, now: float) -> Table:
    return Table(
        name=f"affinity/{pool}",
        kind="affinity",
        entries=len(affinity.table),
        size=affinity.spec.size,
        columns=("client", "server", "left_seconds", "connections"),
        rows=lambda most: (
            (entry.key, entry.server, round(entry.left, 3), entry.uses)
            for entry in affinity.entries(now, most)
        ),
    )


def _show_tables(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    return {"tables": [_row(table) for table in tables(steered)]}


def _show_table(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    known = {table.name: table for table in tables(steered)}
    table = known.get(given["table"])
    if table is None:
        raise Declined("unknown_table", f"table: {unknown(given['table'], known)}")
    limit = given.get("limit", ROWS)
    if not 1 <= limit <= MOST_ROWS:
        raise Declined("bad_parameter", f"limit: {limit} is not a number of rows; write 1 to {MOST_ROWS}")
    rows = [dict(zip(table.columns, row)) for row in table.rows(limit)]
    return {**_row(table), "columns": list(table.columns), "rows": rows}


def _row(table: Table) -> Answer:
    return {"name": table.name, "kind": table.kind, "entries": table.entries, "size": table.size}


COMMANDS = (
    Command("show tables", "the tables of what is remembered, and how full they are", _show_tables),
    Command(
        "show table",
        "the entries of a table, those that were used last first",
        _show_table,
        (
            Parameter("table", "its name, such as affinity/db", required=True),
            Parameter("limit", f"so many entries at most, 1 to {MOST_ROWS}; {ROWS} if not given", int),
        ),
    ),
)
