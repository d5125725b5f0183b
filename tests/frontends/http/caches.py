"""What do tests of caches stand on?  A listener with a cache, and a server that the test drives."""

from __future__ import annotations

import os
from random import Random
from typing import Any, Callable

from twisted.internet.defer import Deferred

from proxyd.config.cache import CacheSpec
from proxyd.config.compression import CompressionSpec
from proxyd.config.http import HttpSpec
from proxyd.frontends.http.cache import Cache
from proxyd.frontends.http.recoding import Compressor
from tests.frontends.http.front import GET, HttpCase
from tests.frontends.http.test_recoding import taken_apart
from tests.support.streams import FakePeer

FRESH = b"Cache-Control: max-age=60\r\n"
ETAG = b'ETag: "a"\r\n'
HTML = b"Content-Type: text/html\r\n"
GZIP = b"Accept-Encoding: gzip"


def get(*lines: bytes, target: bytes = b"/x", method: bytes = b"GET") -> bytes:
    """A request with these lines."""
    return b"\r\n".join([b"%s %s HTTP/1.1" % (method, target), b"Host: example.com", *lines, b"", b""])


def answer(body: bytes = b"hello", *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """An answer with these lines, each with its end."""
    head = b"HTTP/1.1 %s\r\nDate: then\r\nContent-Length: %d\r\n" % (status, len(body))
    return head + b"".join(lines) + b"\r\n" + body


class CachingCase(HttpCase):
    """A listener with a cache, and one server."""

    def store(self, *ports: int, http: HttpSpec = HttpSpec(), pool: Any = None, **spec: Any) -> None:  # noqa: B008
        self.cache = Cache(CacheSpec("pages", **spec), self.clock, self.wall)
        self.listen(*ports, http=http, pool=pool, cache=self.cache)

    def ask(self, request: bytes = GET, client: Any = None) -> FakePeer:
        """A client that asks, if it is not one that asks again."""
        if client is None:
            return self.client(request)
        self.say(client, request)
        return client  # type: ignore[no-any-return]

    def fill(self, *lines: bytes, request: bytes = GET, body: bytes = b"hello") -> FakePeer:
        """Have an answer stored."""
        client = self.ask(request)
        self.say(self.server, answer(body, *(lines or (FRESH,))))
        self.heard(client)
        self.heard(self.server)
        return client

    def told(self, client: FakePeer) -> tuple[int, dict[bytes, bytes], bytes]:
        """What a client was told: the status, the fields and the body."""
        head, _, body = self.heard(client).partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines)
        return int(first.split()[1]) if first else 0, fields, body

    def words(self) -> list[str]:
        """What each request that is over had of the cache."""
        self.network.flush()
        return [record.cache for record in self.notebook.requests]

    def over(self) -> None:
        self.cache.close()
        super().over()
        self.assertEqual((self.cache._fetches, self.cache._fetching, self.cache.filling.used), ({}, 0, 0))
        self.assertEqual((self.factory.streams, self.cache.refreshing), (set(), 0))


class CodingCase(CachingCase):
    """A listener with a cache, and compression."""

    def store(self, *ports: int, **how: Any) -> None:
        spec = CompressionSpec(("br", "gzip"), decompress=True, **how.pop("compression", {}))
        super().store(*ports, **how)
        self.used = self.lag = self.step = 0.0  # seconds
        self.compressor = Compressor(spec, self.clock.seconds, self.cpu, lambda: self.lag)
        self.factory.compressor = self.compressor
        self.factory.recodes = True

    def cpu(self) -> float:
        """The processor's time: each look at it takes some."""
        self.used += self.step
        return self.used

    def made(self, coding: str = "gzip") -> int:
        return self.compressor.passed[coding].answers

    def comes(self, client: FakePeer) -> tuple[dict[bytes, bytes], bytes]:
        """The fields and the whole body of an answer that was made on the way, in turns."""
        for _ in range(100):
            self.moment()
        head, body, end = taken_apart(self.heard(client))
        self.assertEqual(end, b"", "it is not complete")
        lines = head.split(b"\r\n")[1:]
        return dict(line.lower().split(b": ", 1) for line in lines), body

    def moment(self, seconds: float = 0.0) -> None:
        """Let so little time pass."""
        self.clock.advance(seconds)
        self.network.flush()

    def over(self) -> None:
        super().over()
        self.assertEqual((self.cache.variants.under_way, self.compressor.guard.under_way), ({}, 0))


class Threads:
    """Work that is done when the test wants it."""

    def __init__(self) -> None:
        self.work: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __call__(self, work: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.work.append((work, done))
        return done

    def run(self) -> None:
        """Do all, and what comes of it."""
        while self.work:
            self._do(0)

    def run_one(self, random: Random) -> None:
        """Do one of them, as threads do in any order."""
        if self.work:
            self._do(random.randrange(len(self.work)))

    def _do(self, place: int) -> None:
        work, done = self.work.pop(place)
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it is told
            done.errback(error)
        else:
            done.callback(result)


class DiskCase(CachingCase):
    """A listener with a cache that has a folder, too."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.threads = Threads()

    def store(self, *ports: int, size: int = 1 << 20, pool: Any = None, **spec: Any) -> None:
        given = CacheSpec("pages", size=size, path=self.folder, **spec)
        self.cache = Cache(given, self.clock, self.wall, self.threads)
        self.assertEqual(self.cache.faults(), [])
        self.cache.begin()
        self.threads.run()
        self.listen(*ports, pool=pool, cache=self.cache)

    def settle(self) -> None:
        """Let threads and turns come."""
        for _ in range(3):
            self.threads.run()
            self.clock.advance(0)
            self.network.flush()
