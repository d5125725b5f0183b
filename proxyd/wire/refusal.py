"""
How does one say "not now" to a client, in the protocol that it speaks?

What each says is a failure that drivers know and retry: the server's own "too many connections".  Nothing
in it tells of servers or of the proxy.

Sources: PostgreSQL "Message Formats" (ErrorResponse; SSLRequest) and error code 53300; MySQL client/server
protocol, ERR_Packet, error 1040, which before the login has no SQL state; RESP, simple errors; RFC 5321 3.8
and 4.2.3; RFC 959 4.2.2; RFC 9110 15.6.4 and 10.2.3; RFC 8446 6.2.
"""

from __future__ import annotations

from typing import Optional

from proxyd.errors import Malformed

PGSQL, MYSQL, REDIS, SMTP, FTP, HTTP, TLS = "pgsql", "mysql", "redis", "smtp", "ftp", "http", "tls"

_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
_GSSENC_REQUEST = (8).to_bytes(4, "big") + (80877104).to_bytes(4, "big")
_NO_ENCRYPTION = b"N"
_LONGEST_STARTUP = 10_000 + 4  # MAX_STARTUP_PACKET_LENGTH

_TOO_MANY = "too many connections"
_UNAVAILABLE = "service unavailable"

_CON_COUNT_ERROR = 1040
_FATAL, _INTERNAL_ERROR = 2, 80


def refusal(speaks: str, too_many: bool, retry_after: int) -> bytes:
    """
    What a client is told that gets no server, in one of the protocols above.

    ``too_many`` says that there are too many connections; otherwise nothing serves it.  ``retry_after`` is in
    seconds, for those who can be told.
    """
    text = (_TOO_MANY if too_many else _UNAVAILABLE).encode()
    if speaks == PGSQL:
        code = b"53300" if too_many else b"57P03"  # too_many_connections, cannot_connect_now
        body = b"SFATAL\0VFATAL\0C%s\0M%s\0\0" % (code, text)
        return b"E" + (len(body) + 4).to_bytes(4, "big") + body
    if speaks == MYSQL:
        body = b"\xff" + _CON_COUNT_ERROR.to_bytes(2, "little") + b"Too many connections"
        return len(body).to_bytes(3, "little") + b"\0" + body
    if speaks == REDIS:
        return b"-ERR max number of clients reached\r\n" if too_many else b"-ERR %s\r\n" % text
    if speaks == SMTP:
        return b"421 4.3.2 %s, try again later\r\n" % text
    if speaks == FTP:
        return b"421 %s, try again later\r\n" % text
    if speaks == TLS:
        return bytes((21, 3, 3, 0, 2, _FATAL, _INTERNAL_ERROR))
    assert speaks == HTTP
    page = b"503 %s\n" % text
    return (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
        b"Retry-After: %d\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n%s"
    ) % (len(page), retry_after, page)


def before(speaks: str, data: bytes) -> Optional[tuple[bytes, int]]:
    """
    What a client is answered before it understands a refusal, and how many of its bytes that answers.

    ``(b"", 0)`` when it may be refused at once, None when more has to come.  PostgreSQL's clients ask for
    encryption first, and since 2024 believe no error before they have sent their startup packet
    (CVE-2024-10977).  Raises `Malformed`.
    """
    if speaks != PGSQL:
        return b"", 0
    if data[:8] in (_SSL_REQUEST, _GSSENC_REQUEST):
        return _NO_ENCRYPTION, 8
    if len(data) < 8:
        return None
    length = int.from_bytes(data[:4], "big")
    if not 8 <= length <= _LONGEST_STARTUP:
        raise Malformed(f"a startup packet of {length} bytes")
    return (b"", 0) if len(data) >= length else None
