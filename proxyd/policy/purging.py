"""
Which answers were thrown away, though they may still be there?

What many answers are purged by (how their URLs begin, or a tag) is a rule from that moment on, which whoever
looks for an answer asks, until a sweep has been over all that was there: so nothing is given that was
purged, and nobody waits for the sweep.  An answer that comes later is not meant: each has the ``turn`` in
which it was stored, and a rule is for those before it.  Varnish calls such rules bans, and who sweeps the
ban lurker.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Optional, Sequence

from attrs import frozen

MOST_RULES = 1000  # with more all is void that was there before


@frozen
class Rule:
    """What is void of the answers before ``turn``: whose URL begins so, or that have this tag."""

    turn: int
    prefix: bytes = b""
    tag: Optional[bytes] = None

    def meets(self, url: bytes, tags: AbstractSet[bytes]) -> bool:
        """Whether an answer is meant, whenever it came."""
        return url.startswith(self.prefix) if self.tag is None else self.tag in tags


class Voids:
    """The rules of which the sweeps are not over; ``turn`` is that of an answer that is stored now."""

    __slots__ = ("rules", "turn")

    def __init__(self) -> None:
        self.turn = 0
        self.rules: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rules)

    def add(self, prefix: bytes = b"", tag: Optional[bytes] = None) -> Rule:
        """From now on this is void."""
        self.turn += 1
        rule = Rule(self.turn, prefix, tag)
        if len(self.rules) >= MOST_RULES:
            rule = Rule(self.turn)
            self.rules = ()
        self.rules += (rule,)
        return rule

    def over(self, rules: Sequence[Rule]) -> None:
        """Nothing is left that these are about."""
        self.rules = tuple(each for each in self.rules if each not in rules)

    def have(self, turn: int, url: bytes, tags: AbstractSet[bytes]) -> bool:
        """Whether an answer of that turn is void."""
        return any(turn < rule.turn and rule.meets(url, tags) for rule in self.rules)
