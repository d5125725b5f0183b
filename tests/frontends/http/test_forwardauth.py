"""Is a service asked as it expects, and is what it says done?"""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver
from twisted.logger import capturedLogs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from proxyd.config.auth import ForwardSpec
from proxyd.errors import Refused
from proxyd.frontends.http.auth import Verdict
from proxyd.frontends.http.forwardauth import LONGEST_ANSWER, MOST_QUESTIONS, Forward
from tests.policy.requests import asked
from tests.support.case import AsyncCase


def the_reactor() -> Any:
    """The one that trial runs, which has more than its stubs say."""
    from twisted.internet import reactor

    return reactor


class Service(Resource):
    """A service, which does what the test says."""

    isLeaf = True

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.requests: list[Any] = []

    def render(self, request: Any) -> Any:
        self.requests.append(request)
        return self.answer(request)


class ForwardTests(AsyncCase):
    """On real sockets, with Twisted's own server."""

    def service(self, answer: Callable[[Any], Any], **how: Any) -> tuple[Forward, Service]:
        service, reactor = Service(answer), the_reactor()
        port = reactor.listenTCP(0, Site(service), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/verify?a=b"
        forward = Forward(ForwardSpec(url, **how), reactor)
        self.addCleanup(forward.close)
        return forward, service

    async def refused(self, verdict: Deferred[Verdict]) -> str:
        failure: Any = await self.assertFailure(verdict, Refused)
        return str(failure.detail)

    async def test_question(self) -> None:
        """It is asked by a GET with what is asked for, and with the fields that were named, no others."""
        forward, service = self.service(lambda request: b"", send=("cookie", "x-a"))
        request = asked(
            b"/a?b=c", b"a.com:80", b"POST", b"Cookie: c=1", b"X-A: 1", b"X-A: 2", b"Authorization: x",
            b"X-Forwarded-For: 1.2.3.4", secure=True,
        )  # fmt: skip
        self.assertEqual(await forward.judge(request, "10.0.0.9"), Verdict())
        (got,) = service.requests
        self.assertEqual((got.method, got.uri), (b"GET", b"/verify?a=b"))
        fields = {name.lower(): values for name, values in got.requestHeaders.getAllRawHeaders()}
        for name in (b"host", b"connection", b"accept-encoding"):
            fields.pop(name, None)
        self.assertEqual(
            fields,
            {
                b"cookie": [b"c=1"],
                b"x-a": [b"1", b"2"],
                b"x-forwarded-method": [b"POST"],
                b"x-forwarded-proto": [b"https"],
                b"x-forwarded-host": [b"a.com:80"],
                b"x-forwarded-uri": [b"/a?b=c"],
                b"x-forwarded-for": [b"10.0.0.9"],
            },
        )

    async def test_yes(self) -> None:
        """2xx is yes, and the fields that were named go on to the server, whatever they are called."""

        def answer(request: Any) -> bytes:
            request.setResponseCode(204)
            request.setHeader("X-User", "alice")
            request.setHeader("X-Real-IP", "10.0.0.1")
            request.setHeader("X-Other", "1")
            return b""

        forward, _ = self.service(answer, copy=("x-user", "x-real-ip", "x-gone"))
        verdict = await forward.judge(asked(), "")
        self.assertEqual(verdict.status, 0)
        self.assertEqual(
            [field[0:2] for field in verdict.fields], [(b"x-user", b"alice"), (b"x-real-ip", b"10.0.0.1")]
        )
        self.assertEqual({field[3] for field in verdict.fields}, {0})

    async def test_no(self) -> None:
        """Any other answer is the client's: its status, its body, and where it leads."""

        def answer(request: Any) -> bytes:
            request.setResponseCode(302)
            request.setHeader("Location", "https://login/")
            request.setHeader("Content-Type", "text/plain")
            request.setHeader("X-Secret", "1")
            request.addCookie("session", "1")
            return b"go there"

        forward, _ = self.service(answer)
        verdict = await forward.judge(asked(), "")
        self.assertEqual(
            (verdict.status, verdict.words.body, verdict.words.content_type), (302, b"go there", "text/plain")
        )
        self.assertEqual(verdict.words.fields, (b"location: https://login/", b"set-cookie: session=1"))

    async def test_quiet(self) -> None:
        """The log has no line of a connection."""
        forward, _ = self.service(lambda request: b"")
        with capturedLogs() as said:
            await forward.judge(asked(), "")
            await forward.close()
        self.assertEqual([event for event in said if "HTTP11Client" in str(event.get("factory"))], [])

    async def test_cookies_stay(self) -> None:
        """What one answer sets is not sent along with the next question, which is another client's."""

        def answer(request: Any) -> bytes:
            request.addCookie("session", "alice")
            return b""

        forward, service = self.service(answer)
        await forward.judge(asked(), "")
        await forward.judge(asked(), "")
        self.assertEqual([request.getHeader("cookie") for request in service.requests], [None, None])

    async def test_too_long(self) -> None:
        """An answer that is too long for a client is none; of one that says yes that is no matter."""
        status = 403

        def answer(request: Any) -> bytes:
            request.setResponseCode(status)
            return b"x" * (LONGEST_ANSWER + 1)

        forward, _ = self.service(answer)
        self.assertIn(
            f"answered with more than {LONGEST_ANSWER} bytes", await self.refused(forward.judge(asked(), ""))
        )
        status = 200
        self.assertEqual(await forward.judge(asked(), ""), Verdict())

    async def test_no_answer(self) -> None:
        """Without an answer in time, or at all, nobody is let in."""
        forward, _ = self.service(lambda request: NOT_DONE_YET, timeout=0.05)
        self.assertIn("did not answer in 0.05 s", await self.refused(forward.judge(asked(), "")))

        def hang_up(request: Any) -> int:
            request.transport.abortConnection()
            return NOT_DONE_YET

        forward, _ = self.service(hang_up)
        self.assertIn("/verify?a=b: ", await self.refused(forward.judge(asked(), "")))

    async def test_no_address_in_time(self) -> None:
        """It is told as late, too, while its name is still looked up."""

        @implementer(IHostnameResolver)
        class Silent:
            def resolveHostName(  # type: ignore[override]
                self, receiver: Any, *_: Any, **__: Any
            ) -> Any:
                receiver.resolutionBegan(self)
                return self

        before = the_reactor().installNameResolver(Silent())
        self.addCleanup(the_reactor().installNameResolver, before)
        forward = Forward(ForwardSpec("http://auth.example/", timeout=0.05), the_reactor())
        self.assertEqual(
            await self.refused(forward.judge(asked(), "")), "http://auth.example/ did not answer in 0.05 s"
        )

    async def test_gone(self) -> None:
        """A service that is not there is told of by the system's word."""
        forward, _ = self.service(lambda request: b"")
        gone = Forward(ForwardSpec("http://127.0.0.1:1/"), forward.reactor)
        self.addCleanup(gone.close)
        self.assertIn(
            "http://127.0.0.1:1/: Connection was refused", await self.refused(gone.judge(asked(), ""))
        )

    async def test_wordless(self) -> None:
        """A fault without words is told by its name."""

        class Wordless(Exception):
            pass

        @implementer(IHostnameResolver)
        class Broken:
            def resolveHostName(self, *_: Any, **__: Any) -> Any:
                raise Wordless

        before = the_reactor().installNameResolver(Broken())
        self.addCleanup(the_reactor().installNameResolver, before)
        forward = Forward(ForwardSpec("http://auth.example/"), the_reactor())
        self.assertEqual(await self.refused(forward.judge(asked(), "")), "http://auth.example/: Wordless")

    async def test_bound(self) -> None:
        """So many questions are open at a time; who leaves takes his back."""
        forward, _ = self.service(lambda request: NOT_DONE_YET, timeout=30.0)
        open_now = [forward.judge(asked(), "") for _ in range(MOST_QUESTIONS)]
        self.assertRaises(Refused, forward.judge, asked(), "")
        for verdict in open_now:
            verdict.cancel()
            await self.refused(verdict)
        left = forward.judge(asked(), "")
        left.cancel()
        await self.refused(left)
