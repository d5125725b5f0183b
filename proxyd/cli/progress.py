"""How does somebody who waits see that something goes on?"""

from __future__ import annotations

from typing import IO

_OFTEN = 50_000


class Progress:
    """A line on a terminal that is written over; nothing where there is none."""

    def __init__(self, stream: IO[str], what: str) -> None:
        """``what`` is counted."""
        self._stream = stream if stream.isatty() else None
        self._what = what
        self._shown = ""

    def at(self, count: int) -> None:
        """So many are done."""
        if self._stream is not None and count % _OFTEN == 0:
            self._show(f"{count:,} {self._what}")

    def over(self) -> None:
        """All are done; the line goes."""
        if self._stream is not None and self._shown:
            self._show("")

    def _show(self, text: str) -> None:
        assert self._stream is not None
        self._stream.write("\r" + text.ljust(len(self._shown)) + ("" if text else "\r"))
        self._stream.flush()
        self._shown = text
