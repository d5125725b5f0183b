"""
What becomes of a request whose answer may be stored?

A `CachingSession` looks for it before a server is asked, in this order:

1. What changes something makes what is stored invalid, when its answer has come.  What no cache has to do
   with (bodies, upgrades, no-store) goes to its server as anywhere.
2. What is stored, and fresh, is given (`proxyd.frontends.http.giving`), and no server hears of it.
3. What is being fetched is waited for; what is not is fetched (`proxyd.frontends.http.fetching`), or asked
   about, if it is stored and stale.
4. What is known not to be worth it, a HEAD, and a part of what can never be stored go to their servers, too.

All that a client is told of is the record's ``cache``, and Cache-Status (RFC 9211).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Sequence

from twisted.internet.interfaces import IAddress

from proxyd.errors import Reason
from proxyd.frontends.http.cache import BYPASS, HIT, HOW, MISS, MOST_REFRESHES, STALE, Cache
from proxyd.frontends.http.disk import DiskStore
from proxyd.frontends.http.fetching import Fetch, Refresh
from proxyd.frontends.http.giving import GivingSession
from proxyd.frontends.http.pages import Edit
from proxyd.frontends.http.request import Introduction, is_in
from proxyd.policy.cache import REFRESH, VALIDATE, good_enough, judge, wish
from proxyd.policy.cache import STALE as STALE_ENOUGH
from proxyd.policy.cachekey import TOLD_OF_CLIENTS, normal_query, of_pool, url, way
from proxyd.policy.cachestore import NEVER, Stored
from proxyd.policy.conditions import contradicts, part_of
from proxyd.policy.freshness import Terms, terms, values
from proxyd.policy.invalidation import SAFE, invalidated
from proxyd.wire.http1 import Answer, Request, Said
from proxyd.wire.httpfields import END_TO_END, Field, Unacceptable
from proxyd.wire.target import Target, parse_target

if TYPE_CHECKING:
    from proxyd.frontends.http.factory import HttpFactory

PURGE = b"PURGE"

RESTS = 1.0  # seconds for which a server that has failed is not asked behind an answer


class CachingSession(GivingSession):
    """
    One client's connection, where some answers are stored.

    ``url`` and ``way`` are what the one to the request under way is known by.
    """

    __slots__ = ("_changes", "_located", "_passing", "_wished", "personal", "url", "way")

    def __init__(self, factory: HttpFactory, address: IAddress) -> None:
        super().__init__(factory, address)
        self._changes = False  # it may make what is stored invalid
        self._passing = False  # its answer is not worth storing, as far as we know
        self._located: Optional[tuple[Request, Target, Target, str]] = None
        self._wished: Optional[Said] = None
        self.personal = False  # it is somebody's (RFC 9111, 3.5)
        self.url = self.way = b""

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
        stored = cache.store.find(self.url, self.way, said.fields)
        if self.loaded is not None:
            if stored is None and cache.disk is not None and cache.disk.has(self.loaded):
                stored = self.loaded  # for which there was no room in memory
            self.loaded = None  # should it be of no use, it is not to be had again from here
        if stored is not None:
            what = self._judge_stored(stored)
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
        if method == b"HEAD" or self._asks_for_its_part(cache):
            return False
        self._passing = cache.passes(self.url, self.way)
        if self._passing or cache.busy:
            return False
        self._wait_for(cache, stored, head)
        return True

    def _asks_for_its_part(self, cache: Cache) -> bool:
        """Whether its server is asked for a part: of what is too long, or somebody's; or for several."""
        wanted = values(self.asked.said.fields, b"range")
        if not wanted:
            return False
        one = len(wanted) == 1 and isinstance(part_of(wanted[0], cache.spec.max_object), tuple)
        return not one or self.is_personal()

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
        if self._began < stored.failed_at + RESTS:
            return
        if self.asked.method == b"HEAD":
            return  # whose answer has no body that could be stored
        if cache.fetch_of(self.url, self.way, self.asked.said.fields) is None:
            Refresh(cache, self, head, stored).begin(self)

    def _judge_stored(self, stored: Stored) -> int:
        """
        What is done with what is stored.

        Who has asked before may have waited for a server that fails: then nobody else does, but those for
        whom it is not asked again behind what is stale.
        """
        what = judge(stored.terms, self._wish, self._began)
        if (
            what != VALIDATE
            or stored.failed_at == NEVER
            or self.asked.method == b"HEAD"
            or self.is_personal()
        ):
            return what
        return REFRESH if good_enough(stored.terms, self._wish, self._began) else VALIDATE

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

    # What changes what is stored.

    def edit_passed(self, fields: Sequence[Field]) -> Optional[Edit]:
        edit, word = super().edit_passed(fields), self.cached
        if not word:
            return edit
        unsafe = self.asked.method not in (b"GET", b"HEAD")
        line = self._cache_status(b"fwd=method" if unsafe else HOW[word])
        if not line:
            return edit
        told = (b"cache-status", b"", line, END_TO_END)
        return lambda fields: [*(fields if edit is None else edit(fields)), told]

    def _begin(self, answer: Answer, data: bytes) -> None:
        cache, delivery, picked, request = self._cache, self._delivery, self.picked, self.asked
        if cache is not None and delivery is not None and picked is not None:
            if self._changes:
                fields = delivery.settled(answer.said.fields, request, picked)
                for place in invalidated(request.method, answer.status, self.url, fields):
                    cache.invalidate(place)
            elif self._passing:
                now, wall, fields = self.http.seconds(), self.http.wall.now(), answer.said.fields
                if terms(cache.rules, answer.status, fields, now, now, wall, self.is_personal()) is not None:
                    cache.let_pass_no_more(self.url, self.way)
            elif request.method == b"HEAD" and not self.is_personal():
                stored = cache.store.find(self.url, self.way, request.said.fields)
                if stored is not None and contradicts(answer, stored.status, stored.fields, len(stored.body)):
                    cache.drop(stored)
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
