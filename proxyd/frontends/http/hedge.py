"""
When is a second server asked, while the first may still answer?

When a request without a body, that may be sent twice, has waited for ``hedge_after`` without a byte of an
answer.  A `Hedge` waits for that, and then asks another server on a connection of its own.  Who begins to
answer first has answered: the session takes that connection over, or goes on with its own, and the other is
cut (Dean and Barroso, The Tail at Scale).  There is one for a request at most, and it counts as a retry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.config.address import Address
from proxyd.errors import DialFailed, Reason
from proxyd.frontends.http.sides import Upstream
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.records import RequestRecord

if TYPE_CHECKING:
    from proxyd.frontends.http.retries import HttpRetries

log = Logger(__name__)


class Hedge:
    """
    A second server for one request of a session; ``asked`` says that it has the request, ``sent`` that it was
    to get it.
    """

    __slots__ = (
        "_call",
        "_dialing",
        "_open",
        "_out",
        "_pool",
        "_session",
        "address",
        "asked",
        "began",
        "connect_seconds",
        "sent",
        "server",
        "upstream",
    )

    def __init__(self, session: HttpRetries, pool: Pool, out: bytes) -> None:
        self._session = session
        self._pool = pool
        self._out = out
        self._open = False  # the pool counts us
        self.began = 0.0  # when it was sent
        self._dialing: Optional[Deferred[Any]] = None
        self._call: Optional[IDelayedCall] = session.wheel.clock.callLater(pool.spec.hedge_after, self._due)
        self.asked = self.sent = False
        self.server: Optional[Server] = None
        self.upstream: Optional[Upstream] = None
        self.address: Optional[Address] = None  # that was reached
        self.connect_seconds = 0.0

    def _due(self) -> None:
        """The first has taken its time: ask another one, if there is one, and it may be asked."""
        self._call = None
        session, pool = self._session, self._pool
        if not session.is_kept_waiting():
            return
        server = session.another(True)
        if server is None:
            return
        now = self.began = session.http.seconds()
        self.sent = self._open = True
        self.server, self.address = server, server.address
        pool.opened(server)
        whom = session.whom(pool, server) if pool.tells else None
        upstream = session.http.kept.take(server, now, whom)
        if upstream is not None:
            upstream.pair = self
            upstream.received = 0
            self.upstream = upstream
            self._ask(upstream)
            return
        upstream = self.upstream = Upstream(self, server, session.http.lines, now, whom)
        before, session.server_tls = session.server_tls, None
        try:
            dialing = self._dialing = session.dial(server, self.upstream)
        except Exception:  # noqa: BLE001 - the first server may answer yet
            self._failed(Failure())
            return
        finally:
            upstream.handshake, session.server_tls = session.server_tls, before
        dialing.addCallbacks(self._reached, self._failed)

    def _reached(self, address: Optional[Address]) -> None:
        self._dialing = None
        server, upstream = self.server, self.upstream
        assert server is not None and upstream is not None
        self.address = address or self.address
        self.connect_seconds = self._session.http.seconds() - self.began
        if server.tls is None and self._pool.spec.proxy_protocol is not None:
            upstream.transport.write(self._session.introduction())
        self._ask(upstream)

    def _ask(self, upstream: Upstream) -> None:
        self.asked = True
        upstream.transport.write(self._out)

    def _failed(self, failure: Failure) -> None:
        self._dialing = None
        error, server = failure.value, self.server
        assert server is not None
        if isinstance(error, DialFailed):
            self._session.blame(self._pool, server, error, self.began)
        self._free()
        if not isinstance(error, (DialFailed, CancelledError)):
            log.failure("A second server could not be asked.", failure=failure)

    def end(self) -> None:
        """The first has answered, or the request is over."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        upstream, self.upstream = self.upstream, None
        self.asked = False
        dialing, self._dialing = self._dialing, None
        if dialing is not None:
            dialing.cancel()
        elif upstream is not None:
            upstream.held = b""
            self._session.http.kept.drop(upstream, abort=True)
        self._free()

    def note(self, record: RequestRecord) -> None:
        """The request is over."""
        record.hedged = self.sent
        self.end()

    def _free(self) -> None:
        """The server has us no more."""
        if self._open:
            self._open = False
            server = self.server
            assert server is not None
            if self._pool.closed(server):
                self._pool.admit(self._session.http.seconds())

    def give(self) -> Upstream:
        """The connection, and the slot that goes with it, are the session's from now on."""
        upstream = self.upstream
        assert upstream is not None
        self.upstream = None
        self.asked = self._open = False
        return upstream

    # What its connection tells

    def server_said(self, upstream: Upstream, data: bytes) -> None:
        """It has begun to answer."""
        self._session.take_over(self)
        self._session.server_said(upstream, data)

    def side_finished(self, side: Upstream) -> None:
        """It has closed without an answer."""
        self._gave_nothing("")

    def side_lost(self, side: Upstream, orderly: bool, detail: str = "") -> None:
        """The same, by a reset."""
        if self.asked:
            self._gave_nothing(detail)
        side.transport = None
        side.pair = None

    def _gave_nothing(self, detail: str) -> None:
        server, upstream = self.server, self.upstream
        if not self.asked or server is None or upstream is None:
            return
        if not upstream.requests:  # a kept one may have been closed just then
            why = f"{Reason.NO_ANSWER.code} {detail}".strip()
            self._pool.failed(server, why, self._session.http.seconds())
        self.end()

    def server_shook_hands(self) -> None:
        """TLS is a part of the dial."""

    def download_sent(self, more: bool) -> None:
        """Nothing is under way before the session has taken it over."""
