"""Do the checks follow the servers that come, go and move?"""

from __future__ import annotations

from proxyd.config.address import Addresses, TcpAddress
from proxyd.config.pool import ServerSpec
from tests.upkeep.checking import CHECKING, UP, InMemory, pool_of


class Coming(InMemory):
    """Servers that come, go and move while others are checked."""

    def setUp(self) -> None:
        super().setUp()
        self.pool = pool_of(TcpAddress("10.0.0.1", 80), TcpAddress("db.example", 80))

    def attempted(self) -> list[str]:
        return [client[0] for client in self.reactor.tcpClients]

    def test_unresolved(self) -> None:
        """A server of which nobody knows where it is is not checked, and as soon as it is known it is."""
        checks = self.check()
        self.assertEqual(self.attempted(), ["10.0.0.1"])
        _, b = self.pool.servers
        self.pool.revise([(b, ServerSpec("b", TcpAddress("10.0.0.7", 80)))], "", 0.0)
        self.reactor.advance(0)
        self.assertEqual(self.attempted(), ["10.0.0.1", "10.0.0.7"])
        self.accept()
        self.assertIs(b.state, UP)
        self.assertStill(checks)

    def test_moved(self) -> None:
        """A server that is elsewhere now is checked there first; what the old address says counts no more."""
        checks = self.check()
        a, _ = self.pool.servers
        self.accept()
        self.assertIs(a.state, UP)
        self.next_check()
        self.pool.revise([(a, ServerSpec("a", TcpAddress("10.0.0.8", 80)))], "", 0.0)
        self.assertIs(a.state, CHECKING)
        self.reactor.advance(0)
        self.assertEqual(self.attempted(), ["10.0.0.1", "10.0.0.1", "10.0.0.8"])
        self.accept()
        self.assertIs(a.state, UP)
        self.assertStill(checks)

    def test_one_address_more(self) -> None:
        """A server that may still be where it was stays up; its next check goes to all its addresses."""
        checks = self.check()
        a, _ = self.pool.servers
        self.accept()
        both = Addresses((TcpAddress("10.0.0.8", 80), TcpAddress("10.0.0.1", 80)))
        self.pool.revise([(a, ServerSpec("a", both))], "", 0.0)
        self.assertIs(a.state, UP)
        self.next_check()
        self.assertEqual(self.attempted(), ["10.0.0.1", "10.0.0.8"])
        self.reactor.advance(0.25)
        self.assertEqual(self.attempted(), ["10.0.0.1", "10.0.0.8", "10.0.0.1"])
        self.assertStill(checks)
