"""
Which TLS session does a server answer with?

Up to TLS 1.2 the server gives out the id by which a client may resume its session, in the clear, in its first
message; who resumes it says it in the ClientHello.  So a proxy that ends no TLS can lead a client back to the
server that has its session, as with HAProxy's ``stick store-response payload_lv(43,1)``.

An id that is good for nothing is none: TLS 1.3 only repeats what the client has made up, and a server of TLS
1.2 that gives out tickets (RFC 5077 3.4) says none with a new session.

Sources: RFC 5246 7.4.1.3 (the message); RFC 8446 4.1.3, 4.2.1 (how TLS 1.3 is told from it), 5.1 (records).
"""

from __future__ import annotations

from typing import Optional

from attrs import frozen

from proxyd.errors import Malformed
from proxyd.wire.fields import Fields, extensions_of

# A ServerHello has 70 to 1,300 bytes, the latter with a key of a post-quantum exchange.
MAX_MESSAGE = 2**12
MAX_RECORDS = 8
# After so many bytes `parse` has an answer.
MAX_LENGTH = MAX_MESSAGE + MAX_RECORDS * 5

_HANDSHAKE = 22
_SERVER_HELLO = 2
_SUPPORTED_VERSIONS = 43
_MESSAGE = "ServerHello"


@frozen
class ServerHello:
    """The version that the server has chosen (0x0303 is TLS 1.2), and the session's id; b"" for none."""

    version: int
    session_id: bytes


def parse(data: bytes) -> Optional[ServerHello]:
    """The ServerHello that a server begins with, or None if more bytes are needed.  Raises `Malformed`."""
    message = b""
    place = 0
    for _ in range(MAX_RECORDS):
        header = data[place : place + 5]
        if header[:1] not in (b"", bytes([_HANDSHAKE])):
            raise Malformed(f"a record of type {header[0]} where a ServerHello would be")
        if len(header) < 5:
            return None
        length = int.from_bytes(header[3:], "big")
        message += data[place + 5 : place + 5 + length]
        place += 5 + length
        if message[:1] not in (b"", bytes([_SERVER_HELLO])):
            raise Malformed(f"a message of type {message[0]} where a ServerHello would be")
        whole = 4 + int.from_bytes(message[1:4], "big") if len(message) >= 4 else MAX_MESSAGE
        if whole > MAX_MESSAGE:
            raise Malformed(f"a ServerHello of {whole} bytes; at most {MAX_MESSAGE} are read")
        if len(message) >= whole:
            return _server_hello(message[4:whole])
        if len(data) < place:
            return None
    raise Malformed(f"a ServerHello in more than {MAX_RECORDS} records")


def _server_hello(body: bytes) -> ServerHello:
    fields = Fields(body, "the message", _MESSAGE)
    version = fields.number(2)
    fields.take(32)
    session_id = fields.vector(1, "session_id", most=32)
    fields.take(3)  # the cipher suite and the compression
    if fields.more():
        extensions = extensions_of(fields.vector(2, "extensions"), _MESSAGE)
        if _SUPPORTED_VERSIONS in extensions:
            chosen = Fields(extensions[_SUPPORTED_VERSIONS], "supported_versions", _MESSAGE)
            return ServerHello(chosen.number(2), b"")
    return ServerHello(version, session_id)
