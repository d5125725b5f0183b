"""How is a value written in a line of the access log, so that no value can break a line or fake a field?"""

from __future__ import annotations

import json
import re
import time
from functools import lru_cache
from math import isfinite
from typing import Optional

LONGEST_VALUE = 500  # a detail is some other program's text

_plain = re.compile(r"(?!-\Z)[!#-<>-\[\]-~]{1,500}").fullmatch  # visible, without " = and backslash
_to_json = json.JSONEncoder(separators=(",", ":")).encode  # leaves ASCII only, and no control character


@lru_cache(maxsize=64)
def _second(epoch_seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch_seconds))


def moment(epoch_seconds: float) -> Optional[str]:
    """The time as ISO 8601 in UTC with milliseconds, or None for one that no calendar has."""
    try:
        milliseconds = round(epoch_seconds * 1000)
        return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"
    except (ValueError, OverflowError, OSError):
        return None


def word(text: str) -> str:
    """The value as it stands in a text line: bare if it is plain, else a JSON string, ``-`` if empty."""
    if _plain(text):
        return text
    return _to_json(text[:LONGEST_VALUE]) if text else "-"


def rounded(value: Optional[float]) -> Optional[float]:
    """JSON has no infinities; and nothing here is measured finer than a microsecond."""
    return None if value is None or not isfinite(value) else round(value, 6)
