"""
Which route does a client take, by what it has sent first?

Of the routes whose conditions all hold, the one that is written first.

``*.example.com`` covers ``a.example.com`` and ``a.b.example.com``, but not ``example.com`` (as in nginx, and
with HAProxy's ``-m end .example.com``; a certificate's wildcard covers one label, RFC 9525 6.3).  Names are
looked up, not walked over, so a thousand of them cost a client no more than one does.
"""

from __future__ import annotations

from typing import Collection, Generic, Optional, Sequence, TypeVar

from attrs import frozen

from proxyd.config.condition import ANY_NAME
from proxyd.config.route import TLS, RouteSpec

_Rule = TypeVar("_Rule")


class ByName(Generic[_Rule]):
    """Rules, each for some names, or for all and none; for a name those that are for it, in their order."""

    def __init__(self, rules: Sequence[tuple[Sequence[str], _Rule]]) -> None:
        self._rules = [rule for _, rule in rules]
        self._exact: dict[str, list[int]] = {}
        self._wild: dict[str, list[int]] = {}  # by the wildcard's end, which begins with its dot
        self._any: list[int] = []
        self._nameless: list[int] = []
        for place, (names, _) in enumerate(rules):
            if not names:
                self._nameless.append(place)
            for name in names:
                if name == ANY_NAME:
                    self._any.append(place)
                elif name.startswith("*"):
                    self._wild.setdefault(name[1:], []).append(place)
                else:
                    self._exact.setdefault(name, []).append(place)
        self._longest = max(map(len, self._wild), default=0)

    def of(self, name: str) -> list[_Rule]:
        """Those for this name, which is in lower case; "" is no name."""
        if not name:
            return [self._rules[place] for place in self._nameless]
        places = {*self._nameless, *self._any, *self._exact.get(name, ())}
        # Before a wildcard's dot there is at least a letter, and none is longer than the longest.
        dot = name.find(".", max(1, len(name) - self._longest)) if self._wild else -1
        while dot > 0:
            places.update(self._wild.get(name[dot:], ()))
            dot = name.find(".", dot + 1)
        return [self._rules[place] for place in sorted(places)]


@frozen
class _Opening:
    """A route, and what must hold besides the name."""

    spec: RouteSpec
    speaks: frozenset[str]
    alpn: frozenset[bytes]

    def holds(self, speaks: Collection[str], alpn: Sequence[bytes]) -> bool:
        if self.speaks and self.speaks.isdisjoint(speaks):
            return False
        return not self.alpn or (TLS in speaks and not self.alpn.isdisjoint(alpn))


class Routes:
    """The routes of one listener for whole connections, in the order of the configuration."""

    def __init__(self, specs: Sequence[RouteSpec]) -> None:
        self._routes = ByName(
            [(spec.sni, _Opening(spec, frozenset(spec.speaks), frozenset(spec.alpn))) for spec in specs]
        )

    def choose(
        self, speaks: str, sni: str, alpn: Sequence[bytes], ended: bool = False
    ) -> Optional[RouteSpec]:
        """
        The route for a client that speaks this protocol; None if none fits.

        ``sni`` is the name it asked for, "" if it gave none, and ``alpn`` what it offers; both are TLS's.  If
        TLS has ``ended`` here, ``alpn`` is what was agreed on, and ``speaks`` what is within.
        """
        spoken = (TLS, speaks) if ended else (speaks,)
        for rule in self._routes.of(sni.lower() if TLS in spoken else ""):
            if rule.holds(spoken, alpn):
                return rule.spec
        return None
