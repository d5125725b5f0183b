"""The TCP frontend: a factory that knows its listener and its pool."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from proxyd.config.address import TcpAddress
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.frontends.tcp import tcp_frontend
from proxyd.policy.balance import RoundRobin
from proxyd.policy.pool import Pool
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.pair import ProxyServer
from proxyd.relay.stock import Stock
from tests.support.admission import admission
from tests.support.case import Case


class TcpFrontendTests(Case):
    """What stands behind a listener with ``protocol = tcp``."""

    def test_it_makes_sessions_with_the_limits_of_its_listener(self) -> None:
        """Each client gets a side of its own, with the timeouts that the operator set."""
        clock = Clock()
        capacity = Capacity(clock, 1)
        self.addCleanup(capacity.stop)
        spec = ListenerSpec("front", (), "back", idle_timeout=7.0, half_closed_timeout=3.0)
        pool = Pool(PoolSpec("back", (ServerSpec("a", TcpAddress("::1", 1)),)), RoundRobin(lambda: 0.0))
        factory = tcp_frontend(
            spec, {"back": pool}, Stock(clock), Wheel(clock), clock.seconds, capacity, (), admission()
        )
        side = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.assertIsInstance(side, ProxyServer)
        self.assertEqual((side.pair.idle_timeout, side.pair.half_closed_timeout), (7.0, 3.0))
