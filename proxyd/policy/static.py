"""
Which file does a path mean, and what is said of it?

A path is in its normal form (`proxyd.wire.target`), so it has no dots that lead elsewhere; here it becomes
the names of folders and of a file, or nothing where there is none for anybody.
"""

from __future__ import annotations

import mimetypes
from functools import lru_cache
from typing import Optional
from urllib.parse import unquote_to_bytes

from proxyd.config.compression import BR, GZIP, ZSTD
from proxyd.wire.httpfields import Field, parse_field

DEEPEST = 64  # folders
LONGEST = 255  # bytes of a name, as file systems have it

SUFFIXES = {GZIP: b".gz", BR: b".br", ZSTD: b".zst"}

WELL_KNOWN = b".well-known"

# Those of Python's own table, which is the same on every host, and what it does not have everywhere.
_TYPES = mimetypes.MimeTypes(filenames=())
_OURS = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".ico": "image/x-icon",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "text/xml",
}

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

ACCEPT_RANGES = parse_field(b"Accept-Ranges: bytes")


def names_of(path: bytes, dotfiles: bool) -> Optional[list[bytes]]:
    """
    The names that lead from the root to what a path means, the last of them b"" if it is a folder.

    None where nobody is shown anything.
    """
    names = [unquote_to_bytes(segment) for segment in path[1:].split(b"/")]
    if len(names) > DEEPEST or path[:1] != b"/":
        return None
    for place, name in enumerate(names):
        if len(name) > LONGEST or b"/" in name or b"\0" in name:
            return None
        if name[:1] == b"." and not (dotfiles and name not in (b".", b"..")):
            if place or name != WELL_KNOWN:
                return None
    return names


@lru_cache(maxsize=1024)
def media_type(name: bytes) -> str:
    """What a file of this name has in it, by its end."""
    end = name.rpartition(b".")[2].lower().decode("latin-1") if b"." in name else ""
    kind = _OURS.get(f".{end}") or _TYPES.types_map[1].get(f".{end}") or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def http_date(seconds: int) -> bytes:
    """The time as RFC 9110 5.6.7 writes it."""
    days, rest = divmod(seconds, 86_400)
    # Days of the proleptic Gregorian calendar, from March on, as in `proxyd.wire.httpdate`.
    era_day = days + 719_468
    era, day_of_era = divmod(era_day, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    since_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * since_march + 2) // 5 + 1
    month = since_march + 3 if since_march < 10 else since_march - 9
    year = year_of_era + era * 400 + (month <= 2)
    text = (
        f"{_DAYS[(days + 3) % 7]}, {day:02d} {_MONTHS[month - 1]} {year:04d} "
        f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d} GMT"
    )
    return text.encode("ascii")


def fields_of(name: bytes, size: int, modified_ns: int, coding: str, varies: bool) -> list[Field]:
    """
    What is said of a file, but for its length.

    Its entity tag is strong, and is made of what changes with the file, as in nginx; ``varies`` is whether
    there is the same in another coding.
    """
    fields = [
        parse_field(b"Content-Type: " + media_type(name).encode()),
        parse_field(b"Last-Modified: " + http_date(modified_ns // 1_000_000_000)),
        parse_field(b'ETag: "%x-%x%s"' % (modified_ns, size, SUFFIXES.get(coding, b"").replace(b".", b"-"))),
        ACCEPT_RANGES,
    ]
    if coding:
        fields.append(parse_field(b"Content-Encoding: " + coding.encode()))
    if varies:
        fields.append(parse_field(b"Vary: Accept-Encoding"))
    return fields
