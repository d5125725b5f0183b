"""
Does a server's answer match a regular expression, and is it known before anybody notices the search?

Python's own `re` can take hours for a short pattern and a short text, and nothing stops it; the daemon would
stand still.  The module `regex` understands the same patterns, and gives up when it is told to.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Optional

import regex

from proxyd.upkeep.probes.conversation import MOST_HELD, Failed

# Of the processor, for all searches of one check: a sane pattern takes 64 KiB in a tenth of that, and the
# relay can wait so long.
SEARCH_SECONDS = 0.01


_compiled = lru_cache(maxsize=1024)(regex.compile)  # the module's own cache takes longer than most searches


class TooLong(Failed):
    """A search was given up."""


class Search:
    """The searches of one check; all together they have ``seconds`` of processor time."""

    __slots__ = ("_left",)

    def __init__(self, seconds: float = SEARCH_SECONDS) -> None:
        self._left = seconds

    def end(self, pattern: bytes, data: bytes) -> Optional[int]:
        """Where the first match within the first 64 KiB ends.  Raises `TooLong` when it takes too long."""
        began = time.process_time()
        try:
            found = _compiled(pattern).search(data[:MOST_HELD], timeout=max(self._left, 0.0))
        except TimeoutError:
            raise TooLong("answered what takes too long to be searched for the pattern") from None
        finally:
            self._left -= time.process_time() - began
        return found.end() if found is not None else None
