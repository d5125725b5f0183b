"""
May an answer be stored, and for how long may it be used?

RFC 9111 for a shared cache, with RFC 5861 (stale answers) and RFC 9213 (fields that are meant for us).  Where
two things are said, the careful one counts.  What nobody says how long it is good for is not stored, unless
the operator wants us to guess.
"""

from __future__ import annotations

from typing import Iterable, Mapping, Optional, Sequence

from attrs import field, frozen

from proxyd.wire.cachecontrol import Directives, parse_directives, parse_targeted, seconds, shortest
from proxyd.wire.httpdate import parse_date
from proxyd.wire.httpfields import Field, tokens

# RFC 9110, 15.1: those for which it may be guessed.
HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})

# Whose meaning for caches is known (RFC 9111, 5.2.2.3); all else is taken for the first of its hundred.
UNDERSTOOD = HEURISTIC | {201, 202, 205, 302, 303, 307, *range(400, 432), 451, 500, 502, 503, 504, 505}

# Parts of an answer, and answers that say something of another one: they are of no use alone.
_INCOMPLETE = frozenset({206, 304})

_COOKIE = b"set-cookie"

LONGEST_GUESS = 86_400.0  # seconds (RFC 9111, 4.2.2 has a day for it)


@frozen
class Rules:
    """
    What the operator asks of a cache.

    ``heuristic`` is the share of the time since Last-Modified for which an answer is good that does not say;
    0 is for never.  ``targeted`` are the fields that come before Cache-Control, by their names in lower
    case.  ``negative`` has the seconds for answers of a status that do not say for how long.
    ``while_revalidate`` and ``if_error`` are seconds for answers that do not say (RFC 5861).  With
    ``ignore_set_cookie`` an answer that sets a cookie is stored, without that.
    """

    heuristic: float = 0.0
    targeted: tuple[bytes, ...] = ()
    negative: Mapping[int, float] = field(factory=dict)
    while_revalidate: float = 0.0
    if_error: float = 0.0
    ignore_set_cookie: bool = False


@frozen
class Terms:
    """
    On which terms an answer may be used, times in seconds.

    ``lifetime`` is how old it may be while it is fresh, ``since`` when it was made, as its age is
    counted, by a clock that nobody sets.
    ``always_validate`` says that it is used after validation alone, ``never_stale`` that no server's failure
    makes it good.  ``without`` are the names of fields that must not be stored, since they are for who has
    asked alone.
    """

    lifetime: float
    since: float
    always_validate: bool = False
    never_stale: bool = False
    while_revalidate: float = 0.0
    if_error: float = 0.0
    without: frozenset[bytes] = frozenset()

    def age(self, now: float) -> float:
        """How old it is (RFC 9111, 4.2.3)."""
        return max(0.0, now - self.since)


def values(fields: Iterable[Field], name: bytes) -> list[bytes]:
    """What the fields of this name, in lower case, say."""
    return [each[1] for each in fields if each[0] == name]


def directives(fields: Iterable[Field], targeted: Iterable[bytes] = ()) -> tuple[Directives, bool]:
    """What holds for us of an answer, and whether that was said by a field that is meant for us."""
    for name in targeted:
        lines = values(fields, name)
        found = parse_targeted(lines) if lines else None
        if found is not None:
            return found, True
    return parse_directives(values(fields, b"cache-control")), False


def terms(
    rules: Rules,
    status: int,
    fields: Sequence[Field],
    asked: float,
    came: float,
    wall: float,
    authorized: bool = False,
) -> Optional[Terms]:
    """
    The terms of an answer to a GET, or None if it must not be stored.

    ``asked`` and ``came`` are when the request left and the answer came, by a clock that nobody sets: its age
    grows by what has passed since.  ``wall`` is the wall time then, with which its dates are compared.
    ``authorized`` says that it is for somebody (RFC 9111, 3.5).
    """
    said, ours = directives(fields, rules.targeted)
    if status < 200 or status in _INCOMPLETE:
        return None
    if b"must-understand" in said:
        if status not in UNDERSTOOD:
            return None
    elif b"no-store" in said:
        return None
    if _whole(said, b"private") or b"*" in _listed(fields, b"vary"):
        return None
    without = _named(said, b"private") | _named(said, b"no-cache")
    if values(fields, _COOKIE) and _COOKIE not in without:
        if not rules.ignore_set_cookie:
            return None  # RFC 9111, 7.3: it is not forbidden, but what is in it is for one
        without |= {_COOKIE}
    shared = b"s-maxage" in said
    public = b"public" in said
    if authorized and not (shared or public or b"must-revalidate" in said):
        return None
    date = _date(fields, b"date", wall)
    lifetime = _lifetime(rules, status, fields, said, ours, wall if date is None else date)
    if lifetime is None:
        return None
    never_stale = shared or b"must-revalidate" in said or b"proxy-revalidate" in said
    while_revalidate = shortest(said, b"stale-while-revalidate")
    if_error = shortest(said, b"stale-if-error")
    always = _whole(said, b"no-cache")
    made = Terms(
        lifetime,
        came - _initial_age(fields, date, came - asked, wall),
        always,
        never_stale,
        0.0 if never_stale else rules.while_revalidate if while_revalidate is None else while_revalidate,
        0.0 if never_stale else rules.if_error if if_error is None else if_error,
        without,
    )
    validated = bool(values(fields, b"etag") or values(fields, b"last-modified"))
    left = 0.0 if always else lifetime + max(made.while_revalidate, made.if_error) - made.age(came)
    return made if left > 0 or validated else None


def _lifetime(
    rules: Rules, status: int, fields: Sequence[Field], said: Directives, ours: bool, date: float
) -> Optional[float]:
    """For how long it is fresh (RFC 9111, 4.2.1); None if nobody says so, and it is not to be guessed."""
    for name in (b"s-maxage", b"max-age"):
        found = shortest(said, name)
        if found is not None:
            return float(found)
    expires = [] if ours else values(fields, b"expires")
    if expires:
        ends = [parse_date(each, date) for each in expires]
        return max(0.0, min(0.0 if end is None else end - date for end in ends))
    if status in rules.negative:
        return rules.negative[status]
    if rules.heuristic and (status in HEURISTIC or b"public" in said):
        modified = _date(fields, b"last-modified", date)
        if modified is not None and modified < date:
            return min(LONGEST_GUESS, rules.heuristic * (date - modified))
    return 0.0 if b"no-cache" in said or b"public" in said else None


def _initial_age(fields: Sequence[Field], date: Optional[float], delay: float, wall: float) -> float:
    """How old it is when it comes (RFC 9111, 4.2.3)."""
    apparent = max(0.0, wall - date) if date is not None else 0.0
    said = [each for line in values(fields, b"age") for each in line.split(b",")]
    told = (seconds(said[0].strip(b" \t")) or 0) if said else 0  # RFC 9111, 5.1: the first counts
    return max(apparent, told + max(0.0, delay))


def _date(fields: Sequence[Field], name: bytes, wall: float) -> Optional[int]:
    found = values(fields, name)
    return parse_date(found[0], wall) if found else None


def _listed(fields: Sequence[Field], name: bytes) -> list[bytes]:
    return [each for line in values(fields, name) for each in tokens(line) or (b"*",)]


def _whole(said: Directives, name: bytes) -> bool:
    """Whether a directive that may be for some fields is for all of the answer."""
    return any(tokens(argument) is None or not tokens(argument) for argument in said.get(name, ()))


def _named(said: Directives, name: bytes) -> frozenset[bytes]:
    """The fields that a directive is for (RFC 9111, 5.2.2.4 and 5.2.2.7)."""
    return frozenset(each for argument in said.get(name, ()) for each in tokens(argument) or ())


def vary(fields: Sequence[Field]) -> tuple[bytes, ...]:
    """The names of the fields of a request by which an answer was chosen, in order (RFC 9111, 4.1)."""
    return tuple(sorted(set(_listed(fields, b"vary"))))
