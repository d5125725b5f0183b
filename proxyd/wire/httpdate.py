"""
Which time does an HTTP date name?

RFC 9110, 5.6.7: the form that is written today, and the two from before it, which are still to be read.
"""

from __future__ import annotations

import re
from typing import Optional

_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTH = rb"(" + b"|".join(_MONTHS) + rb")"
_TIME = rb"([0-9]{2}):([0-9]{2}):([0-9]{2})"

_IMF = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) " + _MONTH + rb" ([0-9]{4}) " + _TIME + rb" GMT"
)
_RFC850 = re.compile(
    rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, ([0-9]{2})-" + _MONTH + rb"-([0-9]{2}) " + _TIME + rb" GMT"
)
_ASCTIME = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) " + _MONTH + rb" ([ 0-9][0-9]) " + _TIME + rb" ([0-9]{4})"
)

_AHEAD = 50  # years; two digits that seem to be further ahead are of the century before


def parse_date(text: bytes, wall: float) -> Optional[int]:
    """
    The seconds since the epoch, or None if it is no date.

    ``wall``, the time now, says of which century a short year is.

    A leap second is the one before it.
    """
    match = _IMF.fullmatch(text)
    if match is not None:
        day, month, year, hour, minute, second = match.groups()
        return _seconds(int(year), month, int(day), int(hour), int(minute), int(second))
    match = _RFC850.fullmatch(text)
    if match is not None:
        day, month, year, hour, minute, second = match.groups()
        this = 1970 + int(wall // 31_556_952)
        full = this - this % 100 + int(year)
        if full > this + _AHEAD:
            full -= 100
        return _seconds(full, month, int(day), int(hour), int(minute), int(second))
    match = _ASCTIME.fullmatch(text)
    if match is not None:
        month, day, hour, minute, second, year = match.groups()
        return _seconds(int(year), month, int(day), int(hour), int(minute), int(second))
    return None


def _seconds(year: int, name: bytes, day: int, hour: int, minute: int, second: int) -> Optional[int]:
    month = _MONTHS.index(name) + 1
    if not 1 <= day <= _DAYS[month - 1] or hour > 23 or minute > 59 or second > 60:
        return None
    # Days of the proleptic Gregorian calendar, from March on, so that a leap day is a year's last.
    since_march = (month + 9) % 12
    year -= since_march > 9
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * since_march + 2) // 5 + day - 1
    return (days - 719_468) * 86_400 + hour * 3600 + minute * 60 + min(second, 59)
