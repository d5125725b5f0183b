"""How is a value written in a line of the access log, so that no value can break a line or fake a field?"""

from __future__ import annotations

import json
import re
import time
from functools import lru_cache
from math import floor, isfinite
from typing import Mapping, Optional, Union

from proxyd.policy.chosen import BALANCE

LONGEST_VALUE = 500  # a detail is some other program's text

_LAST = 253_402_300_799  # the last second of the year 9999

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_plain = re.compile(r"(?!-\Z)[!#-<>-\[\]-~]{1,500}").fullmatch  # visible, without " = and backslash
_to_json = json.JSONEncoder(separators=(",", ":")).encode  # leaves ASCII only, and no control character


_SHORT = 0.01  # seconds; what is shorter comes again, to the microsecond

_MILLISECONDS = [f".{number:03d}Z" for number in range(1000)]


@lru_cache(maxsize=64)
def _second(epoch_seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch_seconds))


@lru_cache(maxsize=64)
def _millisecond(epoch_milliseconds: int) -> str:
    return _second(epoch_milliseconds // 1000) + _MILLISECONDS[epoch_milliseconds % 1000]


def moment(epoch_seconds: float) -> Optional[str]:
    """The time as ISO 8601 in UTC with milliseconds, or None for one that no calendar has."""
    try:
        return _millisecond(floor(epoch_seconds * 1000.0 + 0.5))
    except (ValueError, OverflowError, OSError):
        return None


@lru_cache(maxsize=4)
def clock(epoch_second: int) -> str:
    """The time as Apache's common format has it, in UTC."""
    at = time.gmtime(max(0, min(epoch_second, _LAST)))
    return f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year:04d}:{time.strftime('%H:%M:%S', at)} +0000"


def address_alone(client: str) -> str:
    """The address of a client without its port."""
    if client.startswith("unix:"):
        return client
    return client.rpartition(":")[0].strip("[]") or client


def by_what(chosen: str) -> str:
    """By what the server was chosen, with its name and a blank before it; nothing where that is the usual."""
    return "" if not chosen or chosen == BALANCE else f" chosen={chosen}"


def kernel(info: Optional[Mapping[str, Union[int, float]]]) -> str:
    """What the kernel knows of a connection."""
    if info is None:
        return "-"
    return ",".join(
        f"{name}:{value:.6f}" if isinstance(value, float) else f"{name}:{value}"
        for name, value in info.items()
    )


def word(text: str) -> str:
    """The value as it stands in a text line: bare if it is plain, else a JSON string, ``-`` if empty."""
    if _plain(text):
        return text
    return _to_json(text[:LONGEST_VALUE]) if text else "-"


def duration(seconds: Optional[float]) -> str:
    """Seconds to the microsecond, ``-`` if there was no such thing."""
    if seconds is None:
        return "-"
    if 0.0 <= seconds < _SHORT:
        return _microseconds(int(seconds * 1e6 + 0.5))
    return "%.6f" % seconds  # noqa: UP031


@lru_cache(maxsize=4096)
def _microseconds(count: int) -> str:
    # Compiled, an f-string with a format is a call of str.format, and makes a line cost three times as much.
    return "%.6f" % (count / 1e6)


def rounded(value: Optional[float]) -> Optional[float]:
    """JSON has no infinities; and nothing here is measured finer than a microsecond."""
    return None if value is None or not isfinite(value) else round(value, 6)
