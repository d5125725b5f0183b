"""
How does a server learn who its client is, and where that has connected to?

By a PROXY header, if its pool asks for one: the first bytes of our connection to it.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import ISSLTransport

from proxyd.config.proxyprotocol import ProxyOut
from proxyd.relay.opening import Opening
from proxyd.wire import proxyprotocol
from proxyd.wire.proxyprotocol import (
    CLIENT_CERT_CONN,
    CLIENT_CERT_SESS,
    CLIENT_SSL,
    End,
    ProxyHeader,
    Ssl,
)

_NO_HEADER = ProxyHeader(version=2, length=0)


def introduction(wanted: ProxyOut, opening: Opening, transport: Any, unique_id: bytes) -> bytes:
    """
    The PROXY header for a server that asks for one, about the client on this transport.

    What we know ourselves of the client's TLS comes first: the name in a ClientHello, and all of it if we end
    it.  Otherwise what a header from before us has said goes on.
    """
    before = opening.header or _NO_HEADER
    source, destination = _end(opening.address), before.destination or _end(transport.getHost())
    if wanted.version == 1:
        return proxyprotocol.v1(source, destination)
    alpn, authority, ssl = _tls_ended_here(transport)
    return proxyprotocol.v2(
        source,
        destination,
        alpn=(alpn or before.alpn) if wanted.alpn else b"",
        authority=(opening.sni or authority or before.authority) if wanted.authority else "",
        ssl=(ssl or before.ssl) if wanted.ssl else None,
        unique_id=unique_id if wanted.unique_id else b"",
        crc32c=wanted.crc32c,
    )


def _tls_ended_here(transport: Any) -> tuple[bytes, str, Optional[Ssl]]:
    """ALPN, name and all else of TLS on a transport that ends it; before the handshake only that it does."""
    ends_tls: bool = ISSLTransport.providedBy(transport)
    if not ends_tls:
        return b"", "", None
    tls = transport.getHandle()
    if not tls.get_finished():
        return b"", "", Ssl()
    certificate = tls.get_peer_certificate()
    name = (tls.get_servername() or b"").decode("ascii", "replace")
    ssl = Ssl(
        client=CLIENT_SSL | (CLIENT_CERT_CONN | CLIENT_CERT_SESS if certificate is not None else 0),
        verify=int(certificate is None),
        version=tls.get_protocol_version_name(),
        cn=(certificate.get_subject().CN or "") if certificate is not None else "",
        cipher=tls.get_cipher_name() or "",
    )
    return tls.get_alpn_proto_negotiated(), name, ssl


def own_header(wanted: ProxyOut) -> bytes:
    """The PROXY header of a connection that is made for no client, such as a check (HAProxy's LOCAL)."""
    return proxyprotocol.v1(End(), End()) if wanted.version == 1 else proxyprotocol.v2_local(wanted.crc32c)


def _end(address: Any) -> End:
    if isinstance(address, UNIXAddress):
        return End(path=address.name or b"")
    return End(address.host.partition("%")[0], address.port)
