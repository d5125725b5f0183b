"""Does a client get the server's answer, and nothing that tells where that came from?"""

from __future__ import annotations

from typing import Any

from proxyd.config.address import Addresses, TcpAddress, UnixAddress
from proxyd.config.http import HttpSpec
from proxyd.frontends.http.answer import Delivery
from proxyd.policy.server import Server
from proxyd.wire.http1 import Memory, parse_answer, parse_request
from proxyd.wire.httpfields import Lines, parse_field
from tests.support.case import Case
from tests.support.walltime import SetTime

SERVER = Server("a", TcpAddress("10.0.0.1", 8080), origin=TcpAddress("backend.internal", 8080))
DATED = b"Date: then\r\n"


def delivered(
    fields: bytes,
    line: bytes = b"HTTP/1.1 200 OK",
    version: bytes = b"1.1",
    keep: bool = True,
    server: Server = SERVER,
    host: bytes = b"example.com",
    secure: bool = False,
    **http: Any,
) -> tuple[list[bytes], Delivery]:
    """The lines of the head that leaves, and how it is delivered."""
    delivery = Delivery(HttpSpec(**{"via": "", **http}), SetTime(lambda: 0.0), secure)
    request = parse_request(b"GET / HTTP/%s\r\nHost: %s\r\n\r\n" % (version, host), Memory(Lines()))
    answer = parse_answer(line + b"\r\n" + fields + b"\r\n", Memory(Lines()))
    assert request is not None and answer is not None
    head = delivery.head(answer, request, keep, server)
    again = delivery.head(answer, request, keep, server)
    assert head == again and head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n"), delivery


def passed(line: bytes, **how: Any) -> bytes:
    """What becomes of one field."""
    lines, _ = delivered(line + b"\r\n" + DATED + b"Content-Length: 0\r\n", **how)
    return lines[1]


class Heads(Case):
    """The head of an answer as it leaves."""

    def test_what_it_wants_to_speak(self) -> None:
        """Upgrade is of one hop, but for where an answer makes no sense without it (RFC 9110, 15.5.22)."""
        said = b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n"
        for line, version, told in (
            (b"HTTP/1.1 426 Upgrade Required", b"1.1", True),
            (b"HTTP/1.1 426 Upgrade Required", b"1.0", False),
            (b"HTTP/1.1 200 OK", b"1.1", False),
        ):
            lines, _ = delivered(said, line, version)
            self.assertEqual(b"Upgrade: websocket" in lines, told)
            self.assertEqual(b"Connection: Upgrade" in lines, told)

    def test_framing(self) -> None:
        """The framing that fits the client, and whether the connection goes on."""
        for fields, version, keep, expected, chunked, closes in (
            (b"Content-Length: 5\r\n", b"1.1", True, [b"Content-Length: 5"], False, False),
            (
                b"Content-Length: 5\r\n",
                b"1.1",
                False,
                [b"Content-Length: 5", b"Connection: close"],
                False,
                True,
            ),
            (
                b"Content-Length: 5\r\n",
                b"1.0",
                True,
                [b"Content-Length: 5", b"Connection: keep-alive"],
                False,
                False,
            ),
            (b"Transfer-Encoding: chunked\r\n", b"1.1", True, [b"Transfer-Encoding: chunked"], True, False),
            (b"Transfer-Encoding: chunked\r\n", b"1.0", True, [b"Connection: close"], False, True),
            (b"", b"1.1", True, [b"Transfer-Encoding: chunked"], True, False),
            (b"", b"1.0", True, [b"Connection: close"], False, True),
        ):
            lines, delivery = delivered(DATED + fields, version=version, keep=keep)
            self.assertEqual(lines, [b"HTTP/1.1 200 OK", b"Date: then", *expected])
            self.assertEqual(
                (delivery.chunked, delivery.closes, delivery.verbatim), (chunked, closes, not chunked)
            )

    def test_date(self) -> None:
        """An answer without a date gets ours (RFC 9110, 6.6.1)."""
        lines, _ = delivered(b"Content-Length: 0\r\n")
        self.assertIn(b"Date: Thu, 01 Jan 1970 00:00:00 GMT", lines)

    def test_server(self) -> None:
        """What becomes of the Server field."""
        for way, expected in (
            ("keep", b"Server: x/1"),
            ("replace", b"Server: proxyd"),
            ("drop", b"Date: then"),
        ):
            self.assertEqual(passed(b"Server: x/1", server_header=way), expected)

    def test_via(self) -> None:
        """Via is added behind what is there."""
        lines, _ = delivered(DATED + b"Via: 1.0 x\r\nContent-Length: 0\r\n", via="edge")
        self.assertEqual(lines[2:], [b"Via: 1.0 x", b"Content-Length: 0", b"Via: 1.1 edge"])

    def test_body(self) -> None:
        """Pieces of a body, and its end, in the framing that was chosen."""
        _, delivery = delivered(b"Transfer-Encoding: chunked\r\n")
        self.assertEqual(
            delivery.data(b"abc") + delivery.end([parse_field(b"X: y")]), b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"
        )
        _, delivery = delivered(b"Content-Length: 3\r\n")
        self.assertEqual(delivery.data(b"abc") + delivery.end(), b"abc")


class Hidden(Case):
    """Servers stay hidden."""

    def test_location(self) -> None:
        """Where a server names itself, the client reads the name that it has asked for; the rest stays."""
        for value, expected in (
            (b"http://10.0.0.1:8080/x?y", b"http://example.com/x?y"),
            (b"HTTP://10.0.0.1/x", b"http://example.com/x"),
            (b"http://backend.internal:8080", b"http://example.com"),
            (b"https://Backend.Internal/x", b"http://example.com/x"),
            (b"http://example.com:8080/x", b"http://example.com/x"),
            (b"/x", b"/x"),
            (b"//10.0.0.1:8080/x", b"http://example.com/x"),
            (b"//example.org/x", b"//example.org/x"),
            (b"http://example.com/x", b"http://example.com/x"),
            (b"https://example.com/x", b"https://example.com/x"),
            (b"http://example.org:8080/x", b"http://example.org:8080/x"),
            (b"http://10.0.0.1:9090/x", b"http://10.0.0.1:9090/x"),
            (b"http://10.0.0.1:8080.evil/x", b"http://10.0.0.1:8080.evil/x"),
        ):
            self.assertEqual(passed(b"Location: " + value), b"Location: " + expected)
            self.assertEqual(passed(b"content-location: " + value), b"content-location: " + expected)

    def test_location_by_tls(self) -> None:
        """A client that came by TLS is led back by TLS, to the port that it came to."""
        found = passed(b"Location: http://10.0.0.1:8080/x", host=b"example.com:8443", secure=True)
        self.assertEqual(found, b"Location: https://example.com:8443/x")

    def test_addresses(self) -> None:
        """Servers with several addresses, with IPv6, and on unix sockets."""
        many = Server("a", Addresses((TcpAddress("10.0.0.1", 80), TcpAddress("2001:db8::1", 80))))
        self.assertEqual(
            passed(b"Location: http://[2001:db8::1]:80/x", server=many), b"Location: http://example.com/x"
        )
        unix = Server("a", UnixAddress("/run/x"))
        self.assertEqual(passed(b"Location: http://10.0.0.1/", server=unix), b"Location: http://10.0.0.1/")

    def test_cookies(self) -> None:
        """A cookie for the server's own name is for the host that was asked; others stay as they are."""
        for value, expected in (
            (b"a=b; Domain=backend.internal; Path=/", b"a=b; Path=/"),
            (b"a=b; Path=/; domain = .10.0.0.1", b"a=b; Path=/"),
            (b"a=b; Domain=example.com", b"a=b; Domain=example.com"),
            (b"a=b", b"a=b"),
            (b"domain=backend.internal", b"domain=backend.internal"),
        ):
            self.assertEqual(passed(b"Set-Cookie: " + value), b"Set-Cookie: " + expected)
