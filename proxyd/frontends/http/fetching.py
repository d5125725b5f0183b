"""
How is an answer fetched once, for all who ask for it?

A `Fetch` asks a server by a session of its own, whose client is nobody: so no client's pace or end is the
fetch's, and what is not of a cache (choosing, dialing, retries, deadlines) is as for any request.  Those who
wait for its answer (`proxyd.frontends.http.caching`) get

- what its server says anew, as it comes; if it is to be stored, all of them,
- what is stored, if its server says that this is still good (304), or fails and it is good enough,
- and otherwise who asked first gets the answer, or one a page, and the others ask by themselves.

Who asked first is not anybody who waits longest: the server was sent that client's cookies.  If it has left,
what turns out to be for one alone is for nobody, and the others get only what may be used again without
asking (RFC 9111, 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Sequence

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from proxyd.config.http import HttpSpec
from proxyd.errors import Reason
from proxyd.frontends.http.answer import Delivery
from proxyd.frontends.http.bodies import Growing, Reading, Room
from proxyd.frontends.http.cache import COALESCED, MISS, REVALIDATED, STALE, Cache
from proxyd.frontends.http.connection import ASKED
from proxyd.frontends.http.errorpage import ErrorPages
from proxyd.frontends.http.pages import PAGE, Edit, Words
from proxyd.frontends.http.recoding import Compressor
from proxyd.frontends.http.session import HttpSession
from proxyd.policy.affinity import Affinity
from proxyd.policy.cachekey import chosen_by, guarded
from proxyd.policy.cachestore import Stored
from proxyd.policy.conditions import asked_about, confirms, freshened
from proxyd.policy.encoding import Decision
from proxyd.policy.freshness import Terms, terms, vary
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.records import RequestRecord
from proxyd.wire.http1 import Answer, Request
from proxyd.wire.httpfields import Field

if TYPE_CHECKING:
    from proxyd.frontends.http.caching import CachingSession
    from proxyd.frontends.http.factory import HttpFactory
    from proxyd.frontends.http.giving import GivingSession

# That a server cannot do what it is asked (RFC 5861, 4).
FAILURES = frozenset({500, 502, 503, 504})

# For so many seconds who takes nothing may hold up others, where they cannot go on without it.
HELD_UP = 20.0

# What is said of this connection, or for one client, and never stored (RFC 9111, 3.1).
_NEVER = frozenset(
    {b"age", b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization", b"trailer"}
)


class Fetch:
    """
    One request to a server.

    ``names`` are the fields of requests that its answer goes by, once that is known; ``outdated`` says that
    it was asked before something changed, so that it is not to be stored.
    """

    def __init__(self, cache: Cache, asker: CachingSession, head: bytes, stored: Optional[Stored]) -> None:
        """``asker`` is one who wants it, and would ask with ``head``; ``stored`` is what is asked about."""
        request = asker.asked
        self.cache = cache
        self.url = asker.url
        self.way = asker.way
        self.fields: Sequence[Field] = request.said.fields
        self.authorized = asker.is_personal()
        self.names: Optional[tuple[bytes, ...]] = None
        self.outdated = False
        self.stored = stored
        self.answer: Optional[Answer] = None
        self.settled: list[Field] = []  # what is said to all who get it,
        self.personal: list[Field] = []  # and with what is for who has asked alone
        self.age = b""  # what it says of that
        self.declared: Optional[int] = None
        self.origin: Optional[RequestRecord] = None
        self.alone: Optional[Server] = None  # whose answer it is, if that is for one alone
        self._waiting: list[CachingSession] = []
        self._leader: Optional[CachingSession] = None  # whose request the server gets, while it waits
        self._made = asker.made_for_servers()
        self._terms: Optional[Terms] = None
        self._room = Room(cache.filling)
        self._asked_at = cache.seconds()
        self._over = False
        self._again = False
        self._full: dict[Reading, tuple[int, float]] = {}  # clients that take no more: where, since when
        self.session = FetchSession(asker.http, asker.address)
        self.body = Growing(self.session, self.session.later)
        self._head = asked_about(
            guarded(head, asker.set_for_servers()), stored.fields if stored is not None else None
        )

    def begin(self, asker: CachingSession) -> None:
        """Ask.  Whoever is to have the answer has joined before."""
        self.cache.began(self)
        self.session.fetch(self, asker, self._head)

    # Those who want it

    def serves(self, session: CachingSession) -> bool:
        """Whether it may turn out, or has, that this one is served by an answer to another."""
        return self._terms is None or session.may_share(self._terms)

    def join(self, session: CachingSession, leads: bool = False) -> None:
        """One more waits for it, or reads what has come; ``leads`` says that it is this one's request."""
        if leads:
            self._leader = session
        if self.answer is None:
            self._waiting.append(session)
        else:
            session.read(self, COALESCED)

    def leads(self, session: CachingSession) -> bool:
        """Whether it waits for what it has asked itself."""
        return session is self._leader

    def leave(self, session: GivingSession) -> None:
        """It waits no more."""
        if session is self._leader:
            self._leader = None
        if session in self._waiting:
            self._waiting = [other for other in self._waiting if other is not session]

    def left(self) -> None:
        """One reads no more; what nobody wants, and is not to be stored, need not come."""
        self._empty_if_unread()
        if not self.body.held and not self.body.done and not self.body.read_by:
            self.session.later(self._cancel_if_unwanted)

    def _cancel_if_unwanted(self) -> None:
        if not self.body.held and not self.body.done and not self.body.read_by:
            self.cancel()

    def look_at_readers(self, limit: float) -> None:
        """Part with those who hold up others, and have taken nothing for so many seconds."""
        now, before, readings = self.cache.seconds(), self._full, self.body.readings()
        self._full = {}
        for each in readings:
            if each.is_full:
                place, since = before.get(each, (-1, now))
                self._full[each] = (place, since) if place == each.place else (each.place, now)
        if len(self._full) < len(readings):
            for each, (_, since) in list(self._full.items()):
                if now - since >= limit:
                    each.part()

    def cancel(self) -> None:
        """It is not wanted any more."""
        self.session.cut(Reason.CLIENT_GONE)

    # What the server says

    def headed(self, answer: Answer, settled: list[Field], origin: RequestRecord) -> None:
        """The head of the answer is there."""
        cache, stored, now = self.cache, self.stored, self.cache.seconds()
        self.origin = origin
        if stored is not None and answer.status == 304:
            self._confirmed(stored, settled, now)
            return
        if stored is not None and answer.status in FAILURES:
            self._give_stale(stored)
        self.settled = self.personal = [field for field in settled if field[0] not in _NEVER]
        self.age = b"".join([field[2] for field in settled if field[0] == b"age"])
        self.declared = answer.said.declared if answer.said.length >= 0 else None
        found = terms(cache.rules, answer.status, settled, self._asked_at, now, self.authorized)
        names = vary(settled)
        if not self._made.isdisjoint(names):
            found = None  # it goes by what we have told of this client
        much = max(answer.said.length, 0)
        if found is None or much > cache.spec.max_object or cache.filling.used + much > cache.spec.size:
            if stored is not None and answer.status not in FAILURES:
                self._drop(stored)
            of_others = answer.status not in FAILURES and not self.authorized
            if of_others and (found is None or much > cache.spec.max_object):
                cache.let_pass(self.url, self.way)
            self._pass_on(answer)
            return
        self._terms = found
        self.settled = [field for field in self.settled if field[0] not in found.without]
        self.names = names
        self.answer = answer
        mine = chosen_by(names, self.fields)
        waiting, self._waiting = self._waiting, []
        for session in waiting:
            if session is self._leader:
                session.read(self, MISS)
            elif chosen_by(names, session.asked.said.fields) != mine:
                session.start_anew()
            elif session.may_share(found):
                session.read(self, COALESCED)
            else:
                session.go_alone()

    def _pass_on(self, answer: Answer) -> None:
        """It is for one alone."""
        self.cache.ended(self)
        self.answer = answer
        self.alone = self.session.picked
        self.body.let_go()
        waiting, self._waiting = self._waiting, []
        for session in waiting:
            if session is not self._leader:
                session.go_alone()
        if self._leader in waiting:
            self._leader.read(self, MISS)
        self.left()

    def _confirmed(self, stored: Stored, settled: list[Field], now: float) -> None:
        """What is stored is still good (RFC 9111, 4.3.4)."""
        cache = self.cache
        if not confirms(settled, stored.fields):
            cache.drop(stored)
            self._again = True
            return
        fields = [field for field in freshened(stored.fields, settled) if field[0] not in _NEVER]
        found = terms(cache.rules, stored.status, fields, self._asked_at, now, self.authorized)
        cache.ended(self)
        waiting, self._waiting = self._waiting, []
        if found is None or self.outdated:
            self._drop(stored)
            found = None
            own = stored = stored.renewed(fields, Terms(0.0, now))
        else:
            own = stored.renewed(fields, found)
            kept = [field for field in fields if field[0] not in found.without]
            stored = own if len(kept) == len(fields) else stored.renewed(kept, found)
            cache.put(stored)
        for session in waiting:
            if session is not self._leader and (found is None or not session.may_share(found)):
                session.go_alone()
            elif session is not self._leader and not session.is_answered_by(stored):
                session.start_anew()
            else:
                session.origin = self.origin
                session.give(own if session is self._leader else stored, REVALIDATED)

    def _drop(self, stored: Stored) -> None:
        """It is not to be used any more; what is said to somebody with a password is not about others."""
        if not self.authorized:
            self.cache.drop(stored)

    def _give_stale(self, stored: Stored) -> None:
        """The server fails: what is stored may do for some (RFC 5861, 4), unless it was purged meanwhile."""
        if self.cache.store.is_void(stored) or (self.outdated and not stored.live):
            return  # of what was evicted before it was purged the store does not know
        waiting, self._waiting = self._waiting, []
        for session in waiting:
            if session.takes_stale(stored):
                if session is self._leader:
                    self._leader = None
                session.give(stored, STALE)
            else:
                self._waiting.append(session)

    def came(self, data: bytes) -> None:
        """Some of its body."""
        body, cache = self.body, self.cache
        if self.answer is None:
            return  # what is stored was given in its place
        if body.held and not self._room.take(len(data)):
            cache.ended(self)
            cache.let_pass(self.url, self.way)
            body.let_go()
            cache.variants.let_go(self)
        body.add(data)
        if not (body.held or body.paused):
            self._room.leave()  # else slow readers still keep what came before
        self.left()

    def over(self, reason: Reason, detail: str) -> None:
        """That was all, or there will be no more."""
        if self._over:
            return
        self._over = True
        cache, stored = self.cache, self.stored
        cache.ended(self)
        if self.answer is not None:
            if reason is Reason.ANSWERED:
                if self.body.held and not self.outdated:
                    self._store(self.answer)
                self.body.finish()
            else:
                self.body.finish(broken=True)
            self._empty_if_unread()
            return
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if not self._again:
            if stored is not None:
                self._waiting = waiting
                self._give_stale(stored)
                waiting, self._waiting = self._waiting, []
            for session in waiting[:1]:
                session.origin = self.origin
                session.fail(reason, detail)
            del waiting[:1]
        for session in waiting:
            session.start_anew()

    def _store(self, answer: Answer) -> None:
        assert self._terms is not None and self.names is not None
        self.cache.let_pass_no_more(self.url, self.way)
        chosen = chosen_by(self.names, self.fields)
        stored = Stored(
            self.url,
            self.way,
            self.names,
            chosen,
            answer.status,
            answer.reason,
            self.settled,
            self.body.whole(),
            self._terms,
        )
        self.cache.put(stored)
        self.cache.variants.keep(self, stored)

    def _empty_if_unread(self) -> None:
        """What slow readers keep from being forgotten counts, too, or many of them could fill the memory."""
        if self._over and not self.body.read_by:
            self._room.leave()


class Refresh(Fetch):
    """The same behind an answer that is used meanwhile (RFC 5861, 3)."""

    def begin(self, asker: CachingSession) -> None:
        self.cache.refreshing += 1
        super().begin(asker)

    def over(self, reason: Reason, detail: str) -> None:
        if not self._over:
            self.cache.refreshing -= 1
        super().over(reason, detail)


class Storing(Delivery):
    """What becomes of an answer that is fetched: its head is taken apart, and its body goes on as it is."""

    __slots__ = ("_fetch", "_session")

    def __init__(self, fetch: Fetch, session: FetchSession, spec: HttpSpec, secure: bool) -> None:
        super().__init__(spec, session.http.seconds, secure)
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

    __slots__ = ("_fetch", "_patience")

    def __init__(self, factory: HttpFactory, address: Any) -> None:
        super().__init__(factory, address)
        self._fetch: Optional[Fetch] = None
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
        if fetch is not None and fetch.body.paused:
            fetch.look_at_readers(self._held_up())
            self.wheel.hasten(self, self._held_up() / 2)

    def resume(self) -> None:
        """And to go on."""
        if self.server.connected:
            self.server.resumeProducing()

    def origin(self, server: Server) -> RequestRecord:
        """What the records of those who get the answer tell of where it has come from."""
        return RequestRecord(
            self._began,
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
            hedged=self._hedge is not None and self._hedge.sent,
        )

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
