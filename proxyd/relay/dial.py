"""How do we reach a server?"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IStreamClientEndpoint

from proxyd.config.address import Address, UnixAddress


def client_endpoint(reactor: Any, address: Address, timeout: Optional[float]) -> IStreamClientEndpoint:
    """The Twisted client endpoint that leads to a server; ``timeout`` is seconds, None leaves time to the caller."""
    if isinstance(address, UnixAddress):
        return UNIXClientEndpoint(reactor, address.path, timeout=timeout)
    if isIPAddress(address.host):
        return TCP4ClientEndpoint(reactor, address.host, address.port, timeout=timeout)
    if isIPv6Address(address.host):
        return TCP6ClientEndpoint(reactor, address.host, address.port, timeout=timeout)
    return HostnameEndpoint(reactor, address.host, address.port, timeout=timeout)
