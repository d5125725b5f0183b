"""Who makes the sessions of a listener that speaks HTTP, and keeps its connections to servers?"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, Sequence

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from proxyd.config.http import KEEP
from proxyd.config.listener import ListenerSpec
from proxyd.frontends.http.cache import Cache
from proxyd.frontends.http.caching import CachingSession
from proxyd.frontends.http.errorpage import ErrorPages
from proxyd.frontends.http.filecoding import FileCodings
from proxyd.frontends.http.kept import Kept
from proxyd.frontends.http.recoding import Compressor
from proxyd.frontends.http.request import Introduction
from proxyd.frontends.http.routed import RoutedSession
from proxyd.frontends.http.routing import Routing
from proxyd.frontends.http.session import HttpSession
from proxyd.interfaces import IDatapath, IObserver
from proxyd.policy.admission import Admission
from proxyd.policy.compression import CompressionSnapshot
from proxyd.policy.pool import Pool
from proxyd.policy.requestkey import RequestKey, request_key
from proxyd.records import RequestRecord
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.factory import ProxyFactory
from proxyd.relay.tally import Tally
from proxyd.relay.tls.server import ServerTls
from proxyd.walltime import WallTime
from proxyd.wire.httpfields import Lines

INTRODUCED = 512  # clients that are known; when there are more it begins anew

log = Logger(__name__)


class HttpFactory(ProxyFactory):
    """
    Makes an `HttpSession` of each connection that its listener accepts.

    ``look`` is how often a session that is busy is looked at, seconds; no deadline is shorter, but those that
    are asked for by themselves.
    """

    def __init__(
        self,
        spec: ListenerSpec,
        pools: Mapping[str, Pool],
        datapath: IDatapath,
        wheel: Wheel,
        seconds: Callable[[], float],
        wall: WallTime,
        capacity: Capacity,
        observers: Sequence[IObserver],
        admission: Admission,
        tally: Optional[Tally] = None,
        server_tls: Optional[ServerTls] = None,
        routing: Optional[Routing] = None,
        cache: Optional[Cache] = None,
        compressor: Optional[Compressor] = None,
    ) -> None:
        """
        ``routing`` is None for a listener without routes and files, ``cache`` for one that stores nothing.

        ``compressor`` is for what takes no route that has its own.
        """
        super().__init__(
            spec, pools, datapath, wheel, seconds, wall, capacity, observers, admission, tally, server_tls
        )
        self.reads_rdp = self.learns = self.times_first_byte = False  # these are of whole connections
        self.reads_opening = spec.reads_opening
        affinities = [pools[name].affinity for name in spec.pools]
        self.by_cookie = any(one is not None and one.cookie for one in affinities)
        self.keys: dict[Pool, RequestKey] = {}  # of the pools whose balancers go by what is in requests
        for pool in [pools[name] for name in spec.pools]:
            key_of = request_key(pool.spec.balance.key)
            if key_of is not None:
                self.keys[pool] = key_of
        self.lines = Lines()
        self.kept = Kept(wheel, seconds, server_tls)
        self._introductions: dict[tuple[str, bool, bytes], Introduction] = {}
        self.draining = False
        self.routing = routing
        self.cache = cache
        self.slashes = spec.http.encoded_slashes == KEEP
        self.maintenance_pages = {
            name: ErrorPages((("503", pools[name].spec.maintenance_page),))
            for name in spec.pools
            if pools[name].spec.maintenance_page
        }
        self.error_pages = ErrorPages(spec.http.error_page) if routing is None else routing.error_pages
        self.compressor = compressor
        self.codings = FileCodings()
        self.site = None if routing is None else routing.site
        courses = () if routing is None else routing.courses
        self.recodes = compressor is not None or any(course.compressor is not None for course in courses)
        waits = [pools[name].spec.response_timeout for name in spec.pools]
        waits += [route.action.response_timeout or spec.idle_timeout for route in spec.routes]
        self.look = min(spec.http.keepalive_timeout, spec.idle_timeout, *waits)

    def load(self) -> list[str]:
        """Read the files that answers are made of; a line for each thing that is wrong with them."""
        wrong = self.error_pages.load()
        for pages in self.maintenance_pages.values():
            wrong += pages.load()
        if self.site is not None:
            wrong += self.site.load()
        return wrong + (self.routing.load() if self.routing is not None else [])

    def session(self, address: IAddress) -> HttpSession:
        if self.routing is not None:
            return RoutedSession(self, address)
        return HttpSession(self, address) if self.cache is None else CachingSession(self, address)

    def introduction(self, address: Any, secure: bool, version: bytes = b"") -> Introduction:
        """How servers are told of a client at this address."""
        key = (getattr(address, "host", ""), secure, version)
        found = self._introductions.get(key)
        if found is None:
            if len(self._introductions) >= INTRODUCED:
                self._introductions.clear()
            found = Introduction(self.spec.http, address, secure, self.recodes, version)
            self._introductions[key] = found
        return found

    def compression(self) -> tuple[CompressionSnapshot, ...]:
        """What was compressed here."""
        found = list(() if self.compressor is None else self.compressor.snapshots(self.spec.name))
        for course in () if self.routing is None else self.routing.courses:
            if course.compressor is not None:
                found += course.compressor.snapshots(self.spec.name, course.spec.name)
        return tuple(found)

    def stopFactory(self) -> None:
        """Nobody is accepted any more: who is idle is let go, the others when they have their answers."""
        super().stopFactory()
        self.draining = True
        self.kept.close()
        for session in list(self.sessions):
            if isinstance(session, HttpSession):
                session.retire()

    def answered(self, record: RequestRecord) -> None:
        """A request is over; the observers are told."""
        for observer in self.observers:
            try:
                observer.answered(record)
            except Exception:  # noqa: BLE001 - one observer must not keep the others from it
                log.failure("An observer failed.")
