"""How does a client wait for a server that has room?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence

from twisted.internet.defer import CancelledError, Deferred

from proxyd.errors import Reason, Refused
from proxyd.policy.arrival import network_of
from proxyd.policy.pool import Pool
from proxyd.policy.queue import Ticket
from proxyd.policy.server import Server

if TYPE_CHECKING:
    from proxyd.relay.reaching import Reaching


async def pick_in_turn(session: Reaching, pool: Pool, tried: Sequence[Server]) -> Optional[Server]:
    """Pick a server where they may be full: wait as long as they are, or others are before us."""
    if pool.has_to_wait(tried):
        await _wait_for_room(session, pool, tried)
    server = session.pick(pool, tried)
    while server is None and pool.is_full(tried):
        await _wait_for_room(session, pool, tried)
        server = session.pick(pool, tried)
    return server


async def _wait_for_room(session: Reaching, pool: Pool, tried: Sequence[Server]) -> None:
    """Wait in the pool's queue until it is our turn, which is to be taken before the next wait."""
    factory, queue, waited = session.factory, pool.queue, session.queue_seconds
    assert queue is not None
    spec = factory.spec
    full = f"[pool {pool.name}] queue length={queue.length}: so many wait already"
    turn: Deferred[None] = Deferred()
    ticket = Ticket(
        network_of(session.arrival().source, spec.client_prefix4, spec.client_prefix6),
        spec.priority,
        lambda: turn.callback(None),
        lambda: turn.errback(Refused(Reason.QUEUE_FULL, f"{full}, and it had to make room")),
        tuple(tried),
    )
    began = factory.seconds()
    if not queue.enter(ticket, began, waited):
        raise Refused(Reason.QUEUE_FULL, full)
    session.wheel.arm(session, max(0.0, queue.spec.wait - (waited or 0.0)))
    try:
        await turn
    except CancelledError:
        if session.reason is not None:
            raise
        detail = f"[pool {pool.name}] queue wait={queue.spec.wait:g}s: no server had room by then"
        raise Refused(Reason.QUEUE_TIMEOUT, detail) from None
    finally:
        queue.leave(ticket)
        session.queue_seconds = (waited or 0.0) + factory.seconds() - began
