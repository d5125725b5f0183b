"""How does a connection come by its part in TLS?"""

from __future__ import annotations

from typing import Any, Protocol

from OpenSSL.SSL import Connection, Context

from proxyd.errors import Reason, Refused


class Holds(Protocol):
    """A protocol that may hold what it has read."""

    held: bytes


def server_part(context: Context, skt: Any) -> Connection:
    """A connection that waits for a ClientHello on the socket, or, if that is None, in memory."""
    ssl = Connection(context, skt)
    ssl.set_accept_state()
    return ssl


def refuse_what_is_held(side: Holds) -> None:
    """Refuse to begin TLS behind bytes that have come without it (`IDatapath.start_tls`)."""
    if side.held:
        raise Refused(Reason.TLS_HANDSHAKE, f"TLS: {len(side.held)} bytes came before it, without it")
