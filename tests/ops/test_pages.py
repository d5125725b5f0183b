"""Are the daemon's own pages harmless?"""

from __future__ import annotations

import tempfile

from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from proxyd.ops.pages import HTML, IDLE_SECONDS, Directory, Page, QuietSite
from tests.ops.exchange import connect, exchange
from tests.support.case import Case


class Pages(Case):
    """A site of two pages."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.site = QuietSite(Directory({"": Page("<p>first", HTML), "second": Page("zwei ü\n")}), self.clock)
        captured = capturedLogs()
        self.events = captured.__enter__()
        self.addCleanup(captured.__exit__, None, None, None)

    def test_get(self) -> None:
        """Each page is at its path, with its type."""
        for path, content_type, body in (
            ("/", "text/html; charset=utf-8", "<p>first"),
            ("/second", "text/plain; charset=utf-8", "zwei ü\n"),
            ("/second?question", "text/plain; charset=utf-8", "zwei ü\n"),
        ):
            answer = exchange(self.site, path)
            self.assertEqual((answer.status, answer.body), (200, body))
            self.assertEqual(answer.headers["content-type"], content_type)
            self.assertEqual(answer.headers["content-length"], str(len(body.encode())))

    def test_missing(self) -> None:
        """Any other path is a 404 that does not repeat what was asked for."""
        for path in "/other", "/second/", "/second/third", "//", "/second%00", "/%ff":
            answer = exchange(self.site, path)
            self.assertEqual((answer.status, answer.body), (404, "404: there is no such page\n"), path)

    def test_head(self) -> None:
        """HEAD is answered as GET is, without the body."""
        for path in "/", "/second", "/other":
            get, head = exchange(self.site, path), exchange(self.site, path, "HEAD")
            self.assertEqual((head.status, head.body), (get.status, ""))
            self.assertEqual(head.headers["content-length"], get.headers["content-length"])

    def test_other_methods(self) -> None:
        """Any other method is a 405 that names the two that work."""
        for method in "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW", "get":
            answer = exchange(self.site, "/second", method, body=b"x=1")
            self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD"), method)

    def test_nothing_is_logged(self) -> None:
        """Neither the site nor any request to it is in the log."""
        self.site.doStart()
        for path in "/", "/other", "/\xff":
            for method in "GET", "HEAD", "POST", "BREW":
                exchange(self.site, path, method)
        self.site.doStop()
        self.assertEqual(self.events, [])

    def test_started_site_has_no_timer(self) -> None:
        """A site that nobody visits costs nothing."""
        self.site.doStart()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.site.doStop()

    def test_body_is_not_kept(self) -> None:
        """What a request carries is neither in memory nor in a file, however long it is."""

        def forbidden(*_: object, **__: object) -> None:
            self.fail("a temporary file was made")

        self.patch(tempfile, "TemporaryFile", forbidden)
        self.patch(tempfile, "NamedTemporaryFile", forbidden)
        protocol, transport = connect(self.site)
        protocol.dataReceived(b"POST /second HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
        for _ in range(10):
            protocol.dataReceived(b"x" * 100_000)
        (request,) = protocol._channel.requests
        self.assertEqual(request.content.getvalue(), b"")

    def test_chunked_body(self) -> None:
        """A body in chunks is thrown away as well, and the connection goes on."""
        protocol, transport = connect(self.site)
        protocol.dataReceived(
            b"POST /second HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        self.assertIn(b"HTTP/1.1 405 ", transport.value())
        self.assertTrue(transport.value().endswith("zwei ü\n".encode()))

    def test_idle(self) -> None:
        """A connection that says nothing, or stops within a request, is closed."""
        for said in b"", b"GET / HTTP/1.1\r\nHost:":
            protocol, transport = connect(self.site)
            protocol.dataReceived(said)
            self.clock.advance(IDLE_SECONDS - 1)
            self.assertFalse(transport.disconnecting)
            self.clock.advance(1)
            self.assertTrue(transport.disconnecting)

    def test_protocols(self) -> None:
        """Over TLS, HTTP/1.1 is offered, whatever is installed."""
        self.assertEqual(self.site.acceptableProtocols(), [b"http/1.1"])
