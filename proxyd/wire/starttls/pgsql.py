"""
How does a client of PostgreSQL come to TLS, and how do we with its server?

A client asks with SSLRequest before anything else, and is answered with one letter; or, since version 17, it
begins with TLS at once, and then must name the protocol (ALPN).  No server is needed for that.

Source: "SSL Session Encryption" and "Message Formats" of PostgreSQL's documentation, and its
backend_startup.c.
"""

from __future__ import annotations

from typing import Optional

from proxyd.errors import Reason, Refused
from proxyd.wire.refusal import GSSENC_REQUEST, LONGEST_STARTUP, NO_ENCRYPTION, SSL_REQUEST
from proxyd.wire.starttls.step import (
    CLIENT,
    NONE,
    REQUIRED,
    SERVER,
    Step,
    alone,
    answer_alone,
    client_wrong,
    server_wrong,
)

ALPN = b"postgresql"

_TLS_RECORD = b"\x16"  # no startup packet is so long that it begins with this
_YES, _NO = b"S", b"N"
_CANCEL_REQUEST = (80877102).to_bytes(4, "big")


class PgsqlOffer:
    """
    What a client says until its startup packet is there, whole.

    A CancelRequest may come without TLS whatever is required: so it does from clients before version 17, and
    the server takes it from anybody who knows the key.
    """

    def __init__(self, offer: str) -> None:
        self.awaited = CLIENT
        self._offer = offer
        self.direct = False  # TLS has begun with the first byte
        self._tls = False
        self._answered: set[bytes] = set()

    def step(self, client: bytes, server: bytes = b"") -> Optional[Step]:
        if client[:1] == _TLS_RECORD and self._offer != NONE and not self._tls and not self._answered:
            self.direct = True
            return self._begin(Step(tls=CLIENT, early=True))
        if len(client) < 8:
            return None
        wish = client[:8]
        if wish in (SSL_REQUEST, GSSENC_REQUEST):
            if self._tls or wish in self._answered:
                client_wrong("asks for encryption again")
            self._answered.add(wish)
            if wish == GSSENC_REQUEST or self._offer == NONE:
                return Step(from_client=8, to_client=NO_ENCRYPTION)
            alone(client, 8)
            return self._begin(Step(from_client=8, to_client=_YES, tls=CLIENT))
        length = int.from_bytes(client[:4], "big")
        if not 8 <= length <= LONGEST_STARTUP:
            client_wrong(f"a startup packet of {length} bytes")
        if len(client) < length:
            return None
        if self._offer == REQUIRED and not self._tls and client[4:8] != _CANCEL_REQUEST:
            raise Refused(Reason.TLS_REQUIRED, "sends its startup packet without TLS")
        return Step(joined=True)

    def _begin(self, step: Step) -> Step:
        self._tls = True
        return step


class PgsqlRequest:
    """What we say to a server before anything else."""

    awaited = SERVER

    def __init__(self) -> None:
        self._asked = False
        self._tls = False

    def step(self, client: bytes, server: bytes) -> Optional[Step]:
        if self._tls:
            return Step(joined=True)
        if not self._asked:
            self._asked = True
            return Step(to_server=SSL_REQUEST)
        if not server:
            return None
        if server[:1] == _NO:
            server_wrong("answers that it has no TLS (N)")
        if server[:1] != _YES:
            # What an error says here could be anybody's words (CVE-2024-10977).
            server_wrong(f"answers {server[:1]!r} to SSLRequest, and not S")
        answer_alone(server, 1)
        self._tls = True
        return Step(from_server=1, tls=SERVER)
