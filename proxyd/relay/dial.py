"""How do we reach a server?"""

from __future__ import annotations

from typing import Any, Callable, Generic, Optional, Sequence, TypeVar, cast

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyd.config.address import Address, Addresses, TcpAddress, UnixAddress
from proxyd.errors import DialFailed, Reason

STAGGER = 0.25  # seconds from one attempt to the next, RFC 8305's "Connection Attempt Delay"

MOST_AT_ONCE = 6  # attempts of one dial, each of which takes a descriptor

T = TypeVar("T")


class Race(Generic[T]):
    """
    Attempts to reach one of several addresses, of which the first that succeeds wins: RFC 8305, section 5.

    The next begins when one has failed, or `STAGGER` after the last has begun.  ``won`` fires with what
    the winner's Deferred has fired with, by when all others are cancelled; it fails as the last attempt did.
    Who cancels it ends them all.  The deadline is the caller's.
    """

    def __init__(
        self,
        clock: IReactorTime,
        addresses: Sequence[TcpAddress],
        dial: Callable[[TcpAddress], Deferred[T]],
    ) -> None:
        """``dial`` begins an attempt at an address; to cancel what it returns must end it at once."""
        self.won: Deferred[T] = Deferred(lambda _: self._end())
        self._clock = clock
        self._left = list(reversed(addresses))
        self._dial = dial
        self._under_way: list[Deferred[T]] = []
        self._next: Optional[IDelayedCall] = None
        self._begin()

    def _begin(self) -> None:
        """Begin the next attempt, and see to the one after it."""
        self._next = None
        if not self._left or len(self._under_way) >= MOST_AT_ONCE:
            return
        attempt = maybeDeferred(self._dial, self._left.pop())
        self._under_way.append(attempt)
        if self._left:
            self._next = self._clock.callLater(STAGGER, self._begin)
        attempt.addCallbacks(self._succeeded, self._failed, callbackArgs=(attempt,), errbackArgs=(attempt,))

    def _succeeded(self, result: T, attempt: Deferred[T]) -> None:
        self._under_way.remove(attempt)
        self._end()
        self.won.callback(result)

    def _failed(self, failure: Failure, attempt: Deferred[T]) -> None:
        if attempt not in self._under_way:
            return  # cancelled
        self._under_way.remove(attempt)
        if self._next is not None:
            self._next.cancel()
        self._begin()
        if not self._under_way and not self.won.called:
            self.won.errback(failure)

    def _end(self) -> None:
        """Begin no more, and cancel what is under way."""
        self._left.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        under_way, self._under_way = self._under_way, []
        for attempt in under_way:
            attempt.cancel()


def reach_one(
    clock: IReactorTime,
    addresses: Addresses,
    dial: Callable[[TcpAddress], Deferred[Optional[TcpAddress]]],
) -> Deferred[Optional[TcpAddress]]:
    """Race for one of the addresses with a datapath's ``dial``; fires with the one that was reached."""

    def attempt(address: TcpAddress) -> Deferred[Optional[TcpAddress]]:
        return dial(address).addCallback(lambda _: address)

    return Race(clock, addresses.each, attempt).won


def told_of_dial(arrived: Deferred[Any], asker: Any) -> Optional[Deferred[Any]]:
    """What `proxyd.interfaces.IDatapath.reach` returns, of a datapath's ``dial``."""
    arrived.addCallbacks(asker.reached, asker.unreached)
    return None if arrived.called else arrived


@implementer(IStreamClientEndpoint)
class Racing:
    """The endpoint of a server with several addresses."""

    def __init__(self, reactor: Any, addresses: Sequence[TcpAddress]) -> None:
        self._reactor = reactor
        self._addresses = addresses

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def dial(address: TcpAddress) -> Deferred[IProtocol]:
            return client_endpoint(self._reactor, address, None).connect(protocolFactory)

        return Race(self._reactor, self._addresses, dial).won


def client_endpoint(reactor: Any, address: Address, timeout: Optional[float]) -> IStreamClientEndpoint:
    """
    The endpoint of an address; ``timeout`` is seconds, or None if the caller keeps the time.

    A name is looked up by Twisted, in a thread and by libc.
    """
    seconds = cast(float, timeout)  # None is understood by each endpoint, but not by their annotations
    if isinstance(address, UnixAddress):
        return UNIXClientEndpoint(reactor, address.path, timeout=seconds)
    if isinstance(address, Addresses):
        return Racing(reactor, address.each)
    assert isinstance(address, TcpAddress)
    if isIPAddress(address.host):
        return TCP4ClientEndpoint(reactor, address.host, address.port, timeout=seconds)
    if isIPv6Address(address.host):
        return TCP6ClientEndpoint(reactor, address.host, address.port, timeout=seconds)
    return HostnameEndpoint(reactor, address.host, address.port, timeout=seconds)


def unresolved(address: Address) -> DialFailed:
    """That nobody knows yet where a server is: its name has never resolved (`proxyd.upkeep.names`)."""
    return DialFailed(Reason.NAME_FAILED, f"{address} has no address")
