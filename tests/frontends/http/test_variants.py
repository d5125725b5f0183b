"""What is given of a stored answer to a client that would like it compressed?"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from proxyd.config.compression import CompressionSpec
from proxyd.frontends.http.recoding import TURN, Compressor
from proxyd.frontends.http.variants import MOST, Variants
from proxyd.policy.cachestore import Memory, Stored
from proxyd.policy.freshness import Terms
from proxyd.relay.streams import CHUNK
from proxyd.wire.http1 import Request, Said
from proxyd.wire.httpfields import parse_field
from tests.frontends.http.caches import ETAG, FRESH, CachingCase, answer, get
from tests.frontends.http.client2 import Http2Client
from tests.frontends.http.test_recoding import TEXT, decoded
from tests.support.case import Case

HTML = b"Content-Type: text/html\r\n"
PAGE = TEXT[:20_000]
GZIP = b"Accept-Encoding: gzip"


class Given(CachingCase):
    """A listener with a cache, and compression."""

    def store(self, *ports: int, **how: Any) -> None:
        spec = CompressionSpec(("br", "gzip"), **how.pop("compression", {}))
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

    def over(self) -> None:
        super().over()
        self.assertEqual((self.cache.variants._makings, self.compressor.guard.under_way), ({}, 0))

    def test_once(self) -> None:
        """Each coding is made once, for the first hit that wants it, and all get it from then on."""
        self.store()
        self.fill(FRESH, HTML, ETAG, b"Accept-Ranges: bytes\r\n", request=get(GZIP), body=PAGE)
        for coding in ("gzip", "br", "gzip", "br"):
            status, fields, body = self.told(self.ask(get(b"Accept-Encoding: " + coding.encode())))
            self.assertEqual((status, decoded(coding, body)), (200, PAGE))
            self.assertEqual(fields[b"content-length"], b"%d" % len(body))
            self.assertEqual(fields[b"content-encoding"], coding.encode())
            self.assertEqual((fields[b"vary"], fields[b"etag"]), (b"accept-encoding", b'w/"a"'))
            self.assertNotIn(b"accept-ranges", fields)
            self.assertTrue(fields[b"cache-status"].startswith(b"proxyd; hit; ttl="))
        self.assertEqual((self.made("gzip"), self.made("br")), (1, 1))
        passed = self.compressor.passed["gzip"]
        self.assertEqual(passed.bytes_in, len(PAGE))
        status, fields, body = self.told(self.ask())
        self.assertEqual((body, fields[b"vary"], fields[b"etag"]), (PAGE, b"accept-encoding", b'"a"'))
        self.assertEqual(fields[b"accept-ranges"], b"bytes")
        self.assertEqual(self.words(), ["miss"] + ["hit"] * 5)
        found = [record.encoding for record in self.notebook.requests]
        self.assertEqual(found, ["", "gzip", "br", "gzip", "br", ""])
        self.assertEqual(self.notebook.requests[1].bytes_out, passed.bytes_out)
        self.over()

    def test_missed(self) -> None:
        """Who has it fetched, or waits for that, gets it as it is, and hears that it may differ."""
        self.store()
        clients = [self.ask(get(GZIP)), self.ask(get(GZIP))]
        self.say(self.server, answer(PAGE, FRESH, HTML))
        for client in clients:
            _, fields, body = self.told(client)
            self.assertEqual((body, fields[b"vary"]), (PAGE, b"accept-encoding"))
            self.assertNotIn(b"content-encoding", fields)
        self.over()

    def test_methods_and_conditions(self) -> None:
        """A HEAD is told of it; who has it gets 304; a part is one of what is stored."""
        self.store()
        self.fill(FRESH, HTML, ETAG, body=PAGE)
        body = self.told(self.ask(get(GZIP)))[2]
        status, fields, nothing = self.told(self.ask(get(GZIP, method=b"HEAD")))
        self.assertEqual((status, nothing, fields[b"content-encoding"]), (200, b"", b"gzip"))
        self.assertEqual(fields[b"content-length"], b"%d" % len(body))
        for tag, told in ((b'W/"a"', b'w/"a"'), (b'"a"', b'"a"')):
            status, fields, nothing = self.told(self.ask(get(GZIP, b"If-None-Match: " + tag)))
            self.assertEqual((status, nothing, fields[b"etag"]), (304, b"", told))
            self.assertNotIn(b"content-encoding", fields)
        self.assertEqual(self.told(self.ask(get(GZIP, b'If-None-Match: "b"')))[2], body)
        status, fields, part = self.told(self.ask(get(GZIP, b"Range: bytes=5-9")))
        self.assertEqual((status, part, fields[b"etag"]), (206, PAGE[5:10], b'"a"'))
        self.assertNotIn(b"content-encoding", fields)
        whole = self.told(self.ask(get(GZIP, b"Range: bytes=5-9", b'If-Range: W/"a"')))
        self.assertEqual((whole[0], whole[2]), (200, body))
        self.over()

    def test_left_alone(self) -> None:
        """What may not be changed, is encoded, short or of another kind stays, and so for who wants none."""
        for lines, body, asked in (
            ((HTML, b"Cache-Control: no-transform\r\n"), PAGE, GZIP),
            ((HTML, b"Content-Encoding: br\r\n"), PAGE, GZIP),
            ((HTML,), PAGE[:1000], GZIP),
            ((b"Content-Type: image/png\r\n",), PAGE, GZIP),
            ((HTML,), PAGE, b"Accept-Encoding: gzip;q=0"),
        ):
            self.store()
            self.fill(FRESH, *lines, body=body)
            _, fields, got = self.told(self.ask(get(asked)))
            self.assertEqual((got, fields.get(b"content-encoding", b"br")), (body, b"br"))
            self.assertEqual(self.made(), 0)
            self.over()

    def test_long(self) -> None:
        """What takes longer than a turn is made behind: who wants it first gets what is stored."""
        body = TEXT * 5
        self.store()
        self.fill(FRESH, HTML, body=body)
        self.step = TURN
        _, fields, got = self.told(self.ask(get(GZIP)))
        self.assertTrue(got == body)
        self.assertEqual(fields[b"vary"], b"accept-encoding")
        self.assertNotIn(b"content-encoding", fields)
        _, fields, got = self.told(self.ask(get(GZIP)))
        self.assertTrue(decoded("gzip", got) == body)
        self.assertEqual((fields[b"content-encoding"], self.made()), (b"gzip", 1))
        self.over()

    def test_no_time(self) -> None:
        """Nothing is begun while the loop is late, but what is there is given all the same."""
        self.store()
        self.fill(FRESH, HTML, body=PAGE)
        self.lag = 1.0
        self.assertTrue(self.told(self.ask(get(GZIP)))[2] == PAGE)
        self.assertEqual(self.compressor.passed["gzip"].passed_over, 1)
        for lag in (0.0, 1.0):
            self.lag = lag
            self.assertTrue(decoded("gzip", self.told(self.ask(get(GZIP)))[2]) == PAGE)
        self.over()

    def test_budget(self) -> None:
        """What is made counts, and goes with the answer."""
        self.store()
        self.fill(FRESH, HTML, body=PAGE)
        before = self.cache.store.used
        body = self.told(self.ask(get(GZIP)))[2]
        self.assertGreater(self.cache.store.used, before + len(body))
        self.cache.invalidate(b"http://example.com/x")
        self.assertEqual(self.cache.store.used, 0)
        self.over()

    def test_confirmed(self) -> None:
        """What its server says is still good need not be made again."""
        self.store()
        self.fill(FRESH, HTML, ETAG, body=PAGE)
        body = self.told(self.ask(get(GZIP)))[2]
        self.pass_time(61)
        client = self.ask(get(GZIP))
        self.say(self.server, b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n' + FRESH + b"X: new\r\n\r\n")
        for each in (client, self.ask(get(GZIP))):
            _, fields, got = self.told(each)
            self.assertEqual((got, fields[b"x"], fields[b"content-encoding"]), (body, b"new", b"gzip"))
        self.assertEqual(self.made(), 1)
        self.over()

    def test_http2(self) -> None:
        """A stream gets the same."""
        self.store()
        self.fill(FRESH, HTML, body=PAGE)
        client = Http2Client(self)
        number = client.ask(("accept-encoding", "gzip"))
        client.hear()
        self.assertEqual(client.heads[number]["content-encoding"], "gzip")
        self.assertEqual(decoded("gzip", client.bodies[number]), PAGE)
        client.peer.close()
        self.over()


class Made(Case):
    """What is made in turns."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Memory(1 << 24)
        self.variants = Variants(self.store)
        self.used = 0.0
        self.compressor = Compressor(CompressionSpec(("gzip",)), self.clock.seconds, self.cpu, lambda: 0.0)

    def cpu(self) -> float:
        self.used += TURN
        return self.used

    def stored(self, url: bytes = b"http://a/") -> Stored:
        found = Stored(url, b"p", (), (), 200, b"OK", [parse_field(HTML[:-2])], TEXT, Terms(60.0, 0.0))
        self.store.put(found)
        return found

    def given(self, stored: Stored) -> bytes:
        """To whom takes gzip."""
        said = Said(1)
        said.fields = [parse_field(GZIP)]
        request = Request(b"GET", b"/", b"a", said, 0)
        return self.variants.of(stored, request, self.compressor, self.clock.callLater).body

    def test_turns(self) -> None:
        """Each takes one piece, where a piece takes a turn; it is made once for all who want it meanwhile."""
        stored, turns = self.stored(), 0
        while self.given(stored) is TEXT:
            self.assertEqual(self.compressor.guard.under_way, 1)
            self.clock.advance(0)
            turns += 1
        self.assertEqual(turns, -(-len(TEXT) // CHUNK) - 1)
        self.assertTrue(decoded("gzip", self.given(stored)) == TEXT)
        self.assertEqual((self.compressor.passed["gzip"].answers, self.clock.getDelayedCalls()), (1, []))

    def test_not_wanted(self) -> None:
        """What is dropped while it is made, or was before, is not made to its end."""
        stored = self.stored()
        self.given(stored)
        self.store.drop(stored)
        self.clock.advance(0)
        self.assertTrue(self.given(stored) is TEXT)
        self.given(self.stored())
        self.variants.close()
        self.assertEqual((self.compressor.guard.under_way, self.clock.getDelayedCalls()), (0, []))
        self.assertEqual(self.compressor.passed["gzip"].answers, 0)

    def test_bounded(self) -> None:
        """So many at once, and no more."""
        for number in range(MOST + 1):
            self.given(self.stored(b"http://a/%d" % number))
        self.assertEqual(self.compressor.guard.under_way, MOST)
        self.variants.close()
        self.assertEqual(self.compressor.guard.under_way, 0)
