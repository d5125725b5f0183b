"""
Who is at the other end, when a proxy stands in between?  The PROXY protocol, versions 1 and 2.

A header of one of these versions comes before anything else on a connection.  Sections are those of its
specification, HAProxy's doc/proxy-protocol.txt.  Where that leaves a choice, this is what we do:

- A LOCAL header is passed over unread, as 2.2 asks: neither its family nor its TLVs nor a checksum counts.
- A PROXY header of family UNSPEC names no addresses, so its TLVs begin at once; they are read.
- Datagrams are refused, as 2.2 permits for what a receiver does not support: nothing here could carry them.
- An IPv4 address that is mapped into IPv6 is the IPv4 address: it is the same client, for lists and logs too.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import Any, Collection, Iterable, Iterator, Optional

from attrs import frozen

from proxyd.errors import Malformed
from proxyd.wire.crc32c import crc32c

LONGEST_V1 = 107  # bytes with the CRLF: the longest line there can be (2.1)
LONGEST_V2 = 16384  # bytes in all, of 65551 that could be told; HAProxy's buffers (tune.bufsize) take no more
LONGEST_AUTHORITY = 255  # HAProxy's bound; the longest name that DNS can hold
LONGEST_UNIQUE_ID = 128  # 2.2.5
MOST_TLVS = 128  # ours: thousands of empty ones would cost milliseconds, and nobody has that much to say
LONGEST_PATH = 108  # sun_path of Linux, and the size of its field (2.2)

# The types of TLVs (2.2), and of those within SSL (2.2.6).
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30
SSL_VERSION, SSL_CN, SSL_CIPHER, SSL_SIG_ALG, SSL_KEY_ALG = 0x21, 0x22, 0x23, 0x24, 0x25

# The bits of `Ssl.client` (2.2.6).
CLIENT_SSL, CLIENT_CERT_CONN, CLIENT_CERT_SESS = 0x01, 0x02, 0x04

_V1 = b"PROXY "
_SHORTEST_V1 = b"PROXY UNKNOWN\r\n"
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD = 16
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _INET, _INET6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESSES = {
    _UNSPEC: struct.Struct(""),
    _INET: struct.Struct("!4s4sHH"),
    _INET6: struct.Struct("!16s16sHH"),
    _UNIX: struct.Struct(f"{LONGEST_PATH}s{LONGEST_PATH}s"),
}
_MAPPED = bytes(10) + b"\xff\xff"  # what an IPv4 address begins with as an IPv6 address (RFC 4291, 2.5.5.2)

_SSL_TEXTS = {
    SSL_VERSION: "version",
    SSL_CN: "cn",
    SSL_CIPHER: "cipher",
    SSL_SIG_ALG: "sig_alg",
    SSL_KEY_ALG: "key_alg",
}

# Leading zeros are refused: some read them as octal, and Python before 3.9.5 did not mind (CVE-2021-29921).
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"({_OCTET}\.){{3}}{_OCTET}")
_PORT = "(0|[1-9][0-9]{0,4})"
_TCP_LINE = re.compile(f"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) {_PORT} {_PORT}".encode())
_V1_BEGINNINGS = (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN ", b"PROXY UNKNOWN\r")
_IN_TCP_LINE = frozenset(b"0123456789abcdefABCDEF:. \r")

Tlv = tuple[int, bytes]


@frozen
class End:
    """
    One end of a connection: an IP address and a TCP port, or a unix socket.

    ``host`` is an address in its shortest form, or empty for a unix socket.  ``path`` is what the kernel
    calls that socket: mostly empty for clients, and beginning with a NUL in the abstract namespace.
    """

    host: str = ""
    port: int = 0
    path: bytes = b""

    def __str__(self) -> str:
        if not self.host:
            path = _text(self.path)
            return "unix:" + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in path)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class Ssl:
    """
    What a proxy says about the TLS that it has ended (2.2.6).

    ``client`` has the bits of what there was; HAProxy sends 0 when the client spoke no TLS.  ``verify`` is 0
    for a good client certificate, and from HAProxy also if there was none, so CLIENT_CERT_SESS counts first.
    The texts are the sender's, with bytes that are no UTF-8 as ``\\xNN``, and may need escaping in a log;
    empty is what it did not say.  ``tlvs`` are those that we do not know.
    """

    client: int = CLIENT_SSL
    verify: int = 1
    version: str = ""
    cn: str = ""
    cipher: str = ""
    sig_alg: str = ""
    key_alg: str = ""
    tlvs: tuple[Tlv, ...] = ()


@frozen
class ProxyHeader:
    """
    A PROXY header, ``length`` bytes long.

    ``source`` and ``destination`` are the ends of the client's connection to the first proxy; both are None
    when the connection's own addresses hold.  What was not sent is empty; ``tlvs`` are those that we do not
    know, in their order.
    """

    version: int
    length: int
    source: Optional[End] = None
    destination: Optional[End] = None
    alpn: bytes = b""
    authority: str = ""
    unique_id: bytes = b""
    ssl: Optional[Ssl] = None
    netns: str = ""
    tlvs: tuple[Tlv, ...] = ()

    @property
    def local(self) -> bool:
        """Whether it names nobody: LOCAL and UNSPEC of version 2, UNKNOWN of version 1."""
        return self.source is None


def could_be(data: bytes) -> Optional[bool]:
    """Whether these first bytes of a connection begin a PROXY header; None while they may or may not."""
    for signature in (_V1, _V2):
        if data.startswith(signature):
            return True
        if signature.startswith(data):
            return None
    return False


def missing(data: bytes) -> int:
    """How many bytes of a header that begins so can be read at once, and none behind it; 0 if it is whole."""
    if data.startswith(_V2):
        if len(data) < _V2_HEAD:
            return _V2_HEAD - len(data)
        return max(0, _V2_HEAD + int.from_bytes(data[14:16], "big") - len(data))
    if len(data) < len(_SHORTEST_V1):
        return len(_SHORTEST_V1) - len(data)
    return 0 if b"\r\n" in data or not data.startswith(_V1) else 1


def parse(data: bytes) -> Optional[ProxyHeader]:
    """The header that these first bytes of a connection are; None if more are needed.  Raises `Malformed`."""
    begun = could_be(data)
    if begun is None:
        return None
    if not begun:
        raise Malformed(f"no PROXY header: {_shown(data)}")
    return _parse_v1(data) if data.startswith(_V1) else _parse_v2(data)


def _parse_v1(data: bytes) -> Optional[ProxyHeader]:
    """A line of text (2.1).  After UNKNOWN anything may stand before its end."""
    line, end, _ = data[:LONGEST_V1].partition(b"\r\n")
    if not _may_become_a_line(line):
        raise Malformed(f"not a PROXY line: {_shown(line)}")
    if not end:
        if len(line) == LONGEST_V1:
            raise Malformed(f"a PROXY line without an end in {LONGEST_V1} bytes")
        return None
    length = len(line) + 2
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(1, length)
    found = _TCP_LINE.fullmatch(line)
    if found is None:
        raise Malformed(f"not a PROXY line: {_shown(line)}")
    version, *texts = (group.decode("ascii") for group in found.groups())
    hosts = [_v1_host(text, version) for text in texts[:2]]
    ports = [int(text) for text in texts[2:]]
    if max(ports) > 65535:
        raise Malformed(f"a PROXY line with port {max(ports)}")
    return ProxyHeader(1, length, End(hosts[0], ports[0]), End(hosts[1], ports[1]))


def _may_become_a_line(line: bytes) -> bool:
    """Whether nothing is wrong with this beginning yet: who sends a lone LF is told so, not waited for."""
    begun = any(beginning.startswith(line[: len(beginning)]) for beginning in _V1_BEGINNINGS)
    return begun and (line[6:7] == b"U" or _IN_TCP_LINE.issuperset(line[11:]))


def _v1_host(text: str, version: str) -> str:
    """The address of TCP4 or TCP6, in its shortest form.  Raises `Malformed`."""
    if version == "4":
        if _IPV4.fullmatch(text):
            return text
    elif "." not in text or _IPV4.fullmatch(text.rpartition(":")[2]):
        try:
            return _host(ipaddress.IPv6Address(text).packed)
        except ValueError:
            pass
    raise Malformed(f"a PROXY line with {text[:45]!r} as an address of IPv{version}")


def _parse_v2(data: bytes) -> Optional[ProxyHeader]:
    """A head of 16 bytes, addresses, and TLVs up to the length that the head tells (2.2)."""
    command, family = data[12:13], data[13:14]
    if command and command[0] not in (_LOCAL, _PROXY):
        raise Malformed(f"a PROXY header with version and command {command[0]:#04x}")
    local = command == bytes([_LOCAL])
    if family and family[0] not in _ADDRESSES and not local:
        raise Malformed(f"a PROXY header with family and transport {family[0]:#04x}")
    if len(data) < _V2_HEAD:
        return None
    length = _V2_HEAD + int.from_bytes(data[14:16], "big")
    if length > LONGEST_V2:
        raise Malformed(f"a PROXY header of {length} bytes; {LONGEST_V2} are the most")
    addresses = _ADDRESSES[_UNSPEC if local else family[0]]
    if length < _V2_HEAD + addresses.size:
        raise Malformed(f"a PROXY header of {length} bytes, too few for its addresses")
    if len(data) < length:
        return None
    if local:
        return ProxyHeader(2, length)
    header = data[:length]
    source, destination = _ends(family[0], addresses.unpack_from(header, _V2_HEAD))
    tlvs = list(_tlvs(header, _V2_HEAD + addresses.size))
    known, others = _known(tlvs, (ALPN, AUTHORITY, CRC32C, UNIQUE_ID, SSL, NETNS))
    for kind, place, value in tlvs:
        if kind == CRC32C:
            _check(header, place, value)
    if len(known.get(UNIQUE_ID, b"")) > LONGEST_UNIQUE_ID:
        raise Malformed(f"a PROXY header with a unique id of {len(known[UNIQUE_ID])} bytes")
    return ProxyHeader(
        2,
        length,
        source,
        destination,
        alpn=known.get(ALPN, b""),
        authority=_authority(known.get(AUTHORITY, b"")),
        unique_id=known.get(UNIQUE_ID, b""),
        ssl=_ssl(known[SSL]) if SSL in known else None,
        netns=_text(known.get(NETNS, b"")),
        tlvs=tuple(tlv for tlv in others if tlv[0] != NOOP),
    )


def _ends(family: int, fields: tuple[Any, ...]) -> tuple[Optional[End], Optional[End]]:
    """Source and destination, of the fields of an address block."""
    if family == _UNSPEC:
        return None, None
    if family == _UNIX:
        return _unix_end(fields[0]), _unix_end(fields[1])
    one, other, port, other_port = fields
    return End(_host(one), port), End(_host(other), other_port)


def _unix_end(field: bytes) -> End:
    """A socket by its sun_path, which ends at a NUL; that of an abstract one begins with a NUL as well."""
    return End(path=(field[:1] + field[1:].partition(b"\0")[0]).rstrip(b"\0"))


def _tlvs(data: bytes, place: int) -> Iterator[tuple[int, int, bytes]]:
    """The type, the place of the value, and the value of each TLV up to the end.  Raises `Malformed`."""
    count = 0
    while place < len(data):
        count += 1
        if count > MOST_TLVS:
            raise Malformed(f"a PROXY header with more than {MOST_TLVS} TLVs")
        end = place + 3 + int.from_bytes(data[place + 1 : place + 3], "big")
        if end > len(data):
            raise Malformed(f"a PROXY header with TLV {data[place]:#04x} longer than the rest")
        yield data[place], place + 3, data[place + 3 : end]
        place = end


def _known(
    tlvs: Iterable[tuple[int, int, bytes]], kinds: Collection[int]
) -> tuple[dict[int, bytes], tuple[Tlv, ...]]:
    """The values of these types, of which none may come twice, and the other TLVs.  Raises `Malformed`."""
    known: dict[int, bytes] = {}
    others: list[Tlv] = []
    for kind, _, value in tlvs:
        if kind not in kinds:
            others.append((kind, value))
        elif kind in known:
            raise Malformed(f"a PROXY header with TLV {kind:#04x} twice")
        else:
            known[kind] = value
    return known, tuple(others)


def _check(header: bytes, place: int, value: bytes) -> None:
    """Raise `Malformed` unless this is the checksum of the header with zeros in its place (2.2.3)."""
    zeroed = header[:place] + bytes(len(value)) + header[place + len(value) :]
    if len(value) != 4 or int.from_bytes(value, "big") != crc32c(zeroed):
        raise Malformed("a PROXY header with a wrong CRC32C")


def _authority(value: bytes) -> str:
    """A host name (2.2.2); what could not be one may not become a route or a line of a log."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if len(value) > LONGEST_AUTHORITY or not text.isprintable():
        raise Malformed(f"a PROXY header with authority {_shown(value)}")
    return text


def _ssl(value: bytes) -> Ssl:
    """The SSL TLV (2.2.6).  Raises `Malformed`."""
    if len(value) < 5:
        raise Malformed(f"a PROXY header with an SSL TLV of {len(value)} bytes")
    known, others = _known(_tlvs(value, 5), _SSL_TEXTS)
    texts: dict[str, Any] = {_SSL_TEXTS[kind]: _text(text) for kind, text in known.items()}
    return Ssl(value[0], int.from_bytes(value[1:5], "big"), tlvs=others, **texts)


def v1(source: End, destination: End) -> bytes:
    """A header of version 1 (2.1): UNKNOWN for unix sockets.  Hosts must be IP addresses (`ValueError`)."""
    if not source.host or not destination.host:
        return b"PROXY UNKNOWN\r\n"
    addresses = _of_one_family(source.host, destination.host)
    one, other = map(_host, addresses)
    if len(addresses[0]) == 4:
        return f"PROXY TCP4 {one} {other} {source.port} {destination.port}\r\n".encode("ascii")
    one, other = (host if ":" in host else f"::ffff:{host}" for host in (one, other))
    return f"PROXY TCP6 {one} {other} {source.port} {destination.port}\r\n".encode("ascii")


def v2(
    source: End,
    destination: End,
    *,
    alpn: bytes = b"",
    authority: str = "",
    unique_id: bytes = b"",
    ssl: Optional[Ssl] = None,
    netns: str = "",
    tlvs: Iterable[Tlv] = (),
    crc32c: bool = False,
) -> bytes:
    """
    A header of version 2 (2.2) with these TLVs, of which empty ones are not sent.

    If only one end is a unix socket it is LOCAL, which HAProxy sends for all that it cannot name.  If both
    are it says so, which nginx and others take, but HAProxy does not: it closes the connection (its 2.6 and
    later).  What `parse` would refuse for its size, and a host that is no IP address, is a `ValueError`.
    """
    name = authority.encode("utf-8")
    if len(name) > LONGEST_AUTHORITY or len(unique_id) > LONGEST_UNIQUE_ID:
        raise ValueError(f"authority of {len(name)} bytes, unique id of {len(unique_id)} bytes")
    command, family, block = _address_block(source, destination)
    named = ((ALPN, alpn), (AUTHORITY, name), (UNIQUE_ID, unique_id), (NETNS, netns.encode("utf-8")))
    block += b"".join(_tlv(kind, value) for kind, value in named if value)
    if ssl is not None:
        block += _tlv(SSL, _ssl_value(ssl))
    block += b"".join(_tlv(kind, value) for kind, value in tlvs)
    return _v2(command, family, block, crc32c)


def v2_local(crc32c: bool = False) -> bytes:
    """The header of a connection that is the proxy's own, as for a health check (2.2)."""
    return _v2(_LOCAL, _UNSPEC, b"", crc32c)


def _v2(command: int, family: int, block: bytes, with_checksum: bool) -> bytes:
    """The head and its block; the checksum is the last of the TLVs."""
    if with_checksum:
        block += _tlv(CRC32C, bytes(4))
    length = _V2_HEAD + len(block)
    if length > LONGEST_V2:
        raise ValueError(f"a PROXY header of {length} bytes; {LONGEST_V2} are the most")
    header = _V2 + struct.pack("!BBH", command, family, len(block)) + block
    return header[:-4] + crc32c(header).to_bytes(4, "big") if with_checksum else header


def _address_block(source: End, destination: End) -> tuple[int, int, bytes]:
    """The command, the family, and the addresses as they are sent; a path is cut to its field."""
    if source.host and destination.host:
        one, other = _of_one_family(source.host, destination.host)
        family = _INET if len(one) == 4 else _INET6
        return _PROXY, family, _ADDRESSES[family].pack(one, other, source.port, destination.port)
    if source.host or destination.host:
        return _LOCAL, _UNSPEC, b""
    return _PROXY, _UNIX, _ADDRESSES[_UNIX].pack(source.path, destination.path)


def _of_one_family(*hosts: str) -> tuple[bytes, bytes]:
    """The two addresses, an IPv4 address mapped into IPv6 if the other is of IPv6, as HAProxy does."""
    one, other = map(_packed, hosts)
    if len(one) != len(other):
        one, other = ((_MAPPED + address)[-16:] for address in (one, other))
    return one, other


def _packed(host: str) -> bytes:
    """An address as it is sent, without its scope, which means nothing elsewhere."""
    if ":" not in host:
        return ipaddress.IPv4Address(host).packed
    address = ipaddress.IPv6Address(host).packed
    return address[12:] if address.startswith(_MAPPED) else address


def _ssl_value(ssl: Ssl) -> bytes:
    texts = [(kind, getattr(ssl, name).encode("utf-8")) for kind, name in _SSL_TEXTS.items()]
    tlvs = b"".join(_tlv(kind, value) for kind, value in (*texts, *ssl.tlvs) if value)
    return struct.pack("!BI", ssl.client, ssl.verify) + tlvs


def _tlv(kind: int, value: bytes) -> bytes:
    if len(value) > LONGEST_V2:
        raise ValueError(f"a TLV of {len(value)} bytes")
    return struct.pack("!BH", kind, len(value)) + value


def _host(packed: bytes) -> str:
    """An address in its shortest form."""
    if packed.startswith(_MAPPED):
        packed = packed[12:]
    return ".".join(map(str, packed)) if len(packed) == 4 else str(ipaddress.IPv6Address(packed))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _shown(data: bytes) -> str:
    """Bytes of a peer as a message shows them: 60 characters at most."""
    shown = repr(data[:60])
    return shown if len(shown) <= 60 else shown[:57] + "..."
