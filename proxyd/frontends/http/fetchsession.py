"""
How is a server asked where no client waits for what it says?

A `FetchSession` is a session as any other, but its client is `Nobody`: so no client's pace or end is the
fetch's (`proxyd.frontends.http.fetching`), and what is not of a cache (choosing, dialing, retries,
deadlines) is as for any request.  What the server says goes to the fetch: its head by `Storing`, its body
by `Nobody`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Sequence

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from proxyd.config.http import HttpSpec
from proxyd.errors import Reason
from proxyd.frontends.http.answer import Delivery
from proxyd.frontends.http.connection import ASKED
from proxyd.frontends.http.errorpage import ErrorPages
from proxyd.frontends.http.pages import PAGE, Edit, Words
from proxyd.frontends.http.recoding import Compressor
from proxyd.frontends.http.session import HttpSession
from proxyd.policy.affinity import Affinity
from proxyd.policy.encoding import Decision
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.records import RequestRecord
from proxyd.wire.http1 import Answer, Request
from proxyd.wire.httpfields import Field

if TYPE_CHECKING:
    from proxyd.frontends.http.caching import CachingSession
    from proxyd.frontends.http.factory import HttpFactory
    from proxyd.frontends.http.fetching import Fetch

# For so many seconds who takes nothing may hold up others, where they cannot go on without it.
HELD_UP = 20.0


class Storing(Delivery):
    """What becomes of an answer that is fetched: its head is taken apart, and its body goes on as it is."""

    __slots__ = ("_fetch", "_session")

    def __init__(self, fetch: Fetch, session: FetchSession, spec: HttpSpec, secure: bool) -> None:
        super().__init__(spec, session.http.wall, secure)
        self._fetch = fetch
        self._session = session

    @property
    def verbatim(self) -> bool:
        return False

    def head(
        self,
        answer: Answer,
        request: Request,
        keep: bool,
        server: Server,
        edit: Optional[Edit] = None,
        decision: Optional[Decision] = None,
    ) -> bytes:
        settled = self.settled(answer.said.fields, request, server)
        self._fetch.headed(answer, settled, self._session.origin(server))
        return b""

    def interim(self, answer: Answer, edit: Optional[Edit] = None) -> bytes:
        return b""

    def data(self, data: bytes) -> bytes:
        return data

    def end(self, trailers: Sequence[Field] = ()) -> bytes:
        return b""


class FetchSession(HttpSession):
    """The session of a fetch, which no client has asked for by itself, and of which no record tells."""

    __slots__ = ("_fetch", "_introduction", "_patience")

    def __init__(self, factory: HttpFactory, address: Any) -> None:
        super().__init__(factory, address)
        self._fetch: Optional[Fetch] = None
        self._introduction = b""
        self._patience = 0.0

    def compressor(self) -> Optional[Compressor]:
        """What is stored is what the server has said."""
        return None

    def fetch(self, fetch: Fetch, asker: CachingSession, head: bytes) -> None:
        """Ask for what ``asker`` asks for, with this head."""
        pool, forwarding = asker.pool, asker.forwarding
        assert pool is not None
        self._fetch = fetch
        self.client.transport = Nobody(self, fetch)
        self.client.connected = True
        self.opening, self.pool, self.route = asker.opening, pool, asker.route
        self.most_retries = asker.most_retries
        self._introduction = asker.introduction()
        self._patience = asker.response_timeout(pool)
        self.brought = asker.brought
        self._request = asker.asked
        self._delivery = Storing(fetch, self, self.http.spec.http, forwarding.secure)
        self._began = self._since = self.http.seconds()
        self._phase = ASKED
        self.requests = 1
        self._out = head
        self.http.streams.add(self)
        self.wheel.arm(self, self.http.look)
        self._forward()

    def later(self, what: Any) -> None:
        """Call it in another turn of the reactor."""
        self.wheel.clock.callLater(0, what)

    def pause(self) -> None:
        """The server is to wait."""
        if self.server.connected:
            self.server.pauseProducing()
            self.wheel.hasten(self, self._held_up() / 2)

    def _held_up(self) -> float:
        """For so many seconds who takes nothing may hold up others, who must not be cut for that before."""
        return min(HELD_UP, self.http.spec.idle_timeout / 2)

    def overdue(self) -> None:
        super().overdue()
        fetch = self._fetch
        if fetch is not None and fetch.body.paused and not fetch.body.held:  # else it waits for the disk
            fetch.look_at_readers(self._held_up())
            self.wheel.hasten(self, self._held_up() / 2)

    def resume(self) -> None:
        """And to go on."""
        if self.server.connected:
            self.server.resumeProducing()

    def origin(self, server: Server) -> RequestRecord:
        """What the records of those who get the answer tell of where it has come from."""
        return RequestRecord(
            self._began + self.http.wall.offset,
            self.http.spec.name,
            "",
            Reason.ANSWERED,
            0.0,
            b"",
            b"",
            b"",
            1,
            0,
            server=server.name,
            server_address=str(self.server_address),
            connect_seconds=self.connect_seconds,
            queue_seconds=self.queue_seconds,
            retries=self.retries,
            chosen=self.chosen,
            hedged=self._hedge is not None and self._hedge.sent,
        )

    def introduction(self) -> bytes:
        """A server is told of the client whose request it gets, which may have left meanwhile."""
        return self._introduction

    def response_timeout(self, pool: Pool) -> float:
        return self._patience

    def _silent_for(self) -> float:
        """It is not the server's silence where it waits for those who read: they are looked at themselves."""
        fetch = self._fetch
        if fetch is None or not fetch.body.paused:
            return super()._silent_for()
        self.seen = None
        return 0.0

    def conclude(self, reason: Reason, detail: str) -> None:
        if self._first_byte is not None:
            self._first_byte.ended()
        fetch = self._fetch
        assert fetch is not None
        if fetch.origin is None and self.picked is not None:
            fetch.origin = self.origin(self.picked)
        if self._hedge is not None:
            self._hedge.end()
            self._hedge = None
        self._streaming = False
        self._request = self._answer = None
        self._since = self.http.seconds()
        fetch.over(reason, detail)

    def _told_server(
        self, affinity: Affinity, answer: Answer, picked: Server, edit: Optional[Edit]
    ) -> Optional[Edit]:
        return edit  # who gets the answer is told, if it is for one alone

    def say(
        self,
        status: int,
        reason: Reason,
        detail: str,
        closes: bool = False,
        instead: Words = PAGE,
        pages: Optional[ErrorPages] = None,
    ) -> None:
        self.conclude(reason, detail)
        self.let_go(False)
        self._end()

    def close_client(self, complete: bool) -> None:
        self._end()

    def _go_idle(self) -> None:
        self._end()

    def _end(self) -> None:
        if self.client.connected:
            self.client.connectionLost(Failure(ConnectionDone()))

    def ended(self, reason: Reason, detail: str) -> None:
        self._nobody.pair = None
        if self._request is not None:
            self.conclude(reason, detail)
        self.let_go(False)
        if self._itself is not None:
            self.http.kept.part_with(self._itself)
        self.http.streams.discard(self)
        self._fetch = self._delivery = None


class Nobody:
    """The transport of a client that there is not."""

    def __init__(self, session: FetchSession, fetch: Fetch) -> None:
        self._session = session
        self._fetch = fetch

    def write(self, data: bytes) -> None:
        """Some of the body."""
        if data:
            self._fetch.came(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """It is paused by the body itself."""

    def unregisterProducer(self) -> None:
        """Nor is it resumed."""

    def buffered(self) -> int:
        """Nothing waits here."""
        return 0

    def unacknowledged(self) -> int:
        """Nor behind."""
        return 0

    def loseConnection(self) -> None:
        """It is over."""
        self._session._end()

    def abortConnection(self) -> None:
        """It is over, too."""
        self._session._end()
