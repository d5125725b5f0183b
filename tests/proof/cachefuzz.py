"""
Does everybody get the right answer, and whole, whatever goes on around a cache?

In memory, clients of HTTP/1.0, 1.1 and 2 ask for a few pages with codings, ranges, conditions and languages,
stop reading, and leave.  A server answers in pieces and in each framing, gives new versions, is cut, and says
of what is broken that it is gzip.  Meanwhile pages are purged, answers are compressed and paced, and neither
the memory nor the disk has room for all.  A seed chooses each step, so that what fails once fails again:
``python -m tests.proof.cachefuzz SEED``.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from functools import lru_cache
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Sequence, Union
from unittest import TestResult

from proxyd.config.bandwidth import Allowance, BandwidthSpec
from proxyd.frontends.http import filebody
from proxyd.frontends.http.recoding import TURN
from tests.frontends.http.caches import CodingCase, DiskCase, Threads, get
from tests.frontends.http.client2 import Http2Client
from tests.frontends.http.test_recoding import coded, decoded
from tests.proof._askers import Answer, Asked, Client, Stream, fields_of
from tests.support.peer import Ended
from tests.support.streams import FakePeer

SEEDS = range(80)
STEPS = 400  # of a seed
PAGES = range(6)
CODED, VARIED = 3, 5  # the page that the server encodes, and the one with a language
SIZES = (0, 10, 900, 3000, 20_000, 70_000, 150_000, 400_000)  # bytes of a body
COMPRESSED = 1024  # bytes of a body from which on answers depend on what the client accepts
CONTROLS = (b"max-age=2", b"max-age=60", b"max-age=60", b"max-age=60", b"private", b"no-store", b"no-cache")
ACCEPTED = (b"", b"gzip", b"br", b"gzip, br;q=0.5", b"identity")
FAILED = (416, 502, 503, 504)


@lru_cache(maxsize=100)
def body_of(page: int, version: int) -> bytes:
    """The body of a page: every other one is of what cannot be compressed."""
    size, name = SIZES[(page + version) % len(SIZES)], b"%d:%d;" % (page, version)
    text = name * (size // 4 + 1) if page % 2 else name + Random(page * 1000 + version).randbytes(size)
    return text[:size]


def version_of(tag: bytes) -> tuple[int, int]:
    """The page and the version in an entity tag."""
    page, _, version = tag.replace(b"W/", b"").strip(b'"').partition(b"-")
    return int(page), int(version)


class Server:
    """A connection to the server: what it has still to say, and of what."""

    def __init__(self, peer: FakePeer) -> None:
        self.peer = peer
        self.pieces: list[bytes] = []
        self.ends = False
        self.page = self.version = 0


class InMemory(CodingCase):
    """One seed, with a cache in memory."""

    def __init__(self, seed: int, http2: bool) -> None:
        super().__init__()
        self.seed, self.http2 = seed, http2

    def setUp(self) -> None:
        super().setUp()
        self.patch(filebody, "LARGE", 15_000)
        self.random = Random(self.seed)
        self.threads = Threads()
        self.versions, self.oldest = [1 for _ in PAGES], [0 for _ in PAGES]
        self.cut: set[tuple[int, int]] = set()
        self.broken: set[tuple[int, int]] = set()
        self.clients: list[Union[Client, Stream]] = []
        self.connections: list[Http2Client] = []
        self.servers: dict[FakePeer, Server] = {}
        self.found: Counter[str] = Counter()

    def listen(self, *ports: int, **how: Any) -> None:
        if self.random.random() < 0.4:
            how["bandwidth"] = BandwidthSpec(outward=Allowance(20_000_000, 40_000))
        super().listen(*ports, **how)

    def runTest(self) -> None:
        random = self.random
        self.store(
            size=400_000, max_object=200_000, stale_if_error=5.0, lock_timeout=2.0,
            stale_while_revalidate=random.choice((0.0, 3.0)), compression={"max_cpu": 100},
        )  # fmt: skip
        self.step = random.choice((0.0, TURN / 5, TURN))
        steps = {
            self.one_asks: 25, self.one_stops: 5, self.one_reads: 7, self.one_leaves: 2,
            self.server_goes_on: 35, self.thread_goes_on: 11, self.purge: 3,
            self.moment_passes: 9, self.time_passes: 3,
        }  # fmt: skip
        for step in random.choices(list(steps), list(steps.values()), k=STEPS):
            step()
            self.all_hear()
        for client in self.clients:
            client.peer.read_again()
        for _ in range(600):
            self.threads.run()
            self.server_goes_on()
            self.clock.advance(0.01)
            self.all_hear()
            if not any(client.asked for client in self.clients):
                break
        for client in self.clients:
            self.judge(client, last=True)
        self.found.update(self.words())
        self.cache.purge_prefix(b"http")
        for peers in ([client.peer for client in self.clients], list(self.servers)):
            for peer in peers:
                peer.close()
            for _ in range(20):
                self.threads.run()
                self.moment(0.1)
        self.over()
        self.assertEqual(self.cache.store._kept.budget, self.cache.store.budget)

    # Clients

    def one_asks(self) -> None:
        """Somebody asks, on a new connection or one that is there."""
        random = self.random
        page, method = random.choice(PAGES), b"HEAD" if random.random() < 0.1 else b"GET"
        accepts, language = random.choice(ACCEPTED), random.choice((b"de", b"en", b"no"))
        lines = [b"Accept-Encoding: " + accepts] if accepts else []
        if language != b"no":
            lines.append(b"Accept-Language: " + language)
        tag, first, chance = b"", -1, random.random()
        now = b'"%d-%d"' % (page, self.versions[page])
        if chance < 0.15:
            tag = random.choice((b"", b"W/")) + now
            lines.append(b"If-None-Match: " + tag)
        elif chance < 0.3:
            first = random.randrange(5000)
            lines.append(b"Range: bytes=%d-%d" % (first, random.randrange(5000, 50_000)))
            lines += [b"If-Range: " + now] if random.random() < 0.4 else []
        elif chance < 0.35:
            lines.append(b"Cache-Control: no-cache")
        asked = Asked(page, self.oldest[page], method, accepts, language, tag, first)
        if self.http2:
            self.ask_by_stream(asked, lines)
            return
        request = get(*lines, target=b"/%d/x" % page, method=method)
        if random.random() < 0.1:
            request = request.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        idle = [one for one in self.clients if not (one.asked or one.gone or one.ended)]
        if idle and random.random() < 0.6:
            client = random.choice(idle)
        else:
            client = Client(self.client())
            self.clients.append(client)
        assert isinstance(client, Client)
        client.ask(asked, request)

    def ask_by_stream(self, asked: Asked, lines: Sequence[bytes]) -> None:
        usable = [one for one in self.connections if not one.peer.closed and one.peer.ended is Ended.NOT]
        if len(usable) <= 3 and (not usable or self.random.random() < 0.3):
            usable = [Http2Client(self)]
            self.connections += usable
        head = [(":method", asked.method.decode()), (":scheme", "http"), (":authority", "example.com")]
        head.append((":path", f"/{asked.page}/x"))
        for name, _, value in (line.decode().partition(": ") for line in lines):
            head.append((name.lower(), value))
        self.clients.append(Stream(self.random.choice(usable), asked, head))

    def some(self) -> list[Union[Client, Stream]]:
        """One of the clients that are there, or none."""
        there = [client for client in self.clients if not client.gone]
        return [self.random.choice(there)] if there else []

    def one_stops(self) -> None:
        for client in self.some():
            client.peer.stop_reading()

    def one_reads(self) -> None:
        for client in self.some():
            client.peer.read_again()

    def one_leaves(self) -> None:
        for client in self.some():
            client.leave()
            client.asked = None

    def all_hear(self) -> None:
        self.network.flush()
        for connection in self.connections:
            if not connection.peer.closed:
                connection.hear_once()
        for client in self.clients:
            self.judge(client)

    # What the server does, and what else goes on

    def server_goes_on(self) -> None:
        """Each connection hears what is asked, and one of them says a piece, or is cut."""
        for peer in self.datapath.peers:
            server = self.servers.setdefault(peer, Server(peer))
            if not (peer.closed or peer.ended is not Ended.NOT or server.pieces or server.ends):
                request = self.heard(peer)
                if request:
                    data = self.answer_to(server, request)
                    cuts = sorted(
                        self.random.randrange(1, len(data)) for _ in range(self.random.choice((0, 1, 4)))
                    )
                    server.pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]
        ready = [server for server in self.servers.values() if server.pieces and not server.peer.closed]
        if not ready:
            return
        server = self.random.choice(ready)
        if self.random.random() < 0.02:
            self.cut.add((server.page, server.version))
            server.peer.reset()
            return
        server.peer.send(server.pieces.pop(0))
        if server.ends and not server.pieces:
            server.peer.finish()
        self.network.flush()

    def answer_to(self, server: Server, request: bytes) -> bytes:
        """Make up an answer."""
        random, asked = self.random, fields_of(request.partition(b"\r\n\r\n")[0])
        server.page = page = int(request.split(b" ", 2)[1][1:2])
        self.versions[page] += random.random() < 0.3
        server.version = version = self.versions[page]
        tag = b'"%d-%d"' % (page, version)
        lines = b"Date: then\r\nContent-Type: text/html\r\nCache-Tag: t%d\r\nETag: %s\r\n" % (page % 2, tag)
        lines += b"Cache-Control: %s\r\n" % random.choice(CONTROLS)
        if tag in asked.get(b"if-none-match", b""):
            return b"HTTP/1.1 304 Not Modified\r\n%s\r\n" % lines
        if random.random() < 0.05:
            return b"HTTP/1.1 503 No\r\nDate: then\r\nETag: %s\r\nContent-Length: 2\r\n\r\nno" % tag
        body, status = body_of(page, version), b"200 OK"
        if page == VARIED:
            lines += b"Vary: Accept-Language\r\nX-Lang: %s\r\n" % asked.get(b"accept-language", b"no")
        if page == CODED:
            body, lines = coded("gzip", body), lines + b"Content-Encoding: gzip\r\n"
            if random.random() < 0.15:
                self.broken.add((page, version))
                body = body[: len(body) // 2] + random.choice((b"", b"?" * 50))
        if request.startswith(b"HEAD"):
            return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (lines, len(body))
        if b"range" in asked and asked.get(b"if-range", tag) == tag:
            first, last = map(int, re.findall(rb"\d+", asked[b"range"]))
            if first >= len(body):
                return b"HTTP/1.1 416 No\r\nDate: then\r\nContent-Length: 0\r\n\r\n"
            last = min(last, len(body) - 1)
            lines += b"Content-Range: bytes %d-%d/%d\r\n" % (first, last, len(body))
            body, status = body[first : last + 1], b"206 Partial Content"
        framing = random.choice(("length", "length", "chunked", "close"))
        if framing == "length":
            lines += b"Content-Length: %d\r\n" % len(body)
        elif framing == "chunked":
            lines += b"Transfer-Encoding: chunked\r\n"
            chunks = [body[at : at + 30_000] for at in range(0, len(body), 30_000)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
        server.ends = framing == "close"
        return b"HTTP/1.1 %s\r\n%s\r\n%s" % (status, lines, body)

    def purge(self) -> None:
        """Something is new, and what was stored of it must not be given any more."""
        page, how = self.random.choice(PAGES), self.random.random()
        for each in PAGES if how >= 0.7 else (page,):
            if each % 2 == page % 2:
                self.versions[each] += 1
                self.oldest[each] = self.versions[each]
        if how < 0.4:
            self.cache.purge_url(b"http://example.com/%d/x" % page)
        elif how < 0.7:
            self.cache.purge_prefix(b"http://example.com/%d/" % page)
        else:
            self.cache.purge_tag(b"t%d" % (page % 2))

    def thread_goes_on(self) -> None:
        self.threads.run_one(self.random)

    def moment_passes(self) -> None:
        self.clock.advance(self.random.choice((0, 0, 0.01, 0.05)))

    def time_passes(self) -> None:
        self.clock.advance(self.random.choice((0.3, 1.0, 2.5)))

    # What everybody is owed

    def judge(self, client: Union[Client, Stream], last: bool = False) -> None:
        """Look at what has come; when it is the ``last`` time, all must have."""
        asked = client.asked
        if asked is None or client.gone or client.peer.closed:
            return
        answer = client.answer(asked.method)
        where = f"seed {self.seed}: {asked}: {answer.status} {answer.fields}, {len(answer.body)} bytes"
        tag = answer.fields.get(b"etag", b"")
        about = version_of(tag) if tag else (asked.page, -1)
        if tag:
            self.assertEqual(about[0], asked.page, where)
            self.assertGreaterEqual(about[1], asked.oldest, where)
        if answer.complete:
            client.asked = None
            self.found["answers"] += 1
            if answer.status not in FAILED:
                self.judge_answer(asked, answer, where)
        elif client.ended:
            client.asked = None
            self.assertIn(about, self.cut | self.broken, where)
        else:
            self.assertFalse(last, "it hangs: " + where)

    def judge_answer(self, asked: Asked, answer: Answer, where: str) -> None:
        """It has the right fields for who has asked."""
        fields, tag = answer.fields, answer.fields[b"etag"]
        coding = fields.get(b"content-encoding", b"")
        if answer.status == 304:
            self.assertEqual(version_of(asked.tag), version_of(tag), where)
        if answer.status == 304 or asked.method == b"HEAD":
            self.assertEqual(answer.body, b"", where)
            return
        if answer.status == 200:
            self.assertIn(coding, asked.accepts, where)
            if asked.page == VARIED:
                self.assertEqual(fields[b"x-lang"], asked.language, where)
            if len(body_of(*version_of(tag))) >= COMPRESSED:
                self.assertIn(b"accept-encoding", fields[b"vary"].lower(), where)
        if version_of(tag) not in self.broken:
            self.judge_body(asked, answer, coding.decode(), where)

    def judge_body(self, asked: Asked, answer: Answer, coding: str, where: str) -> None:
        """It is that version's, byte by byte; a strong tag stands for bytes of the server's."""
        tag, body = answer.fields[b"etag"], answer.body
        whole = body_of(*version_of(tag))
        if asked.page != CODED:
            self.assertEqual(tag.startswith(b"W/"), bool(coding), where)
        if answer.status == 200:
            self.found["recoded"] += tag.startswith(b"W/")
            self.assertTrue((decoded(coding, body) if coding else body) == whole, where)
            return
        self.assertEqual((answer.status, coding), (206, "gzip" if asked.page == CODED else ""), where)
        self.assertFalse(tag.startswith(b"W/"), where)
        self.found["parts"] += 1
        whole = coded("gzip", whole) if coding else whole
        first, end, size = map(int, re.findall(rb"\d+", answer.fields[b"content-range"]))
        self.assertEqual((first, size), (asked.first, len(whole)), where)
        self.assertTrue(body == whole[first : end + 1], where)


class OnDisk(InMemory, DiskCase):
    """The same, with a folder."""

    def store(self, *ports: int, **how: Any) -> None:
        super().store(*ports, disk_size=self.random.choice((150_000, 1 << 20)), **how)


def main(seeds: Sequence[int]) -> int:
    """Return the exit status."""
    found: Counter[str] = Counter()
    began = perf_counter()
    for done, seed in enumerate(seeds, 1):
        case = (OnDisk if seed % 2 else InMemory)(seed, http2=seed % 4 >= 2)
        result = TestResult()
        case.run(result)
        for _, trace in (*result.errors, *result.failures):
            print(trace)
        if not result.wasSuccessful() or not result.testsRun:
            print(f"seed {seed} fails")
            return 1
        found += case.found
        if not done % 20:
            print(f"{done} seeds, {perf_counter() - began:.0f} s: {dict(found)}")
    print(
        f"{len(seeds)} seeds of {STEPS} steps: {found['answers']} answers, each right and whole, "
        f"{found['hit']} from the cache, {found['recoded']} recoded, {found['parts']} parts"
    )
    return 0


if __name__ == "__main__":
    chosen = [int(seed) for seed in sys.argv[1:]] or SEEDS
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.exit(main(chosen))
