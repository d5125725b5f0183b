"""Parts in TLS, and what must not come before it."""

from __future__ import annotations

from OpenSSL import SSL

from proxyd.errors import Reason, Refused
from proxyd.relay.tls.parts import refuse_what_is_held, server_part
from tests.support.case import Case
from tests.support.tls import client_part, server_context


class Side:
    """What may hold bytes."""

    def __init__(self, held: bytes) -> None:
        self.held = held


class PartsTests(Case):
    """In memory."""

    def test_the_servers_part(self) -> None:
        """It answers a hello, and says nothing before one."""
        server, client = server_part(server_context(), None), client_part(None)
        self.assertRaises(SSL.WantReadError, server.do_handshake)
        self.assertRaises(SSL.WantReadError, server.bio_read, 1000)
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        server.bio_write(client.bio_read(10_000))
        self.assertRaises(SSL.WantReadError, server.do_handshake)
        self.assertEqual(server.bio_read(10_000)[:2], b"\x16\x03")

    def test_what_is_held(self) -> None:
        """Nothing may be, and how much there was is told."""
        refuse_what_is_held(Side(b""))
        refused = self.assertRaises(Refused, refuse_what_is_held, Side(b"12345"))
        self.assertEqual(
            (refused.reason, refused.detail),
            (Reason.TLS_HANDSHAKE, "TLS: 5 bytes came before it, without it"),
        )
