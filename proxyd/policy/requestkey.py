"""What of a request leads it to the same server as others like it?"""

from __future__ import annotations

from typing import Callable, Optional, Sequence

from proxyd.config.balance import COOKIE, HEADER, HOST, PATH
from proxyd.wire.cookie import sent
from proxyd.wire.httpfields import Field

# What has a host, a target and fields, as they came, and gives the key; b"" for none.
RequestKey = Callable[[bytes, bytes, Sequence[Field]], bytes]


def request_key(key: str) -> Optional[RequestKey]:
    """What makes the key of a request where a pool goes by this; None if it goes by the client alone."""
    if key == HOST:
        return lambda host, target, fields: host.lower()
    if key == PATH:
        return lambda host, target, fields: target.partition(b"?")[0]
    name = key.partition(":")[2].encode("ascii")
    if key.startswith(HEADER):
        return lambda host, target, fields: next((field[1] for field in fields if field[0] == name), b"")
    if key.startswith(COOKIE):
        return lambda host, target, fields: next(sent(fields, name), b"")
    return None
