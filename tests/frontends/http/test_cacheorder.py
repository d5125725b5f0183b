"""Does everybody get an answer whole, and nobody another's, in whatever order those around a cache go on?"""

from __future__ import annotations

import os
import re
from random import Random
from typing import Any

from proxyd.config.compression import CompressionSpec
from proxyd.frontends.http import filebody
from proxyd.frontends.http.recoding import TURN, Compressor
from tests.frontends.http.caches import CachingCase, DiskCase, answer, get
from tests.frontends.http.test_recoding import coded, decoded, taken_apart
from tests.support.peer import Ended
from tests.support.streams import FakePeer

# What a server says of its answers, which have the client's cookie in them; all are for that client alone,
# but for those of the last two.
KINDS = {
    b"/private": b"Cache-Control: private, max-age=60\r\n",
    b"/no-cache": b'Cache-Control: no-cache\r\nETag: "%s"\r\n',
    b"/at-once": b'Cache-Control: max-age=0\r\nETag: "%s"\r\n',
    b"/vary": b'Cache-Control: max-age=2\r\nVary: Cookie\r\nETag: "%s"\r\n',
    b"/cookie": b"Cache-Control: max-age=2\r\nSet-Cookie: x=%s\r\n",
    b"/star": b"Cache-Control: max-age=2\r\nVary: *\r\n",
    b"/nothing": b"",
    b"/somebody": b"Cache-Control: max-age=2\r\n",
    b"/public": b'Cache-Control: max-age=2, stale-while-revalidate=2\r\nETag: "%s"\r\n',
    b"/long": b'Cache-Control: max-age=30\r\nETag: "%s"\r\n',
}

PUBLIC = frozenset({b"/public", b"/long"})

_ASKED = re.compile(rb"GET (\S+) HTTP/1.1\r\n(.*?)\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"^content-length: (\d+)\r", re.IGNORECASE | re.MULTILINE)
_CODING = re.compile(rb"^content-encoding: (\w+)\r", re.IGNORECASE | re.MULTILINE)

_CODINGS = (b"", b"", b"gzip", b"zstd", b"gzip, zstd")


def heard(said: bytes) -> tuple[bool, str, bytes, bytes]:
    """Of what has come of an answer: whether it is all, its coding, its head and its body."""
    head, _, body = said.partition(b"\r\n\r\n")
    found = _CODING.search(head + b"\r\n")
    coding = found.group(1).decode() if found is not None else ""
    if b"transfer-encoding: chunked" in head.lower():
        if not said.endswith(b"\r\n0\r\n\r\n"):
            return False, coding, head, b""
        return True, coding, head, taken_apart(said)[1]
    length = _LENGTH.search(head + b"\r\n")
    return length is not None and len(body) >= int(length.group(1)), coding, head, body


class Client:
    """One client, which asks again on its connection when it has its answer."""

    def __init__(self, peer: FakePeer) -> None:
        self.peer = peer
        self.cookie = self.path = self.said = self.accepts = b""
        self.waits = False


class AnyOrder(DiskCase):
    def go(self, seed: int) -> None:
        self.random = random = Random(seed)
        pool = {"response_timeout": 3.0, "hedge_after": random.choice((0.0, 0.5))}
        size = random.choice((5000, 100_000, 1_000_000))
        spec: dict[str, Any] = {"max_object": 200_000, "lock_timeout": 1.0}
        self.kinds = list(KINDS)
        if random.random() < 0.5:
            self.kinds += [b"/long"] * 9
            self.patch(filebody, "LARGE", random.choice((500, 3000)))
            self.folder = self.mktemp()
            os.mkdir(self.folder)
            disk_size = random.choice((200_000, 1 << 20))
            self.store(1, 1, pool=pool, disk_size=disk_size, size=size, **spec)
        else:
            CachingCase.store(self, 1, 1, pool=pool, size=size, **spec)
        compression = CompressionSpec(("zstd", "gzip"), min_size=1000, decompress=True)
        self.used, self.step = 0.0, random.choice((0.0, TURN))
        self.factory.compressor = Compressor(compression, self.clock.seconds, self.cpu, lambda: 0.0)
        self.factory.recodes = True
        self.begun = len(self.datapath.peers)
        self.clients: list[Client] = []
        self.asked: list[tuple[FakePeer, bytes, bytes, bool]] = []
        for _ in range(40):
            for _ in range(random.randrange(4)):
                self.one_asks()
            self.servers_hear()
            for _ in range(min(random.randrange(4), len(self.asked))):
                self.one_answers(*self.asked.pop(random.randrange(len(self.asked))))
            for client in list(self.clients):
                if client.waits and random.random() < 0.05:
                    client.peer.reset()
                    self.clients.remove(client)
                elif random.random() < 0.3:
                    client.peer.read_again()
            self.disk_goes_on()
            self.clock.advance(random.choice((0, 0, 0, 0.1, 0.6, 1.1)))
            self.clients_hear()
        for client in self.clients:
            client.peer.read_again()
        for _ in range(40):
            self.servers_hear()
            while self.asked:
                self.one_answers(*self.asked.pop(), in_order=True)
            self.threads.run()
            self.clock.advance(0.2)
            self.clients_hear()
        left = [client.path for client in self.clients if client.waits and client.peer.ended is Ended.NOT]
        self.assertEqual(left, [], seed)
        self.over()
        self.threads.run()
        self.assertEqual([server.open for server in self.pool.servers], [0, 0], seed)

    def disk_goes_on(self) -> None:
        """Threads do something; now and then a thing is purged, or somebody makes a file shorter."""
        random = self.random
        for _ in range(random.randrange(6)):
            self.threads.run_one(random)
        if random.random() < 0.3:  # others need the room in memory
            for stored in [each for found in self.cache.store._by_url.values() for each in found]:
                self.cache.store.drop(stored)
        if random.random() < 0.1:
            self.cache.purge_url(b"http://example.com" + random.choice(list(KINDS)))
        if random.random() < 0.1:
            paths = sorted(os.path.join(at, name) for at, _, names in os.walk(self.folder) for name in names)
            if paths:
                path = random.choice(paths)
                os.truncate(path, random.randrange(os.path.getsize(path) + 1))

    def cpu(self) -> float:
        self.used += self.step
        return self.used

    def one_asks(self) -> None:
        random = self.random
        idle = [each for each in self.clients if not each.waits and each.peer.ended is Ended.NOT]
        if idle and random.random() < 0.5:
            client = random.choice(idle)
        else:
            client = Client(self.client())
            self.clients.append(client)
            if random.random() < 0.2:
                client.peer.stop_reading()
        client.cookie, client.path = b"c%d" % random.randrange(5), random.choice(self.kinds)
        client.said, client.waits = b"", True
        lines = [b"Cookie: " + client.cookie]
        client.accepts = random.choice(_CODINGS)
        if client.accepts:
            lines.append(b"Accept-Encoding: " + client.accepts)
        if client.path == b"/somebody":
            lines.append(b"Authorization: Basic " + client.cookie)
        if random.random() < 0.1:
            lines.append(b"Cache-Control: no-cache")
        self.say(client.peer, get(*lines, target=client.path))

    def servers_hear(self) -> None:
        for peer in self.datapath.peers[self.begun :]:
            for path, lines in _ASKED.findall(self.heard(peer)):
                cookie = lines.partition(b"Cookie: ")[2][:2]
                self.asked.append((peer, path, cookie, b'If-None-Match: "%s"' % cookie in lines))

    def one_answers(
        self, peer: FakePeer, path: bytes, cookie: bytes, has: bool, in_order: bool = False
    ) -> None:
        random = self.random
        lines = KINDS[path].replace(b"%s", cookie) + b"Content-Type: text/html\r\n"
        chance = 1.0 if in_order else random.random()
        body = b"<%s>" % cookie * random.choice((1, 1, 1000, 20_000))
        if random.random() < 0.2:
            body, lines = coded("gzip", body), lines + b"Content-Encoding: gzip\r\n"
        whole = answer(body, lines)
        if chance < 0.1:
            peer.close()
        elif chance < 0.2:
            self.say(peer, answer(b"", status=b"503 No"))
        elif has:
            self.say(peer, b"HTTP/1.1 304 Not Modified\r\n%s\r\n" % lines)
        elif chance < 0.4:
            cut = random.randrange(len(whole))
            self.say(peer, whole[:cut])
            self.clients_hear()
            if chance < 0.25:
                peer.close()
            else:
                self.say(peer, whole[cut:])
        else:
            self.say(peer, whole)

    def clients_hear(self) -> None:
        self.clock.advance(0)
        for client in self.clients:
            new = self.heard(client.peer)
            client.said += new
            if not new:
                continue
            complete, coding, head, body = heard(client.said)
            if complete:
                self.assertIn(coding.encode(), (b"", *client.accepts.split(b", ")), client.path)
                body = decoded(coding, body) if coding else body
            if client.path not in PUBLIC and not (coding and not complete):
                found = set(re.findall(rb"<(c\d)>|x=(c\d)", head + body))
                others = {one or other for one, other in found} - {client.cookie}
                self.assertEqual(others, set(), (client.path, client.cookie))
            if complete and body.startswith(b"<c"):
                self.assertEqual(len(body) % 4, 0)
                self.assertEqual(set(re.findall(rb"<c\d>", body)), {body[:4]}, client.path)
            if complete:
                client.waits = False

    def test_any_order(self) -> None:
        """Clients leave, stop reading and come back; servers fail, are slow, and answer in pieces."""
        for seed in range(4):
            self.go(seed)
