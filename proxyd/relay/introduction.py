"""
How does a server learn who its client is, and where that has connected to?

By a PROXY header, if its pool asks for one: the first bytes of our connection to it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from OpenSSL.SSL import Connection
from twisted.internet.address import UNIXAddress

from proxyd.config.proxyprotocol import ProxyOut
from proxyd.errors import Malformed
from proxyd.relay.opening import Opening
from proxyd.relay.streams import ssl_connection
from proxyd.relay.tls.certificate import common_name, signed_with, sized_kind
from proxyd.wire import proxyprotocol
from proxyd.wire.clienthello import host_name
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
    it.  Otherwise what a header from before us has said goes on, for then TLS that ends here is only the hop
    from the proxy before us.  Should all that be too large for a header, it is left out.
    """
    before = opening.header or _NO_HEADER
    source, destination = _end(opening.address), before.destination or _end(transport.getHost())
    if wanted.version == 1:
        return proxyprotocol.v1(source, destination)
    alpn, authority, ssl = before.alpn, before.authority, before.ssl
    tls = ssl_connection(transport) if opening.ended and not opening.hop else None
    if tls is not None:
        alpn, authority, ssl = _tls_ended_here(tls)
    write = partial(
        proxyprotocol.v2,
        source,
        destination,
        unique_id=unique_id if wanted.unique_id else b"",
        crc32c=wanted.crc32c,
    )
    try:
        return write(
            alpn=alpn if wanted.alpn else b"",
            authority=(opening.sni or authority) if wanted.authority else "",
            ssl=ssl if wanted.ssl else None,
        )
    except ValueError:
        return write()


def _tls_ended_here(tls: Connection) -> tuple[bytes, str, Ssl]:
    """ALPN, name and all else of TLS that ends here."""
    certificate = tls.get_peer_certificate(as_cryptography=True)
    own = tls.get_certificate()
    try:
        name = host_name(tls.get_servername() or b"")
    except Malformed:
        name = ""
    ssl = Ssl(
        client=CLIENT_SSL | (CLIENT_CERT_CONN | CLIENT_CERT_SESS if certificate is not None else 0),
        verify=int(certificate is None),
        version=tls.get_protocol_version_name(),
        cn=common_name(certificate.subject) if certificate is not None else "",
        cipher=tls.get_cipher_name() or "",
        sig_alg=signed_with(own.to_cryptography()) if own is not None else "",
        key_alg=sized_kind(own.to_cryptography().public_key()) if own is not None else "",
    )
    return tls.get_alpn_proto_negotiated(), name, ssl


def own_header(wanted: ProxyOut) -> bytes:
    """The PROXY header of a connection that is made for no client, such as a check (HAProxy's LOCAL)."""
    return proxyprotocol.v1(End(), End()) if wanted.version == 1 else proxyprotocol.v2_local(wanted.crc32c)


def _end(address: Any) -> End:
    if isinstance(address, UNIXAddress):
        return End(path=address.name or b"")
    return End(address.host.partition("%")[0], address.port)
