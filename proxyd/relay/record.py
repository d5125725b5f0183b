"""What is told of a session when it is over?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyd.errors import Reason
from proxyd.records import Record
from proxyd.relay.opening import agreed_on
from proxyd.relay.streams import address_text

if TYPE_CHECKING:
    from proxyd.relay.session import Session


def record_of(session: Session, reason: Reason, detail: str) -> Record:
    """All that is known of it; it has ended for this reason."""
    factory, picked, opening = session.factory, session.picked, session.opening
    record = Record(  # in the order of its fields: by their names it takes twice as long
        session.started + factory.wall.offset,
        factory.spec.name,
        address_text(session.address if opening is None else opening.address),
        reason,
        factory.seconds() - session.started,
        session.pool.name if session.pool is not None else "",
        picked.name if picked is not None else "",
        str(session.server_address) if picked is not None else "",
        session.connect_seconds,
        session.client.received,
        session.server.received,
        session.retries,
        detail,
        session.chosen if picked is not None else "",
    )
    record.unique_id = session.unique_id
    record.queue_seconds = session.queue_seconds
    if opening is not None:
        record.via = address_text(opening.via) if opening.via is not None else ""
        record.sni = opening.sni
        record.route = opening.route
        record.tls, record.client_cn = opening.tls, opening.client_cn
        record.alpn = agreed_on(opening)
    if session.server_tls is not None:
        record.server_tls = session.server_tls.agreed
    if factory.notes_tcp:
        record.client_tcp, record.server_tcp = session.tcp
    return record
