"""Is it read where an RDP client wants to go, and nothing read into what it has not said?"""

from __future__ import annotations

from random import Random

from proxyd.wire.rdp import MAX_LENGTH, ConnectionRequest, begins, parse
from tests.support.case import Case
from tests.support.mutations import mutations

NEGOTIATION = b"\x01\x00\x08\x00\x0b\x00\x00\x00"  # TLS, CredSSP and the rest, as xfreerdp asks

# MS-RDPBCGR 4.1.1.
ELTONS = bytes.fromhex(
    "0300002c27e00000000000436f6f6b69653a206d737473686173683d656c746f6e730d0a0100080000000000"
)

# Of a token in "Routing Token Format"; addresses and ports count from the last byte to the first.
TOKEN = "172.31.249.216:3389"


def request(cookie: bytes = b"", negotiation: bytes = NEGOTIATION) -> bytes:
    """A Connection Request as xfreerdp and Microsoft's clients send it."""
    rest = b"\xe0\x00\x00\x00\x00\x00" + cookie + negotiation
    return b"\x03\x00" + (5 + len(rest)).to_bytes(2, "big") + bytes([len(rest)]) + rest


class RdpTests(Case):
    """`begins` and `parse`."""

    def test_cookies(self) -> None:
        """The user's name, or the broker's token with its server."""
        for data, cookie, server in (
            (ELTONS, b"mstshash=eltons", ""),
            (request(b"Cookie: mstshash=DOMAIN\\al\r\n"), b"mstshash=DOMAIN\\al", ""),
            (request(b"Cookie: mstshash=a\r\n", b""), b"mstshash=a", ""),
            (request(b"Cookie: msts=16777226.15629.0000\r\n"), b"msts=16777226.15629.0000", "10.0.0.1:3389"),
            (request(b"Cookie: msts=3640205228.15629.0000\r\n"), b"msts=3640205228.15629.0000", TOKEN),
            (request(b"Cookie: msts=4294967296.1.0000\r\n"), b"msts=4294967296.1.0000", ""),
            (request(b"Cookie: msts=1.65536.0000\r\n"), b"msts=1.65536.0000", ""),
            (request(b"Cookie: msts=farm-a\r\n"), b"msts=farm-a", ""),
            (request(), b"", ""),
            (request(b"Cookie: mstshash=\r\n"), b"", ""),
            (request(b"Cookie: mstshash=unterminated"), b"", ""),
            (request(b"tsv://MS Terminal Services Plugin.1.Farm\r\n"), b"", ""),
        ):
            self.assertTrue(begins(data))
            self.assertEqual(parse(data), ConnectionRequest(cookie, server), data)
            self.assertEqual(parse(data + b"Cookie: mstshash=x\r\n"), parse(data))
            for length in range(len(data)):
                self.assertIsNone(parse(data[:length]))
                self.assertIn(begins(data[:length]), (None, True))

    def test_broken(self) -> None:
        """Whatever comes, there is an answer after 6 bytes, and the whole after 259."""
        for data in mutations(Random(1), [ELTONS, request(), request(b"Cookie: msts=1.2.3\r\n")], 3_000):
            found = begins(data)
            self.assertEqual(found is None, len(data) < 6 and found is None)
            if found:
                self.assertIsNotNone(parse(data + bytes(MAX_LENGTH)))
