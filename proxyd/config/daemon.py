"""What did the operator ask of the daemon as a whole?  The ``[proxyd]`` section."""

from __future__ import annotations

from typing import Optional

from attrs import frozen

from proxyd.config.address import Bind


@frozen
class AccessLogSpec:
    """Where a line for each connection goes: a file, or (no path) the log of twistd; as text or JSON."""

    path: str = ""
    format: str = "text"


@frozen
class DaemonSpec:
    """``[proxyd]``; ``max_connections`` 0 means: as many as the descriptors allow."""

    access_log: Optional[AccessLogSpec] = None
    metrics: Optional[Bind] = None
    drain_timeout: float = 30.0
    max_connections: int = 0
