"""Is a PROXY header read as its sender meant it, and written so that others can read it?"""

from __future__ import annotations

import ipaddress
from random import Random
from typing import Optional, Union

from attrs import evolve

from proxyd.errors import Malformed
from proxyd.wire.crc32c import crc32c
from proxyd.wire.proxyprotocol import (
    MOST_TLVS,
    End,
    ProxyHeader,
    Ssl,
    could_be,
    missing,
    parse,
    v1,
    v2,
    v2_local,
)
from tests.support.case import Case
from tests.support.mutations import mutations

A, B = End("192.0.2.7", 40001), End("198.51.100.9", 443)
A6, B6 = End("2001:db8::7", 40001), End("2001:db8::9", 443)
NOBODY, SOCKET = End(), End(path=b"/run/web.sock")

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
INET_BLOCK = bytes([192, 0, 2, 7, 198, 51, 100, 9]) + b"\x9c\x41\x01\xbb"

# What HAProxy 2.6 has sent: over TLS with a client certificate, over IPv6, and for a health check.
FROM_HAPROXY = (
    SIGNATURE
    + b"!\x11\x00\xa1\x7f\x00\x00\x01\x7f\x00\x00\x01\xa1\x90\x8d\xf5\x03\x00\x04\xb8JAE\x01\x00\x02h2"
    + b"\x02\x00\x0fapi.example.com\x05\x00$7fe2d5d9-c9df-48c2-8740-9835ef87e17c"
    + b' \x00M\x07\x00\x00\x00\x00!\x00\x07TLSv1.3"\x00\x0bZo\xc3\xab client%\x00\x07RSA2048'
    + b"$\x00\nRSA-SHA256#\x00\x16TLS_AES_256_GCM_SHA384"
)
FROM_HAPROXY_6 = (
    SIGNATURE
    + b"!!\x00Z"
    + (bytes(15) + b"\x01") * 2
    + b"\x90\x98\xd1\xc7\x03\x00\x04\xfb\x1f\x16\xbf"
    + b"\x05\x00$9dc52f2b-0987-4757-bdb7-094e26388f3d \x00\x05\x00\x00\x00\x00\x00"
)
CHECK_FROM_HAPROXY = SIGNATURE + b" \x00\x00\x0f\x03\x00\x04\x88\x9d\xa1\xdf \x00\x05\x00\x00\x00\x00\x00"

SSL = Ssl(7, 0, "TLSv1.3", "Zoë", "AES", "RSA-SHA256", "RSA2048", ((0x2F, b"new"),))
EVERYTHING = v2(
    A,
    B,
    alpn=b"h2",
    authority="api.example.com",
    unique_id=b"id-1",
    ssl=SSL,
    netns="blue",
    tlvs=((0xEA, b"\x01vpce-1"), (0xEA, b"")),
    crc32c=True,
)

RIGHT = (
    b"PROXY TCP4 192.0.2.7 198.51.100.9 40001 443\r\n",
    b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN \xff any \r thing \n\r\n",
    v2(A, B),
    v2(A6, B6, unique_id=b"x"),
    v2(NOBODY, SOCKET, crc32c=True),
    v2_local(crc32c=True),
    FROM_HAPROXY,
    FROM_HAPROXY_6,
    CHECK_FROM_HAPROXY,
    EVERYTHING,
)

Outcome = Union[ProxyHeader, str, None]


def head(length: int, command: int = 0x21, family: int = 0x11) -> bytes:
    """The first 16 bytes of version 2."""
    return SIGNATURE + bytes([command, family]) + length.to_bytes(2, "big")


def tlv(kind: int, value: bytes = b"") -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def with_tlvs(*tlvs: bytes) -> bytes:
    """A header of version 2 from A to B with these bytes behind the addresses."""
    block = INET_BLOCK + b"".join(tlvs)
    return head(len(block)) + block


class Parsing(Case):
    """What all tests of `parse` say."""

    def parsed(self, data: bytes) -> ProxyHeader:
        header = parse(data)
        assert header is not None, data
        return header

    def outcome(self, data: bytes) -> Outcome:
        """The header, None, or that it is malformed; how that is said must fit into a line of a log."""
        try:
            return parse(data)
        except Malformed as malformed:
            text = str(malformed)
            self.assertTrue(text.isprintable() and len(text) <= 100, text)
            return "malformed"

    def byte_by_byte(self, data: bytes) -> tuple[Outcome, int]:
        """The first answer that is not None, and how many bytes it took."""
        for size in range(len(data) + 1):
            outcome = self.outcome(data[:size])
            if outcome is not None:
                return outcome, size
        return None, len(data)

    def assert_wrong(self, *headers: bytes) -> None:
        for data in headers:
            self.assertEqual(self.outcome(data), "malformed", data)
            self.assertEqual(self.byte_by_byte(data)[0], "malformed", data)


class Signature(Parsing):
    """Whether a connection begins with a PROXY header is known by its first bytes."""

    def test_could_be(self) -> None:
        """Both signatures are recognised when they are whole, and nothing else ever."""
        for data, expected in (
            (b"", None),
            (b"P", None),
            (b"PROXY", None),
            (b"PROXY ", True),
            (b"PROXY nonsense", True),
            (b"POST / HTTP/1.1", False),
            (b"PROXY\t", False),
            (b"\r\n", None),
            (SIGNATURE[:11], None),
            (SIGNATURE, True),
            (SIGNATURE + b"\xff", True),
            (b"\r\n\r\nGET", False),
            (b"\x16\x03\x01", False),
        ):
            self.assertIs(could_be(data), expected, data)

    def test_missing(self) -> None:
        """Read in pieces of what is missing, a header is read to its last byte, and no further."""
        ends = End("192.0.2.7", 5555), End("192.0.2.1", 443)
        for header in (
            v1(*ends),
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n",
            v2(*ends),
            v2(*ends, alpn=b"h2", unique_id=b"7", crc32c=True),
            v2_local(False),
        ):
            data = header + b"\x16\x03\x01 what is behind"
            read, steps = b"", 0
            while missing(read):
                read, steps = data[: len(read) + missing(read)], steps + 1
            self.assertEqual(read, header)
            self.assertLessEqual(steps, 107)
        for data in (b"\x16\x03\x01" + bytes(20), b"GET / HTTP/1.1\r\n"):
            self.assertEqual(missing(data), 0)

    def test_something_else(self) -> None:
        """A client that sends no header is told so at its first wrong byte, with what it sent."""
        self.assert_wrong(b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00", b"PROXYTCP4")
        self.assertEqual(self.byte_by_byte(b"\r\n\r\nGET")[1], 5)
        with self.assertRaisesRegex(Malformed, "no PROXY header: b'GET / HTTP/1.1"):
            parse(b"GET / HTTP/1.1" + bytes(1000))


class Version1(Parsing):
    """The line of text."""

    def test_addresses(self) -> None:
        """Both ends of the client's connection are read, in their shortest form."""
        for line, source, destination in (
            (b"TCP4 192.0.2.7 198.51.100.9 40001 443", A, B),
            (b"TCP4 0.0.0.0 255.255.255.255 0 65535", End("0.0.0.0", 0), End("255.255.255.255", 65535)),
            (b"TCP6 2001:DB8:0:0::7 2001:db8::9 40001 443", A6, B6),
            (b"TCP6 ::ffff:192.0.2.7 ::FFFF:c633:6409 40001 443", A, B),
            (b"TCP6 ::ffff:192.0.2.7 2001:db8::9 40001 443", A, B6),
        ):
            data = b"PROXY " + line + b"\r\n"
            self.assertEqual(self.parsed(data + b"PROXY "), ProxyHeader(1, len(data), source, destination))
            self.assertFalse(self.parsed(data).local)

    def test_unknown(self) -> None:
        """After UNKNOWN anything may follow up to the end of the line, and no address is read from it."""
        for line in (b"", b" ", b" 1 2 3", b" \xff\x00\n\r \r"):
            data = b"PROXY UNKNOWN" + line + b"\r\n"
            self.assertEqual(self.parsed(data + b"\r\n"), ProxyHeader(1, len(data)))
            self.assertTrue(self.parsed(data).local)

    def test_wrong(self) -> None:
        """Lines that are nearly right are refused: what they mean would be a guess."""
        for line in (
            b"TCP5 192.0.2.7 198.51.100.9 1 2",
            b"tcp4 192.0.2.7 198.51.100.9 1 2",
            b"UNKNOWNX",
            b"UNKNOWN\r",
            b"UNKNOWN\t1",
            b"TCP4",
            b"TCP4 ",
            b" TCP4 192.0.2.7 198.51.100.9 1 2",
            b"TCP4  192.0.2.7 198.51.100.9 1 2",
            b"TCP4 192.0.2.7  198.51.100.9 1 2",
            b"TCP4 192.0.2.7 198.51.100.9 1 2 ",
            b"TCP4 192.0.2.7 198.51.100.9 1 2 3",
            b"TCP4 192.0.2.7 198.51.100.9 1",
            b"TCP4 192.0.2.7 198.51.100.9 01 2",
            b"TCP4 192.0.2.7 198.51.100.9 00 2",
            b"TCP4 192.0.2.7 198.51.100.9 1 65536",
            b"TCP4 192.0.2.7 198.51.100.9 100000 2",
            b"TCP4 192.0.2.7 198.51.100.9 -1 2",
            b"TCP4 192.0.2.7 198.51.100.9 +1 2",
            b"TCP4 192.0.2.7 198.51.100.9 1 \xd9\xa1",
            b"TCP4 192.0.2.07 198.51.100.9 1 2",
            b"TCP4 192.0.2.256 198.51.100.9 1 2",
            b"TCP4 192.0.2 198.51.100.9 1 2",
            b"TCP4 2001:db8::7 2001:db8::9 1 2",
            b"TCP4 :192.0.2.7 198.51.100.9 1 2",
            b"TCP6 192.0.2.7 198.51.100.9 1 2",
            b"TCP6 2001:db8::7 198.51.100.9 1 2",
            b"TCP6 ::ffff:192.0.2.07 ::1 1 2",
            b"TCP6 1::2::3 ::1 1 2",
            b"TCP6 fe80::1%eth0 ::1 1 2",
            b"TCP6 [::1] ::1 1 2",
            b"TCP4 192.0.2.7 198.51.100.9 1 2\n",
        ):
            self.assert_wrong(b"PROXY " + line + b"\r\n")

    def test_early(self) -> None:
        """Who sends a wrong line is not waited for: not for its end, and not if that is a lone LF."""
        for data, size in (
            (b"PROXY HTTP/1.1", 7),
            (b"PROXY TCP9 ", 10),
            (b"PROXY TCP4 GET", 12),
            (b"PROXY TCP4 192.0.2.7 198.51.100.9 1 2\n", 38),
        ):
            self.assertEqual(self.byte_by_byte(data), ("malformed", size))

    def test_bound(self) -> None:
        """A line has at most 107 bytes with its end, whatever it says."""
        longest = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
        self.assertEqual(self.parsed(longest).length, 107)
        longer = b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n"
        self.assertIsNone(parse(longer[:106]))
        self.assertEqual(self.byte_by_byte(longer), ("malformed", 107))
        self.assert_wrong(longer, b"PROXY TCP6 " + b"1" * 96)


class Version2(Parsing):
    """The binary header."""

    def test_from_haproxy(self) -> None:
        """What HAProxy sends is read to the last byte, checksum and all."""
        ssl = Ssl(7, 0, "TLSv1.3", "Zoë client", "TLS_AES_256_GCM_SHA384", "RSA-SHA256", "RSA2048")
        expected = ProxyHeader(
            2,
            177,
            End("127.0.0.1", 41360),
            End("127.0.0.1", 36341),
            alpn=b"h2",
            authority="api.example.com",
            unique_id=b"7fe2d5d9-c9df-48c2-8740-9835ef87e17c",
            ssl=ssl,
        )
        self.assertEqual(parse(FROM_HAPROXY + b"GET /"), expected)
        sixth = self.parsed(FROM_HAPROXY_6)
        self.assertEqual((sixth.source, sixth.destination), (End("::1", 37016), End("::1", 53703)))
        self.assertEqual(sixth.ssl, Ssl(0, 0))
        self.assertEqual(parse(CHECK_FROM_HAPROXY), ProxyHeader(2, 31))

    def test_unix(self) -> None:
        """Unix sockets go by their path, without the filling; most clients have none."""
        for field, path in (
            (b"", b""),
            (b"/run/a", b"/run/a"),
            (b"/run/a\0left over", b"/run/a"),
            (b"\0abstract\0left over", b"\0abstract"),
            (b"x" * 108, b"x" * 108),
        ):
            data = head(216, family=0x31) + field.ljust(108, b"\0") + bytes(108)
            self.assertEqual(parse(data), ProxyHeader(2, 232, End(path=path), End()), field)

    def test_mapped(self) -> None:
        """An IPv4 client is the same client when it comes mapped into IPv6."""
        mapped = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7])
        data = head(36, family=0x21) + mapped + ipaddress.IPv6Address(B6.host).packed + b"\x9c\x41\x01\xbb"
        self.assertEqual(parse(data), ProxyHeader(2, 52, A, B6))

    def test_local(self) -> None:
        """A proxy's own connection keeps its addresses; family, TLVs and checksum do not matter."""
        for family, block in ((0, b""), (0x11, INET_BLOCK), (0x12, b"\x01"), (0xFF, tlv(3, b"\0\0\0\0"))):
            data = head(len(block), 0x20, family) + block
            self.assertEqual(parse(data + b"x"), ProxyHeader(2, len(data)))
        self.assertTrue(self.parsed(v2_local()).local)

    def test_unspec(self) -> None:
        """A header that names no addresses is taken, and so are its TLVs; they are checked as always."""
        data = head(5, family=0) + tlv(5, b"id")
        self.assertEqual(parse(data), ProxyHeader(2, 21, unique_id=b"id"))
        self.assertTrue(self.parsed(data).local)
        self.assert_wrong(head(2, family=0) + b"\x05\x00")

    def test_wrong(self) -> None:
        """Wrong versions, commands, families and lengths are refused as soon as they are there."""
        for data, size in (
            (head(12, command=0x11) + INET_BLOCK, 13),
            (head(12, command=0x31) + INET_BLOCK, 13),
            (head(12, command=0x22) + INET_BLOCK, 13),
            (head(12, family=0x12) + INET_BLOCK, 14),
            (head(12, family=0x10) + INET_BLOCK, 14),
            (head(12, family=0x01) + INET_BLOCK, 14),
            (head(216, family=0x32) + bytes(216), 14),
            (head(12, family=0x41) + INET_BLOCK, 14),
            (head(11) + INET_BLOCK, 16),
            (head(0) + INET_BLOCK, 16),
            (head(35, family=0x21) + bytes(36), 16),
            (head(215, family=0x31) + bytes(216), 16),
        ):
            self.assert_wrong(data)
            self.assertEqual(self.byte_by_byte(data)[1], size, data)

    def test_bound(self) -> None:
        """A header has at most 16 KiB in all; more are refused unseen, from a LOCAL one too."""
        filling = tlv(4, bytes(16384 - 16 - 12 - 3))
        self.assertEqual(self.parsed(with_tlvs(filling)), ProxyHeader(2, 16384, A, B))
        for command in (0x20, 0x21):
            self.assertIsNone(parse(head(16384 - 16, command)))
            self.assertEqual(self.outcome(head(16384 - 15, command)), "malformed")
            self.assertEqual(self.outcome(head(0xFFFF, command)), "malformed")


class Tlvs(Parsing):
    """What a header of version 2 says besides the addresses."""

    def test_too_many_tlvs(self) -> None:
        """There may be so many TLVs in a header, and no more."""
        source, destination = End("192.0.2.7", 5555), End("192.0.2.1", 443)
        most = [(0xE0, b"")] * MOST_TLVS
        header = parse(v2(source, destination, tlvs=most))
        assert header is not None
        self.assertEqual(len(header.tlvs), len(most))
        with self.assertRaisesRegex(Malformed, "more than 128 TLVs"):
            parse(v2(source, destination, tlvs=[*most, (0xE0, b"")]))

    def test_each(self) -> None:
        """Each TLV that is known has its place, padding goes, and the rest is kept as it came."""
        plain = ProxyHeader(2, 0, A, B)
        for data, expected in (
            (tlv(1, b"h2"), evolve(plain, alpn=b"h2")),
            (tlv(2, "bücher.example".encode()), evolve(plain, authority="bücher.example")),
            (tlv(2, b"a" * 255), evolve(plain, authority="a" * 255)),
            (tlv(4, b"\xff" * 9) + tlv(4), plain),
            (tlv(5, b"\x00\xff" * 64), evolve(plain, unique_id=b"\x00\xff" * 64)),
            (tlv(0x30, b"blue\xff"), evolve(plain, netns="blue\\xff")),
            (
                tlv(0xEA, b"x") + tlv(0xEE) + tlv(0xEA),
                evolve(plain, tlvs=((0xEA, b"x"), (0xEE, b""), (0xEA, b""))),
            ),
            (tlv(0x20, b"\x01\x00\x00\x00\x02"), evolve(plain, ssl=Ssl(1, 2))),
            (
                tlv(0x20, b"\x07" + bytes(4) + tlv(0x21, b"TLSv1.2") + tlv(0x99, b"?") + tlv(0x22, b"\xe9")),
                evolve(plain, ssl=Ssl(7, 0, version="TLSv1.2", cn="\\xe9", tlvs=((0x99, b"?"),))),
            ),
        ):
            header = with_tlvs(data)
            self.assertEqual(parse(header), evolve(expected, length=len(header)))

    def test_wrong(self) -> None:
        """TLVs that do not fill the header, come twice or cannot be what they say are refused."""
        for tlvs in (
            b"\x01",
            b"\x01\x00",
            b"\x01\x00\x01",
            tlv(1, b"h2")[:-1],
            tlv(0xEA) + b"\xea\xff\xff",
            tlv(1, b"h2") * 2,
            tlv(5) * 2,
            tlv(0x20, bytes(5)) * 2,
            tlv(2, b"\xff"),
            tlv(2, b"a\nb"),
            tlv(2, b"a" * 256),
            tlv(5, b"x" * 129),
            tlv(0x20),
            tlv(0x20, bytes(4)),
            tlv(0x20, bytes(6)),
            tlv(0x20, bytes(5) + b"\x21\x00\x01") + b"x",
            tlv(0x20, bytes(5) + tlv(0x22, b"a") + tlv(0x22, b"a")),
        ):
            self.assert_wrong(with_tlvs(tlvs))

    def test_checksum(self) -> None:
        """A checksum counts wherever it stands: one changed bit, and the header is refused."""

        def checked(before: bytes, after: bytes, size: int = 4) -> tuple[bytes, int]:
            """The header, and where in it the checksum stands."""
            zeroed = with_tlvs(before, tlv(3, bytes(size)), after)
            place = 16 + len(INET_BLOCK) + len(before) + 3
            return zeroed[:place] + crc32c(zeroed).to_bytes(size, "big") + zeroed[place + size :], place

        for before, after in ((b"", b""), (b"", tlv(5, b"id")), (tlv(5, b"id"), tlv(4, b"\0"))):
            data, place = checked(before, after)
            self.assertEqual(self.parsed(data).source, A)
            for broken in (16, place, place + 3, len(data) - 1):
                changed = data[:broken] + bytes([data[broken] ^ 1]) + data[broken + 1 :]
                self.assert_wrong(changed)
        self.assert_wrong(with_tlvs(tlv(3)), checked(b"", b"", 5)[0], with_tlvs(tlv(3, bytes(4))))


class Writing(Case):
    """The headers that servers get."""

    def test_version_1(self) -> None:
        """Addresses of one family are named, IPv4 next to IPv6 is mapped, and unix sockets are UNKNOWN."""
        for source, destination, line in (
            (A, B, b"TCP4 192.0.2.7 198.51.100.9 40001 443"),
            (A6, B6, b"TCP6 2001:db8::7 2001:db8::9 40001 443"),
            (A, B6, b"TCP6 ::ffff:192.0.2.7 2001:db8::9 40001 443"),
            (A6, B, b"TCP6 2001:db8::7 ::ffff:198.51.100.9 40001 443"),
            (End("::ffff:192.0.2.7", 1), B, b"TCP4 192.0.2.7 198.51.100.9 1 443"),
            (End("fe80::1%eth0", 1), B6, b"TCP6 fe80::1 2001:db8::9 1 443"),
            (NOBODY, SOCKET, b"UNKNOWN"),
            (A, SOCKET, b"UNKNOWN"),
        ):
            self.assertEqual(v1(source, destination), b"PROXY " + line + b"\r\n")
        widest = End("1111:2222:3333:4444:5555:6666:7777:8888", 65535)
        self.assertTrue(len(v1(widest, widest)) <= 107)

    def test_version_2(self) -> None:
        """Byte for byte what the specification draws."""
        self.assertEqual(v2(A, B), with_tlvs())
        self.assertEqual(v2(A, B, alpn=b"h2", tlvs=[(0xE0, b"")]), with_tlvs(tlv(1, b"h2"), tlv(0xE0)))
        self.assertEqual(v2(A, B6)[12:28], b"\x21\x21\x00\x24" + bytes(10) + b"\xff\xff")
        self.assertEqual(v2_local(), head(0, 0x20, 0))
        self.assertEqual(v2_local(crc32c=True)[:19], head(7, 0x20, 0) + b"\x03\x00\x04")

    def test_unix(self) -> None:
        """Two unix sockets are named by their paths, cut to 108 bytes; one alone cannot be named."""
        self.assertEqual(
            v2(NOBODY, End(path=b"/" + b"x" * 200)), head(216, family=0x31) + bytes(108) + b"/" + b"x" * 107
        )
        self.assertEqual(v2(A, SOCKET, unique_id=b"id"), head(5, 0x20, 0) + tlv(5, b"id"))

    def test_too_long(self) -> None:
        """What no receiver would take is never sent."""
        with self.assertRaises(ValueError):
            v2(A, B, authority="a" * 256)
        with self.assertRaises(ValueError):
            v2(A, B, unique_id=b"x" * 129)
        for size in (16384, 70000):
            with self.assertRaises(ValueError):
                v2(A, B, tlvs=[(0xE0, bytes(size - 30))])
            with self.assertRaises(ValueError):
                v2(A, B, ssl=Ssl(cn="x" * size))
        self.assertEqual(len(v2(A, B, tlvs=[(0xE0, bytes(16384 - 31))])), 16384)
        for host in ("example.com", "1.2.3", "1::2::3"):
            for write in (v1, v2):
                with self.assertRaises(ValueError):
                    write(End(host, 1), B)

    def test_ends_in_a_log(self) -> None:
        """An end is shown as operators write addresses, and never breaks a line."""
        for end, text in (
            (A, "192.0.2.7:40001"),
            (B6, "[2001:db8::9]:443"),
            (SOCKET, "unix:/run/web.sock"),
            (NOBODY, "unix:"),
            (End(path=b"\0a\nb\xff"), "unix:\\x00a\\x0ab\\xff"),
        ):
            self.assertEqual(str(end), text)


class Properties(Parsing):
    """What holds for every header."""

    def end(self, dice: Random) -> End:
        if dice.random() < 0.5:
            return End(str(ipaddress.IPv4Address(dice.getrandbits(32))), dice.randrange(65536))
        groups = [dice.choice((0, 0, dice.getrandbits(16))) for _ in range(7)]
        text = ":".join(f"{group:x}" for group in (0x2001, *groups))
        return End(str(ipaddress.IPv6Address(text)), dice.randrange(65536))

    def text(self, dice: Random) -> str:
        return "".join(dice.choice("abcß.-") for _ in range(dice.randrange(8)))

    def test_round_trip(self) -> None:
        """What is written is read again, whatever bytes come behind it."""
        dice = Random(1)
        for _ in range(300):
            source, destination = self.end(dice), self.end(dice)
            data = v1(source, destination)
            self.assertEqual(parse(data + dice.randbytes(9)), ProxyHeader(1, len(data), source, destination))
            ssl: Optional[Ssl] = None
            if dice.random() < 0.5:
                flags, verify, version, cn = (
                    dice.randrange(8),
                    dice.getrandbits(32),
                    "TLSv1.3",
                    self.text(dice),
                )
                ssl = Ssl(flags, verify, version, cn, self.text(dice), "b", "c", ((0x2A, b"x"),))
            alpn, authority, unique_id = (
                dice.randbytes(3),
                self.text(dice),
                dice.randbytes(dice.randrange(129)),
            )
            netns, tlvs = (
                self.text(dice),
                tuple((0xE0 + n, dice.randbytes(n)) for n in range(dice.randrange(4))),
            )
            data = v2(
                source,
                destination,
                alpn=alpn,
                authority=authority,
                unique_id=unique_id,
                ssl=ssl,
                netns=netns,
                tlvs=tlvs,
                crc32c=dice.random() < 0.5,
            )
            expected = ProxyHeader(
                2, len(data), source, destination, alpn, authority, unique_id, ssl, netns, tlvs
            )
            self.assertEqual(parse(data + dice.randbytes(9)), expected)

    def test_byte_by_byte(self) -> None:
        """A header may come in any pieces: before its last byte the answer is to wait, then the same."""
        for data in RIGHT:
            whole = self.parsed(data)
            self.assertEqual(whole.length, len(data))
            self.assertEqual(self.byte_by_byte(data + b"behind"), (whole, len(data)))

    def test_broken(self) -> None:
        """Whatever arrives is a header, the wish for more, or malformed; and it is so from any piece on."""
        dice = Random(2)
        outcomes = set()
        for data in mutations(dice, RIGHT, 5000):
            outcome = self.outcome(data)
            self.assertIn(self.outcome(data[: dice.randint(0, len(data))]), (None, outcome), data)
            outcomes.add(outcome if outcome is None or isinstance(outcome, str) else "header")
        self.assertEqual(outcomes, {"header", "malformed", None})
