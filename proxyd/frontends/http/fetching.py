"""
How is an answer fetched once, for all who ask for it?

A `Fetch` asks a server by a session of its own (`proxyd.frontends.http.fetchsession`).  Those who wait for
its answer (`proxyd.frontends.http.caching`) get

- what its server says anew, as it comes; if it is to be stored, all of them,
- what is stored, if its server says that this is still good (304), or fails and it is good enough,
- and otherwise who asked first gets the answer, or one a page, and the others ask by themselves.

Who asked first is not anybody who waits longest: the server was sent that client's cookies.  If it has left,
what turns out to be for one alone is for nobody, and the others get only what may be used again without
asking (RFC 9111, 4).

What is to be stored is held in memory until it is complete, or goes to the disk while it comes if it is too
long for that (`proxyd.frontends.http.spilling`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence

from proxyd.errors import Reason
from proxyd.frontends.http.bodies import Growing, Reading, Room
from proxyd.frontends.http.cache import COALESCED, MISS, REVALIDATED, STALE, Cache
from proxyd.frontends.http.fetchsession import FetchSession
from proxyd.frontends.http.filebody import FileBody
from proxyd.frontends.http.spilling import Spill
from proxyd.policy.cachekey import Chosen, chosen_by, guarded
from proxyd.policy.cachestore import Stored
from proxyd.policy.conditions import asked_about, confirms, freshened
from proxyd.policy.freshness import Terms, terms, vary
from proxyd.policy.server import Server
from proxyd.records import RequestRecord
from proxyd.wire.http1 import Answer
from proxyd.wire.httpfields import Field

if TYPE_CHECKING:
    from proxyd.frontends.http.caching import CachingSession
    from proxyd.frontends.http.giving import GivingSession

# That a server cannot do what it is asked (RFC 5861, 4).
FAILURES = frozenset({500, 502, 503, 504})

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
        self.chosen = Chosen(self.fields)
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
        self._made_of_it: Optional[Stored] = None  # what is to be stored, still without its body
        self._spill: Optional[Spill] = None  # by which that goes to the disk
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
        return self._made_of_it is None or session.may_share(self._made_of_it.terms)

    def join(self, session: CachingSession, leads: bool = False) -> None:
        """One more waits for it, or reads what has come; ``leads`` says that it is this one's request."""
        if leads:
            self._leader = session
        if self.answer is None:
            self._waiting.append(session)
        else:
            self._hand(session, self.answer, COALESCED)

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
        if self._over:
            self._stop_spilling()
            self.cache.ended(self)
        else:
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
        wall = cache.wall.now()
        found = terms(cache.rules, answer.status, settled, self._asked_at, now, wall, self.authorized)
        names = vary(settled)
        if not self._made.isdisjoint(names):
            found = None  # it goes by what we have told of this client
        much = max(answer.said.length, 0)
        if found is None or not self._finds_room(answer, names, found, much):
            if stored is not None and answer.status not in FAILURES:
                self._drop(stored)
            of_others = answer.status not in FAILURES and not self.authorized
            if of_others and (found is None or much > cache.spec.max_object):
                cache.let_pass(self.url, self.way)
            self._pass_on(answer)
            return
        assert self._made_of_it is not None
        self.settled = list(self._made_of_it.fields)
        self.names = names
        self.answer = answer
        mine = self.chosen.by(names)
        waiting, self._waiting = self._waiting, []
        for session in waiting:
            if session is self._leader:
                self._hand(session, answer, MISS)
            elif chosen_by(names, session.asked.said.fields) != mine:
                session.start_anew()
            elif session.may_share(found):
                self._hand(session, answer, COALESCED)
            else:
                session.go_alone()

    def _hand(self, session: CachingSession, answer: Answer, word: str) -> None:
        """Let one read it as it comes, unless what it wants of it is far behind that."""
        if session.had_better_ask(answer, self.declared, self.body.size):
            session.go_alone()
        else:
            session.read(self, word)

    def _finds_room(self, answer: Answer, names: tuple[bytes, ...], found: Terms, length: int) -> bool:
        """Whether there is room for what is to be stored on these terms, in memory or on the disk."""
        filling = self.cache.filling
        fields = [field for field in self.settled if field[0] not in found.without]
        chosen = self.chosen.by(names)
        made = self._made_of_it = Stored(
            self.url, self.way, names, chosen, answer.status, answer.reason, fields, b"", found
        )
        if length <= filling.longest and filling.used + length <= filling.most:
            return True
        if self._spills(made, length):
            return True
        self._made_of_it = None
        return False

    def _spills(self, made: Stored, length: int) -> bool:
        """Whether it may go to the disk, and does so from now on."""
        disk = self.cache.disk
        if disk is None or self.outdated or length > self.cache.spec.max_object:
            return False
        new = disk.receive(made, length)
        if new is not None:
            self._spill = Spill(disk, new, self.body, self._room, self._spilled)
        return new is not None

    def _spilled(self, file: Optional[FileBody]) -> None:
        """All of it is on the disk, or will never be."""
        cache, made = self.cache, self._made_of_it
        if not self._over:
            self._let_go()
            return
        self._stop_spilling()
        cache.ended(self)
        if file is None:
            return
        assert made is not None
        if self.outdated:
            cache.drop(made)
        else:
            self._keep(made.holding(file))

    def _stop_spilling(self) -> None:
        """Nothing more goes to the disk, and its file is open only for those who read it."""
        spill, self._spill = self._spill, None
        if spill is not None:
            spill.stop()

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
            self._hand(self._leader, answer, MISS)
        self.left()

    def _confirmed(self, stored: Stored, settled: list[Field], now: float) -> None:
        """What is stored is still good (RFC 9111, 4.3.4)."""
        cache = self.cache
        if not confirms(settled, stored.fields):
            cache.drop(stored)
            self._again = True
            return
        fields = [field for field in freshened(stored.fields, settled) if field[0] not in _NEVER]
        wall = cache.wall.now()
        found = terms(cache.rules, stored.status, fields, self._asked_at, now, wall, self.authorized)
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
        stored.failed_at = self.cache.seconds()
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
        body = self.body
        if self.answer is None:
            return  # what is stored was given in its place
        if body.done:
            self.session.later(self.cancel)  # what is on the disk was lost
            return
        if body.held and not self._takes(len(data)):
            self._let_go()
        body.add(data)
        if self._spill is not None:
            self._spill.go_on()
        if not (body.held or body.paused):
            self._room.leave()  # else slow readers still keep what came before
        self.left()

    def _takes(self, count: int) -> bool:
        """Whether it may be held all the same if there is so much more of it."""
        made, length = self._made_of_it, self.body.size + count
        fits = self._room.take(count)
        if self._spill is not None:
            return length <= self.cache.spec.max_object and self._spill.has_room(length)
        return fits or (made is not None and self._spills(made, length))

    def _let_go(self) -> None:
        """It is not to be stored: no more of it is kept than its readers need."""
        cache = self.cache
        self._stop_spilling()
        cache.ended(self)
        if not self.outdated:  # who asks next gets another answer, which may well be stored
            cache.let_pass(self.url, self.way)
        self.body.let_go()
        cache.variants.let_go(self)

    def over(self, reason: Reason, detail: str) -> None:
        """That was all, or there will be no more."""
        if self._over:
            return
        self._over = True
        cache, stored, spill = self.cache, self.stored, self._spill
        if self.answer is not None:
            whole = reason is Reason.ANSWERED and not self.body.broken
            kept = whole and self.body.held and not self.outdated
            if spill is None or not kept:
                cache.ended(self)
            if spill is None and kept and self._made_of_it is not None:
                self._keep(self._made_of_it.holding(self.body.whole()))
            self.body.finish(broken=not whole)
            if spill is not None and kept:
                spill.go_on()  # until it is stored others may read it from here
            else:
                self._stop_spilling()
            self._empty_if_unread()
            return
        cache.ended(self)
        if not self._again and stored is not None and reason is not Reason.CLIENT_GONE:
            self._give_stale(stored)
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if not self._again:
            for session in waiting[:1]:
                session.origin = self.origin
                session.fail(reason, detail)
            del waiting[:1]
        for session in waiting:
            session.start_anew()

    def _keep(self, stored: Stored) -> None:
        """It is stored from now on."""
        cache = self.cache
        if isinstance(stored.body, FileBody):
            cache.found(stored)
        else:
            cache.put(stored)
        cache.let_pass_no_more(self.url, self.way)
        cache.variants.keep(self, stored)

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
