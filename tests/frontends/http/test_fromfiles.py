"""What do clients get of what is large and on the disk of a cache?"""

from __future__ import annotations

import gzip
import os
from typing import Any
from unittest.mock import patch

from attrs import evolve

from proxyd.config.compression import CompressionSpec
from proxyd.errors import Reason
from proxyd.frontends.http import filebody
from proxyd.frontends.http.filebody import LARGE
from proxyd.frontends.http.recoding import Compressor
from tests.frontends.http.caches import ETAG, FRESH, GZIP, HTML, DiskCase, answer, get
from tests.frontends.http.client2 import Http2Client
from tests.frontends.http.front import GET
from tests.relay.test_sendfile import not_cached
from tests.support.descriptors import open_files, open_files_before
from tests.support.peer import Ended

BODY = bytes(range(251)) * (LARGE // 200)


class Large(DiskCase):
    """It is given from its file."""

    def restarted(self, body: bytes = BODY, *lines: bytes) -> str:
        """A cache that was filled with a large answer before it was started; the name of its file."""
        self.store(size=64 << 20, max_object=4 << 20)
        self.fill(*(lines or (FRESH, ETAG)), body=body)
        self.settle()
        self.over()
        path: str
        (path,) = [os.path.join(at, name) for at, _, names in os.walk(self.folder) for name in names]
        self.store(size=64 << 20, max_object=4 << 20)
        return path

    def given(self, *lines: bytes, **how: Any) -> tuple[int, dict[bytes, bytes], bytes]:
        client = self.ask(get(*lines, **how))
        self.settle()
        return self.told(client)

    def test_large(self) -> None:
        """What is large is given from its file, whole and in part, and takes no memory."""
        self.restarted()
        before = open_files_before()
        with patch.object(filebody, "STEP", 100_000):
            status, fields, body = self.given()
        self.assertEqual((status, fields[b"content-length"]), (200, b"%d" % len(BODY)))
        self.assertTrue(body == BODY)
        self.assertEqual(self.heard(self.server), b"")
        for _ in range(2):
            self.assertTrue(self.given()[2] == BODY)
            for first, last in ((0, 0), (5, 300_000), (len(BODY) - 3, len(BODY) - 1)):
                status, fields, body = self.given(b"Range: bytes=%d-%d" % (first, last))
                self.assertEqual((status, body), (206, BODY[first : last + 1]))
                told = b"bytes %d-%d/%d" % (first, last, len(BODY))
                self.assertEqual(fields[b"content-range"], told)
        status, fields, body = self.given(method=b"HEAD")
        self.assertEqual((status, fields[b"content-length"], body), (200, b"%d" % len(BODY), b""))
        self.assertEqual(self.given(b'If-None-Match: "a"')[0], 304)
        self.assertEqual(self.given(b"Range: bytes=%d-" % len(BODY))[0], 416)
        client = self.client(get().replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.settle()
        self.assertTrue(self.told(client)[2] == BODY)
        self.assertLess(self.cache.store.used, 10_000)
        self.assertEqual((open_files(), self.threads.work), (before + 1, []))
        self.assertEqual(set(self.words()[1:]), {"hit"})
        self.assertEqual(self.cache.saved, sum(record.bytes_out for record in self.notebook.requests[1:]))
        self.assertEqual(self.notebook.requests[1].bytes_out, len(BODY))
        self.cache.purge_url(b"http://example.com/x")
        self.assertEqual(open_files(), before)
        self.over()

    def test_not_cached(self) -> None:
        """What the page cache has no more is read in threads, and nobody waits for that but who wants it."""
        self.restarted(BODY * 4)
        self.given(method=b"HEAD")
        self.patch(os, "preadv", not_cached)
        clients = [self.ask(get(b"Range: bytes=7-")), self.ask(), self.ask()]
        self.assertEqual([len(client.received.partition(b"\r\n\r\n")[2]) for client in clients], [0, 0, 0])
        self.assertEqual(len(self.threads.work), 3)
        clients.pop().reset()
        self.assertEqual(self.given(method=b"HEAD")[0], 200)
        for _ in range(10):
            self.settle()
        self.assertTrue(self.told(clients[0])[2] == BODY[7:] + BODY * 3)
        self.assertTrue(self.told(clients[1])[2] == BODY * 4)
        self.over()

    def test_large_http2(self) -> None:
        """A stream of HTTP/2 gets the same, a window at a time."""
        self.restarted()
        client = Http2Client(self)
        for more in ((), (("range", "bytes=7-299999"),)):
            number = client.ask(*more)
            for _ in range(40):
                self.settle()
                client.hear()
            wanted = BODY if not more else BODY[7:300_000]
            self.assertTrue(client.bodies[number] == wanted)
            self.assertIn(number, client.ended)
        client.peer.close()
        self.over()

    def test_large_and_coded(self) -> None:
        """It is compressed from its file, too, and that is kept in memory."""
        text = b"".join(b"%d, " % number for number in range(100_000))
        self.restarted(text, FRESH, HTML)
        compressor = Compressor(CompressionSpec(("gzip",)), self.clock.seconds, lambda: 0.0, lambda: 0.0)
        self.factory.compressor, self.factory.recodes = compressor, True
        for _ in range(2):
            _, fields, body = self.given(GZIP)
            self.assertEqual(fields[b"content-length"], b"%d" % len(body))
            self.assertTrue(gzip.decompress(body) == text)
        self.assertEqual(compressor.passed["gzip"].answers, 1)
        self.assertTrue(self.given()[2] == text)
        self.over()

    def test_large_and_torn(self) -> None:
        """A file that is torn anywhere is never served, nor is one that becomes so between two starts."""
        for place in (len(BODY) - 1, 150_000, 0, None):
            path = self.restarted()
            size = os.path.getsize(path)
            if place is None:
                os.truncate(path, size - 1)
            else:
                with open(path, "r+b") as file:
                    file.seek(size - len(BODY) + place)
                    file.write(bytes([BODY[place] ^ 1]))
            client = self.ask()
            self.settle()
            self.say(self.server, answer(b"again", FRESH))
            self.assertEqual(self.told(client)[2], b"again")
            self.settle()
            self.assertFalse(os.path.exists(path))
            self.cache.purge_url(b"http://example.com/x")
            self.settle()
            self.over()

    def test_large_and_cut_short(self) -> None:
        """One that becomes shorter while it is sent cuts that, and is not used again, compressed or not."""
        for coded in (False, True):
            path = self.restarted(BODY * 4, FRESH, HTML)
            if coded:
                spec = CompressionSpec(("gzip",))
                self.factory.compressor = Compressor(spec, self.clock.seconds, lambda: 0.0, lambda: 0.0)
            client = self.client()
            client.stop_reading()
            client.send(GET)
            self.settle()
            os.truncate(path, 400_000)
            client.read_again()
            self.settle()
            self.assertIs(client.ended, Ended.RESET)
            self.assertEqual(self.outcomes()[-1], (200, Reason.FILE_CHANGED))
            self.assertLess(self.notebook.requests[-1].bytes_out, 410_000)
            client = self.ask()
            self.settle()
            self.say(self.server, answer(b"again", FRESH))
            self.assertEqual(self.told(client)[2], b"again")
            self.cache.purge_url(b"http://example.com/x")
            self.settle()
            self.over()

    def test_large_and_thrown_away(self) -> None:
        """What is purged, or evicted, while it is sent goes on, from a file that has no name any more."""
        path = self.restarted(BODY * 4)
        before = open_files_before()
        client = self.client()
        client.stop_reading()
        client.send(GET)
        self.settle()
        self.assertEqual(open_files(), before + 1)
        self.cache.purge_url(b"http://example.com/x")
        self.settle()
        self.assertEqual((os.path.exists(path), open_files()), (False, before + 1))
        client.read_again()
        self.settle()
        self.assertTrue(self.told(client)[2] == BODY * 4)
        self.assertEqual(open_files(), before)
        self.over()

    def test_large_and_evicted(self) -> None:
        """What has to go from the disk is not kept there by being open."""
        path = self.restarted()
        before = open_files_before()
        self.given()
        self.assertEqual(open_files(), before + 1)
        os.unlink(path)
        self.fill(request=get(target=b"/y"))
        self.assertEqual(open_files(), before)
        self.settle()
        self.over()

    def test_large_and_left(self) -> None:
        """A client that leaves in the midst of it leaves nothing behind, and is told of so far."""
        self.restarted(BODY * 4)
        before = open_files_before()
        client = self.client()
        client.stop_reading()
        client.send(GET)
        self.settle()
        client.reset()
        self.network.flush()
        self.cache.purge_url(b"http://example.com/x")
        self.settle()
        self.assertEqual(open_files(), before)
        self.assertEqual(self.outcomes()[-1], (200, Reason.CLIENT_RESET))
        self.assertLess(self.notebook.requests[-1].bytes_out, 4 * len(BODY))
        self.over()

    def test_large_and_slow(self) -> None:
        """Who takes nothing of it for too long is cut, and who takes a little is not."""
        self.restarted(BODY * 4)
        self.factory.spec = evolve(self.factory.spec, idle_timeout=10.0)
        slow = self.client()
        slow.stop_reading()
        slow.send(GET)
        self.settle()
        for _ in range(40):
            self.pass_time(1)
        self.assertEqual(self.outcomes()[-1], (200, Reason.CLIENT_STALLED))
        self.over()

    def test_large_and_stale(self) -> None:
        """What its server says is still good is given from the same file, and written no second time."""
        path = self.restarted()
        self.pass_time(61)
        client = self.ask()
        self.settle()
        self.assertIn(b'If-None-Match: "a"', self.heard(self.server))
        self.say(self.server, b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n' + FRESH + b"\r\n")
        self.assertTrue(self.told(client)[2] == BODY)
        self.settle()
        self.assertTrue(self.given()[2] == BODY)
        self.assertEqual(self.words()[1:], ["revalidated", "hit"])
        self.assertTrue(os.path.exists(path))
        self.over()
