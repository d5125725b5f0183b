"""
When is a request asked again?

While the client has no byte of an answer, and the request may be sent twice (RFC 9110, 9.2.2) and is still
held whole: where its server has closed without an answer, where it answers as ``retry_on`` has it, or not in
time.  On a connection that was kept the server may just have closed it as the request came, so another one to
the same server is tried first (RFC 9112, 9.3.1); then others, as far as ``retries`` and the ``retry_budget``
let us.

Whatever a server does here counts for its pool (`proxyd.policy.ejection`), asked again or not.
"""

from __future__ import annotations

from typing import Optional

from proxyd.errors import Reason
from proxyd.frontends.http.hedge import Hedge
from proxyd.frontends.http.outcome import HttpOutcome
from proxyd.frontends.http.sides import Upstream
from proxyd.policy.chosen import HEDGE
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.wire.http1 import IDEMPOTENT, Answer

NOTHING_LEFT = "the retry_budget is used up"


class HttpRetries(HttpOutcome):
    """One client's connection, as far as its requests are asked again."""

    __slots__ = ()

    def server_said(self, upstream: Upstream, data: bytes) -> None:
        """Bytes of the server, which are counted."""
        raise NotImplementedError

    def ask_again(self, server: Optional[Server]) -> None:
        """Send the request to this server, or to another one."""
        raise NotImplementedError

    def _may_send_twice(self) -> bool:
        request = self._request
        return bool(self._out) and request is not None and request.method in IDEMPOTENT and not self._up_left

    def _try_again(self, detail: str) -> None:
        """The server is gone, and no byte of an answer has come."""
        upstream, picked, pool = self.server, self.picked, self.pool
        assert isinstance(upstream, Upstream) and picked is not None and pool is not None
        stale = upstream.requests > 0
        now = self.http.seconds()
        if not stale:
            pool.failed(picked, f"{Reason.NO_ANSWER.code} {detail}".strip(), now)
        hedge = self._hedge
        if hedge is not None and hedge.asked:
            self.take_over(hedge)
            return
        if upstream.held or not self._may_send_twice():
            self.fail(Reason.NO_ANSWER, detail)
            return
        if not stale:
            if not self.may_try(pool, (*self._tried, picked)):
                self.fail(Reason.NO_ANSWER, detail)
                return
            if pool.budget is not None and not pool.budget.take(now):
                self.fail(Reason.NO_ANSWER, f"{detail}; {NOTHING_LEFT}".lstrip("; "))
                return
        self._part_for_another(False)
        self._may_reuse = False
        if not stale:
            self._tried.append(picked)
        self.ask_again(picked if stale and not picked.full else None)

    def _is_turned_down(self, answer: Answer, more: bytes) -> bool:
        """
        Whether an answer is not passed on, and another server asked; it is one that counts for its pool.

        ``more`` has come behind its head.
        """
        pool, picked = self.pool, self.picked
        assert pool is not None and picked is not None
        spec = pool.spec
        if spec.eject is not None and answer.status in spec.eject.statuses:
            pool.failed(picked, f"status {answer.status}", self.http.seconds())
        if answer.status not in spec.retry_on.statuses:
            return False
        complete = answer.said.length == len(more)
        keep = complete and answer.said.persistent and not self.server.finished
        return self._asks_another(keep, answer.said.patience)

    def _asks_another(self, keep: bool = False, patience: Optional[int] = None) -> bool:
        """Whether another server may be asked now, and is; ``keep`` the connection to this one."""
        hedge, picked = self._hedge, self.picked
        if hedge is not None and hedge.asked:
            self.take_over(hedge, keep, patience)
            return True
        server = self.another(False)
        if server is None or picked is None:
            return False  # an answer that is no good one is better than none
        self._since = self.http.seconds()
        self._tried.append(picked)
        self._part_for_another(keep, patience)
        self.ask_again(server)
        return True

    def another(self, hedging: bool) -> Optional[Server]:
        """Another server that may be asked the same now; the budget has been spent for it."""
        pool, picked = self.pool, self.picked
        assert pool is not None and picked is not None
        tried = (*self._tried, picked)
        if not (self._may_send_twice() and (hedging or self.may_try(pool, tried))):
            return None
        if pool.queue is not None and pool.has_to_wait(tried):
            return None  # who waits comes first
        now, budget = self.http.seconds(), pool.budget
        if budget is not None and not budget.left(now):
            budget.take(now)  # which is refused, and counted
            return None
        chosen = self.chosen
        server = self.pick(pool, tried)
        if hedging:
            self.chosen = chosen  # the first may answer yet
        if server is not None and budget is not None:
            budget.take(now)
        return server

    def _part_for_another(self, keep: bool, patience: Optional[int] = None) -> None:
        hedge = self._hedge
        if hedge is not None and not hedge.asked:
            hedge.end()  # or it would be asked, and answer, while the next server is still dialed
            if not hedge.sent:
                self._hedge = None  # the next server has its own time
        if self._first_byte is not None:
            self._first_byte.ended()
            self._first_byte = None
        self.let_go(keep, patience)

    # A second server.

    def hedge_later(self, pool: Pool) -> None:
        """The request has left: if its answer takes too long, another server is asked, too; but once."""
        request = self._request
        assert request is not None
        if self._hedge is None and request.method in IDEMPOTENT:
            if not (request.said.length or request.said.upgrade):
                self._hedge = Hedge(self, pool, self._out)

    def is_kept_waiting(self) -> bool:
        """Whether a server has the request, and has said nothing."""
        return self._answer is None and self.server.connected and not self.server.held

    def take_over(self, hedge: Hedge, keep: bool = False, patience: Optional[int] = None) -> None:
        """The second server's answer is the one that counts; part with the first."""
        self._part_for_another(keep, patience)
        upstream = self.server = hedge.give()
        upstream.pair = self
        self.picked, self.server_address, self.server_tls = hedge.server, hedge.address, upstream.handshake
        self.chosen = HEDGE
        if self.paced is not None:
            upstream.pace(self.paced.of_server(upstream))
        self.connect_seconds = hedge.connect_seconds
        self._slot = True
        self._since = hedge.began
        self.wheel.arm(self, self._no_later(self.http.look))

    def _worked(self, answer: Answer) -> None:
        """A server has answered that has failed before, or is looked at in all that it does."""
        pool, picked = self.pool, self.picked
        assert pool is not None and picked is not None
        eject = pool.spec.eject
        if eject is None or answer.status not in eject.statuses:
            pool.worked(picked, self._began, self._since)

    def _blame_silence(self) -> None:
        pool, picked = self.pool, self.picked
        assert pool is not None and picked is not None
        seconds = self.response_timeout(pool)
        whose = f"pool {pool.name}" if seconds == pool.spec.response_timeout else f"route {self.route}"
        detail = f"[{whose}] response_timeout={seconds:g}s"
        pool.failed(picked, f"{Reason.ANSWER_TIMEOUT.code}, {detail}", self.http.seconds())
        if not (pool.spec.retry_on.timeout and self._asks_another()):
            self.fail(Reason.ANSWER_TIMEOUT, detail)
