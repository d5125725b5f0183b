"""Is a request answered with a file as RFC 9110 has it, and does the file arrive whole?"""

from __future__ import annotations

import os
import zlib
from typing import Any, Optional
from unittest.mock import patch

from proxyd.config.action import ActionSpec, EditSpec, RespondSpec, RewriteSpec
from proxyd.config.bandwidth import Allowance, BandwidthSpec
from proxyd.config.compression import CompressionSpec
from proxyd.config.condition import ConditionSpec
from proxyd.config.http import HttpSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.route import RouteSpec
from proxyd.config.static import StaticSpec
from proxyd.config.template import Template
from proxyd.errors import Reason
from proxyd.frontends.http.factory import HttpFactory
from proxyd.frontends.http.recoding import Compressor
from proxyd.frontends.http.routing import Routing
from proxyd.frontends.http.static import FRESH, SMALL, File
from proxyd.policy.lists import Lists
from proxyd.policy.routelimits import RouteLimits
from proxyd.relay.bandwidth import TICK_SECONDS
from tests.frontends.http.caches import Threads
from tests.frontends.http.client2 import GET2, Http2Client
from tests.frontends.http.front import HttpCase
from tests.frontends.http.test_recoding import decoded, taken_apart
from tests.frontends.http.test_static import SiteCase
from tests.relay.test_sendfile import not_cached
from tests.support.admission import admission
from tests.support.descriptors import open_files, open_files_before
from tests.support.peer import Ended

LARGE = os.urandom(300_000)
AT = 1_000_000_000
DATE = b"Sun, 09 Sep 2001 01:46:40 GMT"
TAG = b'"de0b6b3a7640000-4"'


class FilesCase(HttpCase, SiteCase):
    """A listener with files."""

    def setUp(self) -> None:
        HttpCase.setUp(self)
        SiteCase.setUp(self)
        self.write("a.html", b"<p>a", AT)
        self.write("large.bin", LARGE, AT)

    def serves(self, *routes: RouteSpec, http: Optional[HttpSpec] = None, **listener: Any) -> None:
        """A listener with this folder, and these routes."""
        root = StaticSpec(self.folder, precompressed=("gzip",))
        super().listen()
        spec = ListenerSpec(
            "front", (), protocol="http", routes=routes, http=http or HttpSpec(root=root), **listener
        )
        limits = {each.name: RouteLimits(each) for each in routes}
        self.threads = Threads()
        routing = Routing(spec, {}, Lists(()), limits, self.clock, self.threads)
        self.factory = HttpFactory(
            spec, {}, self.datapath, self.wheel, self.clock.seconds, self.wall, self.capacity,
            [self.notebook], admission(), routing=routing,
        )  # fmt: skip

    def ask(self, target: bytes, *lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
        """A request."""
        return b"\r\n".join([b"%s %s HTTP/%s" % (method, target, version), b"Host: a", *lines, b"", b""])

    def answer(self, target: bytes, *lines: bytes, **how: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        """The status, the fields and the body of the answer to a request on a connection of its own."""
        client = self.client(self.ask(target, *lines, **how))
        self.clock.advance(0)
        self.network.flush()
        head, _, body = client.received.partition(b"\r\n\r\n")
        first, *others = head.split(b"\r\n")
        client.close()
        self.network.flush()
        fields = dict(line.lower().split(b": ", 1) for line in others)
        return int(first[9:12]), fields, body


class Answers(FilesCase):
    """What is answered."""

    def test_small(self) -> None:
        """A small file, again and again on one connection, also when several are asked for at once."""
        self.serves()
        client = self.client(3 * self.ask(b"/a.html"))
        for _ in range(3):
            self.clock.advance(0)
            self.network.flush()
        expected = (
            b"HTTP/1.1 200 OK\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT\r\n"
            b"Content-Type: text/html; charset=utf-8\r\nLast-Modified: "
            + DATE
            + b"\r\nETag: "
            + TAG
            + b"\r\nAccept-Ranges: bytes\r\n"
            b"Content-Length: 4\r\n\r\n<p>a"
        )
        self.assertEqual(client.received, 3 * expected)
        self.say(client, self.ask(b"/a.html?x=y"))
        self.assertEqual(client.received, 4 * expected)
        self.pass_time(2)
        self.say(client, self.ask(b"/a.html"))
        self.assertIn(b"01:46:42 GMT", client.received)
        record = self.notebook.requests[0]
        self.assertEqual((record.status, record.reason, record.server), (200, Reason.ANSWERED, ""))
        self.assertEqual(record.bytes_out, len(expected))
        client.close()
        self.over()

    def test_large(self) -> None:
        """A large one, which is sent as the client takes it; then the next request."""
        self.serves()
        client = self.client()
        client.stop_reading()
        client.send(self.ask(b"/large.bin") + self.ask(b"/a.html"))
        self.network.flush()
        self.assertEqual(self.notebook.requests, [])
        client.read_again()
        self.network.flush()
        self.clock.advance(0)
        self.network.flush()
        head, _, rest = client.received.partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: 300000", head)
        self.assertTrue(rest.startswith(LARGE))
        self.assertTrue(rest[len(LARGE) :].endswith(b"<p>a"))
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)] * 2)
        self.assertEqual(self.notebook.requests[0].bytes_out, len(head) + 4 + len(LARGE))
        client.close()
        self.over()

    def test_not_cached(self) -> None:
        """What the page cache does not have is read in threads, and nobody waits but who wants it."""
        self.write("small.txt", bytes(SMALL), AT)
        self.serves()
        self.patch(os, "preadv", not_cached)
        large, small = self.client(self.ask(b"/large.bin")), self.client(self.ask(b"/small.txt"))
        for client in (large, small):
            self.assertTrue(client.received.endswith(b"\r\n\r\n"))
        self.assertEqual(self.answer(b"/large.bin", method=b"HEAD")[0], 200)
        self.assertEqual(len(self.threads.work), 2)
        self.threads.run()
        self.network.flush()
        for client, body in ((large, LARGE), (small, bytes(SMALL))):
            self.assertTrue(client.received.endswith(b"\r\n\r\n" + body))
        self.over()

    def test_statuses(self) -> None:
        """What is not there, is a folder, or is asked for in another way than files are."""
        self.serves()
        rows: tuple[tuple[bytes, bytes, int, dict[bytes, bytes]], ...] = (
            (b"GET", b"/none", 404, {}),
            (b"GET", b"/.env", 404, {}),
            (b"GET", b"/sub?x", 301, {b"location": b"/sub/?x"}),
            (b"GET", b"/x/../sub", 301, {b"location": b"/sub/"}),
            (b"GET", b"//sub", 301, {b"location": b"/sub/"}),
            (b"GET", b"/../a.html", 400, {}),
            (b"GET", b"/a%2fb", 400, {}),
            (b"POST", b"/a.html", 405, {b"allow": b"get, head"}),
            (b"OPTIONS", b"*", 405, {}),
            (b"GET", b"/", 200, {}),
        )
        for method, target, status, fields in rows:
            found, told, _ = self.answer(target, method=method)
            self.assertEqual(found, status, target)
            self.assertEqual({**told, **fields}, told, target)
        self.over()

    def test_conditions(self) -> None:
        """RFC 9110, 13 and 14: conditions and parts, a row for each."""
        self.serves()
        page, big = b"/a.html", b"/large.bin"
        part = {b"content-range": b"bytes 1-2/4", b"content-length": b"2"}
        rows: tuple[tuple[bytes, tuple[bytes, ...], int, dict[bytes, bytes], Optional[bytes]], ...] = (
            (page, (b"If-None-Match: " + TAG,), 304, {b"etag": TAG}, b""),
            (page, (b"If-None-Match: W/" + TAG,), 304, {}, b""),
            (page, (b'If-None-Match: "x"',), 200, {}, b"<p>a"),
            (page, (b"If-Modified-Since: " + DATE,), 304, {b"last-modified": DATE.lower()}, b""),
            (page, (b"If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT",), 200, {}, b"<p>a"),
            (page, (b'If-Match: "x"',), 412, {}, None),
            (page, (b"If-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT",), 412, {}, None),
            (page, (b"Range: bytes=1-2",), 206, part, b"p>"),
            (page, (b"Range: bytes=-2",), 206, {b"content-range": b"bytes 2-3/4"}, b">a"),
            (page, (b"Range: bytes=4-",), 416, {b"content-range": b"bytes */4"}, None),
            (page, (b"Range: bytes=0-0,2-3",), 200, {}, b"<p>a"),
            (page, (b"Range: lines=1-2",), 200, {}, b"<p>a"),
            (page, (b"Range: bytes=1-2", b"If-Range: " + TAG), 206, part, b"p>"),
            (page, (b"Range: bytes=1-2", b'If-Range: "x"'), 200, {}, b"<p>a"),
            (
                big,
                (b"Range: bytes=1-200000",),
                206,
                {b"content-range": b"bytes 1-200000/300000"},
                LARGE[1:200_001],
            ),
            (big, (b"If-Modified-Since: " + DATE,), 304, {}, b""),
        )
        for target, lines, status, fields, body in rows:
            found, told, said = self.answer(target, *lines)
            self.assertEqual((found, {**told, **fields}), (status, told), lines)
            if body is not None:
                self.assertTrue(said == body, lines)
        self.over()

    def test_head(self) -> None:
        """A HEAD is answered as a GET, without the body, and without parts."""
        self.serves()
        for target, length in ((b"/a.html", b"4"), (b"/large.bin", b"300000")):
            status, fields, body = self.answer(target, b"Range: bytes=1-2", method=b"HEAD")
            self.assertEqual((status, fields[b"content-length"], body), (200, length, b""))
        self.assertEqual(self.answer(b"/none", method=b"HEAD")[2], b"")
        self.over()

    def test_old_client(self) -> None:
        """HTTP/1.0 keeps its connection if it asks for that."""
        self.serves()
        self.assertEqual(self.answer(b"/a.html", version=b"1.0")[1][b"connection"], b"close")
        fields = self.answer(b"/a.html", b"Connection: keep-alive", version=b"1.0")[1]
        self.assertEqual(fields[b"connection"], b"keep-alive")
        self.over()

    def test_precompressed(self) -> None:
        """Who takes gzip gets the file that is there for that."""
        self.serves()
        self.write("a.html.gz", b"zipped", AT)
        status, fields, body = self.answer(b"/a.html", b"Accept-Encoding: gzip")
        self.assertEqual((status, body, fields[b"content-encoding"]), (200, b"zipped", b"gzip"))
        self.assertEqual(self.answer(b"/a.html")[2], b"<p>a")
        self.over()

    def test_http2(self) -> None:
        """Streams of HTTP/2 get the same, small and large."""
        self.serves()
        client = Http2Client(self)
        small = client.ask(head=[*GET2[:-1], (":path", "/a.html")])
        large = client.ask(head=[*GET2[:-1], (":path", "/large.bin")])
        for _ in range(60):
            self.clock.advance(0)
            client.hear()
        self.assertEqual((client.bodies[small], client.bodies[large] == LARGE), (b"<p>a", True))
        self.assertEqual(sorted(client.ended), [small, large])
        self.assertEqual(client.heads[large]["content-length"], "300000")
        client.peer.close()
        self.over()

    def test_http2_that_does_not_read(self) -> None:
        """One that opens no window gets no more of a file than that, and is cut in the end."""
        self.serves(idle_timeout=10.0)
        client = Http2Client(self, acknowledges=False)
        number = client.ask(head=[*GET2[:-1], (":path", "/large.bin")])
        for _ in range(10):
            self.clock.advance(0)
            client.hear()
        self.assertEqual(len(client.bodies[number]), 65_535)
        for _ in range(40):
            self.pass_time(1)
        client.hear()
        self.assertEqual(list(client.resets), [number])
        self.assertEqual(self.outcomes(), [(200, Reason.CLIENT_STALLED)])
        client.peer.close()
        self.over()


class Routed(FilesCase):
    """Files of a route."""

    def test_route(self) -> None:
        """A route has its own folder; its rewriting, and what it does with fields, hold for files."""
        edits = (EditSpec("set", "Cache-Control", Template((("max-age=60", ""),))),)
        action = ActionSpec(
            root=StaticSpec(os.path.join(self.folder, "sub")),
            rewrite=RewriteSpec("/docs", "/"),
            response_header=edits,
        )
        route = RouteSpec("docs", ("front",), condition=ConditionSpec(path=("/docs",)), action=action)
        self.serves(route)
        self.write("sub/deep/x.txt", b"x")
        status, fields, body = self.answer(b"/docs/b.txt")
        self.assertEqual((status, body, fields[b"cache-control"]), (200, b"b", b"max-age=60"))
        self.assertEqual(self.notebook.requests[0].route, "docs")
        self.assertEqual(self.answer(b"/docs/deep")[1][b"location"], b"/docs/deep/")
        self.assertEqual(self.answer(b"/docs/none")[0], 404)
        self.assertEqual(self.answer(b"/a.html")[2], b"<p>a")
        self.assertEqual(self.answer(b"/docs/deep/x.txt")[2], b"x")
        self.over()

    def test_folder_that_is_not_there(self) -> None:
        """It is told at the start."""
        route = RouteSpec("docs", ("front",), action=ActionSpec(root=StaticSpec("/nowhere")))
        self.serves(route)
        assert self.factory.routing is not None
        self.assertEqual(self.factory.routing.load(), ["root: /nowhere: No such file or directory"])
        self.over()


class Paced(FilesCase):
    """A listener with a bandwidth."""

    RATE, BURST = 100_000, 20_000

    def paced(self, said: bytes, size: int, count: int = 1) -> bytes:
        """What comes of so many such requests, no sooner than it may; their bodies have so many bytes."""
        bandwidth = BandwidthSpec(outward=Allowance(self.RATE, self.BURST))
        self.serves(bandwidth=bandwidth)
        self.factory.compressor = self.compressor
        self.notebook.requests.clear()
        client, began = self.client(), self.clock.seconds()
        for number in range(count):
            client.send(said)
            for _ in range(2000):
                self.clock.advance(TICK_SECONDS)
                self.network.flush()
                seconds = self.clock.seconds() - began
                self.assertLessEqual(
                    client.count, self.BURST + self.RATE * seconds + self.RATE / 10 + 500 * count
                )
                if len(self.notebook.requests) > number:
                    break
        self.assertLess(abs(self.clock.seconds() - began - (size - self.BURST) / self.RATE), 0.3)
        self.assertEqual(set(self.outcomes()), {(200, Reason.ANSWERED)})
        received = client.received
        client.close()
        self.network.flush()
        assert self.factory.pacing is not None
        self.clock.pump([TICK_SECONDS] * 100)
        self.assertEqual(len(self.factory.pacing.wheel), 0)
        self.over()
        return received

    def setUp(self) -> None:
        super().setUp()
        self.compressor: Optional[Compressor] = None

    def test_large(self) -> None:
        """A large file comes as fast as it may, and hardly slower."""
        self.assertTrue(self.paced(self.ask(b"/large.bin"), len(LARGE)).endswith(LARGE))

    def test_small(self) -> None:
        """Many small ones are as slow together as a large one."""
        self.write("small.bin", LARGE[:5000], AT)
        received = self.paced(self.ask(b"/small.bin"), 300_000, 60)
        self.assertEqual(received.count(LARGE[:5000]), 60)

    def test_compressed(self) -> None:
        """What is compressed on the way is as fast as what of it leaves may be."""
        text = LARGE.hex().encode()
        self.write("large.txt", text, AT)
        spec = CompressionSpec(("gzip",), max_cpu=100)
        self.compressor = Compressor(spec, self.clock.seconds, lambda: 0.0, lambda: 0.0)
        size = len(zlib.compress(text, 1))
        received = self.paced(self.ask(b"/large.txt", b"Accept-Encoding: gzip"), size)
        self.assertEqual(decoded("gzip", taken_apart(received)[1]), text)


class Responds(FilesCase):
    """A long text of the configuration."""

    def responds(self, text: str, **listener: Any) -> None:
        action = ActionSpec(respond=RespondSpec(200, text))
        self.serves(RouteSpec("r", ("front",), action=action), **listener)

    def test_much(self) -> None:
        """A long text comes as the client takes it, and no more of it is held; then the next request."""
        text = "".join(f"line {number}\n" for number in range(60_000))
        self.responds(text)
        client = self.client()
        client.stop_reading()
        client.send(self.ask(b"/") + self.ask(b"/").replace(b"GET", b"HEAD"))
        self.network.flush()
        self.assertEqual(self.outcomes(), [])
        client.read_again()
        for _ in range(3):
            self.clock.advance(0)
            self.network.flush()
        head, _, rest = client.received.partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d\r\n" % (len(text) + 1), head + b"\r\n")
        self.assertTrue(rest.startswith(text.encode() + b"\nHTTP/1.1 200 OK\r\n"))
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)] * 2)
        before = len(client.received)
        self.say(client, self.ask(b"/").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        self.assertIn(b"Connection: close\r\n", client.received[before:])
        self.assertTrue(client.received.endswith(b"line 59999\n\n"))
        self.over()

    def test_who_does_not_read(self) -> None:
        """Who takes nothing of it is cut after idle_timeout."""
        self.responds("x" * 400_000, idle_timeout=10.0)
        client = self.client()
        client.stop_reading()
        client.send(self.ask(b"/"))
        self.pass_time(30)
        self.assertEqual(self.outcomes(), [(200, Reason.CLIENT_STALLED)])
        self.over()


class Ends(FilesCase):
    """How it ends otherwise."""

    def test_cut_short(self) -> None:
        """A file that becomes shorter while it is sent cuts the connection: nobody takes it for whole."""
        self.serves()
        client = self.client()
        client.stop_reading()
        client.send(self.ask(b"/large.bin"))
        self.network.flush()
        os.truncate(os.path.join(self.folder, "large.bin"), 100_000)
        client.read_again()
        self.network.flush()
        self.assertIs(client.ended, Ended.RESET)
        self.assertEqual(self.outcomes(), [(200, Reason.FILE_CHANGED)])
        self.over()

    def test_replaced(self) -> None:
        """One that was replaced since it was found is found anew, and not sent as if it were the other."""
        self.serves()
        tag = self.answer(b"/large.bin", method=b"HEAD")[1][b"etag"]
        self.write("large.bin", LARGE + b"more")
        status, fields, body = self.answer(b"/large.bin")
        self.assertEqual((status, body, fields[b"content-length"]), (200, LARGE + b"more", b"300004"))
        self.write("large.bin", LARGE[::-1])
        status, fields, body = self.answer(b"/large.bin", b"Range: bytes=0-9", b"If-Range: " + tag)
        self.assertEqual((status, body), (200, LARGE[::-1]))
        with patch.object(File, "open", side_effect=OSError(24, "Too many open files")):
            self.assertEqual(self.answer(b"/large.bin")[0], 503)
        self.assertEqual(self.notebook.requests[-1].reason, Reason.FILE_CHANGED)
        self.assertEqual(self.answer(b"/large.bin")[2], LARGE[::-1])
        self.over()

    def test_client_that_leaves(self) -> None:
        """A client that leaves in the midst of it leaves no descriptor behind."""
        self.serves()
        before = open_files_before()
        client = self.client()
        client.stop_reading()
        client.send(self.ask(b"/large.bin"))
        self.network.flush()
        self.assertEqual(open_files(), before + 1)
        client.reset()
        self.network.flush()
        self.assertEqual(open_files(), before)
        ((status, reason),) = self.outcomes()
        self.assertEqual((status, reason), (200, Reason.CLIENT_RESET))
        self.assertLess(self.the_request().bytes_out, len(LARGE))
        self.over()

    def test_client_that_does_not_read(self) -> None:
        """One that takes nothing more is cut after idle_timeout, and not before."""
        self.serves(idle_timeout=10.0)
        client = self.client()
        client.stop_reading()
        client.send(self.ask(b"/large.bin"))
        self.pass_time(9)
        self.assertEqual(self.notebook.requests, [])
        self.pass_time(20)
        self.assertEqual(self.outcomes(), [(200, Reason.CLIENT_STALLED)])
        self.over()

    def test_slow_client(self) -> None:
        """One that takes a little now and then gets all of it."""
        self.serves(idle_timeout=10.0)
        client = self.client(self.ask(b"/large.bin"))
        for _ in range(20):
            client.stop_reading()
            self.pass_time(8)
            client.read_again()
            self.network.flush()
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)])
        client.close()
        self.over()

    def test_body_of_a_get(self) -> None:
        """A request with a body is answered, and the connection closed: nobody has read it."""
        self.serves()
        status, fields, body = self.answer(b"/a.html", b"Content-Length: 5")
        self.assertEqual((status, fields[b"connection"], body), (200, b"close", b"<p>a"))
        self.over()

    def test_stopping(self) -> None:
        """When the daemon stops, a file that is under way is sent, and then the connection closed."""
        self.serves()
        client = self.client()
        client.stop_reading()
        client.send(self.ask(b"/large.bin"))
        self.network.flush()
        self.factory.stopFactory()
        client.read_again()
        self.network.flush()
        self.assertTrue(client.received.endswith(LARGE))
        self.assertIs(client.ended, Ended.END)
        client.close()
        self.over()

    def test_half_closed(self) -> None:
        """A client that finishes sending has what it asked for."""
        self.serves()
        client = self.client(self.ask(b"/large.bin"))
        client.finish()
        self.network.flush()
        self.assertTrue(client.received.endswith(LARGE))
        self.over()

    def test_fresh(self) -> None:
        """A file that has changed is seen a second later, without a change of the file's answer before."""
        self.serves()
        self.assertEqual(self.answer(b"/a.html")[2], b"<p>a")
        self.write("a.html", b"<p>b", AT + 1)
        self.assertEqual(self.answer(b"/a.html")[2], b"<p>a")
        self.pass_time(FRESH)
        self.assertEqual(self.answer(b"/a.html")[2], b"<p>b")
        self.assertLess(len(b"<p>b"), SMALL)
        self.over()
