"""Is a connection enough, and is it left as it was found?"""

from __future__ import annotations

from twisted.internet.error import ConnectionLost

from proxyd.config.probes import TcpAsk
from proxyd.upkeep.probes import tcp
from tests.upkeep.probes.stage import ProbeCase


class TcpTests(ProbeCase):
    probe = tcp.probe

    def test_silent(self) -> None:
        """A server that accepts passes, and hears nothing but the end."""
        self.begin(TcpAsk())
        self.assertPassed()

    def test_greeting(self) -> None:
        """A server that must be told so hears that the connection is our own."""
        self.begin(TcpAsk(), greeting=b"PROXY UNKNOWN\r\n")
        self.assertPassed(farewell=b"PROXY UNKNOWN\r\n")

    def test_reset_at_once(self) -> None:
        """One that has accepted has passed, even if it breaks the connection."""
        self.begin(TcpAsk())
        self.close(ConnectionLost())
        self.assertPassed()
