"""Is a request made as it was asked for, and its answer judged?"""

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost

from proxyd.config.address import TcpAddress, UnixAddress
from proxyd.config.probes import HttpAsk
from proxyd.upkeep.probes import http
from tests.upkeep.probes.stage import ProbeCase

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class HttpTests(ProbeCase):
    probe = http.probe

    def request(self) -> list[str]:
        """The lines of the request, without those that come and go."""
        head, end, rest = self.said().partition(b"\r\n\r\n")
        self.assertEqual((end, rest), (b"\r\n\r\n", b""))
        return head.decode().split("\r\n")

    def ask(self, answer: bytes, **asked: Any) -> None:
        """Make a request, and have it answered."""
        self.begin(HttpAsk(**asked))
        self.request()
        self.answer(answer)

    def test_request(self) -> None:
        """By default it is a GET of / from the server's own address, and the only one on its connection."""
        self.begin(HttpAsk())
        lines = self.request()
        self.assertEqual(lines[0], "GET / HTTP/1.1")
        for line in ("Host: 10.0.0.1:80", "User-Agent: proxyd", "Connection: close"):
            self.assertIn(line, lines)
        self.answer(OK)
        self.assertPassed()

    def test_asked(self) -> None:
        """Method, path, host and headers are as they were asked for."""
        headers = (("X-A", "1"), ("X-A", "2"), ("Authorization", "Bearer hidden"))
        ask = HttpAsk("OPTIONS", "/a%20b?c=d", "www.example", headers=headers)
        self.begin(ask, greeting=b"PROXY UNKNOWN\r\n")
        lines = self.request()
        self.assertEqual(lines[:2], ["PROXY UNKNOWN", "OPTIONS /a%20b?c=d HTTP/1.1"])
        for line in ("Host: www.example", "X-A: 1", "X-A: 2", "Authorization: Bearer hidden"):
            self.assertIn(line, lines)
        self.answer(OK)
        self.assertPassed()
        self.assertNotIn("hidden", repr(ask))

    def test_unix(self) -> None:
        """A server on a unix socket is asked as localhost."""
        self.address = UnixAddress("/run/web.sock")
        self.addCleanup(setattr, self, "address", TcpAddress("10.0.0.1", 80))
        self.begin(HttpAsk())
        self.assertIn("Host: localhost", self.request())
        self.answer(OK)
        self.assertPassed()

    def test_statuses(self) -> None:
        """By default a status up to 399 passes, otherwise those that were asked for; none is followed."""
        for line, status, why in (
            (b"204 No Content", ((200, 399),), ""),
            (b"302 Found\r\nLocation: http://elsewhere/", ((200, 399),), ""),
            (b"404 Not Found", ((200, 399),), "answered with status 404"),
            (b"503 Service Unavailable", ((200, 399),), "answered with status 503"),
            (b"404 Not Found", ((200, 200), (400, 404)), ""),
            (b"200 OK", ((204, 204),), "answered with status 200"),
        ):
            self.ask(b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\n\r\n", status=status)
            if why:
                self.assertFailed(why)
            else:
                self.assertPassed()

    def test_bodies(self) -> None:
        """A part of the body must fit, however it is sent."""
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
        for answer in (OK, chunked):
            self.ask(answer, body="^ok$")
            self.assertPassed()
            self.ask(answer, body="fine")
            self.assertFailed("answered with another body: ok")

    def test_until_the_end(self) -> None:
        """A body may last until the connection is closed, and is judged when it is."""
        self.ask(b"HTTP/1.0 200 OK\r\n\r\nfine", body="fine$")
        self.assertNoResult(self.outcome)
        self.close()
        self.assertPassed()

    def test_large_body(self) -> None:
        """Of a large body the beginning is read, and the rest is not waited for."""
        for body, why in (("^x", ""), ("y", "answered with another body: " + "x" * 120 + "...")):
            self.begin(HttpAsk(body=body))
            self.request()
            self.transport.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n")
            self.transport.protocol.dataReceived(b"x" * 65536)
            if why:
                self.assertFailed(why)
            else:
                self.assertPassed()

    def test_packed_body(self) -> None:
        """Bodies are asked for as they are, and a server that packs its own all the same is not unpacked."""
        self.begin(HttpAsk(body="^x"))
        self.assertIn("Accept-Encoding: identity", self.request())
        packed = gzip.compress(b"x" * 1_000_000)
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
        self.answer(head + packed)
        self.reactor.advance(0)
        self.assertIn("answered with another body: \\x1f", str(self.failureResultOf(self.outcome).value))

    def test_slow_pattern(self) -> None:
        """A pattern that is looked for without end is given up."""
        self.begin(HttpAsk(body="(a|aa)+$"))
        self.request()
        self.transport.protocol.dataReceived(b"HTTP/1.0 200 OK\r\n\r\n" + b"a" * 60000 + b"b")
        self.close()
        self.assertFailed("answered what takes too long to be searched for the pattern")

    def test_endless_headers(self) -> None:
        """A server that never ends its headers is stopped."""
        self.begin(HttpAsk())
        self.request()
        self.transport.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n")
        for _ in range(200):
            self.transport.protocol.dataReceived(b"X: " + b"x" * 995 + b"\r\n")
            if self.transport.aborted:
                break
        self.assertFailed("sent more than 128 KiB in place of its answer to the request")

    def test_not_http(self) -> None:
        """What is no HTTP fails."""
        self.ask(b"SSH-2.0-OpenSSH\r\n")
        self.reactor.advance(0)
        failed = str(self.failureResultOf(self.outcome).value)
        self.assertIn("answered what is not HTTP: ", failed)
        self.assertIn("SSH-2.0-OpenSSH", failed)

    def test_closed(self) -> None:
        """A server that closes instead of answering fails."""
        for reason, how in ((None, "closed"), (ConnectionLost(), "broke")):
            self.begin(HttpAsk())
            self.request()
            self.close(reason)
            self.assertFailed(f"{how} the connection with no answer to the request")

    def test_cancelled(self) -> None:
        """Whoever gives up leaves nothing, whether before the answer or within it."""
        for answer in (b"", b"HTTP/1.1 200 OK\r\n", OK[:-1]):
            self.begin(HttpAsk())
            self.request()
            self.answer(answer)
            self.outcome.cancel()
            self.reactor.advance(0)
            self.failureResultOf(self.outcome, CancelledError)
            self.assertEqual(self.call.awaited, "answer to the request")
            self.assertTrue(self.transport.disconnecting or self.transport.aborted)
            self.assertEqual(self.reactor.getDelayedCalls(), [])
