"""
Which route does a request take?

Of the routes whose conditions all hold, the one that is written first.  Those for its host are looked up, and
asked one after another; what several of them want to know of the request is found out once, and what none
wants to know is not.

Where the path decides, it is that of `proxyd.wire.target`: the same one is compared and sent to the server.
"""

from __future__ import annotations

from typing import Callable, Iterable, Optional, Sequence

import regex

from proxyd.config.cache import OFF
from proxyd.config.condition import Values, names_cover
from proxyd.config.route import RouteSpec
from proxyd.policy.action import is_there, location
from proxyd.policy.asked import Asked, host_of
from proxyd.policy.lists import Listed, Lists
from proxyd.policy.route import ByName
from proxyd.wire.target import Target, parse_target

# Of the processor, for one search: a sane pattern takes a path of some KiB in a hundredth of that.
SEARCH_SECONDS = 0.01

_REMEMBERED = 1000  # hosts
_LONGEST_REMEMBERED = 260  # bytes of one: a name, a port


# How it is found out, of which name, and whether it is one that is sought.
_Value = tuple[Callable[[Asked, str], Iterable[str]], str, Callable[[str], bool]]


class Undecided(Exception):
    """A pattern takes too long to be searched for; says whose."""


class HttpRoute:
    """One route, and whether it is for a request."""

    __slots__ = ("_client", "_methods", "_patterns", "_redirect", "_tests", "_values", "by_path", "spec")

    def __init__(self, spec: RouteSpec, lists: Lists) -> None:
        wanted = spec.condition
        self.spec = spec
        stores = spec.action.cache not in ("", OFF)
        moves = spec.action.rewrite is not None or spec.action.root is not None
        counts = spec.action.request_rate_per_path is not None
        self.by_path = wanted.by_path or moves or stores or counts
        methods = {*wanted.method, "HEAD"} if "GET" in wanted.method else {*wanted.method}
        self._methods = frozenset(method.encode("ascii") for method in methods)
        self._patterns = [regex.compile(pattern) for pattern in wanted.path_regex]
        self._client: tuple[Listed, ...] = ()
        if wanted.client is not None:
            self._client = lists.members(wanted.client, "its networks")
        self._values: list[_Value] = [
            (get, name, self._sought(values))
            for get, pairs in (
                (Asked.values, wanted.header),
                (Asked.parameters, wanted.query),
                (Asked.cookies, wanted.cookie),
            )
            for name, values in pairs
        ]
        # What costs least is asked first.
        tests: list[tuple[object, Callable[[Asked], bool]]] = [
            (self._methods, lambda asked: asked.method in self._methods),
            (spec.alpn, lambda asked: any(each in spec.alpn for each in asked.alpn)),
            (spec.sni, lambda asked: any(asked.sni and names_cover(each, asked.sni) for each in spec.sni)),
            (wanted.path_exact, _is_one_of(wanted.path_exact)),
            (wanted.path, _is_below_one_of(wanted.path)),
            (wanted.client, lambda asked: any(each.networks.covers(asked.client) for each in self._client)),
            (self._values, self._has_values),
            (self._patterns, lambda asked: any(self._finds(each, asked.path) for each in self._patterns)),
        ]
        self._tests = tuple(test for sought, test in tests if sought)
        self._redirect = spec.action.redirect

    def holds(self, asked: Asked) -> bool:
        """Whether all conditions hold but for the host, and it leads elsewhere.  Raises `Undecided`."""
        for test in self._tests:
            if not test(asked):
                return False
        return self._redirect is None or not is_there(location(self._redirect, asked), asked)

    def _has_values(self, asked: Asked) -> bool:
        return all(any(map(sought, get(asked, name))) for get, name, sought in self._values)

    def _sought(self, values: Values) -> Callable[[str], bool]:
        if values.anything:
            return lambda text: True
        texts = frozenset(values.texts)
        patterns = [regex.compile(pattern) for pattern in values.patterns]
        if not patterns:
            return texts.__contains__
        return lambda text: text in texts or any(self._finds(pattern, text) for pattern in patterns)

    def _finds(self, pattern: regex.Pattern[str], text: str) -> bool:
        try:
            return pattern.search(text, timeout=SEARCH_SECONDS) is not None
        except TimeoutError:
            raise Undecided(f"route {self.spec.name}: {pattern.pattern!r} takes too long") from None


def _is_one_of(paths: Sequence[str]) -> Callable[[Asked], bool]:
    exact = frozenset(path.encode("utf-8") for path in paths)
    return lambda asked: asked.target.plain in exact


def _is_below_one_of(paths: Sequence[str]) -> Callable[[Asked], bool]:
    """The same as `proxyd.config.condition.is_below` for each of them, in two looks."""
    exact = frozenset(path.encode("utf-8") for path in paths)
    below = tuple(path if path[-1:] == b"/" else path + b"/" for path in exact)
    return lambda asked: asked.target.plain in exact or asked.target.plain.startswith(below)


class HttpRoutes:
    """The routes of one listener for requests, in the order of the configuration."""

    def __init__(
        self, specs: Sequence[RouteSpec], lists: Lists, slashes: bool = False, by_path: bool = False
    ) -> None:
        """
        With ``slashes`` a slash in a path that is escaped is a letter like others.

        ``by_path`` says that paths decide, whatever the routes say.
        """
        routes = [HttpRoute(spec, lists) for spec in specs]
        self._by_host = ByName([(route.spec.condition.host, route) for route in routes])
        self._by_path = by_path or any(route.by_path for route in routes)
        self._slashes = slashes
        self._remembered: dict[bytes, list[HttpRoute]] = {}

    def target(self, text: bytes) -> Target:
        """
        What a target names: in its normal form if that decides, else as it came.

        Raises `proxyd.wire.httpfields.Unacceptable`.
        """
        if self._by_path:
            return parse_target(text, self._slashes)
        path, mark, query = text.partition(b"?")
        return Target(path, path, query if mark else None)

    def choose(self, asked: Asked) -> Optional[HttpRoute]:
        """The route for a request, None if none fits.  Raises `Undecided`."""
        for route in self._of(asked.host):
            if route.holds(asked):
                return route
        return None

    def _of(self, authority: bytes) -> list[HttpRoute]:
        """Those for a host; of the last ones it is remembered, since hosts are few and requests many."""
        found = self._remembered.get(authority)
        if found is None:
            found = self._by_host.of(host_of(authority)[0])
            if len(authority) <= _LONGEST_REMEMBERED:
                if len(self._remembered) >= _REMEMBERED:
                    self._remembered.clear()
                self._remembered[authority] = found
        return found
