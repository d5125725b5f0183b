"""
What becomes of a request whose answer may be stored?

A `CachingSession` looks for it before a server is asked, in this order:

1. What changes something makes what is stored invalid, when its answer has come.  What no cache has to do
   with (bodies, upgrades, no-store) goes to its server as anywhere.
2. What is stored, and fresh, is given: from bytes that are prepared, and no server hears of it.
3. What is being fetched is waited for; what is not is fetched (`proxyd.frontends.http.fetching`), or asked
   about, if it is stored and stale.
4. What is known not to be worth it, a HEAD, and a part of what is not stored go to their servers, too.

All that a client is told of is the record's ``cache``, and Cache-Status (RFC 9211).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Union

from twisted.internet.interfaces import IAddress

from proxyd.errors import Reason
from proxyd.frontends.http.bodies import Body, Reading, Whole
from proxyd.frontends.http.cache import (
    BYPASS,
    COALESCED,
    HIT,
    MISS,
    MOST_REFRESHES,
    STALE,
    Cache,
    Loading,
    cache_status,
)
from proxyd.frontends.http.disk import DiskStore
from proxyd.frontends.http.fetching import Fetch, Refresh
from proxyd.frontends.http.pages import Words
from proxyd.frontends.http.request import Introduction, is_in
from proxyd.frontends.http.session import HttpSession
from proxyd.frontends.http.sides import Shelf
from proxyd.frontends.http.variants import as_it_is
from proxyd.interfaces import RequestRecord
from proxyd.policy.cache import NO_WISH, REFRESH, VALIDATE, Wish, good_enough, judge, wish
from proxyd.policy.cache import STALE as STALE_ENOUGH
from proxyd.policy.cachekey import TOLD_OF_CLIENTS, normal_query, of_pool, url, way
from proxyd.policy.cachestore import Stored
from proxyd.policy.conditions import FAILED, NOT_MODIFIED, UNSATISFIABLE, along, answer_to
from proxyd.policy.freshness import Terms, terms
from proxyd.policy.invalidation import SAFE, invalidated
from proxyd.relay.streams import CHUNK, keeps_references
from proxyd.wire.http1 import UNTIL_CLOSE, Answer, Request, Said
from proxyd.wire.httpfields import Field, Unacceptable
from proxyd.wire.target import Target, parse_target

if TYPE_CHECKING:
    from proxyd.frontends.http.factory import HttpFactory

SMALL = 16 * 1024  # bytes of a body that is prepared as one with its head

WHOLE = 256 * 1024  # bytes of a body that is written at once where that copies nothing

PURGE = b"PURGE"

_RANGES = (b"range", b"if-range")


class Told:
    """What was prepared of an answer: it is good for one second, as its age is in it."""

    __slots__ = ("head", "second", "via", "whole")

    def __init__(self, second: int, via: bytes, head: bytes, body: bytes) -> None:
        self.second = second
        self.via = via
        self.head = head
        self.whole = head + body if len(body) <= SMALL else b""


class CachingSession(HttpSession):
    """
    One client's connection, where some answers are stored.

    ``url`` and ``way`` are what the one to the request under way is known by.
    """

    __slots__ = (
        "_cache",
        "_changes",
        "_coded",
        "_fetch",
        "_located",
        "_passing",
        "_reading",
        "_wish",
        "_wished",
        "loaded",
        "origin",
        "personal",
        "url",
        "way",
    )

    def __init__(self, factory: HttpFactory, address: IAddress) -> None:
        super().__init__(factory, address)
        self._cache: Optional[Cache] = None  # of the request under way
        self._changes = False  # it may make what is stored invalid
        self._passing = False  # its answer is not worth storing, as far as we know
        self._fetch: Optional[Union[Fetch, Loading]] = None  # which it waits for, or reads
        self._coded = ""  # what its answer was put in
        self.loaded: Optional[Stored] = None  # what was got for it from the disk
        self._reading: Optional[Reading] = None
        self._located: Optional[tuple[Request, Target, Target, str]] = None
        self._wished: Optional[Said] = None
        self._wish: Wish = NO_WISH
        self.origin: Optional[RequestRecord] = None  # where its answer has come from, by others
        self.personal = False  # it is somebody's (RFC 9111, 3.5)
        self.url = self.way = b""

    @property
    def asked(self) -> Request:
        """The request under way."""
        assert self._request is not None
        return self._request

    @property
    def forwarding(self) -> Introduction:
        """Who the client is."""
        assert self._forwarding is not None
        return self._forwarding

    # 1. Whose it is.

    def lead(self, request: Request) -> Optional[bytes]:
        cache, pool = self.http.cache, self.pool
        assert cache is not None and pool is not None
        located = self._located
        if located is not None and located[0] is request:
            target = located[2]
        else:
            try:
                target = parse_target(request.target, self.http.slashes)
            except Unacceptable as wrong:
                self.reject(wrong)
                return None
            target = self.locate(cache, of_pool(pool.name), request, target)
        rest = self.own_rest(request.said) if self.http.by_cookie else None
        return self.forwarding.head(request, self.client.transport, target.whole, rest=rest)

    def locate(self, cache: Cache, name: str, request: Request, target: Target) -> Target:
        """
        Know by what the answer to a request is known; returns what its server is asked for.

        ``name`` is that of its route or pool.
        """
        located = self._located
        self._cache = cache
        if located is not None and located[0] is request and located[1] is target and located[3] == name:
            return located[2]
        forwarding, spec = self.forwarding, cache.spec
        query = normal_query(target.query, spec.query, spec.ignore_parameters)
        made = Target(target.path, target.plain, query) if query != target.query else target
        self.url = url(forwarding.secure, request.host, made.whole)
        self.way = way(name, request.said.fields, forwarding.trusted)
        if request.method not in (b"GET", b"HEAD"):
            made = target  # it is not for us to change what is done
        self._located = (request, target, made, name)
        return made

    # 2. What is stored.

    def send_on(self, head: bytes) -> None:
        cache, pool = self._cache, self.pool
        if pool is not None and pool.maintenance.on and self.turns_away(pool):
            return
        if cache is None or not self._serve(cache, head):
            super().send_on(head)

    def _serve(self, cache: Cache, head: bytes) -> bool:
        """Answer the request without a server of its own; False if it is to have one."""
        request = self.asked
        said, method = request.said, request.method
        self._changes = self._passing = False
        self.cached = BYPASS
        if method != b"GET" and method != b"HEAD":
            self._changes = method not in SAFE
            return method == PURGE and self._purge(cache)
        if said.length or said.upgrade:
            return False
        if said is not self._wished:
            self._wished, self._wish = said, wish(said.fields, cache.spec.request_directives)
        wished = self._wish
        if wished.no_store:
            return False
        stored = cache.store.find(self.url, self.way, said.fields) or self.loaded
        self.loaded = None  # should it be of no use, it is not to be had again from here
        if stored is not None:
            what = judge(stored.terms, wished, self._began)
            if what != VALIDATE:
                if what == REFRESH:
                    self._refresh(cache, stored, head)
                self.give(stored, STALE if what in (STALE_ENOUGH, REFRESH) else HIT)
                return True
        elif cache.disk is not None and self._is_on_disk(cache, cache.disk, head):
            return True
        if wished.only_if_cached:
            self.cached = MISS
            self.say(504, Reason.ANSWERED, "only-if-cached (RFC 9111 5.2.1.7)")
            return True
        self.cached = MISS
        if method == b"HEAD" or any(field[0] == b"range" for field in said.fields):
            return False
        self._passing = cache.passes(self.url, self.way)
        if self._passing or cache.busy:
            return False
        self._wait_for(cache, stored, head)
        return True

    def _is_on_disk(self, cache: Cache, disk: DiskStore, head: bytes) -> bool:
        """Whether the answer is on the disk; then it is got from there, and the request begins again."""
        known = disk.find(self.url, self.way, self.asked.said.fields)
        if known is None:
            return False
        self._out = head
        loading = cache.load(known)
        self._fetch = loading
        self.wheel.hasten(self, cache.spec.lock_timeout)
        loading.join(self)
        return True

    def _wait_for(self, cache: Cache, stored: Optional[Stored], head: bytes) -> None:
        """Have it fetched, once for all who wait."""
        self._out = head
        personal = self.is_personal()
        alone = personal or self._wish.no_cache
        if stored is not None and not self.may_share(stored.terms, 0.0):
            alone = True  # its server wants to be asked for each
        fetch = None if alone else cache.fetch_of(self.url, self.way, self.asked.said.fields)
        if fetch is not None and fetch.serves(self):
            self._fetch = fetch
            self.wheel.hasten(self, cache.spec.lock_timeout)
            fetch.join(self)
            return
        fetch = self._fetch = Fetch(cache, self, head, stored)
        fetch.join(self, leads=True)
        fetch.begin(self)

    def is_personal(self) -> bool:
        """Whether what is got is for one alone, unless its server says otherwise."""
        return self.personal or self._wish.authorized or bool(self.user)

    def _refresh(self, cache: Cache, stored: Stored, head: bytes) -> None:
        """Ask for it anew, behind the answer, unless that is done already."""
        if cache.busy or cache.refreshing >= MOST_REFRESHES or self.is_personal():
            return
        if cache.fetch_of(self.url, self.way, self.asked.said.fields) is None:
            Refresh(cache, self, head, stored).begin(self)

    # What a fetch tells.

    def takes_stale(self, stored: Stored) -> bool:
        """Whether an answer that is stored is good enough, since there will be no other."""
        return self.is_answered_by(stored) and good_enough(stored.terms, self._wish, self.http.seconds())

    def is_answered_by(self, stored: Stored) -> bool:
        """Whether an answer that is stored is one to its request."""
        return stored.answers(self.way, self.asked.said.fields)

    def may_share(self, found: Terms, age: Optional[float] = None) -> bool:
        """
        Whether an answer to another may be used for it, on these terms, without asking the server.

        With ``age`` it is asked of an answer that will be so old.
        """
        now = self.http.seconds() if age is None else found.since + age
        return judge(found, self._wish, now) != VALIDATE

    def made_for_servers(self) -> frozenset[bytes]:
        """The fields that a server gets, and by our doing others for another client."""
        return TOLD_OF_CLIENTS

    def set_for_servers(self) -> frozenset[bytes]:
        """The fields that are ours in place of what the client says there."""
        return frozenset()

    def go_alone(self) -> None:
        """Ask a server, as without a cache."""
        self._fetch = None
        self._since = self.http.seconds()
        self._passing = True
        self.cached = MISS
        super().send_on(self._out)

    def start_anew(self) -> None:
        """Begin again, in another turn: what is fetched is nothing for this one."""
        fetch = self._fetch

        def begin() -> None:
            if self._fetch is fetch and self._answer is None and self._is_waiting():
                self._fetch = None
                self.send_on(self._out)

        self.wheel.clock.callLater(0, begin)

    def _is_waiting(self) -> bool:
        return self._request is not None and self.client.connected and self.reason is None

    def overdue(self) -> None:
        fetch = self._fetch
        if fetch is None or self._answer is not None or self.parting:
            super().overdue()
            return
        now, cache = self.http.seconds(), fetch.cache
        if 0 < self.ends_at <= now:
            self.cut(Reason.LIFETIME)
            return
        left = self.http.look
        if not fetch.leads(self):  # whose time is that of its server
            left = min(left, cache.spec.lock_timeout - (now - self._since))
        if left > 0:
            self.wheel.arm(self, self._no_later(left))
            return
        fetch.leave(self)
        self.wheel.arm(self, self._no_later(self.http.look))
        self.go_alone()

    # 3. The answer.

    def give(self, stored: Stored, word: str) -> None:
        """Answer with what is stored, or with what its conditions make of that."""
        request, delivery, cache = self.asked, self._delivery, self._cache
        assert delivery is not None and cache is not None
        self._fetch = None
        self.cached = word
        self._first = now = self.http.seconds()
        keep, edit, minor = self._goes_on(), self.edit(), request.said.minor
        self._status = stored.status
        of_head = request.method == b"HEAD"
        found = self._outcome(stored, now, of_head)
        if found == stored.status:
            stored = self._in_coding(cache, stored)
        if word == HIT and keep and minor and edit is None and request.method == b"GET":
            if not self._wish.conditional and self.paced is None:
                told = stored.told
                if told is None or told.second != int(now) or told.via is not delivery.via:
                    told = self._prepare(stored, now)
                    cache.store.prepared(stored, told)
                delivery.closes = delivery.chunked = False
                if told.whole:
                    self.client.transport.write(told.whole)
                    self._given(len(stored.body))
                else:
                    self._send(told.head, memoryview(stored.body), stored)
                return
        fields, declared, extra = list(stored.fields), len(stored.body), b""
        body = memoryview(b"") if of_head else memoryview(stored.body)
        reason = stored.reason
        if isinstance(found, tuple):
            first, last = found
            self._status, reason = 206, b"Partial Content"
            extra = b"Content-Range: bytes %d-%d/%d\r\n" % (first, last, declared)
            body, declared = body[first : last + 1], last + 1 - first
        elif found == NOT_MODIFIED and stored.status != NOT_MODIFIED:
            self._status, reason, body = 304, b"Not Modified", memoryview(b"")
            fields = self._as_it_is(304, along(fields), None)
        elif found == FAILED and stored.status != FAILED:
            self.say(412, Reason.ANSWERED, "")
            return
        elif found == UNSATISFIABLE and stored.status != UNSATISFIABLE:
            total = Words(fields=(b"Content-Range: bytes */%d" % declared,))
            self.say(416, Reason.ANSWERED, "", instead=total)
            return
        if edit is not None:
            fields = edit(fields)
        head = delivery.held(
            self._status,
            reason,
            fields,
            declared if self._status not in (204, 304) else None,
            minor,
            keep,
            extra + self._age(stored, now) + self._cache_status(word, stored, now),
        )
        self._send(head, body, stored)

    def _in_coding(self, cache: Cache, stored: Stored) -> Stored:
        """The same as this client is to have it."""
        compressor = self.compressor()
        if compressor is not None:
            stored = cache.variants.of(stored, self.asked, compressor, self.wheel.clock.callLater)
            self._coded = stored.coding
        return stored

    def _as_it_is(self, status: int, fields: list[Field], length: Optional[int]) -> list[Field]:
        return list(as_it_is(self.compressor(), status, fields, length, self.asked))

    def _outcome(self, stored: Stored, now: float, of_head: bool) -> Union[int, tuple[int, int]]:
        if not self._wish.conditional:
            return stored.status
        asked = self.asked.said.fields
        if of_head:
            asked = [field for field in asked if field[0] not in _RANGES]
        return answer_to(asked, stored.fields, len(stored.body), now, stored.status)

    def _prepare(self, stored: Stored, now: float) -> Told:
        """The head of an answer to a plain GET."""
        delivery = self._delivery
        assert delivery is not None
        declared = len(stored.body) if stored.status not in (204, 304) else None
        told = self._age(stored, now) + self._cache_status(HIT, stored, now)
        head = delivery.held(stored.status, stored.reason, stored.fields, declared, 1, True, told)
        return Told(int(now), delivery.via, head, stored.body)

    def _send(self, head: bytes, body: memoryview, stored: Stored) -> None:
        """Write it, at once if nothing is copied by that, else as the client takes it."""
        transport = self.client.transport
        if not body or (len(body) <= CHUNK and self.paced is None):
            transport.write(head + body if body else head)
        elif self.paced is None and len(body) <= WHOLE and keeps_references(transport):
            transport.write(head)
            transport.write(stored.body if len(body) == len(stored.body) else bytes(body))
        else:
            said = Said(1)
            said.fields = list(stored.fields)
            answer = Answer(self._status, stored.reason, said, 0)
            transport.write(head)
            self._read(Whole(body), answer)
            return
        self._given(len(body))

    def _given(self, length: int) -> None:
        """The answer has been written."""
        delivery = self._delivery
        assert delivery is not None
        self._nobody.received = length
        self.conclude(Reason.ANSWERED, "")
        self._go_behind(delivery.closes)

    def _go_behind(self, closes: bool) -> None:
        """The next request, or the end."""
        client = self.client
        if closes:
            self.close_client(True)
        elif client.held or client.finished or self._is_full():
            self._come_again()
        else:
            self._resume_idle()

    # Of a body that is read while it comes, or that is long.

    def read(self, fetch: Fetch, word: str) -> None:
        """The answer is there, and its body comes."""
        answer, request, delivery = fetch.answer, self.asked, self._delivery
        assert answer is not None and delivery is not None
        self.cached = word
        if word != COALESCED:
            self.origin = fetch.origin
        self._first = now = self.http.seconds()
        self._status = answer.status
        keep, edit, minor = self._goes_on(), self.edit(), request.said.minor
        if self.brought is not None and fetch.alone is not None:
            self.stays = fetch.session.stays
            edit = self._told_server(self.brought.affinity, answer, fetch.alone, edit)
        declared = fetch.declared if answer.said.length >= 0 else None
        fields = fetch.settled
        if self._wish.conditional and declared is not None:
            found = answer_to(request.said.fields, fields, declared, now, answer.status)
            if found in (NOT_MODIFIED, FAILED) and found != answer.status:
                self._answer_briefly(fetch, int(found), along(fields), keep)
                return
        fields = self._as_it_is(answer.status, fields, declared)
        if edit is not None:
            fields = edit(fields)
        told = fetch.age + self._cache_status(word)
        head = delivery.held(answer.status, answer.reason, fields, declared, minor, keep, told)
        self._fetch = fetch
        self._watch_progress()
        self.client.transport.write(head)
        self._down_left = UNTIL_CLOSE if declared is None else declared
        self._read(fetch.body, answer)

    def _answer_briefly(self, fetch: Fetch, status: int, fields: list[Field], keep: bool) -> None:
        """Its client has it already, or wants it only if it had."""
        delivery = self._delivery
        assert delivery is not None
        self._fetch = None
        fetch.left()
        if status == FAILED:
            self.say(412, Reason.ANSWERED, "")
            return
        edit = self.edit()
        fields = self._as_it_is(status, fields, None)
        fields = fields if edit is None else edit(fields)
        self._status = status
        told = self._cache_status(self.cached)
        minor = self.asked.said.minor
        head = delivery.held(status, b"Not Modified", fields, None, minor, keep, told)
        self.client.transport.write(head)
        self._given(0)

    def _read(self, body: Body, answer: Answer) -> None:
        reading = self._reading = Reading(self, body)
        if self.paced is not None:
            side = Shelf(self, reading)
            reading.pace(self.paced.of_server(side), side)
        self._answer = answer
        self._streaming = True
        body.read(reading)
        self.client.transport.registerProducer(reading, True)
        reading.go_on()

    def pass_on(self, piece: bytes) -> None:
        """Some of the body."""
        delivery = self._delivery
        assert delivery is not None
        self._nobody.received += len(piece)
        self.client.transport.write(delivery.data(piece))

    def read_all(self) -> None:
        """That was the body."""
        delivery = self._delivery
        assert delivery is not None
        end = delivery.end()
        if end:
            self.client.transport.write(end)
        self.conclude(Reason.ANSWERED, "")
        self._go_behind(delivery.closes)

    def read_broken(self) -> None:
        """The rest of it is lost."""
        self._give_up(Reason.ANSWER_CUT, "while it was fetched")

    # What is told of it.

    def _age(self, stored: Stored, now: float) -> bytes:
        return b"Age: %d\r\n" % stored.terms.age(now)

    def _cache_status(self, word: str, stored: Optional[Stored] = None, now: float = 0.0) -> bytes:
        """RFC 9211."""
        cache = self._cache
        if cache is None or not cache.spec.status_header:
            return b""
        ttl = None if stored is None else int(stored.terms.lifetime - stored.terms.age(now))
        return cache_status(self.http.spec.http.via, word, ttl)

    def conclude(self, reason: Reason, detail: str) -> None:
        reading, self._reading = self._reading, None
        fetch, self._fetch = self._fetch, None
        if reading is not None:
            reading.leave()
        if fetch is not None:
            fetch.leave(self)
            fetch.left()
        cache, word = self._cache, self.cached
        if cache is not None and word:
            cache.counts[word] += 1
            if word != MISS and word != BYPASS:
                cache.saved += self._nobody.received
        super().conclude(reason, detail)
        self.origin = self.loaded = None
        self._nobody.received = 0

    def note_cache(self, record: RequestRecord) -> None:
        super().note_cache(record)
        record.encoding, self._coded = self._coded, ""
        origin = self.origin
        if origin is not None:
            record.server, record.server_address = origin.server, origin.server_address
            record.connect_seconds, record.queue_seconds = origin.connect_seconds, origin.queue_seconds
            record.retries, record.hedged = origin.retries, origin.hedged

    # What changes what is stored.

    def _begin(self, answer: Answer, data: bytes) -> None:
        cache, delivery, picked, request = self._cache, self._delivery, self.picked, self.asked
        if cache is not None and delivery is not None and picked is not None:
            if self._changes:
                fields = delivery.settled(answer.said.fields, request, picked)
                for place in invalidated(request.method, answer.status, self.url, fields):
                    cache.invalidate(place)
            elif self._passing:
                now, fields = self.http.seconds(), answer.said.fields
                if terms(cache.rules, answer.status, fields, now, now, self.is_personal()) is not None:
                    cache.let_pass_no_more(self.url, self.way)
        super()._begin(answer, data)

    def _purge(self, cache: Cache) -> bool:
        """Throw away what is stored, if it is for its client to ask for that."""
        if not cache.spec.purge:
            return False
        address: Any = self.address if self.opening is None else self.opening.address
        if not is_in(getattr(address, "host", ""), cache.spec.purge):
            self.say(403, Reason.ANSWERED, "PURGE is not for this client")
            return True
        count = cache.purge_url(self.url)
        self.say(200 if count else 404, Reason.ANSWERED, f"{count} purged")
        return True
