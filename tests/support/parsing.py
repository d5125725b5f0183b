"""What comes of bytes that are read as a whole, and of the same bytes one by one?"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

from proxyd.errors import Malformed

Read = Callable[[bytes], Any]


def outcome(read: Read, data: bytes) -> Any:
    """What comes of these bytes, None while more is needed, or what is wrong with them."""
    try:
        return read(data)
    except Malformed as why:
        return str(why)


def piecemeal(read: Read, data: bytes) -> Any:
    """The same, of bytes that come one by one."""
    for length in range(len(data) + 1):
        found = outcome(read, data[:length])
        if found is not None:
            return found
    return None


def both_ways(read: Read) -> tuple[Read, Read]:
    """`outcome` and `piecemeal` of one parser."""
    return partial(outcome, read), partial(piecemeal, read)
