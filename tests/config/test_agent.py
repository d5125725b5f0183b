"""Is ``agent_check =`` taken for what an operator means by it?"""

from __future__ import annotations

from proxyd.config.address import TcpAddress, UnixAddress
from proxyd.config.agent import AgentSpec
from proxyd.config.forms import Send
from tests.config.ini import MINIMAL, IniCase

REFUSED = [
    ("interval=5s", "does not say where; write port=8404, for example"),
    ("port=1 address=10.0.0.9:1", "port and address do not go together; the address has a port of its own"),
    ("port=1 timeout=5s", "timeout=5s must be shorter than the interval, 5s"),
    ("port=1 interval=1s timeout=2s", "timeout=2s must be shorter than the interval, 1s"),
    ("tcp port=1", '"tcp" is not known; known here: port, address, interval, timeout, send'),
]


class AgentTests(IniCase):
    def test_given(self) -> None:
        """Where and how often the agents are asked, and what they are told."""
        for words, spec in (
            ("port=8404", AgentSpec(8404)),
            ("port=8404 interval=1s", AgentSpec(8404, interval=1.0, timeout=0.5)),
            (
                r"address=10.0.0.9:1 interval=9s timeout=3s send='db1\n'",
                AgentSpec(None, TcpAddress("10.0.0.9", 1), 9.0, 3.0, Send(b"db1\n")),
            ),
        ):
            self.assertEqual(self.load(f"{MINIMAL}agent_check = {words}\n").pools[0].agent_check, spec)
        self.assertIs(self.load(MINIMAL).pools[0].agent_check, None)

    def test_target(self) -> None:
        """A port is one of the server, an address is what it says."""
        server = TcpAddress("10.0.0.1", 80)
        self.assertEqual(AgentSpec(81).target(server), TcpAddress("10.0.0.1", 81))
        self.assertEqual(AgentSpec(address=UnixAddress("/a")).target(server), UnixAddress("/a"))

    def test_refused(self) -> None:
        """What cannot be asked is refused."""
        for words, why in REFUSED:
            problems = self.problems(f"{MINIMAL}agent_check = {words}\n")
            self.assertEqual(problems, [f"proxy.ini:6: [pool p] agent_check: {why}"])

    def test_unix(self) -> None:
        """A unix socket has no other port."""
        self.assertEqual(
            self.problems(f"{MINIMAL}server b = unix:/s\nagent_check = port=1\n"),
            [
                "proxy.ini:7: [pool p] agent_check: "
                "port=1 means nothing for a server that is a unix socket, as b is"
            ],
        )
