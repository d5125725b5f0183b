"""What checks of a pool are tested on: a reactor and a name service that only pretend."""

from __future__ import annotations

import errno
from typing import Any, Optional, Sequence

from twisted.internet.address import IPv4Address
from twisted.internet.error import (
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyd.config.address import Address, TcpAddress
from proxyd.config.health import CheckSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.proxyprotocol import ProxyOut
from proxyd.ops.state import StateLog
from proxyd.policy.lots import PowerOfTwo
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from proxyd.relay.stock import Stock
from proxyd.upkeep.health import HealthChecks
from tests.support.case import Case
from tests.support.walltime import SetTime
from tests.upkeep.probes.stage import FakeTransport

UP, DOWN, CHECKING = State.UP, State.DOWN, State.CHECKING


def no_delay() -> float:
    return 0.0


def pool_of(
    *addresses: Address,
    check: Optional[CheckSpec] = CheckSpec(),  # noqa: B008
    proxy_protocol: Optional[ProxyOut] = None,
) -> Pool:
    """A pool "web" of servers a, b, c … with these addresses."""
    servers = tuple(ServerSpec(chr(ord("a") + n), address) for n, address in enumerate(addresses))
    spec = PoolSpec("web", servers, checks=(check,) if check else (), proxy_protocol=proxy_protocol)
    pool = Pool(spec, PowerOfTwo(no_delay))
    pool.watch(StateLog().changed)
    return pool


@implementer(IHostResolution)
class Resolution:
    """A look-up in progress, which cannot be cancelled; neither can Twisted's own."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        raise NotImplementedError()


@implementer(IHostnameResolver)
class Names:
    """A name service that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[IResolutionReceiver] = []

    def resolveHostName(  # type: ignore[no-untyped-def]
        self, receiver, hostName, portNumber=0, addressTypes=None, transportSemantics="TCP"
    ) -> IHostResolution:
        receiver.resolutionBegan(Resolution(hostName))
        self.asked.append(receiver)
        return Resolution(hostName)

    def answer(self, *addresses: str) -> None:
        receiver = self.asked.pop()
        for address in addresses:
            receiver.addressResolved(IPv4Address("TCP", address, 80))
        receiver.resolutionComplete()


class InMemory(Case):
    """The checks on a reactor that only pretends; a check every 5 s, at most 2 s long, rise 2, fall 3."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.names = Names()
        self.reactor.installNameResolver(self.names)
        self.pool = pool_of(TcpAddress("10.0.0.1", 80))

    def check(self) -> HealthChecks:
        self.wall = SetTime(self.reactor.seconds)
        checks = HealthChecks(self.reactor, self.wall, no_delay, Stock(self.reactor), [self.pool])
        checks.start()
        self.reactor.advance(0)
        return checks

    def attempts(self) -> int:
        return len(self.reactor.tcpClients)

    def accept(self, closes: bool = True, place: int = -1) -> FakeTransport:
        """The newest connection is accepted, or the one at that place."""
        transport = FakeTransport(closes)
        transport.protocol = self.reactor.tcpClients[place][2].buildProtocol(None)
        transport.protocol.makeConnection(transport)
        return transport

    def fail_with(self, error: Exception, place: int = -1) -> None:
        """The newest connection fails, or the one at that place."""
        factory, connector = self.reactor.tcpClients[place][2], self.reactor.connectors[place]
        factory.clientConnectionFailed(connector, Failure(error))

    def refuse(self, place: int = -1) -> None:
        self.fail_with(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), place)

    def next_check(self) -> None:
        before = self.attempts() + len(self.names.asked)
        self.reactor.advance(5)
        self.assertEqual(self.attempts() + len(self.names.asked), before + 1)

    def lines(self, events: Sequence[Any]) -> list[str]:
        return [f"{event['log_level'].name}: {formatEvent(event)}" for event in events]

    def assertStill(self, checks: HealthChecks) -> None:
        """After a stop nothing is left, and nothing more comes."""
        attempts = self.attempts()
        self.successResultOf(checks.stop())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.pump([1] * 20)
        self.assertEqual(self.attempts(), attempts)
