"""
What does a TLS client send first?

`openssl` has OpenSSL make a real ClientHello, `hello` builds one, and `fragmented` cuts either into records
anew.  The rest is what they are built of, also as nobody would send it.
"""

from __future__ import annotations

import ssl
from typing import Optional, Sequence

SERVER_NAME, ALPN, SUPPORTED_VERSIONS, ENCRYPTED_CLIENT_HELLO = 0, 16, 43, 0xFE0D

# Two cipher suites, and one that is GREASE.
_CIPHERS = b"\x0a\x0a\x13\x01\xc0\x2f"


def openssl(
    sni: Optional[str] = None,
    alpn: Sequence[str] = (),
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> bytes:
    """The first bytes of a client that is OpenSSL, as this Python has it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version, context.maximum_version = minimum, maximum
    if alpn:
        context.set_alpn_protocols(list(alpn))
    sent = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=sni).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


def vector(width: int, data: bytes) -> bytes:
    """Bytes behind their length, which is a number of so many bytes."""
    return len(data).to_bytes(width, "big") + data


def host_name(name: bytes) -> bytes:
    """What a server_name extension with this name holds."""
    return vector(2, b"\x00" + vector(2, name))


def protocols(*names: bytes) -> bytes:
    """What an ALPN extension with these names holds."""
    return vector(2, b"".join(vector(1, name) for name in names))


def offered(*versions: int) -> bytes:
    """What a supported_versions extension with these versions holds."""
    return vector(1, b"".join(version.to_bytes(2, "big") for version in versions))


def outer(payload: bytes = bytes(160)) -> bytes:
    """What an encrypted_client_hello extension with this inner hello holds."""
    return b"\x00\x00\x01\x00\x01\x07" + vector(2, bytes(32)) + vector(2, payload)


def body(
    extensions: Optional[Sequence[tuple[int, bytes]]],
    version: int = 0x0303,
    session_id: bytes = bytes(32),
    ciphers: bytes = _CIPHERS,
    compressions: bytes = b"\x00",
) -> bytes:
    """A ClientHello without its header; of old, it may end where its extensions would begin (None)."""
    fields = version.to_bytes(2, "big") + bytes(range(32))
    fields += vector(1, session_id) + vector(2, ciphers) + vector(1, compressions)
    if extensions is None:
        return fields
    return fields + vector(
        2, b"".join(kind.to_bytes(2, "big") + vector(2, data) for kind, data in extensions)
    )


def handshake(data: bytes, kind: int = 1) -> bytes:
    """A handshake message of this kind."""
    return bytes([kind]) + vector(3, data)


def in_records(message: bytes, sizes: Sequence[int] = ()) -> bytes:
    """Handshake records of these sizes, and what the message has beyond them in one more."""
    pieces, place = [], 0
    for size in (*sizes, len(message)):
        if place < len(message):
            pieces.append(message[place : place + size])
            place += size
    return b"".join(b"\x16\x03\x01" + vector(2, piece) for piece in pieces)


def hello(
    sni: str = "",
    alpn: Sequence[bytes] = (),
    extensions: Sequence[tuple[int, bytes]] = (),
    records: Sequence[int] = (),
    versions: Sequence[int] = (0x0304, 0x0303),
) -> bytes:
    """A ClientHello with these extensions besides those for the name, the protocols and the versions."""
    wanted = list(extensions)
    if sni:
        wanted.append((SERVER_NAME, host_name(sni.encode("ascii"))))
    if alpn:
        wanted.append((ALPN, protocols(*alpn)))
    if versions:
        wanted.append((SUPPORTED_VERSIONS, offered(*versions)))
    return in_records(handshake(body(wanted)), records)


def fragmented(data: bytes, size: int) -> bytes:
    """The same handshake message in records of this size."""
    message, place = b"", 0
    while place < len(data):
        end = place + 5 + int.from_bytes(data[place + 3 : place + 5], "big")
        message += data[place + 5 : end]
        place = end
    return in_records(message, [size] * (len(message) // size))
