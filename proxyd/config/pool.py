"""What did the operator ask of a pool?  The ``[pool NAME]`` section."""

from __future__ import annotations

from typing import Optional

from attrs import frozen

from proxyd.config.address import Address
from proxyd.config.health import CheckSpec


@frozen
class ServerSpec:
    """One ``server NAME = ADDRESS weight=N backup`` of a pool; weight 0 gets no new connections."""

    name: str
    address: Address
    weight: int = 1
    backup: bool = False


@frozen
class PoolSpec:
    """One ``[pool]``: its servers, and how connections are spread over them."""

    name: str
    servers: tuple[ServerSpec, ...]
    balance: str = "p2c"
    check: Optional[CheckSpec] = None
    connect_timeout: float = 5.0
    retries: int = 2
