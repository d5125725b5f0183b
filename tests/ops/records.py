"""What does a record look like when nothing special happened?"""

from __future__ import annotations

from typing import Any

from proxyd.errors import Reason
from proxyd.records import Record, RequestRecord

ORDINARY: dict[str, Any] = {
    "started": 1795341600.123,  # 2026-11-22T10:00:00.123Z
    "listener": "web",
    "client": "10.0.0.9:40312",
    "reason": Reason.CLIENT_FINISHED,
    "total_seconds": 1.2041129,
    "pool": "web",
    "server": "a",
    "server_address": "10.0.0.1:80",
    "connect_seconds": 0.000312,
    "bytes_in": 517,
    "bytes_out": 20480,
}


def names(of: type) -> set[str]:
    """What is known of such a record."""
    return {name for name in dir(of) if not name.startswith("_")}


def record(**changes: Any) -> Record:
    """An ordinary record with these changes."""
    return Record(**{**ORDINARY, **changes})


def refused(**changes: Any) -> Record:
    """The record of a connection that reached no server."""
    return record(
        **{
            "reason": Reason.NO_SERVER,
            "server": "",
            "server_address": "",
            "connect_seconds": None,
            "bytes_in": 0,
            "bytes_out": 0,
            **changes,
        }
    )


ASKED: dict[str, Any] = {
    "started": 1795341600.123,
    "listener": "web",
    "client": "10.0.0.9:40312",
    "reason": Reason.ANSWERED,
    "total_seconds": 0.001913,
    "method": b"GET",
    "host": b"example.com",
    "target": b"/index.html",
    "minor": 1,
    "status": 200,
    "fields": (
        (b"user-agent", b'a "quoted\\ agent\xe4', b"", 0),
        (b"referer", b"http://example.com/", b"", 0),
    ),
    "pool": "web",
    "server": "a",
    "server_address": "10.0.0.1:80",
    "connect_seconds": 0.000312,
    "first_byte_seconds": 0.001204,
    "bytes_in": 517,
    "bytes_out": 20480,
}


def request(**changes: Any) -> RequestRecord:
    """An ordinary request with these changes."""
    return RequestRecord(**{**ASKED, **changes})
