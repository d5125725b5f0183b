"""Is ``[demo]`` taken for what an operator means by it?"""

from __future__ import annotations

from proxyd.config.address import TcpBind
from proxyd.config.demo import DemoServerSpec, DemoSpec
from tests.config.ini import MINIMAL, IniCase


class DemoTests(IniCase):
    def test_servers(self) -> None:
        """Each server is started under its name, at the address that is given."""
        text = f"{MINIMAL}[demo]\nserver a = tcp:81:interface=127.0.0.1\nserver b = tcp:0\n"
        self.assertEqual(
            self.load(text).demo,
            DemoSpec((
                DemoServerSpec("a", TcpBind("tcp:81:interface=127.0.0.1", "127.0.0.1", 81)),
                DemoServerSpec("b", TcpBind("tcp:0", "0.0.0.0", 0)),
            )),
        )  # fmt: skip

    def test_none(self) -> None:
        """Without the section there are no demo servers."""
        self.assertIs(self.load(MINIMAL).demo, None)

    def test_address_of_a_server(self) -> None:
        """Where a pool has an address to connect to, the demo has one to listen on."""
        self.assertIn(
            'proxy.ini:7: [demo] server a: "127.0.0.1:81" is not an address to listen on; write tcp:8080',
            self.problems(f"{MINIMAL}[demo]\nserver a = 127.0.0.1:81\n")[0],
        )
