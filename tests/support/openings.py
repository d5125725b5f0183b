"""
What should come of an opening, right or broken?

`KINDS` are three kinds of listeners with openings that are right for them, and `verdict` is what the parsers
say of one such listener's client, asked once about all that it sends.
"""

from __future__ import annotations

from typing import Any, Callable, Union

from attrs import frozen

from proxyd.errors import Malformed, Reason
from proxyd.wire import clienthello, proxyprotocol
from proxyd.wire.proxyprotocol import End, Ssl
from tests.support.hello import fragmented, hello, outer
from tests.wire.captured import ECH_GREASE, GNUTLS, JAVA

HELLOS = (
    hello("a.example"),
    hello("b.example", alpn=(b"h2", b"http/1.1")),
    hello(),
    hello("c.example", extensions=[(0xFE0D, outer())]),
    fragmented(hello("d.example", alpn=(b"h2",)), 30),
    GNUTLS,
    fragmented(JAVA, 100),
    ECH_GREASE,
)

_ONE, _OTHER = End("192.0.2.7", 5555), End("192.0.2.1", 443)
_ONE6, _OTHER6 = End("2001:db8::7", 5555), End("2001:db8::1", 443)

HEADERS = (
    proxyprotocol.v1(_ONE, _OTHER),
    proxyprotocol.v1(_ONE6, _OTHER6),
    proxyprotocol.v1(End(), End()),
    proxyprotocol.v2(_ONE, _OTHER),
    proxyprotocol.v2(_ONE6, _OTHER6, authority="a.example", unique_id=b"7", alpn=b"h2", crc32c=True),
    proxyprotocol.v2(End(path=b"/run/one"), End(path=b"/run/other")),
    proxyprotocol.v2(_ONE, _OTHER, ssl=Ssl(version="TLSv1.3", cn="client"), crc32c=True),
    proxyprotocol.v2_local(crc32c=True),
)


@frozen
class Kind:
    """A listener that wants a header, a ClientHello, or both; and what is right there."""

    name: str
    header: bool
    tls: bool
    seeds: tuple[bytes, ...]


# Each has an opening of another kind, too.
KINDS = (
    Kind("tls", False, True, (*HELLOS, HEADERS[0])),
    Kind("header", True, False, (*(header + b"question\r\n" for header in HEADERS), HELLOS[0])),
    Kind("both", True, True, (*map(bytes.__add__, HEADERS, HELLOS), HELLOS[0], HEADERS[0] * 2)),
)


def verdict(kind: Kind, data: bytes, finished: bool) -> Union[bytes, Reason]:
    """
    What a server gets of a client that has sent this, or the reason why none does.

    ``finished`` is whether the client has closed its side behind it; if not, more may come, and does not.
    """
    wanted: list[tuple[Callable[[bytes], Any], Reason]] = []
    if kind.header:
        wanted.append((proxyprotocol.parse, Reason.PROXY_MALFORMED))
    if kind.tls:
        wanted.append((clienthello.parse, Reason.TLS_MALFORMED))
    for parse, malformed in wanted:
        try:
            found = parse(data)
        except Malformed:
            return malformed
        if found is None and finished:
            return malformed if data else Reason.CLIENT_GONE
        if found is None:
            return Reason.OPENING_TIMEOUT
        if malformed is Reason.PROXY_MALFORMED:
            data = data[found.length :]
    return data
