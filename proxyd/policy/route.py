"""
Which route does a client take, by what it has sent first?

Of the routes whose conditions all hold, the most exact one: the name itself before a wildcard, a longer
wildcard before a shorter one, ``*`` after these, and a route without ``sni`` last (nginx's order of server
names).  Among routes alike in this, one with more conditions comes first, then the one written first.

``*.example.com`` covers ``a.example.com`` and ``a.b.example.com``, but not ``example.com`` (as in nginx, and
with HAProxy's ``-m end .example.com``; a certificate's wildcard covers one label, RFC 9525 6.3).  Names are
looked up, not walked over, so a thousand of them cost a client no more than one does.
"""

from __future__ import annotations

from typing import Collection, Optional, Sequence

from attrs import frozen

from proxyd.config.route import ANY_NAME, TLS, RouteSpec


@frozen
class _Rule:
    """A route, and what must hold besides the name."""

    spec: RouteSpec
    speaks: frozenset[str]
    alpn: frozenset[bytes]

    def holds(self, speaks: Collection[str], alpn: Sequence[bytes]) -> bool:
        if self.speaks and self.speaks.isdisjoint(speaks):
            return False
        return not self.alpn or (TLS in speaks and not self.alpn.isdisjoint(alpn))


class Routes:
    """The routes of one listener, in the order of the configuration."""

    def __init__(self, specs: Sequence[RouteSpec]) -> None:
        self._exact: dict[str, list[_Rule]] = {}
        self._wild: dict[str, list[_Rule]] = {}  # by the wildcard's end, which begins with its dot
        self._any: list[_Rule] = []
        self._nameless: list[_Rule] = []
        # Sorting keeps the order among equals, so each list is in the order in which its rules are asked.
        for spec in sorted(specs, key=_conditions, reverse=True):
            rule = _Rule(spec, frozenset(spec.speaks), frozenset(spec.alpn))
            if not spec.sni:
                self._nameless.append(rule)
            for name in spec.sni:
                if name == ANY_NAME:
                    self._any.append(rule)
                elif name.startswith("*"):
                    self._wild.setdefault(name[1:], []).append(rule)
                else:
                    self._exact.setdefault(name, []).append(rule)
        self._longest = max(map(len, self._wild), default=0)

    def choose(
        self, speaks: str, sni: str, alpn: Sequence[bytes], ended: bool = False
    ) -> Optional[RouteSpec]:
        """
        The route for a client that speaks this protocol; None if none fits.

        ``sni`` is the name it asked for, "" if it gave none, and ``alpn`` what it offers; both are TLS's.  If
        TLS has ``ended`` here, ``alpn`` is what was agreed on, and ``speaks`` what is within.
        """
        spoken = (TLS, speaks) if ended else (speaks,)
        if sni and TLS in spoken:
            found = self._by_name(sni.lower(), alpn)
            if found is not None:
                return found
        return _first(self._nameless, spoken, alpn)

    def _by_name(self, name: str, alpn: Sequence[bytes]) -> Optional[RouteSpec]:
        found = _first(self._exact.get(name, ()), (TLS,), alpn)
        # Before a wildcard's dot there is at least a letter, and none is longer than the longest.
        dot = name.find(".", max(1, len(name) - self._longest)) if self._wild else -1
        while found is None and dot > 0:
            found = _first(self._wild.get(name[dot:], ()), (TLS,), alpn)
            dot = name.find(".", dot + 1)
        return found or _first(self._any, (TLS,), alpn)


def _first(rules: Sequence[_Rule], speaks: Collection[str], alpn: Sequence[bytes]) -> Optional[RouteSpec]:
    return next((rule.spec for rule in rules if rule.holds(speaks, alpn)), None)


def _conditions(spec: RouteSpec) -> int:
    """How many conditions a route has; that a name or a protocol implies TLS is none."""
    return bool(spec.sni) + bool(spec.alpn) + bool(spec.speaks and not (spec.sni or spec.alpn))
