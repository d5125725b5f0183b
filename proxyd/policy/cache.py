"""
May a stored answer be used for a request?

RFC 9111, section 4, for a shared cache, and RFC 5861.  A `Wish` is what a request says to caches, and `judge`
what follows from it and from the terms of an answer; whether that answer is the right one is
`proxyd.policy.cachekey`'s.
"""

from __future__ import annotations

from typing import Optional, Sequence

from attrs import frozen

from proxyd.policy.freshness import Terms, values
from proxyd.wire.cachecontrol import parse_directives, shortest
from proxyd.wire.httpfields import Field

# What is done with a stored answer.
FRESH = 0  # it is used
STALE = 1  # it is used, though it is stale: the client does not mind
REFRESH = 2  # it is used, and asked for anew behind that (RFC 5861, 3)
VALIDATE = 3  # it is used if its server says that it is still good

# What no cache needs to know of a request, since it is asked of the stored answer (`conditions`).
CONDITIONS = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range"}
)

_TELLS = CONDITIONS | {b"cache-control", b"pragma", b"authorization"}


@frozen
class Wish:
    """
    What a request says to caches (RFC 9111, 5.2.1), times in seconds, None for what it does not say.

    ``conditional`` says that it has conditions, or wants a part; ``authorized`` that it is somebody's.
    """

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age: Optional[int] = None
    min_fresh: int = 0
    max_stale: Optional[float] = None
    conditional: bool = False
    authorized: bool = False

    @property
    def strict(self) -> bool:
        """Whether it wants no answer but what it says, whatever becomes of the server."""
        return self.no_cache or self.max_age is not None or self.min_fresh > 0


NO_WISH = Wish()


def wish(fields: Sequence[Field], heeded: bool = True) -> Wish:
    """
    What the fields of a request say to caches.

    Unless they are ``heeded``, its directives say nothing but no-store, which is about what we keep.
    """
    if not any(each[0] in _TELLS for each in fields):
        return NO_WISH
    control = values(fields, b"cache-control")
    said = parse_directives(control)
    conditional = any(each[0] in CONDITIONS for each in fields)
    authorized = any(each[0] == b"authorization" for each in fields)
    if not heeded:
        return Wish(no_store=b"no-store" in said, conditional=conditional, authorized=authorized)
    max_stale: Optional[float] = None
    if b"max-stale" in said:
        any_age = said[b"max-stale"] == [b""]
        max_stale = float("inf") if any_age else float(shortest(said, b"max-stale") or 0)
    pragma = not control and any(b"no-cache" in value.lower() for value in values(fields, b"pragma"))
    return Wish(
        b"no-store" in said,
        b"no-cache" in said or pragma,
        b"only-if-cached" in said,
        shortest(said, b"max-age"),
        shortest(said, b"min-fresh") or 0,
        max_stale,
        conditional,
        authorized,
    )


def judge(terms: Terms, wished: Wish, now: float) -> int:
    """What is done with an answer of these terms for a request with this wish."""
    if terms.always_validate or wished.no_cache:
        return VALIDATE
    age = terms.age(now)
    if wished.max_age is not None and age > wished.max_age:
        return VALIDATE
    left = terms.lifetime - age
    if left > 0 and left >= wished.min_fresh:
        return FRESH
    if terms.never_stale or wished.min_fresh:
        return VALIDATE
    if wished.max_stale is not None and -left <= wished.max_stale:
        return STALE
    return REFRESH if -left < terms.while_revalidate else VALIDATE


def good_enough(terms: Terms, wished: Wish, now: float) -> bool:
    """Whether an answer that would have to be validated is used, since that has failed (RFC 5861, 4)."""
    if terms.always_validate or terms.never_stale or wished.strict:
        return False
    return terms.age(now) - terms.lifetime < terms.if_error
