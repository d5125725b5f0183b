"""What did the operator mean by an address?  Where a listener binds, and where a server lives."""

from __future__ import annotations

from typing import Optional, Union

from attrs import frozen

BACKLOG = 511  # nginx's and httpd's; the kernel caps it at net.core.somaxconn


@frozen
class TcpBind:
    """Listen on a TCP port.  ``host`` is an IP address; "0.0.0.0" is all of IPv4, "::" all of IPv6."""

    text: str
    host: str
    port: int
    backlog: int = BACKLOG


@frozen
class UnixBind:
    """Listen on a unix socket; ``mode`` is the file mode of the socket."""

    text: str
    path: str
    mode: int = 0o666
    backlog: int = BACKLOG


@frozen
class FdBind:
    """Listen on a socket that the parent process left open under this descriptor."""

    text: str
    fd: int


@frozen
class SystemdBind:
    """Listen on a socket that systemd passed: by its place (``index``) or by its ``FileDescriptorName``."""

    text: str
    index: Optional[int] = None
    name: str = ""


@frozen
class EndpointBind:
    """Any other Twisted server endpoint string; Twisted judges it when it is bound."""

    text: str


Bind = Union[TcpBind, UnixBind, FdBind, SystemdBind, EndpointBind]


@frozen
class TcpAddress:
    """A TCP server: ``host`` is an IPv4 or IPv6 address without brackets, or a name."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class UnixAddress:
    """A server on a unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = Union[TcpAddress, UnixAddress]
