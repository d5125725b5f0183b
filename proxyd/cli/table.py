"""How do rows of words and numbers stand on a terminal so that one can read them down?"""

from __future__ import annotations

from typing import Iterator, Sequence


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> Iterator[str]:
    """
    The lines of a table, in which what stands in one column is in line.

    ``right`` says of each column whether it ends in line, as numbers should, or begins so.  The first row
    is the titles.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [
            cell.rjust(width) if ends else cell.ljust(width) for cell, width, ends in zip(row, widths, right)
        ]
        yield "  ".join(cells).rstrip()
