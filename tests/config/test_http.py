"""Does the operator get what is asked of HTTP?"""

from __future__ import annotations

from proxyd.config import load
from proxyd.config.http import HttpSpec, contradictions
from tests.config.ini import IniCase


class HttpOptions(IniCase):
    """Options of listeners and pools."""

    def test_defaults(self) -> None:
        """A listener of HTTP has safe values without being told any."""
        config = load(
            self.write(
                "[listener a]\nbind = tcp:80\nprotocol = http\npool = p\n[pool p]\nserver a = 10.0.0.1:1\n"
            ),
            {},
        )
        (listener,), (pool,) = config.listeners, config.pools
        self.assertEqual(
            (listener.protocol, listener.http, listener.abort_on_close), ("http", HttpSpec(), None)
        )
        self.assertEqual(
            (pool.response_timeout, pool.max_idle_connections, pool.idle_connection_timeout), (60.0, 16, 30.0)
        )

    def test_inherited(self) -> None:
        """The protocol may be given in [proxyd] for all listeners."""
        text = "[proxyd]\nprotocol = http\n[listener a]\nbind = tcp:80\nvia = off\npool = p\n"
        text += "[pool p]\nserver a = 10.0.0.1:1\n"
        (listener,) = load(self.write(text), {}).listeners
        self.assertEqual((listener.protocol, listener.http.via), ("http", ""))

    def test_contradictions(self) -> None:
        """What is for the other protocol is told."""
        self.assertEqual(
            [name for name, _ in contradictions({"protocol": "http", "tls": "passthrough"})], ["tls"]
        )
        self.assertEqual([name for name, _ in contradictions({"protocol": "tcp", "via": "x"})], ["via"])
        self.assertEqual(list(contradictions({"via": "x"})), [])
