"""Does a server get what the client has asked for, and the truth about who that is?"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Optional

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from proxyd.config.http import HttpSpec
from proxyd.frontends.http.request import Introduction
from proxyd.wire.http1 import Memory, Request, parse_request
from proxyd.wire.httpfields import Lines
from tests.support.case import Case

CLIENT = IPv4Address("TCP", "192.0.2.7", 4711)
TRUSTED = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


class Transport:
    """One that has been connected to at this address."""

    def __init__(self, host: Any) -> None:
        self._host = host

    def getHost(self) -> Any:
        return self._host


def request(fields: bytes = b"", line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a\r\n") -> Request:
    """A request with these fields."""
    found: Optional[Request] = parse_request(line + b"\r\n" + host + fields + b"\r\n", Memory(Lines()))
    assert found is not None
    return found


def sent(
    fields: bytes = b"",
    client: Any = CLIENT,
    secure: bool = False,
    line: bytes = b"GET / HTTP/1.1",
    **http: Any,
) -> list[bytes]:
    """The lines behind the Host, of a request with these fields."""
    introduction = Introduction(HttpSpec(**{"via": "", **http}), client, secure)
    head = introduction.head(request(fields, line), Transport(CLIENT))
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")[2:]


class Heads(Case):
    """The head of a request as it leaves."""

    def test_lines(self) -> None:
        """Line, Host, fields in their order, then ours."""
        introduction = Introduction(HttpSpec(), CLIENT, False)
        found = introduction.head(request(b"A: 1\r\nB:2\r\nA: 3\r\n", b"POST /x?y HTTP/1.1"), None)
        self.assertEqual(
            found,
            b"POST /x?y HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nA: 3\r\nX-Forwarded-For: 192.0.2.7\r\n"
            b"X-Forwarded-Proto: http\r\nVia: 1.1 proxyd\r\n\r\n",
        )

    def test_no_host(self) -> None:
        """A client of HTTP/1.0 that names no host means where it has connected to (RFC 9112, 3.3)."""
        introduction = Introduction(HttpSpec(), CLIENT, False)
        for host, expected in (
            (IPv4Address("TCP", "192.0.2.1", 80), b"192.0.2.1:80"),
            (IPv6Address("TCP", "2001:db8::1", 80), b"[2001:db8::1]:80"),
            (UNIXAddress("/run/x"), b"localhost"),
        ):
            found = introduction.head(request(b"", b"GET / HTTP/1.0", b""), Transport(host))
            self.assertIn(b"\r\nHost: " + expected + b"\r\n", found)

    def test_many_clients(self) -> None:
        """Who says the same as others is told of as itself, and as it has come."""
        lines = Lines()
        clients = [IPv4Address("TCP", f"192.0.2.{number}", 4711) for number in range(3)]
        introductions = [
            (client, version, Introduction(HttpSpec(), client, False, version=version))
            for client in clients
            for version in (b"", b"2.0")
        ]
        for turn in range(3):
            for minor in range(2):
                for secret in (b"", b"Cookie: a=%d\r\n" % turn):
                    data = b"GET /%d HTTP/1.%d\r\nHost: a\r\nA: 1\r\n%s\r\n" % (turn, minor, secret)
                    for client, version, introduction in introductions:
                        asked = parse_request(data, Memory(lines))
                        assert asked is not None
                        expected = (
                            b"GET /%d HTTP/1.1\r\nHost: a\r\nA: 1\r\n%sX-Forwarded-For: %s\r\n"
                            b"X-Forwarded-Proto: http\r\nVia: %s proxyd\r\n\r\n"
                        ) % (turn, secret, client.host.encode(), version or b"1.%d" % minor)
                        for _ in range(2):
                            self.assertEqual(introduction.head(asked, None), expected)

    def test_near_ends(self) -> None:
        """A request without a host that comes again means where it has connected to this time."""
        introduction, asked = Introduction(HttpSpec(), CLIENT, False), request(b"", b"GET / HTTP/1.0", b"")
        for host in (b"192.0.2.1", b"192.0.2.2"):
            found = introduction.head(asked, Transport(IPv4Address("TCP", host.decode(), 80)))
            self.assertIn(b"\r\nHost: " + host + b":80\r\n", found)

    def test_framing(self) -> None:
        """One framing, ours; Expect, TE and Upgrade where they were meant."""
        for fields, expected in (
            (b"Content-Length: 007\r\n", [b"Content-Length: 7"]),
            (b"Content-Length: 0\r\n", [b"Content-Length: 0"]),
            (b"Transfer-Encoding: CHUNKED\r\n", [b"Transfer-Encoding: chunked"]),
            (
                b"Expect: 100-continue\r\nContent-Length: 1\r\n",
                [b"Content-Length: 1", b"Expect: 100-continue"],
            ),
            (b"TE: trailers, gzip\r\n", [b"TE: trailers", b"Connection: TE"]),
            (b"Connection: Upgrade\r\nUpgrade: x\r\n", [b"Upgrade: x", b"Connection: Upgrade"]),
        ):
            self.assertEqual(sent(fields, forwarded="off"), expected)

    def test_via(self) -> None:
        """Via says over which version the request came (RFC 9110, 7.6.3), behind what is there."""
        self.assertEqual(
            sent(b"Via: 1.0 x\r\n", forwarded="off", via="edge"), [b"Via: 1.0 x", b"Via: 1.1 edge"]
        )
        old = sent(b"", forwarded="off", via="edge", line=b"GET / HTTP/1.0")
        self.assertEqual(old, [b"Via: 1.0 edge"])


class Clients(Case):
    """Who the client is."""

    SPOOFED = (
        b"X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-Proto: https\r\n"
        b"X-Real-IP: 1.2.3.4\r\n"
        b"X-Forwarded-Host: evil\r\nX_Forwarded_For: 1.2.3.4\r\n"
    )

    def test_told(self) -> None:
        """By X-Forwarded-For, Forwarded, both, or not at all; what clients say themselves is taken away."""
        x = [b"X-Forwarded-For: 192.0.2.7", b"X-Forwarded-Proto: http"]
        forwarded = [b"Forwarded: for=192.0.2.7;proto=http"]
        for way, expected in (
            ("x-forwarded-for", x),
            ("forwarded", forwarded),
            ("both", x + forwarded),
            ("off", []),
        ):
            for fields in (b"", self.SPOOFED):
                self.assertEqual(sent(fields, forwarded=way), expected)

    def test_secure(self) -> None:
        """A client that came by TLS is told as such, and an IPv6 address as RFC 7239, 6, has it."""
        client = IPv6Address("TCP", "2001:db8::7", 4711)
        self.assertEqual(
            sent(client=client, secure=True, forwarded="both"),
            [
                b"X-Forwarded-For: 2001:db8::7",
                b"X-Forwarded-Proto: https",
                b'Forwarded: for="[2001:db8::7]";proto=https',
            ],
        )

    def test_unix(self) -> None:
        """A client of a unix socket has no address."""
        found = sent(client=UNIXAddress(None), forwarded="both")
        self.assertEqual(found, [b"X-Forwarded-Proto: http", b"Forwarded: for=unknown;proto=http"])

    def test_trusted(self) -> None:
        """What a trusted proxy says is believed, and its own address added."""
        fields = (
            b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n"
            b"X-Forwarded-Host: public\r\nForwarded: for=1.2.3.4\r\n"
        )
        for client in (CLIENT, IPv6Address("TCP", "::ffff:192.0.2.7", 1)):
            found = sent(fields, client=client, trusted=TRUSTED, forwarded="both")
            host = client.host.encode()
            node = host if b":" not in host else b'"[%s]"' % host
            self.assertEqual(
                found,
                [
                    b"X-Forwarded-Host: public",
                    b"X-Forwarded-For: 1.2.3.4, 5.6.7.8, " + host,
                    b"X-Forwarded-Proto: https",
                    b"Forwarded: for=1.2.3.4, for=" + node + b";proto=http",
                ],
            )
        self.assertEqual(
            sent(fields, trusted=TRUSTED, forwarded="off"),
            [b"X-Forwarded-Host: public", b"X-Forwarded-For: 1.2.3.4, 5.6.7.8", b"Forwarded: for=1.2.3.4"],
        )

    def test_not_trusted(self) -> None:
        """One who is not in the list is not believed; nor is one without an address."""
        for client in (IPv4Address("TCP", "198.51.100.1", 1), IPv6Address("TCP", "fe80::1%eth0", 1)):
            found = sent(self.SPOOFED, client=client, trusted=TRUSTED)
            self.assertEqual(found, [b"X-Forwarded-For: " + client.host.encode(), b"X-Forwarded-Proto: http"])
        self.assertEqual(
            sent(self.SPOOFED, client=UNIXAddress(None), trusted=TRUSTED), [b"X-Forwarded-Proto: http"]
        )
