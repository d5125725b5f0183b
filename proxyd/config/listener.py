"""What did the operator ask of a listener?  The ``[listener NAME]`` section."""

from __future__ import annotations

from attrs import frozen

from proxyd.config.address import Bind


@frozen
class ListenerSpec:
    """One ``[listener]``: where it listens, what is spoken there, and where it leads."""

    name: str
    binds: tuple[Bind, ...]
    pool: str
    protocol: str = "tcp"
    idle_timeout: float = 600.0
    half_closed_timeout: float = 30.0
    abort_on_close: bool = False
