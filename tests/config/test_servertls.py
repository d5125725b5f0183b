"""Is what is asked of TLS towards servers taken as an operator means it?"""

from __future__ import annotations

from typing import Any, Optional

from proxyd.config.reader import Word
from proxyd.config.servertls import ServerTls, ServerTlsSpec
from tests.config.ini import LISTENER, IniCase


class ServerTlsTests(IniCase):
    def parsed(self, text: str) -> tuple[Optional[ServerTlsSpec], list[str]]:
        """What a value is taken for, and what is wrong with it."""
        wrong: list[str] = []
        words = [Word(word, "/etc/proxyd/proxy.ini", 7) for word in text.split()]
        return ServerTls().parse(words, lambda line, why: wrong.append(why)), wrong

    def test_right(self) -> None:
        """TLS is verified unless it is said otherwise; names are in lower case, files beside the ini file."""
        for text, what in (
            ("yes", {}),
            ("on verify=yes", {}),
            ("ca=system", {}),
            ("yes ca=ca.pem", {"ca": "/etc/proxyd/ca.pem"}),
            ("ca=/ca.pem", {"ca": "/ca.pem"}),
            ("verify=no", {"verify": False}),
            ("verify=no sni=DB.example.com.", {"verify": False, "sni": "db.example.com"}),
            ("name=DB.Example.com.", {"name": "db.example.com"}),
            ("name=_db._tcp.example.com", {"name": "_db._tcp.example.com"}),
            ("name=10.0.0.1", {"name": "10.0.0.1"}),
            ("name=FD00:0::1", {"name": "fd00::1"}),
            ("sni=client", {"sni": "client"}),
            ("sni=no", {"sni": "no"}),
            ("alpn=h2,http/1.1", {"alpn": (b"h2", b"http/1.1")}),
            ("minimum=1.3 reuse=off", {"minimum": "1.3", "reuse": False}),
            ("certificate=a key=b", {"certificate": "/etc/proxyd/a", "key": "/etc/proxyd/b"}),
        ):
            values: dict[str, Any] = what
            self.assertEqual(self.parsed(text), (ServerTlsSpec(**values), []), text)
        self.assertEqual(self.parsed("no"), (None, []))

    def test_wrong(self) -> None:
        """What cannot be is said, with what would be right."""
        for text, why in (
            ("maybe", '"maybe" is not known; known here: yes, no, verify, name, '),
            ("verify", '"verify" is not known'),
            ("no yes", 'no stands alone, and "yes" follows'),
            ("yes yes", '"yes" is not known'),
            ("name=*.example.com", 'name: "*.example.com" is not the name of a host'),
            ("name=a_b.", ""),
            ("sni=::1", 'sni: "::1" is an address, and SNI has names alone'),
            ("sni=a..b", 'sni: "a..b" is not the name of a host'),
            ("alpn=h2,h2", 'alpn: "h2,h2" has a protocol twice'),
            ("minimum=1.1", 'minimum: "1.1" is not known'),
            ("key=a", "key means nothing without the certificate"),
            ("verify=no ca=a", "ca means nothing with verify=no"),
            ("verify=no name=a", "name means nothing with verify=no; write sni="),
        ):
            _, wrong = self.parsed(text)
            self.assertEqual(bool(wrong), bool(why), text)
            self.assertTrue(not why or wrong[0].startswith(why), wrong)

    def test_where_it_is_written(self) -> None:
        """Two that differ in nothing but their place are the same, and each knows its own."""
        spec, _ = self.parsed("ca=a certificate=b")
        assert spec is not None
        self.assertEqual((spec.path, spec.line), ("/etc/proxyd/proxy.ini", 7))
        other = ServerTlsSpec(ca="/etc/proxyd/a", certificate="/etc/proxyd/b")
        self.assertEqual((spec, hash(spec)), (other, hash(other)))
        self.assertEqual(spec.files, ("/etc/proxyd/a", "/etc/proxyd/b"))

    def test_servers(self) -> None:
        """A server has what its pool has, unless it says otherwise."""
        servers = (
            "server a = 10.0.0.1:1\nserver b = 10.0.0.2:1 tls=no\nserver c = 10.0.0.3:1 tls_name=c.example\n"
        )
        config = self.load(f"{LISTENER}[pool p]\ntls = name=a.example\n{servers}")
        a, b, c = (server.tls for server in config.pools[0].servers)
        self.assertEqual((a, b), (ServerTlsSpec(name="a.example"), None))
        self.assertEqual(c, ServerTlsSpec(name="c.example"))
        plain = servers.replace(" tls=no", "").replace(" tls_name=c.example", "")
        config = self.load(f"{LISTENER}[pool p]\ntls = no\n{plain}")
        self.assertEqual([server.tls for server in config.pools[0].servers], [None] * 3)
