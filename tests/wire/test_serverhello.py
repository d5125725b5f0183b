"""Is the session found that a server answers with, and nothing else taken for one?"""

from __future__ import annotations

import ssl
from pathlib import Path
from random import Random
from typing import Optional, Sequence

from proxyd.errors import Malformed
from proxyd.wire.serverhello import MAX_LENGTH, ServerHello, parse
from tests.support.case import Case
from tests.support.certificate import key_and_certificate
from tests.support.hello import handshake, in_records, vector
from tests.support.mutations import mutations

SESSION = bytes(range(32))


def answer(
    session_id: bytes = SESSION, chosen: int = 0, records: Sequence[int] = (), more: bytes = b""
) -> bytes:
    """A ServerHello; ``chosen`` is a version in an extension, ``more`` the messages behind it."""
    fields = b"\x03\x03" + bytes(32) + vector(1, session_id) + b"\xc0\x2f\x00"
    if chosen:
        fields += vector(2, b"\x00\x2b" + vector(2, chosen.to_bytes(2, "big")))
    return in_records(handshake(fields, 2) + more, records)


def openssl(pem: Path, maximum: ssl.TLSVersion, tickets: bool) -> bytes:
    """What a server that is OpenSSL answers to a client that is OpenSSL."""
    pem.write_bytes(key_and_certificate())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    server.maximum_version = maximum
    if not tickets:
        server.options |= ssl.OP_NO_TICKET
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    asked, answered = ssl.MemoryBIO(), ssl.MemoryBIO()
    for context, incoming, outgoing, side in (
        (client, ssl.MemoryBIO(), asked, False),
        (server, asked, answered, True),
    ):
        try:
            context.wrap_bio(incoming, outgoing, server_side=side).do_handshake()
        except ssl.SSLWantReadError:
            pass
    return answered.read()


def byte_by_byte(data: bytes) -> Optional[ServerHello]:
    for length in range(len(data) + 1):
        found = parse(data[:length])
        if found is not None:
            return found
    return None


class ServerHelloTests(Case):
    """`parse`."""

    def test_real(self) -> None:
        """OpenSSL gives out an id with TLS 1.2, none with a ticket, and none of use with TLS 1.3."""
        for maximum, tickets, version, has in (
            (ssl.TLSVersion.TLSv1_2, False, 0x0303, True),
            (ssl.TLSVersion.TLSv1_2, True, 0x0303, False),
            (ssl.TLSVersion.TLSv1_3, True, 0x0304, False),
        ):
            data = openssl(Path(self.mktemp()), maximum, tickets)
            found = parse(data)
            assert found is not None
            self.assertEqual((found.version, len(found.session_id)), (version, 32 if has else 0))
            self.assertEqual(byte_by_byte(data), found)

    def test_built(self) -> None:
        """However it is cut into records, and whatever follows in the same one, the session is the same."""
        expected = ServerHello(0x0303, SESSION)
        for data in (
            answer(),
            answer(records=(1, 3, 40)),
            answer(more=handshake(bytes(3000), 11)),
            answer() + b"\x17\x03\x03",
        ):
            self.assertEqual(parse(data), expected)
            self.assertEqual(byte_by_byte(data), expected)
        self.assertEqual(parse(answer(b"")), ServerHello(0x0303, b""))
        self.assertEqual(parse(answer(chosen=0x0304)), ServerHello(0x0304, b""))

    def test_nothing_of_the_kind(self) -> None:
        """An alert, another message, or no TLS at all is told at once."""
        for data in (
            b"\x15\x03\x03\x00\x02\x02\x28",
            in_records(handshake(b"", 0)),
            b"220 mail.example\r\n",
            in_records(handshake(b"\x03\x03", 2)),
            answer(bytes(33)),
            in_records(b"\x02\x00\x20\x00"),
            answer(records=(1,) * 9),
        ):
            self.assertRaises(Malformed, parse, data)

    def test_broken(self) -> None:
        """Whatever comes, there is an answer after so many bytes, and it is the same byte by byte."""
        seeds = [answer(), answer(records=(9,)), answer(chosen=0x0304)]
        for data in mutations(Random(1), seeds, 2_000):
            data = (data + bytes(MAX_LENGTH))[:MAX_LENGTH]
            try:
                found = parse(data)
            except Malformed:
                continue
            self.assertIsNotNone(found, data[:80])
            self.assertEqual(byte_by_byte(data), found)
