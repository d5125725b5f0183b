"""How do we reach a server?"""

from __future__ import annotations

import socket
from typing import Any, Optional, cast

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from proxyd.config.address import Address, TcpAddress, UnixAddress
from proxyd.errors import DialFailed, Reason


def client_endpoint(reactor: Any, address: Address, timeout: Optional[float]) -> IStreamClientEndpoint:
    """The endpoint of a server; ``timeout`` is seconds, or None if the caller keeps the time."""
    seconds = cast(float, timeout)  # None is understood by each endpoint, but not by their annotations
    if isinstance(address, UnixAddress):
        return UNIXClientEndpoint(reactor, address.path, timeout=seconds)
    if isIPAddress(address.host):
        return TCP4ClientEndpoint(reactor, address.host, address.port, timeout=seconds)
    if isIPv6Address(address.host):
        return TCP6ClientEndpoint(reactor, address.host, address.port, timeout=seconds)
    return HostnameEndpoint(reactor, address.host, address.port, timeout=seconds)


@implementer(IResolutionReceiver)
class _Found:
    """Gathers the addresses of a name."""

    def __init__(self) -> None:
        self.addresses: list[tuple[int, Any]] = []
        self.complete: Deferred[None] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Twisted looks."""

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address):
            self.addresses.append((socket.AF_INET, (address.host, address.port)))
        elif isinstance(address, IPv6Address):
            self.addresses.append((socket.AF_INET6, (address.host, address.port)))

    def resolutionComplete(self) -> None:
        if not self.complete.called:
            self.complete.callback(None)


async def resolve(reactor: Any, address: TcpAddress) -> list[tuple[int, Any]]:
    """
    The addresses of a server's name, each as its family and what connect(2) takes.

    Raises `DialFailed` when there is none.  Who cancels no longer waits; the look-up itself, in a thread
    of Twisted's, cannot be stopped.
    """
    found = _Found()
    reactor.nameResolver.resolveHostName(found, address.host, address.port)
    await found.complete
    if not found.addresses:
        raise DialFailed(Reason.NAME_FAILED, f"{address.host} has no address")
    return found.addresses
