"""What is known of a client when a server is chosen for it, and by what is it told from others?"""

from __future__ import annotations

import ipaddress
from typing import Callable

from attrs import frozen

from proxyd.config.balance import SNI, SOURCE_PORT, BalanceSpec, of_requests


@frozen
class Arrival:
    """
    A client: its IP address without brackets, "" on a unix socket; its port; the name that it asks for.

    ``via`` is the address of the connection, which is a proxy's if a PROXY header has told the client's own.
    ``tls_session`` is the session that it would resume.  ``rdp_cookie`` is the cookie or the token that it
    brings, and ``rdp_server`` the address (10.0.0.1:3389) that a token names.  ``cookie`` is what its request
    has for the cookie that the pool goes by, and ``asked`` what it has for the key of the pool's hash.
    """

    source: str = ""
    port: int = 0
    sni: str = ""
    via: str = ""
    tls_session: bytes = b""
    rdp_cookie: bytes = b""
    rdp_server: str = ""
    cookie: bytes = b""
    asked: bytes = b""


def client_key(spec: BalanceSpec) -> Callable[[Arrival], bytes]:
    """What makes of an arrival its key, the same for all that are to get the same server; b"" for none."""
    if spec.key == SNI:
        return name_of
    if of_requests(spec.key):
        return lambda arrival: arrival.asked
    prefix4, prefix6 = spec.prefix4, spec.prefix6
    if spec.key == SOURCE_PORT:

        def with_port(arrival: Arrival) -> bytes:
            network = network_of(arrival.source, prefix4, prefix6)
            return b"%s %d" % (network, arrival.port) if network else b""

        return with_port
    return lambda arrival: network_of(arrival.source, prefix4, prefix6)


def name_of(arrival: Arrival) -> bytes:
    """The name that it asks for; b"" for none."""
    return arrival.sni.lower().encode("utf-8", "surrogateescape")


def network_of(source: str, prefix4: int, prefix6: int) -> bytes:
    """
    The network of so many bits that an address is in; b"" for one that is no IP address.

    An IPv4 address that is mapped into IPv6 (RFC 4291 2.5.5.2) is the IPv4 address, and no zone counts.
    """
    if prefix4 == 32 and ":" not in source:
        return source.encode()  # as the kernel writes it, so there is only one way
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return b""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return network_of(str(address.ipv4_mapped), prefix4, prefix6)
        return b"6 %x" % (int(address) >> (128 - prefix6))
    return b"4 %x" % (int(address) >> (32 - prefix4))


def network_text(network: bytes, prefix4: int, prefix6: int) -> str:
    """What `network_of` made, as people write it: 10.0.0.1, 10.0.0.0/24, 2001:db8::/64."""
    family, blank, digits = network.decode("ascii").partition(" ")
    if not blank:
        return family
    bits, prefix = (128, prefix6) if family == "6" else (32, prefix4)
    first = (ipaddress.IPv6Address if family == "6" else ipaddress.IPv4Address)(
        int(digits, 16) << (bits - prefix)
    )
    return str(first) if prefix == bits else f"{first}/{prefix}"
