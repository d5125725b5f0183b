"""How do we reach a server?"""

from __future__ import annotations

from typing import Any, Optional, cast

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.interfaces import IStreamClientEndpoint

from proxyd.config.address import Address, UnixAddress


def client_endpoint(reactor: Any, address: Address, timeout: Optional[float]) -> IStreamClientEndpoint:
    """The Twisted client endpoint of a server; ``timeout`` is seconds, or None if the caller keeps the time."""
    seconds = cast(float, timeout)  # None is understood by each endpoint, but not by their annotations
    if isinstance(address, UnixAddress):
        return UNIXClientEndpoint(reactor, address.path, timeout=seconds)
    if isIPAddress(address.host):
        return TCP4ClientEndpoint(reactor, address.host, address.port, timeout=seconds)
    if isIPv6Address(address.host):
        return TCP6ClientEndpoint(reactor, address.host, address.port, timeout=seconds)
    return HostnameEndpoint(reactor, address.host, address.port, timeout=seconds)
