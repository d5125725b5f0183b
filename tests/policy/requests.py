"""What does a request ask, in a test?"""

from __future__ import annotations

from typing import Any, Optional

from proxyd.policy.asked import Asked
from proxyd.policy.httproute import HttpRoutes
from proxyd.wire.httpfields import parse_field
from proxyd.wire.target import parse_target


def asked(
    target: bytes = b"/",
    host: bytes = b"www.example.com",
    method: bytes = b"GET",
    *lines: bytes,
    routes: Optional[HttpRoutes] = None,
    **how: Any,
) -> Asked:
    """A request with these lines in its head; its target is read as ``routes`` do, or in its normal form."""
    read = parse_target if routes is None else routes.target
    return Asked(method, host, read(target), [parse_field(line) for line in lines], **how)
