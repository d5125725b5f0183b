"""What did the operator ask of a listener?  The ``[listener NAME]`` section."""

from __future__ import annotations

from typing import Optional

from attrs import frozen

from proxyd.config.address import Bind
from proxyd.config.bind import Binds
from proxyd.config.options import Choice, Duration, Option, Reference, YesNo
from proxyd.config.proxyprotocol import ProxyIn
from proxyd.config.route import RouteSpec

PROTOCOLS = ("tcp",)

DATAPATHS = ("lane", "stock")


@frozen
class ListenerSpec:
    """
    One ``[listener]``: where it listens, what is spoken there, and where it leads.

    ``pool`` is for clients whom no route fits; if it is empty, they are closed.  ``routes`` are those that
    name this listener, in the order of the files.  ``opening_timeout`` is in seconds.
    """

    name: str
    binds: tuple[Bind, ...]
    pool: str = ""
    protocol: str = "tcp"
    idle_timeout: float = 600.0
    half_closed_timeout: float = 30.0
    abort_on_close: bool = False
    datapath: str = "lane"
    tls: str = ""
    proxy_protocol: Optional[ProxyIn] = None
    opening_timeout: float = 5.0
    routes: tuple[RouteSpec, ...] = ()

    @property
    def reads_opening(self) -> bool:
        """Whether anything depends on the client's first bytes; if not, they are never waited for."""
        return bool(self.tls or self.proxy_protocol or self.routes)


INHERITED = (
    Option(
        "protocol",
        Choice(PROTOCOLS),
        "What clients speak. `tcp` relays any protocol as it is.",
        "protocol = tcp",
        default="tcp",
    ),
    Option(
        "idle_timeout",
        Duration(),
        "A connection on which no byte has moved for so long, in either direction, is closed.",
        "idle_timeout = 1h",
        default="10m",
    ),
    Option(
        "half_closed_timeout",
        Duration(),
        "Once one side has finished sending, this takes the place of `idle_timeout`: when the other side "
        "has sent nothing for so long, the connection is closed.",
        "half_closed_timeout = 5m",
        default="30s",
    ),
    Option(
        "abort_on_close",
        YesNo(),
        "What it means when a client finishes sending before a server is reached. With `no` the client may "
        "still wait for the answer, and the server is told once it is reached; with `yes` the client has "
        "gone, and no server is bothered.",
        "abort_on_close = yes",
        default="no",
    ),
    Option(
        "datapath",
        Choice(DATAPATHS),
        "What moves the bytes. `lane` is proxyd's own event loop on Linux; `stock` is Twisted's, which is "
        "slower, and which serves anyway where the lane cannot run.",
        "datapath = stock",
        default="lane",
    ),
)

OPTIONS = (
    Option("bind", Binds(), "Where clients connect.", "bind = tcp:5432", required=True),
    Option("pool", Reference("pool"), "Which servers clients are led to.", "pool = postgres", required=True),
    *INHERITED,
)
