"""
What does a service say about a request?

It is asked as Traefik's forwardAuth and nginx's auth_request do it: a GET with what is asked for in
X-Forwarded-…, and 2xx is yes.  By Twisted's agent and not by treq, which keeps the cookies that one answer
sets, and would send them along with the next client's question.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from zope.interface import implementer

from proxyd.config.auth import ForwardSpec
from proxyd.errors import Reason, Refused
from proxyd.frontends.http.auth import Verdict
from proxyd.frontends.http.pages import Words
from proxyd.policy.asked import Asked
from proxyd.wire.httpfields import END_TO_END, Field, Unacceptable, parse_field

LONGEST_ANSWER = 64 * 1024  # bytes of a body that a client may get

MOST_QUESTIONS = 200  # at a time

MOST_KEPT = 16  # connections

IDLE_SECONDS = 4.0  # that one is kept: less than what servers wait

# What a client gets of an answer that is no, besides its status and its body.
_PASSED_ON = (b"www-authenticate", b"location", b"set-cookie", b"cache-control", b"content-encoding")


class _QuietPool(HTTPConnectionPool):
    """Keeps connections, and says nothing in the log of each new one."""

    def getConnection(self, key: Any, endpoint: IStreamClientEndpoint) -> Any:
        return super().getConnection(key, _Quiet(endpoint))


@implementer(IStreamClientEndpoint)
class _Quiet:
    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: Any) -> Any:
        protocolFactory.noisy = False
        return self._endpoint.connect(protocolFactory)


class Forward:
    """A service that is asked."""

    def __init__(self, spec: ForwardSpec, reactor: Any) -> None:
        self._spec = spec
        self.reactor = reactor
        self.patience = spec.timeout + 5.0
        self.copied = frozenset(name.encode("ascii") for name in spec.copy)
        self._pool = pool = _QuietPool(reactor, persistent=True)
        pool.cachedConnectionTimeout = IDLE_SECONDS  # type: ignore[assignment]
        pool.maxPersistentPerHost = MOST_KEPT
        self._agent = Agent(reactor, pool=pool)
        self._asking = 0

    def judge(self, asked: Asked, client: str) -> Deferred[Verdict]:
        """The verdict on a request of a client, an IP address; raises or fails with `Refused` without one."""
        if self._asking >= MOST_QUESTIONS:
            raise Refused(Reason.AUTH_FAILED, f"{MOST_QUESTIONS} questions are open already")
        self._asking += 1
        verdict: Deferred[Verdict] = Deferred.fromCoroutine(self._ask(asked, client))
        verdict.addTimeout(self._spec.timeout, self.reactor, self._late)
        return verdict.addBoth(self._told)

    def close(self) -> Any:
        """Close the connections that are kept; fires when they are."""
        return self._pool.closeCachedConnections()

    def _late(self, _: object, seconds: float) -> None:
        """Time is up, whatever then came of the look-up, the connection or the request that was given up."""
        raise Refused(Reason.AUTH_FAILED, f"{self._spec.url} did not answer in {seconds:g} s")

    def _told(self, verdict: Any) -> Any:
        self._asking -= 1
        if isinstance(verdict, Failure) and not verdict.check(Refused):
            why = [verdict, *getattr(verdict.value, "reasons", ())][-1].value
            raise Refused(Reason.AUTH_FAILED, f"{self._spec.url}: {str(why) or type(why).__name__}")
        return verdict

    async def _ask(self, asked: Asked, client: str) -> Verdict:
        headers = Headers({b"accept-encoding": [b"identity"]})
        for name in self._spec.send:
            for value in asked.values(name):
                headers.addRawHeader(name.encode("ascii"), value.encode("utf-8", "surrogateescape"))
        headers.setRawHeaders(b"x-forwarded-method", [asked.method])
        headers.setRawHeaders(b"x-forwarded-proto", [asked.scheme.encode("ascii")])
        headers.setRawHeaders(b"x-forwarded-host", [asked.host])
        headers.setRawHeaders(b"x-forwarded-uri", [asked.target.whole])
        if client:
            headers.setRawHeaders(b"x-forwarded-for", [client.encode("ascii")])
        response = await self._agent.request(b"GET", self._spec.url.encode("ascii"), headers)
        body = await _body(response)
        if 200 <= response.code < 300:
            copied = (field for name in self._spec.copy for field in _fields(response, name.encode("ascii")))
            return Verdict(fields=tuple(copied))
        if body is None:
            raise Refused(
                Reason.AUTH_FAILED, f"{self._spec.url} answered with more than {LONGEST_ANSWER} bytes"
            )
        if response.code < 200 or response.code > 599:
            raise Refused(Reason.AUTH_FAILED, f"{self._spec.url} answered with the status {response.code}")
        lines = [field[2][:-2] for name in _PASSED_ON for field in _fields(response, name)]
        kinds = [field[1].decode("ascii", "replace") for field in _fields(response, b"content-type")]
        kind = kinds[0] if kinds and kinds[0].isascii() else "application/octet-stream"
        return Verdict(status=response.code, words=Words(body, kind, tuple(lines)))


def _fields(response: Any, name: bytes) -> list[Field]:
    """The fields of this name, but for those that nobody should pass on."""
    found = []
    for value in response.headers.getRawHeaders(name, []):
        try:
            field = parse_field(name + b": " + value)
        except Unacceptable:
            continue
        found.append((*field[:3], END_TO_END))
    return found


def _body(response: Any) -> Deferred[Any]:
    """The body, or None if it is too long."""
    reader = _Reader()
    response.deliverBody(reader)
    return reader.done


class _Reader(Protocol):
    """Takes a body up to a limit."""

    transport: Any

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0
        self.done: Deferred[Any] = Deferred(lambda _: self.transport.loseConnection())

    def dataReceived(self, data: bytes) -> None:
        self._length += len(data)
        if self._length <= LONGEST_ANSWER:
            self._parts.append(data)
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if self._length > LONGEST_ANSWER:
            self.done.callback(None)
        elif reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(reason)
