"""
Which protocol does a client speak that speaks first?

Its first bytes tell, 24 at most: a TLS record, an HTTP request line, SSH's banner, a PostgreSQL startup
packet, or an RDP Connection Request.  So several protocols share a port, as with sslh, HAProxy's
``req.payload`` or caddy-l4's matchers.

What cannot be told: a client that waits for the server to speak (SMTP, MySQL, FTP) is silent, and what
borrows HTTP's request line (RTSP and SIP have OPTIONS, a Redis command typed by hand GET) is taken for HTTP.
TLS may turn out to be malformed, or to carry any of the others: its ALPN says more
(`proxyd.wire.clienthello`).

Sources: RFC 8446 5.1; IANA's registry of HTTP methods (RFC 9110 16.1), with QUERY; RFC 9113 3.4; RFC 4253
4.2; PostgreSQL's "Message Formats" (SSLRequest, GSSENCRequest, CancelRequest, StartupMessage);
MS-RDPBCGR 2.2.1.1.
"""

from __future__ import annotations

import enum
from typing import Optional

from proxyd.wire import rdp


class Speaks(enum.Enum):
    """A protocol as ``speaks =`` of a route names it; ``silent`` is for whoever waits in vain for a byte."""

    TLS = "tls"
    HTTP = "http"
    SSH = "ssh"
    POSTGRESQL = "postgresql"
    RDP = "rdp"
    SILENT = "silent"
    OTHER = "other"


# After so many bytes `sniff` has an answer: HTTP/2's preface is the longest opening, and is 24 long.
DECIDED = 24

HTTP_METHODS = (
    "ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE "
    "MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND "
    "PROPPATCH PUT QUERY REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE "
    "UPDATEREDIRECTREF VERSION-CONTROL"
).split()

_OPENINGS = {
    **{bytes((22, 3, minor)): Speaks.TLS for minor in range(5)},
    **{f"{method} ".encode("ascii"): Speaks.HTTP for method in HTTP_METHODS},
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": Speaks.HTTP,
    b"SSH-": Speaks.SSH,
}
# All that openings begin with: None where they are not yet whole.
_BEGINNINGS: dict[bytes, Optional[Speaks]] = {
    **{opening[:length]: None for opening in _OPENINGS for length in range(len(opening))},
    **_OPENINGS,
}

# How a startup packet goes on behind its length, and the lengths that it may have (they count themselves).
# The key of a CancelRequest has 4 bytes, and up to 256 since protocol 3.2; 10,000 is PostgreSQL's own
# MAX_STARTUP_PACKET_LENGTH, which does not count the length.
_STARTUPS = (
    ((80877103).to_bytes(4, "big"), 8, 8),  # SSLRequest
    ((80877104).to_bytes(4, "big"), 8, 8),  # GSSENCRequest
    ((80877102).to_bytes(4, "big"), 12, 12 + 256),  # CancelRequest
    (b"\x00\x03", 8, 4 + 10_000),  # StartupMessage of any protocol 3
)


def sniff(data: bytes) -> Optional[Speaks]:
    """
    What the client speaks whose first bytes these are, or None while that is open.

    `Speaks.OTHER` as soon as nothing known can come of them; never `Speaks.SILENT`.
    """
    if data[:1] == b"\x00":
        return _startup(data)
    if data[:1] == b"\x03":
        found = rdp.begins(data)
        return found if found is None else Speaks.RDP if found else Speaks.OTHER
    for length in range(1, len(data) + 1):
        speaks = _BEGINNINGS.get(data[:length], Speaks.OTHER)
        if speaks is not None:
            return speaks
    return None


def _startup(data: bytes) -> Optional[Speaks]:
    """The same for what can only be a startup packet: its length, and four bytes that say what it is."""
    least = int.from_bytes(data[:4].ljust(4, b"\x00"), "big")
    most = int.from_bytes(data[:4].ljust(4, b"\xff"), "big")
    rest = data[4:8]
    for code, shortest, longest in _STARTUPS:
        if least <= longest and most >= shortest and rest[: len(code)] == code[: len(rest)]:
            return Speaks.POSTGRESQL if len(rest) >= len(code) else None
    return Speaks.OTHER
