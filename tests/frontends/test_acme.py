"""Is a challenge answered, and everybody else sent to https?"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from proxyd.frontends.acme import MOST, Bounded, Challenges
from proxyd.ops.pages import QuietSite
from proxyd.policy.acme import Answers
from tests.support.case import Case


class ChallengesTests(Case):
    def setUp(self) -> None:
        self.answers = Answers()
        self.answers.give_http("token-1", "token-1.thumbprint")
        self.factory = Bounded(QuietSite(Challenges(self.answers), Clock()))
        self.factory.doStart()

    def connect(self) -> Any:
        return self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1234))

    def ask(self, line: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
        """What comes of a request."""
        protocol, transport = self.connect(), StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived("\r\n".join([f"{line} HTTP/1.0", *headers, "", ""]).encode())
        head, _, body = transport.value().partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        named = dict(found.split(": ", 1) for found in lines)
        return int(status.split()[1]), named, body

    def test_answers(self) -> None:
        """A token that an authority was told of has its answer, whatever host is asked for."""
        path = "/.well-known/acme-challenge/token-1"
        for line in (f"GET {path}", f"GET {path}?query"):
            status, headers, body = self.ask(line, "Host: www.example:8080")
            self.assertEqual((status, body), (200, b"token-1.thumbprint"))
            self.assertEqual(headers["Content-Type"], "application/octet-stream")
        self.assertEqual(self.ask(f"HEAD {path}")[2], b"")

    def test_other_tokens(self) -> None:
        """One that is not under way is not found, and is not sent elsewhere."""
        for token in ("token-2", "", "token-1/", "../token-1", "%74oken-1"):
            status, headers, body = self.ask(f"GET /.well-known/acme-challenge/{token}", "Host: a.example")
            self.assertEqual((status, "Location" in headers), (404, False), token)

    def test_redirected(self) -> None:
        """All else is sent to https on the same host, with its path and query."""
        for target, host, location in (
            ("/", "www.example", "https://www.example/"),
            ("/a/b?c=d%20e", "www.example:80", "https://www.example/a/b?c=d%20e"),
            ("/", "[2001:db8::1]:80", "https://[2001:db8::1]/"),
        ):
            status, headers, body = self.ask(f"GET {target}", f"Host: {host}")
            self.assertEqual((status, headers.get("Location")), (308, location))
        self.assertEqual(self.ask("POST /form", "Host: a.example", "Content-Length: 0")[0], 308)

    def test_nowhere(self) -> None:
        """Without a host that is one, or a path, there is nowhere to be sent to."""
        for line, host in (
            ("GET /", ""),
            ("GET /", "Host: evil.example/path"),
            ("GET /", "Host: a b"),
            ("GET /", "Host: user@evil.example"),
            ("GET http://evil.example/", "Host: www.example"),
            ("GET //evil.example/", "Host: "),
        ):
            status, headers, _ = self.ask(line, *([host] if host else []))
            self.assertEqual((status, "Location" in headers), (400, False), (line, host))

    def test_bounded(self) -> None:
        """No more than so many are served at a time; the oldest makes room for another."""
        transports = [StringTransport() for _ in range(MOST + 2)]
        protocols = []
        for number, transport in enumerate(transports):
            protocols.append(self.connect())
            protocols[-1].makeConnection(transport)
            if number >= MOST:
                protocols[number - MOST].connectionLost(Failure(ConnectionAborted()))
        self.assertEqual([one.disconnected for one in transports], [True, True] + [False] * MOST)
        self.assertEqual(len(self.factory.protocols), MOST)

    def test_bounded_in_a_flood(self) -> None:
        """As many have to go as have come, though none has gone yet."""
        transports = [StringTransport() for _ in range(MOST + 3)]
        for transport in transports:
            self.connect().makeConnection(transport)
        self.assertEqual([one.disconnected for one in transports], [True] * 3 + [False] * MOST)
