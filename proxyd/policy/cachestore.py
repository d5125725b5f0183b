"""
What is stored, and how is it found again?

`Memory` knows answers by their URLs.  For one URL there may be several: by the way that requests take, and
by what they say in the fields that an answer names in Vary.  The sizes of all of them stay within a budget
(`eviction`); they are found by their tags, too, so that what belongs together can be purged together.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Hashable, Iterator, Optional, Sequence, Union

from proxyd.policy.cachekey import Chosen
from proxyd.policy.encoding import Decision
from proxyd.policy.eviction import Evictable, S3Fifo
from proxyd.policy.freshness import Terms, values
from proxyd.policy.purging import Rule, Voids
from proxyd.wire.httpfields import Field

VARIANTS = 32  # of one URL; a server that says Vary: User-Agent has no end of them
TAGS = 100  # of one answer, the others are not heeded
LONGEST_TAG = 256  # bytes

# Bytes that an answer takes in memory beside its body, and twice its head; and that each of its fields does.
OVERHEAD = 1200
OF_A_FIELD = 200
OF_A_TAG = 400  # by which it is found; of a tag that many have it is less

MOST_ELSEWHERE = 128  # answers in memory whose bodies are not: each is an open file

TOLD = 1000  # answers of which is kept what was prepared

PURGED_IN_A_STEP = 2000  # answers that are thrown away, or URLs that are looked at

NEVER = -math.inf

_VOID = -1  # the turn of what was purged


class Elsewhere:
    """A body that is not in memory, and so long."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    @property
    def is_gone(self) -> bool:
        """Whether it is there only for who holds on to it."""
        raise NotImplementedError


def held(body: Union[bytes, Elsewhere]) -> int:
    """The bytes that a body takes in memory."""
    return len(body) if isinstance(body, bytes) else 0


class Stored(Evictable):
    """
    One answer: ``names`` are the fields of requests that it goes by, ``chosen`` what these say.

    ``live`` says that it is the store's still; who holds on to one that is not may go on sending it.
    ``failed_at`` is when its server was last asked about it in vain.
    ``told`` is whose who sends it, and ``readers`` is how many `Memory.hold` it.  ``variants`` are the same
    answer as it leaves by decisions of compression, its body in a ``coding`` or not; they live and go with
    it.
    """

    __slots__ = (
        "body",
        "chosen",
        "coding",
        "failed_at",
        "fields",
        "live",
        "names",
        "readers",
        "reason",
        "status",
        "tags",
        "terms",
        "told",
        "turn",
        "url",
        "variants",
        "way",
    )

    def __init__(
        self,
        url: bytes,
        way: bytes,
        names: tuple[bytes, ...],
        chosen: tuple[bytes, ...],
        status: int,
        reason: bytes,
        fields: Sequence[Field],
        body: Union[bytes, Elsewhere],
        terms: Terms,
    ) -> None:
        head = sum(2 * len(field[2]) + OF_A_FIELD for field in fields)
        tags = tags_of(fields)
        found = 2 * len(url) + len(way) + sum(map(len, (*names, *chosen, *tags))) + OF_A_TAG * len(tags)
        super().__init__(held(body) + head + found + OVERHEAD)
        self.url = url
        self.way = way
        self.names = names
        self.chosen = chosen
        self.tags = tags
        self.live = False
        self.turn = 0  # in which it was stored (`proxyd.policy.purging`)
        self.status = status
        self.reason = reason
        self.fields = fields
        self.body = body
        self.terms = terms
        self.told: Any = None
        self.readers = 0
        self.coding = ""
        self.failed_at = NEVER
        self.variants: dict[Decision, Stored] = {}

    @property
    def name(self) -> Hashable:
        return self.url, self.way, self.chosen

    def answers(self, way: bytes, fields: Sequence[Field]) -> bool:
        """Whether it is an answer to a request for its URL (RFC 9111, 4.1)."""
        return self.is_for(way, Chosen(fields))

    def is_for(self, way: bytes, asked: Chosen) -> bool:
        """The same of a request that is asked about others, too."""
        return self.way == way and (not self.names or asked.by(self.names) == self.chosen)

    def same_as(self, other: Stored) -> bool:
        """Whether both are answers to the same."""
        return self.way == other.way and self.names == other.names and self.chosen == other.chosen

    def renewed(self, fields: Sequence[Field], terms: Terms) -> Stored:
        """The same after its server has said that it is still good."""
        made = self._with(fields, self.body, terms)
        for decision, variant in self.variants.items():
            body = made.body if variant.body is self.body else variant.body
            made.size += made.vary(decision, body)
        return made

    def holding(self, body: Union[bytes, Elsewhere]) -> Stored:
        """The same with this body."""
        return self._with(self.fields, body, self.terms)

    def vary(self, decision: Decision, body: Union[bytes, Elsewhere]) -> int:
        """Add what leaves by a decision, with this body; the bytes that it takes beside its own."""
        variant = self.variants[decision] = self.variant(decision, body)
        return variant.size - (held(body) if body is self.body else 0)

    def variant(self, decision: Decision, body: Union[bytes, Elsewhere]) -> Stored:
        """What leaves by a decision, with this body."""
        made = self._with(decision.fields(self.fields), body, self.terms)
        made.coding, made.live = decision.coding, self.live
        return made

    def _with(self, fields: Sequence[Field], body: Union[bytes, Elsewhere], terms: Terms) -> Stored:
        found = self.url, self.way, self.names, self.chosen
        return Stored(*found, self.status, self.reason, fields, body, terms)


def tags_of(fields: Sequence[Field]) -> frozenset[bytes]:
    """What an answer is called by, beside its URL: Surrogate-Key (Fastly) and Cache-Tag (Cloudflare)."""
    found = [each for line in values(fields, b"surrogate-key") for each in line.split()]
    found += [each.strip(b" \t") for line in values(fields, b"cache-tag") for each in line.split(b",")]
    return frozenset([each for each in found if 0 < len(each) <= LONGEST_TAG][:TAGS])


class Memory:
    """
    Answers whose sizes together are ``budget`` bytes at most, and what was prepared of those that were asked
    for last.

    What has gone, and is sent to slow clients still, counts, too, or many of them could fill the memory.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._kept: S3Fifo[Stored] = S3Fifo(budget)
        self._by_url: dict[bytes, list[Stored]] = {}
        self._by_tag: dict[bytes, set[Stored]] = {}
        self._told: dict[Stored, None] = {}
        self._elsewhere: dict[Stored, None] = {}  # those whose bodies are
        self.voids = Voids()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def used(self) -> int:
        """The bytes of all that is stored."""
        return self._kept.used

    @property
    def evicted(self) -> int:
        """How many answers have gone for want of room, ever."""
        return self._kept.evicted

    def find(self, url: bytes, way: bytes, fields: Sequence[Field]) -> Optional[Stored]:
        """The answer to a request that says this, if there is one; the newest, if there are several."""
        asked = Chosen(fields)
        for stored in self._by_url.get(url, ()):
            if stored.is_for(way, asked) and not (self.voids and self.is_void(stored)):
                stored.touch()
                return stored
        return None

    def is_void(self, stored: Stored) -> bool:
        """Whether it was purged, be it in the store still or not."""
        return stored.turn == _VOID or self.voids.have(stored.turn, stored.url, stored.tags)

    def names(self, url: bytes) -> tuple[bytes, ...]:
        """The fields of requests by which answers for a URL are known to be chosen."""
        return tuple(sorted({name for stored in self._by_url.get(url, ()) for name in stored.names}))

    def like(self, stored: Stored) -> Optional[Stored]:
        """The one that is an answer to the same as this, if there is one."""
        return next((other for other in self._by_url.get(stored.url, ()) if other.same_as(stored)), None)

    def put(self, stored: Stored) -> None:
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
        stored.live, stored.turn = True, self.voids.turn
        for variant in stored.variants.values():
            variant.live = True
        if isinstance(stored.body, Elsewhere):
            self._elsewhere[stored] = None
            if len(self._elsewhere) > MOST_ELSEWHERE:
                self.drop(next(iter(self._elsewhere)))
        for gone in self._kept.add(stored, proven):
            self._forget(gone)

    def drop(self, stored: Stored) -> None:
        """It is not to be used any more."""
        if stored.live:
            self._kept.remove(stored)
            self._forget(stored)

    def purge_url(self, url: bytes) -> int:
        """Drop the answers for a URL; how many there were."""
        found = list(self._by_url.get(url, ()))
        for stored in found:
            self._purge(stored)
        return len(found)

    def purge_tag(self, tag: bytes) -> Iterator[int]:
        """
        Drop the answers with a tag, in steps; how many there were, step by step.

        None of them is found any more as soon as this is called.
        """
        rule = self.voids.add(tag=tag)
        if rule.tag is None:  # there are too many rules: all is meant
            return self._sweep(rule, list(self._by_url), self._of_url)
        return self._sweep(rule, list(self._by_tag.get(tag, ())), lambda stored: (stored,))

    def purge_prefix(self, prefix: bytes) -> Iterator[int]:
        """The same of the answers whose URLs begin with this."""
        rule = self.voids.add(prefix=prefix)
        return self._sweep(rule, list(self._by_url), self._of_url)

    def _of_url(self, url: bytes) -> Sequence[Stored]:
        return tuple(self._by_url.get(url, ()))

    def _sweep(
        self, rule: Rule, those: Sequence[Any], answers: Callable[[Any], Sequence[Stored]]
    ) -> Iterator[int]:
        """Drop those of the answers that a rule is about; behind the last step it is over."""
        for place in range(0, len(those) or 1, PURGED_IN_A_STEP):
            count = 0
            for each in those[place : place + PURGED_IN_A_STEP]:
                for stored in answers(each):
                    if stored.live and stored.turn < rule.turn and rule.meets(stored.url, stored.tags):
                        self._purge(stored)
                        count += 1
            if place + PURGED_IN_A_STEP >= len(those):
                self.voids.over((rule,))
            yield count

    def _purge(self, stored: Stored) -> None:
        self.drop(stored)
        stored.turn = _VOID

    def _forget(self, stored: Stored) -> None:
        variants = self._by_url[stored.url]
        variants.remove(stored)
        if not variants:
            del self._by_url[stored.url]
        for tag in stored.tags:
            tagged = self._by_tag[tag]
            tagged.discard(stored)
            if not tagged:
                del self._by_tag[tag]
        self._elsewhere.pop(stored, None)
        for each in (stored, *stored.variants.values()):
            if each.readers:
                self._kept.budget -= held(each.body)
            each.live = False
            each.told = None
            self._told.pop(each, None)

    def hold(self, stored: Stored) -> None:
        """One more begins to send its body, piece by piece."""
        if not (stored.live or stored.readers):
            self._kept.budget -= held(stored.body)
        stored.readers += 1

    def part(self, stored: Stored) -> None:
        """One has sent it, or will not go on."""
        stored.readers -= 1
        if not (stored.live or stored.readers):
            self._kept.budget += held(stored.body)

    def drop_gone(self) -> None:
        """Do not be the only one who holds on to a body."""
        for stored in [each for each in self._elsewhere if each.body.is_gone]:  # type: ignore[union-attr]
            self.drop(stored)

    def vary(self, stored: Stored, decision: Decision, body: Union[bytes, Elsewhere]) -> Stored:
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
