"""What did the operator ask of the demo servers?  The ``[demo]`` section."""

from __future__ import annotations

from attrs import frozen

from proxyd.config.address import Bind
from proxyd.config.bind import BindForm
from proxyd.config.options import Option


@frozen
class DemoServerSpec:
    """One ``server NAME = BIND``: a small web server that the daemon starts, and that says its name."""

    name: str
    bind: Bind


@frozen
class DemoSpec:
    """``[demo]``: the servers to start."""

    servers: tuple[DemoServerSpec, ...] = ()


OPTIONS = (
    Option(
        "server",
        BindForm(),
        "Start a small web server in the daemon itself; it answers every request with its name.",
        "server a = tcp:18081:interface=127.0.0.1",
        required=True,
        named=True,
    ),
)
