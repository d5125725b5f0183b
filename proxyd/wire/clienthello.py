"""
What does a TLS client ask for in its first message?

The ClientHello is sent in the clear: the server's name (SNI), the protocols wanted inside (ALPN), the
versions.  It is read here so that a connection can be routed without ending TLS, as with nginx's
``ssl_preread`` or HAProxy's ``req.ssl_sni``; the bytes go to the server as they came.

Only what routing needs is understood; the rest must be whole, so that the server reads the same names as we
do: every length fits to the byte and no extension comes twice.  The message may be cut into records anywhere.
Values that clients send to keep implementations honest (GREASE) are passed over.

Sources: RFC 8446 4.1.2 (the message), 4.2 (extensions), 5.1 (records); RFC 6066 3 (SNI); RFC 7301 3.1 (ALPN);
RFC 8701 (GREASE); RFC 9849 5 (Encrypted Client Hello).
"""

from __future__ import annotations

import re
from typing import Optional

from attrs import frozen

from proxyd.errors import Malformed
from proxyd.wire.fields import MAX_LISTED, Fields, extensions_of
from proxyd.wire.sniff import Speaks, sniff

# A message as long as the longest record can carry whole: what nginx's ssl_preread takes too.  Real ones have
# 0.2 to 2 KiB; a session ticket with a client's certificates in it may make them longer.
MAX_MESSAGE = 2**14
# Real clients use one record, those that hide from censors a few.  More would only cost us: each byte that
# arrives has the headers walked through again.
MAX_RECORDS = 32
# After so many bytes `parse` has an answer.
MAX_LENGTH = MAX_MESSAGE + MAX_RECORDS * 5

_HANDSHAKE = 22
_RECORDS = {20: "change_cipher_spec", 21: "alert", 23: "application_data"}
_MAX_FRAGMENT = 2**14  # TLSPlaintext.length, RFC 8446 5.1

_MESSAGE = "ClientHello"

_SERVER_NAME = 0
_ALPN = 16
_SUPPORTED_VERSIONS = 43
_ENCRYPTED_CLIENT_HELLO = 0xFE0D

_GREASE = frozenset(0x0A0A + 0x1010 * n for n in range(16))
_GREASE_NAMES = frozenset(value.to_bytes(2, "big") for value in _GREASE)

# Letters, digits, hyphens and, as they are found in the wild, underscores; a dot may end it.
_HOST = re.compile(rb"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")


@frozen
class ClientHello:
    """
    What a client asks for: the server's name, the protocols, the versions of TLS.

    ``sni`` is lower case and without a dot at its end, "" if the client names no server.  ``alpn`` is in the
    client's order.  ``versions`` are those it offers (0x0304 is TLS 1.3), or only the highest if it is too
    old to list them.  ``length`` is how many bytes of the connection carried the message.  ``session_id`` is
    the session that it would resume; a client of TLS 1.3 makes one up each time.

    With ``ech`` the true name and protocols may be encrypted in an inner hello, and ``sni`` and ``alpn`` are
    what the outer one shows to the public.  It may as well be GREASE, which browsers send to everyone; then
    they are the true ones.  Nobody but the server can tell.
    """

    sni: str
    alpn: tuple[bytes, ...]
    versions: tuple[int, ...]
    ech: bool
    length: int
    session_id: bytes = b""


def parse(data: bytes) -> Optional[ClientHello]:
    """
    The ClientHello that these first bytes of a connection are, or None if more of them are needed.

    What follows it in records of its own (early data) is left alone.  Raises `Malformed`.
    """
    message = bytearray()
    place = 0
    whole: Optional[int] = None
    for _ in range(MAX_RECORDS):
        fragment = _fragment_length(data, place)
        if fragment is None:
            return None
        place += 5
        end = len(message) + fragment
        message += data[place : place + fragment]
        place += fragment
        if whole is None:
            whole = _message_length(message)
        if whole is not None and end > whole:
            raise Malformed("the ClientHello ends within a record that goes on")
        if len(message) < end:
            return None
        if end == whole:
            return _client_hello(bytes(message[4:]), place)
    raise Malformed(f"a ClientHello in more than {MAX_RECORDS} records")


def _fragment_length(data: bytes, place: int) -> Optional[int]:
    """How many bytes the record that begins here carries, or None if its header is not there yet."""
    header = data[place : place + 5]
    if header and header[0] != _HANDSHAKE:
        raise Malformed(
            f"a TLS record of type {header[0]} within the ClientHello" if place else _not_tls(data)
        )
    if len(header) > 1 and header[1] != 3:
        raise Malformed(f"a TLS record of version {header[1]}.x; all that are known begin with 3")
    if len(header) < 5:
        return None
    length = int.from_bytes(header[3:], "big")
    if not 1 <= length <= _MAX_FRAGMENT:
        raise Malformed(f"a TLS handshake record of {length} bytes; it may have 1 to {_MAX_FRAGMENT}")
    return length


def _not_tls(data: bytes) -> str:
    """What it is instead, as far as can be told: most often someone has taken one port for another."""
    speaks = sniff(data)
    if speaks in (Speaks.HTTP, Speaks.SSH, Speaks.POSTGRESQL):
        return f"not TLS: the client speaks {speaks.value}, unencrypted"
    if data.startswith((b"PROXY ", b"\r\n\r\n\x00\r\nQUIT\n")):
        return "not TLS: a PROXY header, and proxy_protocol does not expect one here"
    if data[0] >= 0x80 and data[2:3] == b"\x01":
        return "not TLS: a ClientHello of SSLv2"
    if data[0] in _RECORDS and data[1:2] in (b"", b"\x03"):
        return f"a TLS record of type {data[0]} ({_RECORDS[data[0]]}) before any ClientHello"
    return f"not TLS: the client begins with {data[:8]!r}"


def _message_length(message: bytearray) -> Optional[int]:
    """How long the handshake message that begins so is in all, or None if it does not say so yet."""
    if message and message[0] != 1:
        raise Malformed(f"a TLS handshake message of type {message[0]}, where a ClientHello has 1")
    if len(message) < 4:
        return None
    length = 4 + int.from_bytes(message[1:4], "big")
    if length > MAX_MESSAGE:
        raise Malformed(f"a ClientHello of {length} bytes; at most {MAX_MESSAGE} are read")
    return length


def _client_hello(body: bytes, length: int) -> ClientHello:
    """The value of a whole message without its header; it was carried by so many bytes."""
    fields = Fields(body, "the message", _MESSAGE)
    legacy_version = fields.number(2)
    if legacy_version >> 8 != 3:
        raise Malformed(f"ClientHello: version {legacy_version:#06x}")
    fields.take(32)
    session_id = fields.vector(1, "session_id", most=32)
    fields.vector(2, "cipher_suites", least=2, unit=2)
    fields.vector(1, "compression_methods", least=1)
    extensions = {}
    if fields.more():  # TLS 1.2 and below may end here
        extensions = extensions_of(fields.vector(2, "extensions"), _MESSAGE)
        fields.finish()
    return ClientHello(
        sni=_server_name(extensions.get(_SERVER_NAME)),
        alpn=_protocols(extensions.get(_ALPN)),
        versions=_versions(extensions.get(_SUPPORTED_VERSIONS), legacy_version),
        ech=_is_outer(extensions.get(_ENCRYPTED_CLIENT_HELLO)),
        length=length,
        session_id=session_id,
    )


def _server_name(data: Optional[bytes]) -> str:
    """
    The one host name of a server_name extension.

    The list was made for names of several types, but there is one type and will be no other, so that a list
    of several is refused, as OpenSSL does.  An IPv4 address is not permitted there, yet some clients send it,
    and servers take it for a name like any other; so does this.
    """
    if data is None:
        return ""
    fields = Fields(data, "server_name", _MESSAGE)
    names = Fields(fields.vector(2, "server_name", least=1), "server_name", _MESSAGE)
    fields.finish()
    if names.number(1) != 0:
        raise Malformed("ClientHello: server_name is not a host_name")
    name = names.vector(2, "host_name", least=1, most=255)
    names.finish()
    return host_name(name)


def host_name(name: bytes) -> str:
    """A name that a client asks for, lower case and without a dot at its end, or `Malformed`."""
    name = name.lower()
    if len(name) > 255 or not _HOST.fullmatch(name):
        raise Malformed(f"ClientHello: {name[:16]!r} is not a host name")
    return name.decode("ascii").rstrip(".")


def _protocols(data: Optional[bytes]) -> tuple[bytes, ...]:
    if data is None:
        return ()
    fields = Fields(data, "ALPN", _MESSAGE)
    names = Fields(fields.vector(2, "ALPN", least=1), "ALPN", _MESSAGE)
    fields.finish()
    found: list[bytes] = []
    while names.more():
        if len(found) == MAX_LISTED:
            raise Malformed(f"ClientHello: more than {MAX_LISTED} ALPN names")
        found.append(names.vector(1, "an ALPN name", least=1))
    return tuple(name for name in found if name not in _GREASE_NAMES)


def _versions(data: Optional[bytes], legacy_version: int) -> tuple[int, ...]:
    if data is None:
        return (legacy_version,)
    fields = Fields(data, "supported_versions", _MESSAGE)
    listed = fields.vector(1, "supported_versions", least=2, unit=2)
    fields.finish()
    numbers = (int.from_bytes(listed[place : place + 2], "big") for place in range(0, len(listed), 2))
    return tuple(number for number in numbers if number not in _GREASE)


def _is_outer(data: Optional[bytes]) -> bool:
    """Whether this encrypted_client_hello carries an inner hello, and is not the mark of an inner one."""
    if data is None:
        return False
    fields = Fields(data, "encrypted_client_hello", _MESSAGE)
    kind = fields.number(1)
    if kind > 1:
        raise Malformed(f"ClientHello: encrypted_client_hello of type {kind}")
    if kind == 0:
        fields.take(5)  # the cipher suite and config_id
        fields.vector(2, "enc")
        fields.vector(2, "payload of encrypted_client_hello", least=1)
    fields.finish()
    return kind == 0
