"""Which connections are open now?  Looked at one after another, as far as somebody wants to know."""

from __future__ import annotations

from typing import Iterable, Iterator, Optional

from proxyd.relay.factory import ProxyFactory
from proxyd.relay.session import Session
from proxyd.relay.streams import address_text
from proxyd.snapshots import ConnectionSnapshot
from proxyd.wire.tcpinfo import Info

_NOT_ASKED: tuple[Optional[Info], Optional[Info]] = (None, None)


def open_connections(
    frontends: Iterable[ProxyFactory], listener: str, tcp: bool
) -> Iterator[ConnectionSnapshot]:
    """The open connections of a listener, or of all (""); with ``tcp`` the kernel is asked about each."""
    for frontend in frontends:
        if listener in ("", frontend.spec.name):
            for session in frontend.sessions:
                yield _look_at(session, tcp)


def _look_at(session: Session, tcp: bool) -> ConnectionSnapshot:
    opening, pool, picked = session.opening, session.pool, session.picked
    client_tcp, server_tcp = session.tcp_info() if tcp else _NOT_ASKED
    return ConnectionSnapshot(
        listener=session.factory.spec.name,
        client=address_text(session.address if opening is None else opening.address),
        pool=pool.name if pool is not None else "",
        server=picked.name if picked is not None else "",
        server_address=str(session.server_address or ""),
        chosen=session.chosen if picked is not None else "",
        started=session.started,
        bytes_in=session.client.received,
        bytes_out=session.server.received,
        client_tcp=client_tcp,
        server_tcp=server_tcp,
    )
