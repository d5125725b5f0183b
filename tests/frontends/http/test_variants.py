"""In which coding does a client get what is stored, or being fetched?"""

from __future__ import annotations

from typing import Union

from twisted.internet.task import Clock

from proxyd.config.compression import CompressionSpec
from proxyd.errors import Reason
from proxyd.frontends.http.bodies import Filling
from proxyd.frontends.http.making import Making
from proxyd.frontends.http.recoding import TURN, Compressor
from proxyd.frontends.http.variants import Variants
from proxyd.policy.cachestore import Memory, Stored
from proxyd.policy.compression import MOST
from proxyd.policy.freshness import Terms
from proxyd.relay.streams import CHUNK
from proxyd.wire.http1 import Request, Said
from proxyd.wire.httpfields import parse_field
from tests.frontends.http.caches import ETAG, FRESH, GZIP, HTML, CodingCase, answer, get
from tests.frontends.http.client2 import Http2Client
from tests.frontends.http.front import GET
from tests.frontends.http.test_recoding import TEXT, coded, decoded
from tests.support.case import Case
from tests.support.peer import Ended

PAGE = TEXT[:20_000]


class Given(CodingCase):
    """What is stored, in the coding that each would like."""

    def test_once(self) -> None:
        """Each coding is made once, for the first hit that wants it, and all get it from then on."""
        self.store()
        self.fill(FRESH, HTML, ETAG, b"Accept-Ranges: bytes\r\n", body=PAGE)
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
            self.assertEqual(fields[b"vary"], b"accept-encoding")
            self.assertNotIn(b"content-encoding", fields)
        self.assertEqual(self.told(self.ask(get(GZIP, b'If-None-Match: "b"')))[2], body)
        status, fields, part = self.told(self.ask(get(GZIP, b"Range: bytes=5-9")))
        self.assertEqual((status, part, fields[b"etag"]), (206, PAGE[5:10], b'"a"'))
        self.assertNotIn(b"content-encoding", fields)
        whole = self.told(self.ask(get(GZIP, b"Range: bytes=5-9", b'If-Range: W/"a"')))
        self.assertEqual((whole[0], whole[2]), (200, body))
        self.over()

    def test_part_of_what_a_client_has(self) -> None:
        """If-Range with a date says nothing of the coding: who has a part of what was compressed gets all."""
        when = b"Sun, 09 Sep 2001 00:46:40 GMT"
        dated = b"Date: Sun, 09 Sep 2001 01:46:40 GMT\r\nLast-Modified: " + when + b"\r\n"
        self.store()
        self.ask()
        self.say(self.server, answer(PAGE, FRESH, HTML).replace(b"Date: then\r\n", dated))
        part = b"Range: bytes=100-", b"If-Range: " + when
        status, fields, body = self.told(self.ask(get(GZIP, *part)))
        self.assertEqual((status, fields[b"content-encoding"]), (200, b"gzip"))
        self.assertEqual(decoded("gzip", body), PAGE)
        status, _, body = self.told(self.ask(get(*part)))
        self.assertEqual((status, body), (206, PAGE[100:]))
        self.over()

    def test_left_alone(self) -> None:
        """What may not be changed, is encoded, short or of another kind stays, and so for who wants none."""
        for lines, body, asked in (
            ((HTML, b"Cache-Control: no-transform\r\n"), PAGE, GZIP),
            ((HTML, b"Content-Encoding: br\r\n"), PAGE, b"Accept-Encoding: gzip, br"),
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
        """What takes longer than a turn is given while it is made, once for all who come meanwhile."""
        body = TEXT * 5
        self.store()
        self.fill(FRESH, HTML, body=body)
        self.step = TURN
        clients = [self.client(), self.client()]
        for client in clients:
            client.send(get(GZIP))
        for client in clients:
            fields, got = self.comes(client)
            self.assertEqual(fields[b"content-encoding"], b"gzip")
            self.assertTrue(decoded("gzip", got) == body)
        _, fields, got = self.told(self.ask(get(GZIP)))
        self.assertTrue(decoded("gzip", got) == body)
        self.assertEqual((fields[b"content-length"], self.made()), (b"%d" % len(got), 1))
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


class Plain(CodingCase):
    """What is stored in a coding is decoded for those who cannot take it."""

    def coded(self, coding: str = "gzip", data: bytes = PAGE) -> bytes:
        lines = FRESH, HTML, ETAG, b"Content-Encoding: %s\r\n" % coding.encode()
        return answer(coded(coding, data), *lines, b"Accept-Ranges: bytes\r\n")

    def is_plain(self, told: tuple[int, dict[bytes, bytes], bytes], body: bytes = PAGE) -> None:
        status, fields, got = told
        self.assertEqual((status, fields[b"etag"], fields[b"vary"]), (200, b'w/"a"', b"accept-encoding"))
        self.assertEqual(fields[b"content-length"], b"%d" % len(body))
        self.assertNotIn(b"content-encoding", fields)
        self.assertNotIn(b"accept-ranges", fields)
        self.assertTrue(got == body)

    def test_once(self) -> None:
        """Each coding; it is done once, and kept; a part of what it cannot take is no use to anybody."""
        for coding in ("gzip", "br", "zstd"):
            self.store()
            client = self.ask(get(b"Accept-Encoding: " + coding.encode()))
            self.say(self.server, self.coded(coding))
            self.assertEqual(self.told(client)[2], coded(coding, PAGE))
            for lines in (
                (),
                (),
                (b"Range: bytes=5-9",),
                (b"Range: bytes=900000-",),
                (b"Accept-Encoding: *;q=0",),
            ):
                self.is_plain(self.told(self.ask(get(*lines))))
            status, fields, _ = self.told(self.ask(get(method=b"HEAD")))
            self.assertEqual((status, fields[b"content-length"]), (200, b"%d" % len(PAGE)))
            taken = get(b"Range: bytes=5-9", b"Accept-Encoding: " + coding.encode())
            status, fields, part = self.told(self.ask(taken))
            self.assertEqual((status, part), (206, coded(coding, PAGE)[5:10]))
            self.assertEqual(self.told(self.ask(get(b'If-None-Match: W/"a"')))[0], 304)
            passed = self.compressor.decoded
            self.assertEqual((passed.answers, passed.bytes_out), (1, len(PAGE)))
            found = [record.encoding for record in self.notebook.requests]
            self.assertEqual(found[-9:], ["", *["identity"] * 6, "", ""])
            self.over()

    def test_on_the_way(self) -> None:
        """So it is while it is fetched; and for HTTP/1.0, whose connection ends with it."""
        self.store()
        plain, taken = self.ask(), self.ask(get(GZIP))
        old = self.client(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        whole = self.coded()
        self.say(self.server, whole[:400])
        self.say(self.server, whole[400:])
        fields, body = self.comes(plain)
        self.assertEqual((body, fields[b"etag"]), (PAGE, b'w/"a"'))
        self.assertNotIn(b"content-encoding", fields)
        self.assertEqual(self.told(taken)[2], coded("gzip", PAGE))
        said = self.heard(old)
        self.assertTrue(said.endswith(b"\r\n\r\n" + PAGE))
        self.assertIn(b"Connection: close", said)
        self.is_plain(self.told(self.ask()))
        self.assertEqual(self.compressor.decoded.answers, 1)
        self.over()

    def test_long(self) -> None:
        """What becomes too long to be kept leaves as fast as it is taken, and few pieces wait."""
        data = b"".join(b"%d" % number for number in range(300_000))
        self.store(max_object=1_000_000)
        client = self.ask(get(GZIP))
        self.say(self.server, self.coded(data=data))
        self.heard(client)
        slow, other = self.client(), self.client()
        slow.stop_reading()
        for each in (slow, other):
            each.send(GET)
        for _ in range(100):
            self.moment()
        self.assertTrue(self.comes(other)[1] == data)
        self.assertLess(self.compressor.decoded.bytes_out, len(data) + 1_300_000)
        self.assertLessEqual(self.cache.filling.used, 1_300_000)
        late = self.ask()
        self.assertTrue(self.comes(late)[1] == data)
        slow.read_again()
        self.assertTrue(self.comes(slow)[1] == data)
        self.assertEqual((self.cache.filling.used, len(self.cache.store)), (0, 1))
        self.over()

    def test_what_it_is_not(self) -> None:
        """What is not what it says is cut, or grows out of measure, and never kept."""
        for body in (PAGE, coded("gzip", PAGE)[:-9], coded("gzip", bytes(10_000_000))):
            self.store()
            client = self.ask(get(GZIP))
            self.say(self.server, answer(body, FRESH, HTML, b"Content-Encoding: gzip\r\n"))
            self.heard(client)
            plain = self.ask()
            for _ in range(100):
                self.moment()
            self.heard(plain)
            self.assertIsNot(plain.ended, Ended.NOT)
            self.assertEqual(self.outcomes()[-1], (200, Reason.ANSWER_MALFORMED))
            stored = next(iter(self.cache.store._by_url.values()))[0]
            self.assertEqual([each.decodes for each in stored.variants if each.decodes], [])
            self.over()

    def test_off(self) -> None:
        """Without ``decompress`` it is given as it is."""
        self.store()
        self.compressor.spec = CompressionSpec(("gzip",))
        client = self.ask(get(GZIP))
        self.say(self.server, self.coded())
        self.heard(client)
        self.assertEqual(self.told(self.ask())[1][b"content-encoding"], b"gzip")
        self.over()


class Made(Case):
    """What is made of what is stored."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Memory(1 << 24)
        self.filling = Filling(1 << 24, 1 << 20)
        self.variants = Variants(self.store, self.filling)
        self.used = 0.0
        self.compressor = Compressor(CompressionSpec(("gzip",)), self.clock.seconds, self.cpu, lambda: 0.0)

    def cpu(self) -> float:
        self.used += TURN
        return self.used

    def stored(self, url: bytes = b"http://a/") -> Stored:
        found = Stored(url, b"p", (), (), 200, b"OK", [parse_field(HTML[:-2])], TEXT, Terms(60.0, 0.0))
        self.store.put(found)
        return found

    def given(self, stored: Stored) -> Union[Stored, Making]:
        """To whom takes gzip."""
        said = Said(1)
        said.fields = [parse_field(GZIP)]
        request = Request(b"GET", b"/", b"a", said, 0)
        return self.variants.of(stored, request, self.compressor, self.clock.callLater)

    def test_turns(self) -> None:
        """Each takes one piece, where a piece takes a turn; it is made once for all who want it meanwhile."""
        stored, turns = self.stored(), 0
        making = self.given(stored)
        while self.given(stored) is making:
            self.assertEqual(self.compressor.guard.under_way, 1)
            self.clock.advance(0)
            turns += 1
        self.assertEqual(turns, -(-len(TEXT) // CHUNK) - 1)
        kept = self.given(stored)
        assert isinstance(kept, Stored) and isinstance(kept.body, bytes)
        self.assertTrue(decoded("gzip", kept.body) == TEXT)
        self.assertEqual((self.compressor.passed["gzip"].answers, self.clock.getDelayedCalls()), (1, []))
        self.assertEqual(self.filling.used, 0)

    def test_not_wanted(self) -> None:
        """What is dropped while it is made is not made to its end, if nobody reads it."""
        stored = self.stored()
        self.given(stored)
        self.store.drop(stored)
        self.clock.advance(0)
        self.assertEqual((self.compressor.guard.under_way, self.filling.used), (0, 0))
        self.given(self.stored())
        self.variants.close()
        self.assertEqual((self.compressor.guard.under_way, self.clock.getDelayedCalls()), (0, []))
        self.assertEqual((self.variants.under_way, self.filling.used), ({}, 0))

    def test_bounded(self) -> None:
        """So many at once, and no more."""
        one = self.stored()
        for _ in range(MOST):
            self.compressor.guard.under_way += 1
        given = self.given(one)
        assert isinstance(given, Stored)
        self.assertIs(given.body, one.body)
        self.assertEqual(self.compressor.guard.under_way, MOST)
