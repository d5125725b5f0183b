"""
What is stored, and how is it found again?

A `Store` knows answers by their URLs.  For one URL there may be several: by the way that requests take, and
by what they say in the fields that an answer names in Vary.  The sizes of all of them stay within a budget
(`eviction`); they are found by their tags, too, so that what belongs together can be purged together.
"""

from __future__ import annotations

from typing import Any, Generic, Hashable, Iterator, Optional, Sequence, TypeVar

from proxyd.policy.cachekey import chosen_by
from proxyd.policy.encoding import Decision
from proxyd.policy.eviction import Evictable, S3Fifo
from proxyd.policy.freshness import Terms, values
from proxyd.wire.httpfields import Field

VARIANTS = 32  # of one URL; a server that says Vary: User-Agent has no end of them
TAGS = 100  # of one answer, the others are not heeded
LONGEST_TAG = 256  # bytes

# Bytes that an answer takes in memory beside its body, and twice its head; and that each of its fields does.
OVERHEAD = 1200
OF_A_FIELD = 200
OF_A_TAG = 400  # by which it is found; of a tag that many have it is less

TOLD = 1000  # answers of which is kept what was prepared

PURGED_IN_A_STEP = 5000  # URLs that are looked at


class Filed(Evictable):
    """
    One answer, as it is found: ``names`` are the fields of requests that it goes by, ``chosen`` what these
    say.

    ``live`` says that it is the store's still; who holds on to one that is not may go on sending it.
    """

    __slots__ = ("chosen", "live", "names", "tags", "url", "way")

    def __init__(
        self,
        url: bytes,
        way: bytes,
        names: tuple[bytes, ...],
        chosen: tuple[bytes, ...],
        tags: frozenset[bytes],
        size: int,
    ) -> None:
        super().__init__(size)
        self.url = url
        self.way = way
        self.names = names
        self.chosen = chosen
        self.tags = tags
        self.live = False

    @property
    def name(self) -> Hashable:
        return self.url, self.way, self.chosen

    def answers(self, way: bytes, fields: Sequence[Field]) -> bool:
        """Whether it is an answer to a request for its URL (RFC 9111, 4.1)."""
        return self.way == way and (not self.names or chosen_by(self.names, fields) == self.chosen)

    def same_as(self, other: Filed) -> bool:
        """Whether both are answers to the same."""
        return self.way == other.way and self.names == other.names and self.chosen == other.chosen


class Stored(Filed):
    """
    The same with all that is sent; ``told`` is whose who sends it.

    ``variants`` are the same answer as it leaves by decisions of compression, its body in a ``coding`` or
    not; they live and go with it.
    """

    __slots__ = ("body", "coding", "fields", "reason", "status", "terms", "told", "variants")

    def __init__(
        self,
        url: bytes,
        way: bytes,
        names: tuple[bytes, ...],
        chosen: tuple[bytes, ...],
        status: int,
        reason: bytes,
        fields: Sequence[Field],
        body: bytes,
        terms: Terms,
    ) -> None:
        head = sum(2 * len(field[2]) + OF_A_FIELD for field in fields)
        tags = tags_of(fields)
        found = 2 * len(url) + len(way) + sum(map(len, (*names, *chosen, *tags))) + OF_A_TAG * len(tags)
        super().__init__(url, way, names, chosen, tags, len(body) + head + found + OVERHEAD)
        self.status = status
        self.reason = reason
        self.fields = fields
        self.body = body
        self.terms = terms
        self.told: Any = None
        self.coding = ""
        self.variants: dict[Decision, Stored] = {}

    def renewed(self, fields: Sequence[Field], terms: Terms) -> Stored:
        """The same after its server has said that it is still good."""
        made = self._with(fields, self.body, terms)
        for decision, variant in self.variants.items():
            body = made.body if variant.body is self.body else variant.body
            made.size += made.vary(decision, body)
        return made

    def vary(self, decision: Decision, body: bytes) -> int:
        """Add what leaves by a decision, with this body; the bytes that it takes beside its own."""
        variant = self.variants[decision] = self.variant(decision, body)
        return variant.size - (len(body) if body is self.body else 0)

    def variant(self, decision: Decision, body: bytes) -> Stored:
        """What leaves by a decision, with this body."""
        made = self._with(decision.fields(self.fields), body, self.terms)
        made.coding, made.live = decision.encodes, self.live
        return made

    def _with(self, fields: Sequence[Field], body: bytes, terms: Terms) -> Stored:
        found = self.url, self.way, self.names, self.chosen
        return Stored(*found, self.status, self.reason, fields, body, terms)


def tags_of(fields: Sequence[Field]) -> frozenset[bytes]:
    """What an answer is called by, beside its URL: Surrogate-Key (Fastly) and Cache-Tag (Cloudflare)."""
    found = [each for line in values(fields, b"surrogate-key") for each in line.split()]
    found += [each.strip(b" \t") for line in values(fields, b"cache-tag") for each in line.split(b",")]
    return frozenset([each for each in found if 0 < len(each) <= LONGEST_TAG][:TAGS])


Kept = TypeVar("Kept", bound=Filed)


class Store(Generic[Kept]):
    """Answers whose sizes together are ``budget`` bytes at most."""

    def __init__(self, budget: int) -> None:
        self._kept: S3Fifo[Kept] = S3Fifo(budget)
        self._by_url: dict[bytes, list[Kept]] = {}
        self._by_tag: dict[bytes, set[Kept]] = {}

    def forgotten(self, stored: Kept) -> None:
        """It is not the store's any more; called once for each."""

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def budget(self) -> int:
        """So many bytes it may use."""
        return self._kept.budget

    @property
    def used(self) -> int:
        """The bytes of all that is stored."""
        return self._kept.used

    @property
    def evicted(self) -> int:
        """How many answers have gone for want of room, ever."""
        return self._kept.evicted

    def find(self, url: bytes, way: bytes, fields: Sequence[Field]) -> Optional[Kept]:
        """The answer to a request that says this, if there is one; the newest, if there are several."""
        for stored in self._by_url.get(url, ()):
            if stored.answers(way, fields):
                stored.touch()
                return stored
        return None

    def names(self, url: bytes) -> tuple[bytes, ...]:
        """The fields of requests by which answers for a URL are known to be chosen."""
        return tuple(sorted({name for stored in self._by_url.get(url, ()) for name in stored.names}))

    def like(self, stored: Filed) -> Optional[Kept]:
        """The one that is an answer to the same as this, if there is one."""
        return next((other for other in self._by_url.get(stored.url, ()) if other.same_as(stored)), None)

    def put(self, stored: Kept) -> None:
        """Keep it, in the place of the one that was an answer to the same."""
        proven = False
        other = self.like(stored)
        if other is not None:
            proven = other.in_main or other.hits > 1
            self.drop(other)
        variants = self._by_url.setdefault(stored.url, [])
        if len(variants) >= VARIANTS:
            self.drop(variants[-1])
        variants.insert(0, stored)
        for tag in stored.tags:
            self._by_tag.setdefault(tag, set()).add(stored)
        stored.live = True
        for gone in self._kept.add(stored, proven):
            self._forget(gone)

    def drop(self, stored: Kept) -> None:
        """It is not to be used any more."""
        if stored.live:
            self._kept.remove(stored)
            self._forget(stored)

    def purge_url(self, url: bytes) -> int:
        """Drop the answers for a URL; how many there were."""
        found = list(self._by_url.get(url, ()))
        for stored in found:
            self.drop(stored)
        return len(found)

    def purge_tag(self, tag: bytes) -> int:
        """Drop the answers with a tag; how many there were."""
        found = list(self._by_tag.get(tag, ()))
        for stored in found:
            self.drop(stored)
        return len(found)

    def purge_prefix(self, prefix: bytes) -> Iterator[int]:
        """Drop the answers whose URLs begin with this, in steps; how many there were, so far."""
        count = 0
        urls = list(self._by_url)
        for place in range(0, len(urls), PURGED_IN_A_STEP):
            for url in urls[place : place + PURGED_IN_A_STEP]:
                if url.startswith(prefix):
                    count += self.purge_url(url)
            yield count

    def _forget(self, stored: Kept) -> None:
        stored.live = False
        variants = self._by_url[stored.url]
        variants.remove(stored)
        if not variants:
            del self._by_url[stored.url]
        for tag in stored.tags:
            tagged = self._by_tag[tag]
            tagged.discard(stored)
            if not tagged:
                del self._by_tag[tag]
        self.forgotten(stored)


class Memory(Store[Stored]):
    """Answers in memory, and what was prepared of those that were asked for last."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self._told: dict[Stored, None] = {}

    def put(self, stored: Stored) -> None:
        super().put(stored)
        for variant in stored.variants.values():
            variant.live = stored.live

    def vary(self, stored: Stored, decision: Decision, body: bytes) -> Stored:
        """What leaves by a decision, with this body: kept as a part of the answer, if that is kept."""
        if not stored.live:
            return stored.variant(decision, body)
        more = stored.vary(decision, body)
        for gone in self._kept.grow(stored, more):
            self._forget(gone)
        return stored.variants[decision]

    def prepared(self, stored: Stored, told: Any) -> None:
        """Keep what was prepared of it, for as long as there are not many others."""
        stored.told = told
        if not stored.live or stored in self._told:
            return
        if len(self._told) >= TOLD:
            oldest = next(iter(self._told))
            del self._told[oldest]
            oldest.told = None
        self._told[stored] = None

    def forgotten(self, stored: Stored) -> None:
        for each in (stored, *stored.variants.values()):
            each.live = False
            each.told = None
            self._told.pop(each, None)
