"""Is a request answered as it should be?  By treq, on a connection of the check's own."""

from __future__ import annotations

from typing import Any, Optional, Union

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError
from twisted.web.client import Agent, RequestTransmissionFailed, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from proxyd.config.address import UnixAddress
from proxyd.config.probes import HttpAsk, HttpsAsk
from proxyd.upkeep.probes.conversation import MOST_HELD, Call, Failed, ending, shown, take_leave
from proxyd.upkeep.probes.patterns import Search
from proxyd.upkeep.probes.tls import creator, expiring

MOST_RECEIVED = 2 * MOST_HELD  # bytes of headers and body as they come

_AWAITED = "answer to the request"


async def probe(call: Call, ask: Union[HttpAsk, HttpsAsk]) -> str:
    """Make the request on a new connection, and judge status and body."""
    tls = ask.tls if isinstance(ask, HttpsAsk) else None
    line = _Line(call.endpoint(creator(tls) if tls is not None else None))
    try:
        response = await _response(call, ask, line)
        remark = line.remark(tls.expiry, call.reactor.seconds()) if tls is not None else ""
        body = await _body(response)
    finally:
        await line.close(call.reactor)
    _judge(ask, response.code, body)
    return remark


async def _response(call: Call, ask: HttpAsk, line: _Line) -> Any:
    """The response, of which status and headers have come."""
    host = ask.host or ("localhost" if isinstance(call.called, UnixAddress) else str(call.called))
    headers = Headers({"Host": [host]})
    for name, value in ask.headers:
        headers.addRawHeader(name, value)
    if not headers.hasHeader("User-Agent"):
        headers.addRawHeader("User-Agent", "proxyd")
    call.awaited = _AWAITED
    client = HTTPClient(_Plain(Agent.usingEndpointFactory(call.reactor, line)))
    try:
        return await client.request(
            ask.method, f"http://check{ask.path}", headers=headers, allow_redirects=False, unbuffered=True
        )
    except (RequestTransmissionFailed, ResponseFailed) as failed:
        raise _translated(failed, line) from None


def _translated(failed: Any, line: _Line) -> BaseException:
    """What it means that there is no response."""
    if line.too_much:
        return Failed(f"sent more than {MOST_RECEIVED // 1024} KiB in place of its {_AWAITED}")
    if any(reason.check(CancelledError) for reason in failed.reasons):
        return CancelledError()
    last: Failure = failed.reasons[-1]
    if last.check(ParseError, ValueError):
        return Failed(f"answered what is not HTTP: {shown(str(last.value).encode('utf-8'))}")
    return Failed(ending(last, _AWAITED))


async def _body(response: Any) -> bytes:
    """The beginning of the body; also if nobody wants to know, so that a server need not write in vain."""
    reader = _Reader()
    response.deliverBody(reader)
    await reader.done
    return bytes(reader.body)


def _judge(ask: HttpAsk, status: int, body: bytes) -> None:
    if not any(low <= status <= high for low, high in ask.status):
        raise Failed(f"answered with status {status}")
    if ask.body and Search().end(ask.body.encode("utf-8"), body) is None:
        raise Failed(f"answered with another body: {shown(body)}")


@implementer(IAgent)
class _Plain:
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


class _Reader(Protocol):
    """Takes a body up to a limit."""

    transport: Any

    def __init__(self) -> None:
        self.body = bytearray()
        self.done: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.body += data[: MOST_HELD - len(self.body)]
        if len(self.body) >= MOST_HELD:
            self._finish()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
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
        if self._count > MOST_RECEIVED:
            self.factory.line.too_much = True
            self.transport.abortConnection()
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        super().connectionLost(reason)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


class _WatchedFactory(WrappingFactory):
    protocol = _Watched
    noisy = False

    def __init__(self, wrapped: Any, line: _Line) -> None:
        super().__init__(wrapped)
        self.line = line


@implementer(IStreamClientEndpoint, IAgentEndpointFactory)
class _Line:
    """The one connection of a check, wherever the agent thinks that it leads."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self.connection: Optional[_Watched] = None
        self.too_much = False
        self._endpoint = endpoint

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        return self

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        protocolFactory.noisy = False
        connected: Deferred[Any] = self._endpoint.connect(_WatchedFactory(protocolFactory, self))
        return connected.addCallback(lambda watched: watched.wrappedProtocol)

    def remark(self, expiry: Optional[float], now: float) -> str:
        """What is to be known of the certificate."""
        return expiring(expiry, self.connection.transport, now) if self.connection is not None else ""

    async def close(self, reactor: Any) -> None:
        """Close the connection if there is one."""
        if self.connection is not None:
            await take_leave(self.connection, reactor)
