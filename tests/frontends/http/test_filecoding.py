"""Is a file given in the coding that its client takes, once made for all, and as fast as it is taken?"""

from __future__ import annotations

import os
from random import Random
from typing import Any

from proxyd.config.compression import CompressionSpec
from proxyd.errors import Reason
from proxyd.frontends.http import static
from proxyd.frontends.http.recoding import TURN, Compressor
from proxyd.frontends.http.static import FRESH, SMALL
from tests.frontends.http.client2 import GET2, Http2Client
from tests.frontends.http.test_files import AT, DATE, FilesCase
from tests.frontends.http.test_recoding import coded, decoded, taken_apart
from tests.support.descriptors import open_files, open_files_before
from tests.support.peer import Ended

PAGE = b"".join(b"<p>line %d of many</p>\n" % number for number in range(2500))
BOOK = bytes(Random(4).choices(b"0123456789abcdef", k=1_200_000))  # which becomes half as long
TAG = b'"de0b6b3a7640000-%x"' % len(PAGE)
SPEC = CompressionSpec(("zstd", "br", "gzip"))


class Coded(FilesCase):
    """A listener with files that compresses."""

    def setUp(self) -> None:
        super().setUp()
        self.write("page.html", PAGE, AT)
        self.write("book.txt", BOOK, AT)
        self.write("short.txt", b"short", AT)
        self.begin()

    def begin(self, spec: CompressionSpec = SPEC, **listener: Any) -> None:
        self.serves(**listener)
        self.notebook.requests.clear()
        self.used = 0.0  # seconds of the processor
        self.step = 0.0  # that each look at them takes
        self.lag = 0.0
        self.compressor = Compressor(spec, self.clock.seconds, self.cpu, lambda: self.lag)
        self.factory.compressor = self.compressor
        self.factory.recodes = True

    def cpu(self) -> float:
        self.used += self.step
        return self.used

    def get(
        self, target: bytes, accept: bytes, *lines: bytes, **how: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        """The status, the fields and the body, without framing, of what one gets who takes this."""
        client = self.client(self.ask(target, b"Accept-Encoding: " + accept, *lines, **how))
        for _ in range(200):
            self.clock.advance(0)
            self.network.flush()
        head, _, body = client.received.partition(b"\r\n\r\n")
        first, *others = head.split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in others)
        if b"transfer-encoding" in fields and body:
            _, body, end = taken_apart(client.received)
            self.assertEqual(end, b"")
        client.close()
        self.network.flush()
        return int(first[9:12]), fields, body

    def test_small(self) -> None:
        """It is put in each coding once, has a length then, a weak tag, and no parts."""
        for coding in ("gzip", "br", "zstd"):
            for _ in range(3):
                status, fields, body = self.get(b"/page.html", coding.encode())
                self.assertEqual((status, decoded(coding, body)), (200, PAGE))
                self.assertEqual(fields[b"content-encoding"], coding.encode())
                self.assertEqual(fields[b"content-length"], b"%d" % len(body))
                self.assertEqual((fields[b"etag"], fields[b"vary"]), (b"w/" + TAG, b"accept-encoding"))
                self.assertNotIn(b"accept-ranges", fields)
                self.pass_time(FRESH)  # the file is looked at again, and has not changed
            self.assertEqual(self.compressor.passed[coding].answers, 1)
        self.assertEqual({record.encoding for record in self.notebook.requests}, {"gzip", "br", "zstd"})
        self.write("page.html", PAGE + b"more", AT + 1)
        self.pass_time(FRESH)
        self.assertEqual(decoded("gzip", self.get(b"/page.html", b"gzip")[2]), PAGE + b"more")
        self.over()

    def test_as_it_is(self) -> None:
        """Who takes none has it as it is, and is told that it could have been, if that is so."""
        self.write("picture.png", bytes(2000), AT)
        rows: tuple[tuple[bytes, bytes, tuple[bytes, ...], bytes, Any], ...] = (
            (b"/page.html", b"identity", (), b"1.1", b"accept-encoding"),
            (b"/page.html", b"gzip;q=0", (), b"1.1", b"accept-encoding"),
            (b"/page.html", b"gzip", (b"Cache-Control: no-transform",), b"1.1", None),
            (b"/page.html", b"gzip", (), b"1.0", b"accept-encoding"),
            (b"/book.txt", b"x-none", (), b"1.1", b"accept-encoding"),
            (b"/short.txt", b"gzip", (), b"1.1", None),
            (b"/picture.png", b"gzip", (), b"1.1", None),
        )
        for target, accept, lines, version, vary in rows:
            status, fields, body = self.get(target, accept, *lines, version=version)
            with open(self.folder + target.decode(), "rb") as file:
                self.assertEqual((status, body == file.read()), (200, True), target)
            self.assertNotIn(b"content-encoding", fields)
            self.assertEqual((fields.get(b"vary"), fields[b"accept-ranges"]), (vary, b"bytes"), target)
            self.assertEqual(fields[b"etag"][:1], b'"')
        _, fields, body = self.answer(b"/page.html")  # which names no codings at all
        self.assertEqual((fields[b"vary"], body), (b"accept-encoding", PAGE))
        self.over()

    def test_conditions(self) -> None:
        """A client is known by the weak tag as by the strong; a part is one of the file as it is."""
        again = (b"If-None-Match: W/" + TAG,)
        rows: tuple[tuple[bytes, tuple[bytes, ...], int, dict[bytes, bytes]], ...] = (
            (b"gzip", again, 304, {b"etag": b"w/" + TAG, b"vary": b"accept-encoding"}),
            (b"gzip", (b"If-None-Match: " + TAG,), 304, {b"etag": TAG, b"vary": b"accept-encoding"}),
            (b"identity", again, 304, {b"vary": b"accept-encoding"}),
            (b"gzip", (b"If-Modified-Since: " + DATE,), 304, {b"vary": b"accept-encoding"}),
            (b"gzip", (b'If-None-Match: "x"',), 200, {b"content-encoding": b"gzip"}),
            (b"gzip", (b"If-Match: W/" + TAG,), 412, {}),
            (b"gzip", (b"Range: bytes=1-2",), 206, {b"etag": TAG, b"content-length": b"2"}),
            (b"gzip", (b"Range: bytes=1-2", b"If-Range: W/" + TAG), 200, {b"content-encoding": b"gzip"}),
            (b"gzip", (b"Range: bytes=1-2", b"If-Range: " + DATE), 200, {b"content-encoding": b"gzip"}),
            (
                b"gzip",
                (b"Range: bytes=1-2", b"If-Range: " + TAG),
                206,
                {b"content-range": b"bytes 1-2/%d" % len(PAGE)},
            ),
        )
        for accept, lines, status, fields in rows:
            found, told, body = self.get(b"/page.html", accept, *lines)
            self.assertEqual((found, {**told, **fields}), (status, told), lines)
            if status == 206:
                self.assertEqual((body, b"content-encoding" in told), (PAGE[1:3], False))
        self.over()

    def test_head(self) -> None:
        """A HEAD has the fields of a GET, small or large, and nothing is read for it."""
        for target in (b"/page.html", b"/book.txt"):
            for _ in range(2):
                got = self.get(target, b"br")[1]
                status, fields, body = self.get(target, b"br", method=b"HEAD")
                got.pop(b"transfer-encoding", None)
                self.assertEqual((status, fields, body), (200, got, b""))
        self.over()

    def test_large(self) -> None:
        """It is made each time, in chunks, as its client takes it; the next request comes behind it."""
        for coding in ("gzip", "br", "zstd"):
            self.begin()
            client = self.client()
            client.stop_reading()
            ask = self.ask(b"/book.txt", b"Accept-Encoding: " + coding.encode())
            client.send(ask + self.ask(b"/short.txt"))
            for _ in range(50):
                self.clock.advance(0)
                self.network.flush()
            self.assertLess(self.compressor.passed[coding].bytes_in, len(BOOK))
            self.assertEqual(self.notebook.requests, [])
            client.read_again()
            for _ in range(200):
                self.clock.advance(0)
                self.network.flush()
            self.assertTrue(client.received.endswith(b"short"))
            self.assertEqual(decoded(coding, taken_apart(client.received)[1]), BOOK)
            self.assertNotIn(b"Content-Length", client.received.partition(b"\r\n\r\n")[0])
            self.assertEqual(self.notebook.requests[0].encoding, coding)
            self.assertEqual(self.compressor.guard.under_way, 0)
            client.close()
            self.over()

    def test_turns(self) -> None:
        """Others have their turn while it is made; a small one is shared by all who ask for it meanwhile."""
        self.step = 2 * TURN
        clients, other = [self.client() for _ in range(3)], self.client()
        for client in clients:
            client.send(self.ask(b"/page.html", b"Accept-Encoding: gzip"))
        other.send(self.ask(b"/short.txt"))
        self.network.flush()
        for _ in range(100):
            self.clock.advance(0)
            self.network.flush()
        self.assertEqual(self.notebook.requests[0].target, b"/short.txt")
        other.close()
        for client in clients:
            self.assertEqual(decoded("gzip", taken_apart(client.received)[1]), PAGE)
            client.close()
        self.assertEqual(self.compressor.passed["gzip"].answers, 1)
        self.step = 0.0
        self.assertIn(b"content-length", self.get(b"/page.html", b"gzip")[1])
        self.over()

    def test_no_time(self) -> None:
        """While the loop is late a file leaves as it is; what has been made is given all the same."""
        self.get(b"/page.html", b"gzip")
        self.lag = 1.0
        for target, accept, coding in (
            (b"/page.html", b"gzip", b"gzip"),
            (b"/page.html", b"br", None),
            (b"/book.txt", b"gzip", None),
        ):
            _, fields, _ = self.get(target, accept)
            self.assertEqual((fields.get(b"content-encoding"), fields[b"vary"]), (coding, b"accept-encoding"))
        self.assertEqual([self.compressor.passed[name].passed_over for name in ("br", "gzip")], [1, 1])
        self.over()

    def test_precompressed_first(self) -> None:
        """A file beside it goes first; who takes another coding alone has it made."""
        self.write("page.html.gz", coded("gzip", b"beside it"), AT)
        _, fields, body = self.get(b"/page.html", b"zstd, gzip")
        self.assertEqual((decoded("gzip", body), fields[b"etag"][:1]), (b"beside it", b'"'))
        self.assertEqual(decoded("zstd", self.get(b"/page.html", b"zstd")[2]), PAGE)
        self.over()

    def test_bounded(self) -> None:
        """What is made of small files is held within the bound of what is held of them."""
        self.patch(static, "HELD", SMALL)
        for number in range(6):
            self.write(f"{number}.html", PAGE, AT)
            for _ in range(2):
                body = self.get(b"/%d.html" % number, b"gzip")[2]
                self.assertEqual(decoded("gzip", body), PAGE)
        site = self.factory.site
        assert site is not None
        self.assertLessEqual(site._held, 2 * SMALL)
        held = sum(static._size(files) for _, files in site._known.values())
        self.assertEqual(site._held, held)
        self.over()

    def test_cut_short(self) -> None:
        """A file that becomes shorter while it is sent cuts the connection."""
        client = self.client()
        client.stop_reading()
        client.send(self.ask(b"/book.txt", b"Accept-Encoding: gzip"))
        self.network.flush()
        os.truncate(os.path.join(self.folder, "book.txt"), 100_000)
        client.read_again()
        for _ in range(50):
            self.clock.advance(0)
            self.network.flush()
        self.assertIs(client.ended, Ended.RESET)
        self.assertEqual(self.outcomes(), [(200, Reason.FILE_CHANGED)])
        self.assertEqual(self.compressor.guard.under_way, 0)
        self.over()

    def test_client_that_leaves(self) -> None:
        """One that leaves leaves neither a descriptor behind nor anything that is made."""
        before = open_files_before()
        client = self.client()
        client.stop_reading()
        client.send(self.ask(b"/book.txt", b"Accept-Encoding: gzip"))
        self.network.flush()
        self.assertEqual(open_files(), before + 1)
        client.reset()
        self.network.flush()
        self.assertEqual((open_files(), self.compressor.guard.under_way), (before, 0))
        self.over()

    def test_http2(self) -> None:
        """Streams of HTTP/2 get the same."""
        client = Http2Client(self)
        asked = {}
        for target in ("/page.html", "/book.txt"):
            head = [*GET2[:-1], (":path", target), ("accept-encoding", "gzip")]
            asked[client.ask(head=head)] = target
        for _ in range(200):
            self.clock.advance(0)
            client.hear()
        for number, target in asked.items():
            self.assertEqual(client.heads[number]["content-encoding"], "gzip")
            self.assertEqual(decoded("gzip", client.bodies[number]), PAGE if target == "/page.html" else BOOK)
        self.assertEqual(sorted(client.ended), sorted(asked))
        client.peer.close()
        self.over()
