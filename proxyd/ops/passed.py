"""
What has passed, in plain numbers?

One connection that ends costs a look-up and a few additions; what is made of the numbers is made when
somebody asks (`proxyd.ops.metrics`).  An empty ``server`` is a connection that no server was tried for, an
empty ``pool`` one whose pool was never decided.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Collection

from zope.interface import classImplements

from proxyd.interfaces import IObserver
from proxyd.records import Record, RequestRecord

# Seconds.  A connect takes from a tenth of a millisecond (same rack) to connect_timeout, 5s by default.
CONNECT_BOUNDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
)
# A client waits for room until the end of a short query, or as long as the queue lets it.
QUEUE_BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# A request takes from the time of a file in a server's memory to that of a long report.
REQUEST_BOUNDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
# A connection lasts from one exchange on the same rack to a database session of a day.
CONNECTION_BOUNDS = (
    *(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0, 14400.0, 86400.0),
)


class Durations:
    """How many durations fell below each bound and above the one before, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Collection[float]) -> None:
        self.bounds = list(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def note(self, seconds: float) -> None:
        """Count one duration; one on a bound counts as below it."""
        place = bisect_left(self.bounds, seconds)
        self.counts[place] += 1
        self.total += seconds


class Way:
    """What went from one listener to one server: how it ended, by the reason's code, and the bytes."""

    __slots__ = ("bytes_in", "bytes_out", "connect", "connection", "ended")

    def __init__(self, connect: Durations, connection: Durations) -> None:
        self.ended: dict[str, int] = {}
        self.bytes_in = 0
        self.bytes_out = 0
        self.connect = connect  # of the server, from all listeners
        self.connection = connection  # of the listener, to all servers


class Served:
    """What requests went from one listener to one server, by their status and their reason's code."""

    __slots__ = ("ended", "first_byte", "total", "way")

    def __init__(self, way: Way) -> None:
        self.way = way
        self.ended: dict[tuple[int, str], int] = {}
        self.first_byte = Durations(REQUEST_BOUNDS)
        self.total = Durations(REQUEST_BOUNDS)


class Taken:
    """What requests took one route, by their status."""

    __slots__ = ("bytes_in", "bytes_out", "ended", "first_byte", "retries", "total")

    def __init__(self) -> None:
        self.ended: dict[int, int] = {}
        self.bytes_in = 0
        self.bytes_out = 0
        self.retries = 0
        self.first_byte = Durations(REQUEST_BOUNDS)
        self.total = Durations(REQUEST_BOUNDS)

    def note(self, record: RequestRecord) -> None:
        """Count one."""
        self.ended[record.status] = self.ended.get(record.status, 0) + 1
        self.bytes_in += record.bytes_in
        self.bytes_out += record.bytes_out
        self.retries += record.retries
        self.total.note(record.total_seconds)
        first_byte = record.first_byte_seconds
        if first_byte is not None:
            self.first_byte.note(first_byte)


class Passed:
    """All that has passed since the start; the keys are names of the configuration, so there is a bound."""

    def __init__(self) -> None:
        self.ways: dict[tuple[str, str, str], Way] = {}  # by listener, pool and server
        self.refused: dict[tuple[str, str], int] = {}  # that reached no server, by listener and reason
        self.retries: dict[str, int] = {}  # by pool
        self.hedged: dict[str, int] = {}  # requests, by pool
        self.connect: dict[tuple[str, str], Durations] = {}  # by pool and server
        self.connection: dict[str, Durations] = {}  # by listener
        self.queue: dict[str, Durations] = {}  # by pool
        self.requests: dict[tuple[str, str, str], Served] = {}  # by listener, pool and server
        self.routes: dict[tuple[str, str], Taken] = {}  # by listener and route

    def closed(self, record: Record) -> None:
        if record.requests is not None:
            self._closed_after_requests(record)
            return
        key = (record.listener, record.pool, record.server)
        way = self.ways.get(key)
        if way is None:
            way = self.ways[key] = Way(self.connect_of(key[1], key[2]), self.connection_of(key[0]))
        code = record.reason.code
        way.ended[code] = way.ended.get(code, 0) + 1
        way.bytes_in += record.bytes_in
        way.bytes_out += record.bytes_out
        connect = record.connect_seconds
        if connect is not None:
            way.connect.note(connect)
        else:
            refused = (key[0], code)
            self.refused[refused] = self.refused.get(refused, 0) + 1
        way.connection.note(record.total_seconds)
        waited = record.queue_seconds
        if waited is not None:
            self.queue_of(key[1]).note(waited)
        if record.retries:
            self.retries[key[1]] = self.retries.get(key[1], 0) + record.retries

    def _closed_after_requests(self, record: Record) -> None:
        """A connection of HTTP: its bytes, its servers and its waits were those of its requests."""
        key = (record.listener, record.pool, "")
        way = self.ways.get(key)
        if way is None:
            way = self.ways[key] = Way(self.connect_of(key[1], ""), self.connection_of(key[0]))
        code = record.reason.code
        way.ended[code] = way.ended.get(code, 0) + 1
        way.connection.note(record.total_seconds)

    def answered(self, record: RequestRecord) -> None:
        key = (record.listener, record.pool, record.server)
        served = self.requests.get(key)
        if served is None:
            way = self.ways.get(key)
            if way is None:
                way = self.ways[key] = Way(self.connect_of(key[1], key[2]), self.connection_of(key[0]))
            served = self.requests[key] = Served(way)
        way = served.way
        how = (record.status, record.reason.code)
        served.ended[how] = served.ended.get(how, 0) + 1
        way.bytes_in += record.bytes_in
        way.bytes_out += record.bytes_out
        served.total.note(record.total_seconds)
        first_byte = record.first_byte_seconds
        if first_byte is not None:
            served.first_byte.note(first_byte)
        if record.hedged:
            self.hedged[key[1]] = self.hedged.get(key[1], 0) + 1
        if record.route:
            taken = self.routes.get((record.listener, record.route))
            if taken is None:
                taken = self.routes[record.listener, record.route] = Taken()
            taken.note(record)
        if record.connect_seconds:  # not on a connection that was kept
            way.connect.note(record.connect_seconds)
        waited = record.queue_seconds
        if waited is not None:
            self.queue_of(key[1]).note(waited)
        if record.retries:
            self.retries[key[1]] = self.retries.get(key[1], 0) + record.retries

    def connect_of(self, pool: str, server: str) -> Durations:
        """How long connects to a server took that succeeded."""
        found = self.connect.get((pool, server))
        if found is None:
            found = self.connect[pool, server] = Durations(CONNECT_BOUNDS)
        return found

    def connection_of(self, listener: str) -> Durations:
        """How long connections of a listener lasted."""
        found = self.connection.get(listener)
        if found is None:
            found = self.connection[listener] = Durations(CONNECTION_BOUNDS)
        return found

    def queue_of(self, pool: str) -> Durations:
        """How long clients waited for a server of a pool that had room."""
        found = self.queue.get(pool)
        if found is None:
            found = self.queue[pool] = Durations(QUEUE_BOUNDS)
        return found

    def forget_all_but(self, there: Collection[tuple[str, str]]) -> None:
        """Drop what has passed with servers that are no more: those of a name come and go for ever."""
        for way in [key for key in self.ways if key[2] and (key[1], key[2]) not in there]:
            del self.ways[way]
        for served in [key for key in self.requests if key[2] and (key[1], key[2]) not in there]:
            del self.requests[served]
        for connect in [key for key in self.connect if key[1] and key not in there]:
            del self.connect[connect]


classImplements(Passed, IObserver)
