"""What does a site answer?  Requests to it without a socket."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.web.server import Site

TURNS = 1000  # of the reactor, which an answer may take

_CLIENT = IPv4Address("TCP", "192.0.2.1", 40000)


@frozen
class Answer:
    """The status, the headers by their lower-case name, and the body."""

    status: int
    headers: dict[str, str]
    body: str


def connect(site: Site) -> tuple[Any, StringTransport]:
    """A new connection to the site: its protocol and its transport."""
    protocol = site.buildProtocol(_CLIENT)
    transport = StringTransport(peerAddress=_CLIENT)
    protocol.makeConnection(transport)
    return protocol, transport


def exchange(
    site: Site, path: str, method: str = "GET", headers: tuple[str, ...] = (), body: bytes = b""
) -> Answer:
    """Send one request on a connection of its own."""
    protocol, transport = connect(site)
    if body:
        headers = (*headers, f"Content-Length: {len(body)}")
    head = "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""))
    protocol.dataReceived(head.encode("latin-1") + body)
    clock: Any = site.reactor
    for _ in range(TURNS):
        if transport.disconnecting:
            break
        clock.advance(0)
    assert transport.disconnecting, "the answer is not complete"
    return read(transport.value())


def read(answer: bytes) -> Answer:
    """Take an answer apart."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Answer(int(status.split()[1]), headers, body.decode())
