"""What did the operator ask of the demo servers?  The ``[demo]`` section."""

from __future__ import annotations

from attrs import frozen

from proxyd.config.address import Bind


@frozen
class DemoServerSpec:
    """One ``server NAME = BIND``: a small web server that the daemon itself starts, and that says its name."""

    name: str
    bind: Bind


@frozen
class DemoSpec:
    """``[demo]``: the servers to start."""

    servers: tuple[DemoServerSpec, ...] = ()
