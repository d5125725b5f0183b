"""Is the first row of a query what it should be?"""

from __future__ import annotations

from typing import Optional

from proxyd.upkeep.probes.conversation import Failed, shown

Row = tuple[Optional[bytes], ...]


def text(row: Optional[Row]) -> str:
    """A row as it is compared: its values, with a blank between two."""
    if row is None:
        return "no row"
    return " ".join("NULL" if value is None else value.decode("utf-8", "backslashreplace") for value in row)


def judge(expected: str, row: Optional[Row], question: str = "the query") -> None:
    """Raise `Failed` unless the row is the expected one, or nothing was expected."""
    found = text(row)
    if expected and found != expected:
        raise Failed(f"answered {shown(found.encode('utf-8'))} to {question}")
