"""Is something fetched whole, from whom it should be, or not at all?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.protocols.policies import WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

import proxyd.upkeep.fetch
from proxyd.upkeep.fetch import MOST, FetchFailed, fetch
from tests.support.case import AsyncCase
from tests.support.certificate import key_and_certificate

HOST = "127.0.0.1"

reactor: Any = installed_reactor


class Web(Resource):
    """Answers as a test wants it, and keeps what it was asked."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bytes, bytes, bytes]] = []
        self.answer: Callable[[Request], Any] = lambda request: b"fine"

    def render(self, request: Request) -> Any:
        self.asked.append((request.method, request.uri, request.content.read()))  # type: ignore[union-attr]
        return self.answer(request)


class FetchTests(AsyncCase):
    def setUp(self) -> None:
        self.web = Web()
        self.site = Site(self.web)
        self.site.noisy = False

    def plain(self, factory: Any = None) -> str:
        """The URL of a server of HTTP, or of something else."""
        port = reactor.listenTCP(0, factory or self.site, interface=HOST)
        self.addCleanup(port.stopListening)
        return f"http://{HOST}:{port.getHost().port}"

    def secure(self, host: str) -> tuple[str, str]:
        """The URL of a server of HTTPS, whose certificate is for that host, and a file with it."""
        pem = key_and_certificate(host)
        path = os.path.abspath(self.mktemp())
        Path(path).write_bytes(pem)
        options = PrivateCertificate.loadPEM(pem).options()
        # Twisted 25.5 would change the context for each connection of a Site, which pyOpenSSL refuses by now.
        site = WrappingFactory(self.site)
        site.noisy = False
        port = reactor.listenSSL(0, site, options, interface=HOST)
        self.addCleanup(port.stopListening)
        return f"https://{HOST}:{port.getHost().port}", path

    async def refused(self, url: str, **how: Any) -> str:
        """Why there is nothing."""
        try:
            await fetch(reactor, "GET", url, **how)
        except FetchFailed as why:
            return str(why)
        raise AssertionError("there is an answer")

    async def test_answers(self) -> None:
        """Status, headers and body, whatever the status; a body is sent as it is."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(403)
            request.responseHeaders.setRawHeaders("Replay-Nonce", ["one", "two"])
            request.responseHeaders.setRawHeaders("Content-Encoding", ["gzip"])
            return b"\x1f\x8b no gzip"

        self.web.answer = answer
        url = self.plain()
        for method, body in (("GET", None), ("POST", b'{"a":1}'), ("HEAD", None)):
            found = await fetch(reactor, method, url + "/a?b=c", {"Content-Type": "text/plain"}, body)
            self.assertEqual(found.status, 403)
            self.assertEqual(found.headers["replay-nonce"], "two")
            self.assertEqual(found.body, b"" if method == "HEAD" else b"\x1f\x8b no gzip")
            self.assertEqual(self.web.asked.pop(), (method.encode(), b"/a?b=c", body or b""))

    async def test_nothing_is_followed(self) -> None:
        """Where a server would send us is the caller's to judge."""

        def answer(request: Request) -> bytes:
            request.redirect(b"http://127.0.0.1:1/")
            return b""

        self.web.answer = answer
        found = await fetch(reactor, "GET", self.plain())
        self.assertEqual((found.status, found.headers["location"]), (302, "http://127.0.0.1:1/"))

    async def test_tls(self) -> None:
        """Over TLS the server must be whom its certificate is for, by the file of those who are trusted."""
        url, ca = self.secure(HOST)
        self.assertEqual((await fetch(reactor, "GET", url, ca=ca)).body, b"fine")
        place = url[len("https://") :]
        self.assertIn(f"{place} cannot be trusted, or fails in TLS: ", await self.refused(url))
        url, ca = self.secure("127.0.0.2")
        place = url[len("https://") :]
        why = "its certificate is for 127.0.0.2, not for 127.0.0.1"
        found = await self.refused(url, ca=ca)
        self.assertEqual(found, f"{place} cannot be trusted, or fails in TLS: {why}")
        self.assertEqual(
            await self.refused(url, ca=ca + "x"), f"{ca}x: cannot be read: No such file or directory"
        )

    async def test_too_much(self) -> None:
        """More than was bargained for is not waited for."""
        self.web.answer = lambda request: b"x" * (MOST + 1)
        url = self.plain()
        self.assertEqual(await self.refused(url), f"{url[7:]} has sent more than 256 KiB")
        self.web.answer = lambda request: b"x" * (MOST - 1000)
        self.assertEqual(len((await fetch(reactor, "GET", url)).body), MOST - 1000)

    async def test_other_things(self) -> None:
        """A server that is not there, says nothing, breaks off or speaks something else is told of."""
        url = self.plain(_says(b""))
        self.patch(proxyd.upkeep.fetch, "SECONDS", 0.1)
        self.assertEqual(await self.refused(url), f"{url[7:]} has not answered within 0.1 s")
        self.patch(proxyd.upkeep.fetch, "SECONDS", 30.0)
        url = self.plain(_says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", close=True))
        self.assertEqual(await self.refused(url), f"{url[7:]} broke off its answer")
        url = self.plain(_says(b"SSH-2.0-OpenSSH\r\n\r\n"))
        self.assertIn(f"{url[7:]} has not answered: ", await self.refused(url))
        url = self.plain(_says(b"", close=True))
        self.assertIn(f"{url[7:]} has not answered: ", await self.refused(url))
        refused = "Connection was refused by other side: 111: Connection refused"
        self.assertEqual(await self.refused(f"http://{HOST}:1"), f"{HOST}:1 cannot be reached: {refused}")

    async def test_no_url(self) -> None:
        """What is no URL is told of, as anything else that goes wrong."""
        for url in (
            "/order/1",
            "ftp://a.example/",
            "https://a.example:99999/",
            "https://a.example:x/",
            "https://[",
        ):
            self.assertEqual(await self.refused(url), f"{url!r} is no URL of http or https")

    async def test_given_up(self) -> None:
        """Who gives up leaves no connection behind."""
        began: Deferred[None] = Deferred()

        def answer(request: Request) -> Any:
            began.callback(None)
            return NOT_DONE_YET

        self.web.answer = answer
        for when in ("while connecting", "while waiting"):
            asked = Deferred.fromCoroutine(fetch(reactor, "GET", self.plain()))
            if when == "while waiting":
                await began
            asked.cancel()
            await self.assertFailure(asked, CancelledError)


def _says(data: bytes, close: bool = False) -> Any:
    """A server that says this to whoever comes."""

    class Says(Protocol):
        transport: Any

        def connectionMade(self) -> None:
            if data:
                self.transport.write(data)
            if close:
                self.transport.loseConnection()

    factory = Factory.forProtocol(Says)
    factory.noisy = False
    return factory
