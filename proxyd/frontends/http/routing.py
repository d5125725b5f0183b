"""
Which way does each request of a listener take, and what is done with it on the way?

A `Course` is a route with all that it needs at run time; `Routing` finds the one for a request.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping, Optional, Union

from proxyd.config.action import HOST, REMOVE, SET
from proxyd.config.compression import CompressionSpec
from proxyd.config.files import read_small
from proxyd.config.http import KEEP
from proxyd.config.listener import ListenerSpec
from proxyd.config.route import RouteSpec
from proxyd.config.static import StaticSpec
from proxyd.errors import Problem
from proxyd.frontends.http.auth import Basic, InThread
from proxyd.frontends.http.cache import Cache
from proxyd.frontends.http.errorpage import ErrorPages
from proxyd.frontends.http.forwardauth import Forward
from proxyd.frontends.http.pages import PAGE, Words
from proxyd.frontends.http.recoding import Compressor
from proxyd.frontends.http.static import Site
from proxyd.policy.action import Editor, Rewriter
from proxyd.policy.asked import Asked
from proxyd.policy.httproute import HttpRoutes
from proxyd.policy.limits import prefix_of
from proxyd.policy.lists import Lists
from proxyd.policy.pool import Pool
from proxyd.policy.routelimits import RouteLimits
from proxyd.relay.opening import Opening
from proxyd.wire.http1 import Request

Auth = Union[Basic, Forward]

NO_CACHES: Mapping[str, Cache] = {}


class Course:
    """One route of one listener, and what it does."""

    def __init__(
        self,
        spec: RouteSpec,
        pool: Optional[Pool],
        limits: Optional[RouteLimits],
        auth: Optional[Auth],
        error_pages: ErrorPages,
        cache: Optional[Cache] = None,
        compressor: Optional[Compressor] = None,
        site: Optional[Site] = None,
    ) -> None:
        """``error_pages`` are those of the listener."""
        action = spec.action
        self.spec = spec
        self.pool = pool
        self.limits = limits
        self.auth = auth
        self.cache = cache
        self.compressor = compressor
        self.site = site
        self.patience = auth.patience if auth is not None else 0.0
        self.rewriter = Rewriter(action.rewrite) if action.rewrite is not None else None
        names_host = [edit for edit in action.request_header if edit.name.lower() == HOST and edit.how == SET]
        self.host = names_host[-1].value if names_host else None
        edits = [edit for edit in action.request_header if edit not in names_host]
        self.request_editor = Editor(edits) if edits else None
        self.response_editor = Editor(action.response_header) if action.response_header else None
        copies = isinstance(auth, Forward) and bool(auth.copied)
        self.changes_fields = self.request_editor is not None or copies
        # What a server gets is the same for requests that say the same, unless it is told what they are.
        self.asks_anew = copies or (self.request_editor is not None and not self.request_editor.fixed)
        # The fields of requests that are other ones for each client, or each request.
        anew = {
            edit.name.lower().encode("ascii") for edit in edits if edit.how != REMOVE and edit.value.names
        }
        copied = auth.copied if isinstance(auth, Forward) else frozenset()
        self.made_anew = copied.union(anew)
        # Those in which a server does not hear what the client says.
        self.sets = copied.union(edit.name.lower().encode("ascii") for edit in edits if edit.how == SET)
        self.error_pages = ErrorPages(action.error_page, error_pages)
        self.words = PAGE  # of the answer that is given at once
        if action.respond is not None and action.respond.text is not None:
            self.words = Words(f"{action.respond.text}\n".encode(), action.respond.content_type)

    def load(self) -> Iterator[str]:
        """Read the files that it needs; a line for each thing that is wrong with them."""
        if isinstance(self.auth, Basic):
            yield from self.auth.load()
        yield from self.error_pages.load()
        if self.site is not None:
            yield from self.site.load()
        respond = self.spec.action.respond
        if respond is None or not respond.path:
            return
        problems: list[Problem] = []
        self.words = Words(read_small(respond.path, problems), respond.content_type)
        yield from map(str, problems)


class Routing:
    """The courses of one listener."""

    def __init__(
        self,
        spec: ListenerSpec,
        pools: Mapping[str, Pool],
        lists: Lists,
        limits: Mapping[str, RouteLimits],
        reactor: Any,
        in_thread: InThread,
        caches: Mapping[str, Cache] = NO_CACHES,
        compressors: Callable[[Optional[CompressionSpec]], Optional[Compressor]] = lambda spec: None,
    ) -> None:
        """``limits`` are those of all routes, by their names: a route may be that of several listeners."""
        self.spec = spec
        self._seconds, self._in_thread = reactor.seconds, in_thread
        self.site = self._site(spec.http.root)  # for what takes no route
        self.slashes = spec.http.encoded_slashes == KEEP
        self.error_pages = ErrorPages(spec.http.error_page)
        self._routes = HttpRoutes(spec.routes, lists, self.slashes, spec.http.cache != "")
        # Lists of clients change while we run; all else that decides is what a request says.
        self.steady = all(route.condition.client is None for route in spec.routes)
        self._courses = {
            route.name: Course(
                route,
                pools[route.pool] if route.pool else None,
                None if limits[route.name].none else limits[route.name],
                _auth(route, reactor, in_thread),
                self.error_pages,
                caches.get(route.action.cache or spec.http.cache),
                compressors(route.action.compression),
                self._site(route.action.root),
            )
            for route in spec.routes
        }

    def _site(self, root: Optional[StaticSpec]) -> Optional[Site]:
        return None if root is None else Site(root, self._seconds, self._in_thread)

    @property
    def courses(self) -> tuple[Course, ...]:
        """All of them, in the order of the configuration."""
        return tuple(self._courses.values())

    def load(self) -> list[str]:
        """Read the files that the routes need; a line for each thing that is wrong with them."""
        return [line for course in self.courses for line in course.load()]

    def asked(
        self, request: Request, client: bytes, secure: bool, trusted: bool, opening: Optional[Opening]
    ) -> Asked:
        """What a request asks.  Raises `proxyd.wire.httpfields.Unacceptable`."""
        target, fields = self._routes.target(request.target), request.said.fields
        sni, alpn = ("", ()) if opening is None else (opening.sni, opening.alpn)
        return Asked(request.method, request.host, target, fields, client, secure, trusted, sni, alpn)

    def course(self, asked: Asked) -> Optional[Course]:
        """The way of a request; None if no route fits.  Raises `Undecided`."""
        route = self._routes.choose(asked)
        return None if route is None else self._courses[route.spec.name]

    def key_of(self, client: bytes) -> bytes:
        """What a client is counted as."""
        return prefix_of(client, self.spec.client_prefix4, self.spec.client_prefix6)


def _auth(spec: RouteSpec, reactor: Any, in_thread: InThread) -> Optional[Auth]:
    if spec.action.auth is not None:
        return Basic(spec.action.auth, reactor.seconds, in_thread)
    if spec.action.forward_auth is not None:
        return Forward(spec.action.forward_auth, reactor)
    return None
