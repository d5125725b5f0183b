"""Where does TLS begin in the way of a protocol?"""

from __future__ import annotations

from proxyd.config.address import TcpBind
from proxyd.config.listener import ListenerSpec
from proxyd.config.refusal import SPOKEN
from proxyd.config.starttls import NO, OPTIONAL, PROTOCOLS, REQUIRED, is_late, offered
from proxyd.config.tls import TlsSpec
from tests.support.case import Case

BIND = TcpBind("tcp:1", "0.0.0.0", 1)


class StartTls(Case):
    def test_offered(self) -> None:
        """It does in all of the protocols that have it, and must, unless it is said otherwise."""
        self.assertLess(set(PROTOCOLS), set(SPOKEN))
        for speaks in (*SPOKEN, ""):
            has = speaks in PROTOCOLS
            for given, expected in (("", REQUIRED), (REQUIRED, REQUIRED), (OPTIONAL, OPTIONAL), (NO, "")):
                self.assertEqual(offered(given, speaks), expected if has else "")

    def test_listener(self) -> None:
        """A listener offers it where TLS ends there, and PostgreSQL's protocol by its name."""
        ending = TlsSpec(("certificates",))
        for tls, speaks, offers, late, alpn in (
            (ending, "pgsql", REQUIRED, False, (b"postgresql",)),
            (ending, "mysql", REQUIRED, True, ()),
            (ending, "http", "", False, ()),
            (ending, "", "", False, ()),
            ("", "smtp", "", False, None),
        ):
            listener = ListenerSpec("front", (BIND,), tls=tls, speaks=speaks)
            self.assertEqual((listener.offers_tls, listener.tls_is_late), (offers, late))
            found = listener.tls_at(BIND)
            self.assertEqual(found.alpn if found is not None else None, alpn)
        named = ListenerSpec("front", (BIND,), tls=TlsSpec(("c",), alpn=(b"x",)), speaks="pgsql").tls_at(BIND)
        assert named is not None
        self.assertEqual(named.alpn, (b"x",))

    def test_late(self) -> None:
        """Only PostgreSQL's clients speak before their servers."""
        self.assertEqual([speaks for speaks in PROTOCOLS if not is_late(speaks)], ["pgsql"])
