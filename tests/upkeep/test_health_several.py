"""What do several checks of a server say together, and may servers come and go meanwhile?"""

from __future__ import annotations

import errno
from typing import Optional

from twisted.internet.error import (
    ConnectionRefusedError,
)
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from proxyd.config.address import TcpAddress
from proxyd.config.combination import AllOf, AnyOf, Combination
from proxyd.config.health import CheckSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.ops.state import StateLog
from proxyd.policy.lots import PowerOfTwo
from proxyd.policy.pool import Pool
from proxyd.upkeep.health import HealthChecks
from tests.upkeep.checking import CHECKING, DOWN, UP, InMemory, no_delay
from tests.upkeep.probes.stage import FakeTransport


class Several(InMemory):
    """Several checks of one server, and servers that come and go."""

    def several(
        self, combination: Optional[Combination] = None, *servers: str, timeout: float = 2
    ) -> HealthChecks:
        """Checks named tcp and other; the second is on port 81, and may take its time."""
        checks = (
            CheckSpec(name="tcp", fall=1, rise=1),
            CheckSpec(name="other", fall=1, rise=1, port=81, timeout=timeout),
        )
        specs = tuple(ServerSpec(name, TcpAddress(f"10.0.0.{name}", 80)) for name in servers or "1")
        spec = PoolSpec("web", specs, checks=checks, combination=combination)
        self.pool = Pool(spec, PowerOfTwo(no_delay))
        self.pool.watch(StateLog().changed)
        return self.check()

    def answer(self, port: int, accepts: bool) -> None:
        """The newest connection to this port is accepted or refused."""
        place = max(n for n, client in enumerate(self.reactor.tcpClients) if client[1] == port)
        factory = self.reactor.tcpClients[place][2]
        if not accepts:
            refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
            factory.clientConnectionFailed(self.reactor.connectors[place], Failure(refused))
            return
        transport = FakeTransport(closes=True)
        transport.protocol = factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)

    def test_all(self) -> None:
        """A server is up when all checks have passed, and down when one fails, whose name is told."""
        with capturedLogs() as events:
            checks = self.several()
            (server,) = self.pool.servers
            self.answer(80, True)
            self.assertIs(server.state, CHECKING)
            self.answer(81, True)
            self.assertIs(server.state, UP)
            self.reactor.advance(5)
            self.answer(81, False)
            self.assertIs(server.state, DOWN)
            self.answer(80, False)
            self.reactor.advance(5)
            self.answer(81, True)
            self.assertIs(server.state, DOWN)
        self.assertEqual(server.why, "other: connection refused (1 check)")
        self.assertEqual(
            self.lines(events),
            [
                "info: [pool web] server 1 (10.0.0.1:80) passes check tcp, and stays checking: "
                "check passed (first check)",
                "info: [pool web] server 1 (10.0.0.1:80) is up: other: check passed (first check)",
                "warn: [pool web] server 1 (10.0.0.1:80) is down: other: connection refused (1 check)",
                "info: [pool web] server 1 (10.0.0.1:80) fails check tcp, and stays down: "
                "connection refused (1 check)",
                "info: [pool web] server 1 (10.0.0.1:80) passes check other, and stays down: "
                "check passed (1 check)",
            ],
        )
        self.assertStill(checks)

    def test_any(self) -> None:
        """Where one check is enough, the first that passes decides; one without a result never does harm."""
        checks = self.several(AnyOf(("tcp", "other")), timeout=60)
        (server,) = self.pool.servers
        self.answer(80, True)
        self.assertIs(server.state, UP)
        self.reactor.advance(5)
        self.answer(80, False)
        self.assertIs(server.state, UP)
        self.answer(81, False)
        self.assertIs(server.state, DOWN)
        self.assertStill(checks)

    def test_held_back(self) -> None:
        """A server that keeps changing is held back, and it is said for how long."""
        self.several()
        (server,) = self.pool.servers
        self.answer(81, True)
        self.answer(80, True)
        for accepts in (False, True, False):
            self.reactor.advance(5)
            self.answer(81, True)
            self.answer(80, accepts)
        self.assertEqual(
            server.why, "tcp: connection refused (1 check); it keeps changing, and must pass 2 in a row"
        )

    def test_away(self) -> None:
        """In maintenance there are no checks; after it they come at once, and each decides anew."""
        checks = self.several(AllOf(("tcp", "other")))
        (server,) = self.pool.servers
        self.answer(80, True)
        self.answer(81, True)
        self.pool.disable(server, "", 0.0)
        before = self.attempts()
        self.reactor.advance(5)
        self.assertEqual(self.attempts(), before)
        self.pool.enable(server, "", 0.0)
        self.assertIs(server.state, CHECKING)
        self.reactor.advance(0)
        self.assertEqual(self.attempts(), before + 2)
        self.answer(80, True)
        self.assertIs(server.state, CHECKING)
        self.answer(81, True)
        self.assertIs(server.state, UP)
        self.assertStill(checks)

    def test_added_and_removed(self) -> None:
        """A server that the pool gets later is checked as well, until it is removed."""
        checks = self.several()
        spec = ServerSpec("9", TcpAddress("10.0.0.9", 80))
        [server] = self.pool.add([spec], "", 0.0)
        self.reactor.advance(0)
        self.assertEqual(
            [client[0] for client in self.reactor.tcpClients], ["10.0.0.1"] * 2 + ["10.0.0.9"] * 2
        )
        self.pool.remove([server], "", 0.0)
        self.reactor.tcpClients.clear()
        self.reactor.pump([1] * 5)
        self.assertEqual({client[0] for client in self.reactor.tcpClients}, {"10.0.0.1"})
        self.assertStill(checks)
        self.pool.add([spec], "", 0.0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_comes_and_goes(self) -> None:
        """A server that is forgotten is checked no more, and one that comes later is; others go on."""
        checks = self.several(None, "1", "2")
        first, _ = self.pool.servers
        self.successResultOf(checks.forget(first))
        self.successResultOf(checks.forget(first))
        self.reactor.tcpClients.clear()
        checks.watch(self.pool, first)
        checks.watch(self.pool, first)
        self.reactor.advance(0)
        self.assertEqual(
            [client[:2] for client in self.reactor.tcpClients], [("10.0.0.1", 80), ("10.0.0.1", 81)]
        )
        self.assertStill(checks)
