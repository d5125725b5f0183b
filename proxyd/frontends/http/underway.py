"""
Which requests are under way now, and how far is each?

They are looked at when somebody asks, one after another, as far as that one wants to know.
"""

from __future__ import annotations

from itertools import chain
from typing import Iterable, Iterator, Optional

from attrs import evolve

from proxyd.frontends.http.connection import HEAD, HttpConnection
from proxyd.frontends.http.factory import HttpFactory
from proxyd.frontends.http.routed import RoutedSession
from proxyd.relay.factory import ProxyFactory
from proxyd.snapshots import RequestSnapshot

LONGEST = 500  # letters of what a client has said


def open_requests(
    frontends: Iterable[ProxyFactory], listener: str, older: float
) -> Iterator[RequestSnapshot]:
    """The requests of a listener, or of all (""), that have been under way for so many seconds at least."""
    for frontend in frontends:
        if isinstance(frontend, HttpFactory) and listener in ("", frontend.spec.name):
            latest = frontend.seconds() - older
            for session in chain(frontend.sessions, frontend.streams):
                if isinstance(session, HttpConnection):
                    began = _began(session)
                    if began is not None and began <= latest:
                        yield _look_at(session, began)


def count_requests(frontend: ProxyFactory) -> Optional[int]:
    """How many are under way, their heads complete; None of a listener that does not speak HTTP."""
    if not isinstance(frontend, HttpFactory):
        return None
    each = chain(frontend.sessions, frontend.streams)
    return sum(isinstance(one, HttpConnection) and one._request is not None for one in each)


def _began(session: HttpConnection) -> Optional[float]:
    """When it began, if there is one: with its head, or with the begin of that while it is not complete."""
    if session._request is not None:
        return session._began
    return session._since if session._phase == HEAD else None


def _look_at(session: HttpConnection, began: float) -> RequestSnapshot:
    request, picked = session._request, session.picked
    snapshot = RequestSnapshot(
        listener=session.http.spec.name,
        client=session._came_from,
        state=_state(session),
        started=began,
        bytes_in=session.client.received,
        bytes_out=session.server.received,
    )
    if request is None:
        return snapshot
    return evolve(
        snapshot,
        method=_text(request.method),
        host=_text(request.host),
        target=_text(request.target),
        version="2.0" if session.outer is not None else f"1.{request.said.minor}",
        route=session.route,
        pool=session.pool.name if session.pool is not None else "",
        server=picked.name if picked is not None else "",
        server_address=str(session.server_address) if picked is not None else "",
        chosen=session.chosen if picked is not None else "",
        status=session._status,
        retries=session.retries,
    )


def _state(session: HttpConnection) -> str:
    """How far it is, in the order in which that comes."""
    if session._request is None:
        return "head"
    if session._waiting is not None:
        if isinstance(session, RoutedSession) and session._deciding:
            return "auth"
        return "queue" if session.picked is None else "connect"
    if session.client.peer is not None:
        return "tunnel"
    if session._status:
        return "answer"
    return "body" if session._up_left else "wait"


def _text(said: bytes) -> str:
    return said[:LONGEST].decode("latin-1")
