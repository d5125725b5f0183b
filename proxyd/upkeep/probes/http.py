"""Is a request answered as it should be?  By treq, on a connection of the check's own."""

from __future__ import annotations

from typing import Any, Union

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError
from twisted.web.client import Agent, RequestTransmissionFailed, ResponseFailed
from twisted.web.http_headers import Headers

from proxyd.config.address import UnixAddress
from proxyd.config.probes import HttpAsk, HttpsAsk
from proxyd.upkeep.fetch import Line, Plain, Reader
from proxyd.upkeep.probes.conversation import MOST_HELD, Call, Failed, ending, shown
from proxyd.upkeep.probes.patterns import Search
from proxyd.upkeep.probes.tls import asked, expiring

MOST_RECEIVED = 2 * MOST_HELD  # bytes of headers and body as they come

_AWAITED = "answer to the request"


async def probe(call: Call, ask: Union[HttpAsk, HttpsAsk]) -> str:
    """Make the request on a new connection, and judge status and body."""
    tls = ask.tls if isinstance(ask, HttpsAsk) else None
    line = Line(call.endpoint(asked(call, tls) if tls is not None else None), MOST_RECEIVED)
    try:
        response = await _response(call, ask, line)
        remark = ""
        if tls is not None and line.connection is not None:
            remark = expiring(tls.expiry, line.connection.transport, call.wall.now())
        body = await _body(response)
    finally:
        await line.close(call.reactor)
    _judge(ask, response.code, body)
    return remark


async def _response(call: Call, ask: HttpAsk, line: Line) -> Any:
    """The response, of which status and headers have come."""
    host = ask.host or ("localhost" if isinstance(call.called, UnixAddress) else str(call.called))
    headers = Headers({"Host": [host]})
    for name, value in ask.headers:
        headers.addRawHeader(name, value)
    if not headers.hasHeader("User-Agent"):
        headers.addRawHeader("User-Agent", "proxyd")
    call.awaited = _AWAITED
    client = HTTPClient(Plain(Agent.usingEndpointFactory(call.reactor, line)))
    try:
        return await client.request(
            ask.method, f"http://check{ask.path}", headers=headers, allow_redirects=False, unbuffered=True
        )
    except (RequestTransmissionFailed, ResponseFailed) as failed:
        raise _translated(failed, line) from None


def _translated(failed: Any, line: Line) -> BaseException:
    """What it means that there is no response."""
    if line.too_much:
        return Failed(f"sent more than {MOST_RECEIVED // 1024} KiB in place of its {_AWAITED}")
    if any(reason.check(CancelledError) for reason in failed.reasons):
        return CancelledError()
    last: Failure = failed.reasons[-1]
    if last.check(ParseError, ValueError):
        return Failed(f"answered what is not HTTP: {shown(str(last.value).encode('utf-8'))}")
    return Failed(ending(last, _AWAITED, line.in_tls))


async def _body(response: Any) -> bytes:
    """The beginning of the body; also if nobody wants to know, so that a server need not write in vain."""
    reader = Reader(MOST_HELD)
    response.deliverBody(reader)
    await reader.done
    return bytes(reader.body)


def _judge(ask: HttpAsk, status: int, body: bytes) -> None:
    if not any(low <= status <= high for low, high in ask.status):
        raise Failed(f"answered with status {status}")
    if ask.body and Search().end(ask.body.encode("utf-8"), body) is None:
        raise Failed(f"answered with another body: {shown(body)}")
