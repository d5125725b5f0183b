"""
What do a client's first bytes say?

They are read before anything is decided, one after another and each only if the listener needs it: a PROXY
header, what the client speaks, and of TLS the name (SNI) and the protocols (ALPN) that it asks for.  All of
it has one deadline.  Nothing is answered, and only the PROXY header is taken away: what else was read is
held, and goes to the server first, byte for byte.

The parsers are pure (`proxyd.wire`) and bounded, and are asked again whenever bytes have come.  A listener
that needs nothing of this never waits for its client to speak first.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Callable, Optional, Protocol, TypeVar

from attrs import define
from OpenSSL.SSL import Connection
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred

from proxyd.config.listener import ListenerSpec
from proxyd.config.proxyprotocol import ProxyIn
from proxyd.config.tls import PASSTHROUGH
from proxyd.errors import Malformed, Reason, Refused
from proxyd.policy.arrival import Arrival
from proxyd.relay.tls.certificate import common_name
from proxyd.relay.tls.context import was_resumed
from proxyd.relay.tls.words import RESUMED
from proxyd.wire import clienthello, proxyprotocol, rdp
from proxyd.wire.proxyprotocol import End, ProxyHeader
from proxyd.wire.rdp import ConnectionRequest
from proxyd.wire.sniff import Speaks, sniff

Parsed = TypeVar("Parsed")


@define
class Opening:
    """
    What is known of a client before a server is chosen; what nobody has said is empty.

    ``address`` is the client's own.  If a PROXY header told it, ``via`` is whom that came from.  ``speaks``
    is a word of `proxyd.wire.sniff.Speaks`, and ``route`` the route that was taken.  ``tls_session`` is the
    session that it would resume, ``rdp`` what an RDP client asks for.

    If TLS has ``ended`` here, ``alpn`` is what was agreed on, and ``speaks`` is what is within; ``tls`` is
    its version and cipher, and ``client_cn`` whose certificate was shown.  That TLS may be only the ``hop``
    from a proxy that has told of its client within it.
    """

    address: Any
    via: Any = None
    header: Optional[ProxyHeader] = None
    speaks: str = ""
    sni: str = ""
    alpn: tuple[bytes, ...] = ()
    route: str = ""
    tls_session: bytes = b""
    rdp: Optional[ConnectionRequest] = None
    ended: bool = False
    hop: bool = False
    tls: str = ""
    client_cn: str = ""


def agreed_on(opening: Opening) -> str:
    """The protocol that was agreed on by ALPN in TLS that ended here, "" if none was."""
    return opening.alpn[0].decode("latin-1") if opening.ended and opening.alpn else ""


def arrival_of(opening: Opening) -> Arrival:
    """The client, for a pool that goes by it."""
    address, via, told = opening.address, opening.via or opening.address, opening.rdp
    return Arrival(
        "" if isinstance(address, UNIXAddress) else address.host,
        0 if isinstance(address, UNIXAddress) else address.port,
        opening.sni,
        "" if isinstance(via, UNIXAddress) else via.host,
        opening.tls_session,
        told.cookie if told is not None else b"",
        told.server if told is not None else "",
    )


class Holding(Protocol):
    """The client's side of a connection, of which no byte has been passed on."""

    held: bytes
    finished: bool
    transport: Any


class Early:
    """What a client says before it is joined to a server: what is there, and waiting for more of it."""

    def __init__(self, side: Holding) -> None:
        self.side = side
        self.expired = False  # the deadline has passed
        self._waiting: Optional[Deferred[None]] = None

    @property
    def bytes(self) -> bytes:
        """All that has come and was not taken away."""
        return self.side.held

    def take(self, count: int) -> None:
        """Take so many bytes away: they are not the server's; the room they leave is for more."""
        self.side.held = self.side.held[count:]
        if not self.side.finished:
            self.side.transport.resumeProducing()

    async def more(self) -> bool:
        """Wait until more has come; False if nothing will, or not in time."""
        before = len(self.bytes)
        if not (self.expired or self.side.finished):
            self._waiting = Deferred()
            await self._waiting
        return len(self.bytes) > before

    def heard(self) -> None:
        """Bytes have come, or the client's end."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def expire(self) -> None:
        """The deadline has passed."""
        self.expired = True
        self.heard()


class HeaderAlone(Early):
    """The same, of a client whose PROXY header is read without a byte of what is behind it."""

    def __init__(self, side: Holding) -> None:
        super().__init__(side)
        side.transport.bufferSize = proxyprotocol.missing(b"")

    async def more(self) -> bool:
        self.side.transport.bufferSize = max(1, proxyprotocol.missing(self.bytes))
        return await super().more()


async def read_opening(
    spec: ListenerSpec,
    opening: Opening,
    early: Early,
    judge: Callable[[Any, Any], None],
    reads_rdp: bool = False,
) -> None:
    """
    Find out what the listener needs to know of a client, as far as it gets; raises `Refused`.

    ``judge`` is told who has sent a PROXY header and who its client is, before anything else is read.  With
    ``reads_rdp`` one of the pools goes by what an RDP client asks for.
    """
    if spec.proxy_protocol is not None and not spec.header_before_tls:
        await read_header(spec.proxy_protocol, opening, early, judge)
    if spec.tls == PASSTHROUGH:
        opening.speaks = Speaks.TLS.value
        await _read_client_hello(opening, early)
    elif opening.ended and not spec.reads_inside:
        opening.speaks = Speaks.TLS.value
    elif spec.connection_routes or reads_rdp:
        speaks = await _what_it_speaks(early)
        opening.speaks = speaks.value
        if speaks is Speaks.RDP and reads_rdp:
            await _read_connection_request(opening, early)
        if speaks is Speaks.TLS and spec.reads_hello and not opening.ended:
            await _read_client_hello(opening, early)


def note_tls(opening: Opening, ssl: Connection) -> None:
    """
    Note what the client has agreed on in TLS that ends here.

    Raises `Refused` if there is no certificate for the name that it asks for.
    """
    opening.ended = True
    try:
        opening.sni = clienthello.host_name(ssl.get_servername() or b"")
    except Malformed:
        pass  # what is no name is none that anything goes by
    agreed = ssl.get_alpn_proto_negotiated()
    opening.alpn = (agreed,) if agreed else ()
    opening.tls = f"{ssl.get_protocol_version_name()}/{ssl.get_cipher_name()}"
    if was_resumed(ssl):
        opening.tls += RESUMED
    if ssl.get_certificate() is None:
        # It goes on with a session of another name, for which no certificate is sent.
        raise Refused(Reason.TLS_HANDSHAKE, "TLS: there is no certificate for the name that it asks for")
    certificate = ssl.get_peer_certificate(as_cryptography=True)
    if certificate is not None:
        opening.client_cn = common_name(certificate.subject)


async def read_header(
    wanted: ProxyIn, opening: Opening, early: Early, judge: Callable[[Any, Any], None]
) -> None:
    """Take the PROXY header that must or may come first, and have its sender and its client judged."""
    sender = opening.address
    await _read_proxy_header(wanted, opening, early)
    judge(sender, opening.address)


async def _read_proxy_header(wanted: ProxyIn, opening: Opening, early: Early) -> None:
    may_send = trusts(wanted, opening.address)
    if wanted.optional:
        begins = proxyprotocol.could_be(early.bytes)
        while begins is None and await early.more():
            begins = proxyprotocol.could_be(early.bytes)
        if begins is None and early.bytes and not may_send:
            # What has begun to look like a header could go on as one, past us, to a server that believes it.
            raise Refused(Reason.OPENING_TIMEOUT, f"{len(early.bytes)} bytes that may begin a PROXY header")
        if not begins:
            return
    if not may_send:
        raise Refused(Reason.PROXY_UNTRUSTED, "proxy_protocol does not list its address")
    header = await _parsed(proxyprotocol.parse, early, "PROXY header", Reason.PROXY_MALFORMED)
    early.take(header.length)
    opening.header = header
    if header.source is not None:
        opening.via = opening.address
        opening.address = _address(header.source)
        if opening.ended:
            # The TLS here is the proxy's own; of its client's is known what it has told.
            opening.hop = True
            opening.sni, opening.alpn = header.authority, (header.alpn,) if header.alpn else ()


async def _what_it_speaks(early: Early) -> Speaks:
    speaks = sniff(early.bytes)
    while speaks is None:
        if await early.more():
            pass
        elif early.bytes:
            return Speaks.OTHER
        elif early.expired:
            return Speaks.SILENT
        else:
            raise Refused(Reason.CLIENT_GONE, "it said nothing, and closed its side")
        speaks = sniff(early.bytes)
    return speaks


async def _read_client_hello(opening: Opening, early: Early) -> None:
    hello = await _parsed(clienthello.parse, early, "ClientHello", Reason.TLS_MALFORMED)
    opening.sni = hello.sni
    opening.alpn = hello.alpn
    opening.tls_session = hello.session_id


async def _read_connection_request(opening: Opening, early: Early) -> None:
    """What it asks for; one that does not finish its request is led somewhere all the same."""
    opening.rdp = rdp.parse(early.bytes)
    while opening.rdp is None and await early.more():
        opening.rdp = rdp.parse(early.bytes)


async def _parsed(
    parse: Callable[[bytes], Optional[Parsed]], early: Early, what: str, malformed: Reason
) -> Parsed:
    """What the parser finds, as soon as enough has come for it."""
    while True:
        try:
            found = parse(early.bytes)
        except Malformed as wrong:
            raise Refused(malformed, str(wrong)) from None
        if found is not None:
            return found
        if await early.more():
            continue
        so_far = f"{len(early.bytes)} bytes of a {what}" if early.bytes else "it said nothing"
        if early.expired:
            raise Refused(Reason.OPENING_TIMEOUT, so_far)
        raise Refused(malformed if early.bytes else Reason.CLIENT_GONE, f"{so_far}, and closed its side")


def trusts(wanted: ProxyIn, address: Any) -> bool:
    """Whether one at this address may say for whom it speaks."""
    if isinstance(address, UNIXAddress):
        return wanted.unix
    host = ipaddress.ip_address(address.host)
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped  # an IPv4 client of a socket that takes both
    return any(host in network for network in wanted.trusted)


def _address(end: End) -> Any:
    if not end.host:
        return UNIXAddress(end.path or None)
    return (IPv6Address if ":" in end.host else IPv4Address)("TCP", end.host, end.port)


def what_was_said(opening: Optional[Opening]) -> str:
    """What no route was found for."""
    if opening is None or opening.speaks == Speaks.SILENT.value:
        return "it said nothing"
    if opening.sni:
        return f"it asks for {opening.sni}"
    known = opening.speaks != Speaks.OTHER.value
    return f"it speaks {opening.speaks if known else 'nothing we know'}"
