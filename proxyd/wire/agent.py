"""
What does a server's agent report?  A line of words, as HAProxy's agent-check has it.

Words are separated by blanks, tabs and commas, in any order and case: ``75%``, ``maxconn:30``, ``up``,
``down``, ``fail``, ``stopped``, ``ready``, ``drain``, ``maint``.  What follows a ``#`` is for people.
"""

from __future__ import annotations

import re
from typing import Optional

from attrs import frozen

from proxyd.errors import Malformed

LONGEST = 1024  # bytes of a line

_END = re.compile(rb"[\r\n]")
_BETWEEN = re.compile(rb"[ \t,]+")
_PERCENT = re.compile(rb"([0-9]{1,5})%")
_MAXCONN = re.compile(rb"maxconn:([0-9]{1,6})")
_SHOWN = 40  # bytes of a word that nobody knows

UP = b"up"
DOWN = (b"down", b"fail", b"stopped")
ADMIN = (b"ready", b"drain", b"maint")


@frozen
class Report:
    """
    What an agent has told; what it says nothing about is None, or empty.

    ``percent`` is of the weight that is configured.  ``health`` is up, down, fail or stopped, ``admin`` is
    ready, drain or maint; of several the last.
    """

    percent: Optional[int] = None
    max_connections: Optional[int] = None
    health: str = ""
    admin: str = ""
    text: bytes = b""

    @property
    def up(self) -> Optional[bool]:
        """Whether the server is up, if the agent has said so."""
        return self.health == UP.decode("ascii") if self.health else None

    def __str__(self) -> str:
        most = f"maxconn:{self.max_connections}" if self.max_connections is not None else ""
        percent = f"{self.percent}%" if self.percent is not None else ""
        return " ".join(filter(None, (percent, most, self.health, self.admin))) or "nothing"


def report(data: bytes) -> Optional[tuple[Report, int]]:
    """The first line in these bytes and its length, or None for more.  Raises `Malformed`."""
    end = _END.search(data, 0, LONGEST + 1)
    if end is None:
        if len(data) > LONGEST:
            raise Malformed(f"a line of more than {LONGEST} bytes")
        return None
    line, _, text = data[: end.start()].partition(b"#")
    percent = most = None
    health = admin = b""
    for word in filter(None, _BETWEEN.split(line.lower())):
        weighed, bounded = _PERCENT.fullmatch(word), _MAXCONN.fullmatch(word)
        if weighed is not None:
            percent = int(weighed[1])
        elif bounded is not None:
            most = int(bounded[1])
        elif word == UP or word in DOWN:
            health = word
        elif word in ADMIN:
            admin = word
        else:
            raise Malformed(f"{word[:_SHOWN]!r}, which is no word of an agent")
    return Report(percent, most, health.decode("ascii"), admin.decode("ascii"), text.strip()), end.end()
