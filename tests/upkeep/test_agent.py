"""Are agents asked beside the checks, and is what they say heeded?"""

from __future__ import annotations

from typing import Optional

from twisted.logger import capturedLogs

from proxyd.config.address import TcpAddress
from proxyd.config.agent import AgentSpec
from proxyd.config.forms import Send
from proxyd.config.health import CheckSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.ops.state import StateLog
from proxyd.policy.lots import PowerOfTwo
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from proxyd.upkeep.health import HealthChecks
from tests.upkeep.checking import DOWN, UP, InMemory, no_delay
from tests.upkeep.probes.stage import FakeTransport


class Agents(InMemory):
    def begin(self, check: Optional[CheckSpec] = None, send: Optional[Send] = None) -> HealthChecks:
        """One server, whose agent is asked on port 99 every 4 s."""
        agent = AgentSpec(99, interval=4.0, timeout=1.0, send=send)
        servers = (ServerSpec("a", TcpAddress("10.0.0.1", 80), 10),)
        checks = (check,) if check is not None else ()
        self.pool = Pool(PoolSpec("web", servers, checks=checks, agent_check=agent), PowerOfTwo(no_delay))
        self.pool.watch(StateLog().changed)
        (self.server,) = self.pool.servers
        return self.check()

    def answer(self, line: bytes, pause: float = 4.0) -> FakeTransport:
        """The agent answers, and the time until the next question goes by."""
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("10.0.0.1", 99))
        transport = self.accept()
        transport.protocol.dataReceived(line)
        self.reactor.advance(pause)
        return transport

    def test_down_and_up(self) -> None:
        """A server without checks is up until its agent says otherwise, and again when it says so."""
        with capturedLogs() as events:
            checks = self.begin()
            for line, state in (
                (b"50%\n", UP),
                (b"down #disk full\n", DOWN),
                (b"75%\n", DOWN),
                (b"up\n", UP),
                (b"stopped\n", DOWN),
                (b"fail\n", DOWN),
                (b"up\n", UP),
            ):
                self.answer(line)
                self.assertIs(self.server.state, state, line)
        self.assertEqual(
            [line.partition(") ")[2] for line in self.lines(events)],
            [
                "has weight 5: agent: 50%",
                "is down: agent: down (disk full)",
                "has weight 8: agent: 75%",
                "is up: agent: up",
                "is down: agent: stopped",
                "is up: agent: up",
            ],
        )
        self.assertStill(checks)

    def test_beside_a_check(self) -> None:
        """With a check the server is up only if both say so, and up is no answer to a check that fails."""
        self.begin(CheckSpec(interval=1000, timeout=500, fall=1))
        check = self.reactor.tcpClients[0][2]
        self.answer(b"up\n")
        self.assertIs(self.server.state, State.CHECKING)
        transport = FakeTransport(closes=True)
        transport.protocol = check.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        self.assertIs(self.server.state, UP)
        self.answer(b"down\n")
        self.assertIs(self.server.state, DOWN)
        self.answer(b"up\n")
        self.assertIs(self.server.state, UP)

    def test_maintenance(self) -> None:
        """It is asked in maintenance too, so that it can end what it began; down is down afterwards, too."""
        self.begin()
        self.answer(b"maint down\n")
        self.assertIs(self.server.state, State.MAINTENANCE)
        self.answer(b"ready\n")
        self.assertIs(self.server.state, UP)
        self.answer(b"fail\n")
        self.assertIs(self.server.state, DOWN)

    def test_tells_nothing(self) -> None:
        """An agent that is not there, slow, or not understood changes nothing; the same is said once."""
        with capturedLogs() as events:
            checks = self.begin()
            self.answer(b"down\n")
            for _ in range(2):
                self.refuse()
                self.reactor.advance(4)
            self.accept()
            self.reactor.pump([1] * 4)
            self.answer(b"hello\n")
            self.answer(b"up\n")
            self.refuse()
        nothing = "stays down: its agent tells nothing: "
        self.assertEqual(
            [line.partition(") ")[2] for line in self.lines(events)],
            [
                "is down: agent: down",
                nothing + "connection refused",
                nothing + "no line of the agent within 1s",
                nothing + "sent b'hello', which is no word of an agent",
                "is up: agent: up",
                "stays up: its agent tells nothing: connection refused",
            ],
        )
        self.assertStill(checks)

    def test_asked(self) -> None:
        """What the agent is to be told comes first, and the connection is closed after its line."""
        self.begin(send=Send(b"db1\n"))
        transport = self.answer(b"up\n")
        self.assertEqual(transport.value(), b"db1\n")
        self.assertTrue(transport.disconnecting)
