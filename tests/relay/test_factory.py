"""Whom does the factory of a listener make sessions of, and what does it say of those whom it turns away?"""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock

from proxyd.config.address import TcpAddress
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.errors import Reason
from proxyd.policy.balance import RoundRobin
from proxyd.policy.pool import Pool
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.factory import ProxyFactory
from proxyd.relay.pair import ProxyServer
from proxyd.relay.stock import Stock
from tests.relay.test_session import SessionCase
from tests.support.admission import admission
from tests.support.walltime import SetTime


class FactoryTests(SessionCase):
    def test_shed(self) -> None:
        """A client for whom there was no descriptor has a record, and no session."""
        client = self.serve([1])
        self.factory.shed(IPv6Address("TCP", "2001:db8::1", 99))
        [record] = self.notebook.records
        self.assertEqual((record.reason, record.client), (Reason.DESCRIPTORS, "[2001:db8::1]:99"))
        self.assertEqual((record.listener, record.total_seconds, self.capacity.open), ("front", 0.0, 1))
        client.finish()
        self.network.flush()

    def test_it_makes_sessions_with_the_limits_of_its_listener(self) -> None:
        """Each client gets a side of its own, with the timeouts that the operator set."""
        clock = Clock()
        capacity = Capacity(clock, 1)
        self.addCleanup(capacity.stop)
        spec = ListenerSpec("front", (), "back", idle_timeout=7.0, half_closed_timeout=3.0)
        pool = Pool(PoolSpec("back", (ServerSpec("a", TcpAddress("::1", 1)),)), RoundRobin(lambda: 0.0))
        factory = ProxyFactory(
            spec,
            {"back": pool},
            Stock(clock),
            Wheel(clock),
            clock.seconds,
            SetTime(clock.seconds),
            capacity,
            (),
            admission(),
        )
        side = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.assertIsInstance(side, ProxyServer)
        self.assertEqual((side.pair.idle_timeout, side.pair.half_closed_timeout), (7.0, 3.0))
