"""What did the operator ask of the PROXY protocol?  From whom a header is taken, and which one servers get."""

from __future__ import annotations

import ipaddress
from typing import Union

from attrs import frozen

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


@frozen
class ProxyIn:
    """
    ``proxy_protocol`` of a listener: who begins with a PROXY header, and where in the stream it stands.

    Clients with an address in ``trusted`` may send one, and with ``unix`` those on a unix socket.  They must,
    unless it is ``optional``.  With ``inside_tls`` it is the first thing inside the TLS that a bind ends.
    """

    trusted: tuple[Network, ...] = ()
    unix: bool = False
    optional: bool = False
    inside_tls: bool = False


@frozen
class ProxyOut:
    """``proxy_protocol`` of a pool: the version of the header that its servers get, and the TLVs in it."""

    version: int
    alpn: bool = False
    authority: bool = False
    ssl: bool = False
    unique_id: bool = False
    crc32c: bool = False
