"""Is a client sent where its protocol is spoken?"""

from __future__ import annotations

from random import Random
from typing import Optional

from proxyd.wire.sniff import DECIDED, HTTP_METHODS, Speaks, sniff
from tests.support.case import Case
from tests.support.hello import openssl
from tests.support.mutations import mutations
from tests.wire.captured import GNUTLS, JAVA

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def startup(length: int, code: int, rest: bytes = b"") -> bytes:
    """A PostgreSQL startup packet that says it has this length."""
    return length.to_bytes(4, "big") + code.to_bytes(4, "big") + rest


SSL_REQUEST = startup(8, 80877103)
PSQL = startup(41, 3 << 16, b"user\x00probe\x00database\x00shop\x00\x00")

# What is sent, what that is, and after how many of its bytes it is known.
SPOKEN = [
    (openssl("www.example.com"), Speaks.TLS, 3),
    (GNUTLS, Speaks.TLS, 3),
    (JAVA, Speaks.TLS, 3),
    (b"\x16\x03\x00", Speaks.TLS, 3),
    (b"\x16\x03\x04malformed", Speaks.TLS, 3),
    (b"\x16\x03\x05", Speaks.OTHER, 3),
    (b"\x16\x02", Speaks.OTHER, 2),
    (b"\x15\x03\x01", Speaks.OTHER, 1),
    (b"\x80\x2e\x01\x03\x01", Speaks.OTHER, 1),
    (b"GET / HTTP/1.1\r\n", Speaks.HTTP, 4),
    (b"POST /form HTTP/1.0\r\n", Speaks.HTTP, 5),
    (b"OPTIONS * HTTP/1.1\r\n", Speaks.HTTP, 8),
    (b"CONNECT db:5432 HTTP/1.1\r\n", Speaks.HTTP, 8),
    (b"UPDATE /a HTTP/1.1\r\n", Speaks.HTTP, 7),
    (b"UPDATEREDIRECTREF /a HTTP/1.1\r\n", Speaks.HTTP, 18),
    (PREFACE, Speaks.HTTP, 24),
    (b"PRI /", Speaks.OTHER, 5),
    (b"PRI * HTTP/2.0\r\n\r\nXX", Speaks.OTHER, 19),
    (b"GET\t/", Speaks.OTHER, 4),
    (b"GETS ", Speaks.OTHER, 4),
    (b"get / HTTP/1.1\r\n", Speaks.OTHER, 1),
    (b"BREW /pot HTCPCP/1.0\r\n", Speaks.OTHER, 2),
    (b" GET /", Speaks.OTHER, 1),
    (b"\r\nGET /", Speaks.OTHER, 1),
    (b"SSH-2.0-OpenSSH_9.2p1\r\n", Speaks.SSH, 4),
    (b"SSH-1.99-old\r\n", Speaks.SSH, 4),
    (b"SSH 2", Speaks.OTHER, 4),
    (SSL_REQUEST, Speaks.POSTGRESQL, 8),
    (startup(8, 80877104), Speaks.POSTGRESQL, 8),
    (startup(16, 80877102, bytes(8)), Speaks.POSTGRESQL, 8),
    (startup(268, 80877102), Speaks.POSTGRESQL, 8),
    (PSQL, Speaks.POSTGRESQL, 6),
    (startup(41, 3 << 16 | 2), Speaks.POSTGRESQL, 6),
    (startup(8, 3 << 16), Speaks.POSTGRESQL, 6),
    (startup(10004, 3 << 16), Speaks.POSTGRESQL, 6),
    (startup(10005, 3 << 16), Speaks.OTHER, 4),
    (startup(7, 3 << 16), Speaks.OTHER, 4),
    (startup(0, 0), Speaks.OTHER, 4),
    (startup(41, 2 << 16), Speaks.OTHER, 6),
    (startup(9, 80877103), Speaks.OTHER, 5),
    (startup(8, 80877105), Speaks.OTHER, 8),
    (startup(269, 80877102), Speaks.OTHER, 5),
    (startup(11, 80877102), Speaks.OTHER, 5),
    (b"\x00\x01", Speaks.OTHER, 2),
    (b"\x00\x00\x28", Speaks.OTHER, 3),
    (b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00", Speaks.RDP, 6),
    (b"\x03\x00\x01\x03\xfe\xe0", Speaks.RDP, 6),
    (b"\x03\x01", Speaks.OTHER, 2),
    (b"\x03\x00\x02", Speaks.OTHER, 3),
    (b"\x03\x00\x00\x13\x0d", Speaks.OTHER, 5),
    (b"\x03\x00\x00\x0a\x05", Speaks.OTHER, 5),
    (b"\x03\x00\x00\x13\x0e\xf0", Speaks.OTHER, 6),
    (b"*1\r\n$4\r\nPING\r\n", Speaks.OTHER, 1),
    (b"EHLO example.com\r\n", Speaks.OTHER, 1),
    (b"\x10\x1f\x00\x04MQTT", Speaks.OTHER, 1),
    (b"PROXY TCP4 ", Speaks.OTHER, 4),
    (b"\xff\xfd\x18", Speaks.OTHER, 1),
]


def byte_by_byte(data: bytes) -> tuple[Optional[Speaks], int]:
    """The first answer, and after how many bytes it came."""
    for length in range(len(data) + 1):
        speaks = sniff(data[:length])
        if speaks is not None:
            return speaks, length
    return None, len(data)


class Sniffing(Case):
    """`sniff`."""

    def test_spoken(self) -> None:
        """Each protocol is known by its first bytes, whole or byte by byte, and no later than it can be."""
        for data, speaks, known in SPOKEN:
            self.assertEqual(sniff(data), speaks, data[:24])
            self.assertEqual(byte_by_byte(data), (speaks, known), data[:24])

    def test_all_methods(self) -> None:
        """Every method of HTTP is known by the blank behind it, and none without."""
        for method in HTTP_METHODS:
            self.assertIs(sniff(f"{method} /".encode()), Speaks.HTTP)
            self.assertIsNone(sniff(method.encode()), method)
            self.assertIs(sniff(f"{method}\r".encode()), Speaks.OTHER)
        self.assertEqual(len(set(HTTP_METHODS)), len(HTTP_METHODS))

    def test_nothing_yet(self) -> None:
        """Who has sent nothing may still say anything; silence is for those to judge who have a clock."""
        self.assertIsNone(sniff(b""))

    def test_words(self) -> None:
        """The words are those that a route's speaks = takes."""
        words = {"tls", "http", "ssh", "postgresql", "rdp", "silent", "other"}
        self.assertEqual({speaks.value for speaks in Speaks}, words)

    def test_every_first_byte(self) -> None:
        """Whatever comes first, an answer is there in time, and it is not that nothing came."""
        for first in range(256):
            for rest in (bytes(DECIDED), b"\x03" * DECIDED, b"RI * HTTP/2.0" * 2):
                speaks = sniff(bytes([first]) + rest[: DECIDED - 1])
                self.assertIsNotNone(speaks, (first, rest))
                self.assertIsNot(speaks, Speaks.SILENT)

    def test_broken(self) -> None:
        """An answer never changes with the bytes that follow, and 24 bytes are always enough."""
        seeds = [data for data, _, _ in SPOKEN]
        answers = set()
        for data in mutations(Random(1), seeds, 5_000):
            speaks, known = byte_by_byte(data[:DECIDED])
            self.assertIs(sniff(data), speaks, data)
            self.assertTrue(speaks or len(data) < DECIDED, data)
            answers.add(speaks)
        self.assertEqual(answers, {None, *Speaks} - {Speaks.SILENT})
