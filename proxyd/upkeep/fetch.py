"""
How is something asked of a server by HTTP that need not be what it should be?

By treq, on a connection of the request's own, which is closed when there is an answer, and aborted when
more comes than was bargained for.  Nothing is followed and nothing unpacked.  `fetch` does all of it; checks,
which have more to say about a connection, use `Line` and `Plain` alone.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional
from urllib.parse import urlsplit

from attrs import frozen
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from proxyd.config.address import TcpAddress
from proxyd.config.probes import TlsAsk
from proxyd.relay.dial import client_endpoint
from proxyd.relay.tls.verification import why
from proxyd.upkeep.probes.conversation import Unable, failed_in, take_leave
from proxyd.upkeep.probes.tls import creator

SECONDS = 30.0  # for an answer, from the look-up of the name on

MOST = 256 * 1024  # bytes of an answer with its headers; a chain of certificates takes some 10 KiB

TOO_MUCH = f"has sent more than {MOST // 1024} KiB"

_PORTS = {"http": 80, "https": 443}


class FetchFailed(Exception):
    """There is no answer; the text says why."""


@frozen
class Fetched:
    """An answer: its status, its headers by their names in small letters, the last of each, and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def fetch(
    reactor: Any,
    method: str,
    url: str,
    headers: Mapping[str, str] = {},
    body: Optional[bytes] = None,
    ca: str = "",
) -> Fetched:
    """
    Ask for a URL of http or https.

    The server's certificate is judged by the file ``ca``, or by what the system trusts.
    Raises `FetchFailed`.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    except (ValueError, LookupError):
        raise FetchFailed(f"{url[:200]!r} is no URL of http or https") from None
    try:
        endpoint = client_endpoint(reactor, TcpAddress(host, port), None)
        if parts.scheme == "https":
            endpoint = wrapClientTLS(creator(TlsAsk(verify=host, ca=ca)), endpoint)
    except Unable as why:
        raise FetchFailed(str(why)) from None
    line = Line(endpoint, MOST)
    answer = Deferred.fromCoroutine(_ask(reactor, line, method, url, headers, body))
    answer.addTimeout(SECONDS, reactor)
    try:
        return await answer
    except TimeoutError:
        raise FetchFailed(f"{parts.netloc} has not answered within {SECONDS:g} s") from None
    except FetchFailed as why:
        raise FetchFailed(f"{parts.netloc} {why}") from None
    finally:
        await line.close(reactor)


async def _ask(
    reactor: Any, line: Line, method: str, url: str, headers: Mapping[str, str], body: Optional[bytes]
) -> Fetched:
    client = HTTPClient(Plain(Agent.usingEndpointFactory(reactor, line)))
    raw = Headers({name: [value] for name, value in headers.items()})
    raw.setRawHeaders("User-Agent", ["proxyd"])
    try:
        response: Any = await client.request(
            method, url, headers=raw, data=body, allow_redirects=False, unbuffered=True, reactor=reactor
        )
    except Exception as failed:  # noqa: BLE001 - whatever treq and Twisted raise, there is no answer
        cause = _cause(failed)
        if isinstance(cause, (CancelledError, ConnectingCancelledError)):
            raise CancelledError from None
        raise FetchFailed(TOO_MUCH if line.too_much else _why(cause, line)) from None
    reader = Reader(MOST)
    response.deliverBody(reader)
    await reader.done
    if line.too_much or not reader.whole:
        raise FetchFailed(
            f"has sent more than {MOST // 1024} KiB" if line.too_much else "broke off its answer"
        )
    known = {
        name.decode("latin-1").lower(): values[-1].decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }
    return Fetched(response.code, known, bytes(reader.body))


def _cause(failed: BaseException) -> BaseException:
    """What is behind a failure of an `Agent`."""
    if isinstance(failed, (RequestTransmissionFailed, ResponseFailed)) and failed.reasons:
        cause: BaseException = failed.reasons[-1].value
        return cause
    return failed


def _why(failed: BaseException, line: Line) -> str:
    """Why there is no answer, as what follows the server's name."""
    if isinstance(failed, SSL.Error):
        return f"cannot be trusted, or fails in TLS: {why(line.in_tls, failed)}"
    if isinstance(failed, DNSLookupError):
        return "has no address"
    if isinstance(failed, ConnectError):
        return f"cannot be reached: {str(failed).rstrip('.')}"
    return f"has not answered: {str(failed).rstrip('.') or type(failed).__name__}"


@implementer(IAgent)
class Plain:
    """
    An agent that asks for bodies as they are, whatever treq says.

    treq unpacks a body as it comes, so that a few KiB become as many MiB before anyone can count them.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Any:
        headers.setRawHeaders("Accept-Encoding", ["identity"])
        asked: Deferred[Any] = self._agent.request(method, uri, headers, bodyProducer)
        return asked.addCallback(_as_it_is)


def _as_it_is(response: Any) -> Any:
    """The response, of which nobody is told that it may be packed."""
    response.headers.removeHeader("Content-Encoding")
    return response


class Reader(Protocol):
    """Takes a body up to a limit; ``whole`` says that it ended in order before that."""

    transport: Any

    def __init__(self, most: int) -> None:
        self.body = bytearray()
        self._most = most
        self.whole = False
        self.done: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.body += data[: self._most - len(self.body)]
        if len(self.body) >= self._most:
            self._finish()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.whole = reason.check(ResponseDone, PotentialDataLoss) is not None
        self._finish()

    def _finish(self) -> None:
        if not self.done.called:
            self.done.callback(None)


class _Watched(ProtocolWrapper):
    """The connection beneath HTTP: counts what comes, and tells when it is closed."""

    factory: _WatchedFactory
    transport: Any

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self.closed = False
        self._count = 0
        self._waiting: Optional[Deferred[None]] = None

    def change(self) -> Deferred[None]:
        """Fires when the connection is closed."""
        self._waiting = Deferred()
        return self._waiting

    def makeConnection(self, transport: Any) -> None:
        self.factory.line.connection = self
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        self._count += len(data)
        if self._count > self.factory.line.most:
            self.factory.line.too_much = True
            self.transport.abortConnection()
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        self.factory.line.in_tls = failed_in(reason, self.transport)
        super().connectionLost(reason)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


class _WatchedFactory(WrappingFactory):
    protocol = _Watched
    noisy = False

    def __init__(self, wrapped: Any, line: Line) -> None:
        super().__init__(wrapped)
        self.line = line


@implementer(IStreamClientEndpoint, IAgentEndpointFactory)
class Line:
    """
    The one connection of a request, wherever the agent thinks that it leads.

    When more than ``most`` bytes have come it is aborted, and ``too_much`` says so.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, most: int) -> None:
        self.connection: Optional[_Watched] = None
        self.in_tls: Optional[SSL.Connection] = None  # in what TLS has failed, if it has
        self.too_much = False
        self.most = most
        self._endpoint = endpoint

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        return self

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        protocolFactory.noisy = False
        connected: Deferred[Any] = self._endpoint.connect(_WatchedFactory(protocolFactory, self))
        return connected.addCallback(lambda watched: watched.wrappedProtocol)

    async def close(self, reactor: Any) -> None:
        """Close the connection if there is one."""
        if self.connection is not None:
            await take_leave(self.connection, reactor)
