"""What did the operator ask of the health checks?  The ``check =`` of a pool."""

from __future__ import annotations

from attrs import frozen


@frozen
class CheckSpec:
    """
    How the servers of a pool are checked.

    ``interval`` and ``timeout`` are seconds; ``rise`` checks in a row that pass bring a server up,
    ``fall`` that fail take it down (HAProxy's words and counts).
    """

    kind: str = "tcp"
    interval: float = 5.0
    timeout: float = 2.0
    rise: int = 2
    fall: int = 3
