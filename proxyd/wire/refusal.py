"""
How does one say "not now" to a client, in the protocol that it speaks?

What each says is a failure that drivers know and retry: the server's own "too many connections".  Nothing
in it tells of servers or of the proxy.

Sources: PostgreSQL "Message Formats" (ErrorResponse; SSLRequest) and error code 53300; MySQL client/server
protocol, ERR_Packet, error 1040, which before the login has no SQL state; RESP, simple errors; RFC 5321 3.8
and 4.2.3; RFC 9051 7.1.5 and RFC 5530; RFC 959 4.2.2; RFC 9110 15.6.4 and 10.2.3; RFC 8446 6.2.
"""

from __future__ import annotations

from typing import Optional

from proxyd.errors import Malformed

PGSQL, MYSQL, REDIS, SMTP, IMAP = "pgsql", "mysql", "redis", "smtp", "imap"
FTP, HTTP, TLS = "ftp", "http", "tls"

# Why a client gets no server: there are too many connections, nothing serves it, it must begin TLS, or it
# would log in by a way that works only where both sides of us have TLS, or neither has.
TOO_MANY, UNAVAILABLE, NO_TLS, NO_LOGIN = "too_many", "unavailable", "no_tls", "no_login"

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
GSSENC_REQUEST = (8).to_bytes(4, "big") + (80877104).to_bytes(4, "big")
NO_ENCRYPTION = b"N"
LONGEST_STARTUP = 10_000 + 4  # MAX_STARTUP_PACKET_LENGTH

_TEXTS = {
    TOO_MANY: b"too many connections",
    UNAVAILABLE: b"service unavailable",
    NO_TLS: b"TLS is required",
    NO_LOGIN: b"this way to log in needs TLS all the way",
}

# too_many_connections, cannot_connect_now, invalid_authorization_specification
_SQLSTATES = {TOO_MANY: b"53300", UNAVAILABLE: b"57P03", NO_TLS: b"28000", NO_LOGIN: b"28000"}

# ER_CON_COUNT_ERROR is what drivers try again; ER_SECURE_TRANSPORT_REQUIRED, ER_ACCESS_DENIED_ERROR
_MYSQL_ERRORS = {
    TOO_MANY: (1040, b"08004", b"Too many connections"),
    UNAVAILABLE: (1040, b"08004", b"Too many connections"),
    NO_TLS: (3159, b"HY000", b"Connections using insecure transport are prohibited"),
    NO_LOGIN: (1045, b"28000", _TEXTS[NO_LOGIN]),
}

_FATAL, _INTERNAL_ERROR = 2, 80


def refusal(speaks: str, why: str, retry_after: int, number: int = 0) -> bytes:
    """
    What a client is told that gets no server, in one of the protocols above, for one of those reasons.

    ``retry_after`` is in seconds, for those who can be told.  ``number`` is that of MySQL's packet, which is
    not 0 if there was a greeting.
    """
    text = _TEXTS[why]
    if speaks == PGSQL:
        body = b"SFATAL\0VFATAL\0C%s\0M%s\0\0" % (_SQLSTATES[why], text)
        return b"E" + (len(body) + 4).to_bytes(4, "big") + body
    if speaks == MYSQL:
        code, state, said = _MYSQL_ERRORS[why]
        body = b"\xff" + code.to_bytes(2, "little") + (b"#" + state if number else b"") + said
        return len(body).to_bytes(3, "little") + bytes([number % 256]) + body
    if speaks == REDIS:
        return b"-ERR max number of clients reached\r\n" if why == TOO_MANY else b"-ERR %s\r\n" % text
    if speaks == SMTP:
        return b"421 4.3.2 %s, try again later\r\n" % text
    if speaks == IMAP:
        return b"* BYE [UNAVAILABLE] %s, try again later\r\n" % text
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
    if data[:8] in (SSL_REQUEST, GSSENC_REQUEST):
        return NO_ENCRYPTION, 8
    if len(data) < 8:
        return None
    length = int.from_bytes(data[:4], "big")
    if not 8 <= length <= LONGEST_STARTUP:
        raise Malformed(f"a startup packet of {length} bytes")
    return (b"", 0) if len(data) >= length else None
