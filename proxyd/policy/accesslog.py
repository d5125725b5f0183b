"""
What does a line of the access log say of one connection that had come?

The other way round from `proxyd.ops.accesslog`, which writes these lines and describes them.  Both of its
formats are read, and lines of text also from the log of twistd, behind what that begins a line with.  Fields
that nobody asks for here may be there or not.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple, Optional

from proxyd.policy.arrival import Arrival

LONGEST_LINE = 65_536  # characters; no line that is written has more, since all its values are bounded

_DAY = 86_400
_EPOCH_DAY = 719_468  # of the day on which 1970 began, counted from 0000-03-01

# A value that is bare, or a JSON string, in which a quote comes only behind a backslash.
_fields = re.compile(r' ([a-z_]+)=("(?:[^"\\]|\\.)*"|[^" ]+)').findall
_moment = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{3})Z", re.ASCII).fullmatch
_MOMENT_LENGTH = len("2026-11-22T10:00:00.123Z")
_BEGINS = " listener="  # behind the time


class Logged(NamedTuple):
    """
    One connection, in the order by which such are sorted: when it came, in seconds since the epoch.

    ``seconds`` is how long it lasted without its wait in a queue, ``connect`` how long the server took to be
    reached, -1.0 if none was.  ``client`` is an address with its port.  A tuple, because there are millions
    of them.
    """

    started: float
    seconds: float
    connect: float
    bytes_in: int
    bytes_out: int
    client: str
    sni: str
    listener: str
    pool: str
    server: str

    def arrival(self) -> Arrival:
        """The client, as its pool knows it when a server is chosen."""
        if self.client.startswith("unix:"):
            return Arrival(sni=self.sni)
        host, _, port = self.client.rpartition(":")
        return Arrival(host.strip("[]"), int(port) if port.isdigit() else 0, self.sni)


def read_line(line: str) -> Optional[Logged]:
    """What a line says, or None if it is no line of an access log, or lacks what is needed."""
    if len(line) > LONGEST_LINE:
        return None
    try:
        return _of_json(json.loads(line)) if line.startswith("{") else _of_text(line)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _of_text(line: str) -> Optional[Logged]:
    begins = line.find(_BEGINS)
    started = epoch_seconds(line[max(0, begins - _MOMENT_LENGTH) : begins])
    if begins < 0 or started is None:
        return None
    found = dict(_fields(line, begins))
    return _logged(
        started,
        found["total"],
        _plain(found.get("queue", "-")) or 0.0,
        -1.0 if found["connect"] == "-" else found["connect"],
        found["in"],
        found["out"],
        [_plain(found.get(name, "-")) for name in ("client", "sni", "listener", "pool", "server")],
    )


def _plain(value: str) -> Any:
    """The value of a text field, without what keeps it from breaking its line."""
    if value == "-":
        return ""
    return json.loads(value) if value.startswith('"') else value


def _of_json(found: Any) -> Optional[Logged]:
    started = epoch_seconds(found["started"])
    if started is None:
        return None
    connect = found["connect_seconds"]
    return _logged(
        started,
        found["total_seconds"],
        found.get("queue_seconds") or 0.0,
        -1.0 if connect is None else connect,
        found["bytes_in"],
        found["bytes_out"],
        [found.get(name, "") for name in ("client", "sni", "listener", "pool", "server")],
    )


def _logged(
    started: float, total: Any, queue: Any, connect: Any, bytes_in: Any, bytes_out: Any, words: list[Any]
) -> Optional[Logged]:
    seconds, waited = float(total), float(queue)
    if not (isfinite(seconds) and seconds >= 0 and isfinite(waited) and waited >= 0):
        return None
    seconds = max(0.0, seconds - waited)  # both are rounded
    logged = Logged(started, seconds, float(connect), int(bytes_in), int(bytes_out), *words)
    fit = isfinite(logged.connect) and logged.bytes_in >= 0 and logged.bytes_out >= 0
    return logged if fit and all(isinstance(word, str) for word in words) else None


def epoch_seconds(moment: str) -> Optional[float]:
    """The time that ``2026-11-22T10:00:00.123Z`` is, in seconds since the epoch; None if it is no such."""
    found = _moment(moment)
    second = _second(found.group(1)) if found is not None else None
    return None if found is None or second is None else second + int(found.group(2)) / 1000


@lru_cache(maxsize=64)
def _second(text: str) -> Optional[int]:
    """
    A second of UTC since the epoch, as calendars count it, which know no leap seconds.

    The days are counted from a March on, so that a leap day is the last of its year.
    """
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
    hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60):
        return None
    months = (month + 9) % 12  # since March
    years = year - (month < 3)
    days = 365 * years + years // 4 - years // 100 + years // 400 + (153 * months + 2) // 5 + day - 1
    return (days - _EPOCH_DAY) * _DAY + hour * 3600 + minute * 60 + second
