"""What does a server look like when nothing has happened to it, and to people?"""

from __future__ import annotations

from proxyd.config.address import TcpAddress
from proxyd.policy.server import Server
from proxyd.policy.state import State
from tests.support.case import Case


class ServerTests(Case):
    def test_new(self) -> None:
        """A new one is up, has its whole weight, and remembers what the configuration says."""
        server = Server("a", TcpAddress("10.0.0.1", 80), weight=3)
        self.assertEqual((server.state, server.effective_weight, server.configured), (State.UP, 3.0, 3))

    def test_itself(self) -> None:
        """Two that are alike are two, and each can be a key."""
        one, other = (Server("a", TcpAddress("10.0.0.1", 80)) for _ in range(2))
        self.assertEqual(len({one, other, one}), 2)

    def test_shown(self) -> None:
        """A log line that has one in it says which and how it is."""
        server = Server("a", TcpAddress("10.0.0.1", 80), pool="web", open=2)
        self.assertEqual(repr(server), "<Server web/a 10.0.0.1:80 up, 2 open>")
