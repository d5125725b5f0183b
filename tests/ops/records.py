"""What does a record look like when nothing special happened?"""

from __future__ import annotations

from typing import Any

import attrs

from proxyd.errors import Reason
from proxyd.interfaces import Record

ORDINARY = Record(
    started=1795341600.123,  # 2026-11-22T10:00:00.123Z
    listener="web",
    client="10.0.0.9:40312",
    reason=Reason.CLIENT_FINISHED,
    total_seconds=1.2041129,
    pool="web",
    server="a",
    server_address="10.0.0.1:80",
    connect_seconds=0.000312,
    bytes_in=517,
    bytes_out=20480,
)


def record(**changes: Any) -> Record:
    """An ordinary record with these changes."""
    return attrs.evolve(ORDINARY, **changes)


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
