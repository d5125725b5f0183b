"""Does who wants a part of what is not stored yet get it, and do others get the whole by that?"""

from __future__ import annotations

from proxyd.errors import Reason
from proxyd.frontends.http.giving import FAR
from tests.frontends.http.caches import ETAG, FRESH, HTML, CachingCase, CodingCase, answer, get

BODY = bytes(range(256)) * 1000
LONG = BODY * 2


class Parts(CachingCase):
    def test_of_what_comes(self) -> None:
        """The server is asked for the whole, once; each gets the part that it wants, as soon as it comes."""
        self.store()
        begin, middle, end = (
            self.ask(get(b"Range: bytes=%s" % part)) for part in (b"0-", b"70000-70009", b"-5")
        )
        whole = self.ask()
        asked = self.heard(self.server)
        self.assertNotIn(b"Range", asked)
        self.assertEqual(asked.count(b"GET"), 1)
        said = answer(BODY, FRESH, ETAG)
        self.say(self.server, said[:100_000])
        status, fields, body = self.told(middle)
        self.assertEqual((status, body), (206, BODY[70_000:70_010]))
        self.assertEqual(fields[b"content-range"], b"bytes 70000-70009/256000")
        self.assertEqual(fields[b"content-length"], b"10")
        self.assertEqual(fields[b"cache-status"], b"proxyd; fwd=miss; collapsed")
        self.assertTrue(begin.received.startswith(b"HTTP/1.1 206 ") and BODY[:50_000] in begin.received)
        self.ask(get(b"Range: bytes=1-2"), middle)  # on the same connection
        self.assertEqual(self.told(middle)[2], BODY[1:3])
        self.say(self.server, said[100_000:])
        self.assertEqual(self.told(end)[2], BODY[-5:])
        self.assertTrue(self.told(begin)[2] == self.told(whole)[2] == BODY)
        self.assertEqual(self.told(self.ask(get(b"Range: bytes=5-6")))[2], BODY[5:7])
        self.assertEqual(sorted(self.words()), ["coalesced"] * 4 + ["hit", "miss"])
        self.assertEqual({record.bytes_out for record in self.notebook.requests}, {2, 5, 10, len(BODY)})
        self.over()

    def test_conditions(self) -> None:
        """If-Range, what is beyond the end, and what is compared with what comes."""
        for lines, status, body in (
            ([b'If-Range: "a"', b"Range: bytes=1-2"], 206, b"el"),
            ([b'If-Range: "b"', b"Range: bytes=1-2"], 200, b"hello"),
            ([b"Range: bytes=5-"], 416, None),
            ([b"Range: bytes=1-2", b'If-None-Match: "a"'], 304, b""),
        ):
            self.store()
            client = self.ask(get(*lines))
            self.say(self.server, answer(b"hello", FRESH, ETAG))
            found, fields, said = self.told(client)
            self.assertEqual(found, status)
            if body is None:
                self.assertEqual(fields[b"content-range"], b"bytes */5")
            else:
                self.assertEqual(said, body)
            self.assertEqual(self.told(self.ask())[2], b"hello")
            self.assertEqual(self.words()[-1], "hit")
            self.over()

    def test_not_to_be_stored(self) -> None:
        """Of what is not stored one is given what it wants, or asks for that alone if it is far behind."""
        private = b"Cache-Control: private\r\n"
        for first, again in ((10, False), (FAR + 1, True)):
            self.store()
            client = self.ask(get(b"Range: bytes=%d-%d" % (first, first + 4)))
            server = self.server
            self.heard(server)
            self.say(server, answer(LONG, private)[: 1000 if again else None])
            self.clock.advance(0)
            self.network.flush()
            if again:
                self.assertIn(b"Range: bytes=%d-" % first, self.heard(self.server))
                self.assertTrue(server.ended)
                part = b"Content-Range: bytes %d-%d/512000\r\n" % (first, first + 4)
                whole = LONG[first : first + 5]
                self.say(self.server, answer(whole, private, part, status=b"206 Part"))
            status, _, body = self.told(client)
            self.assertEqual((status, body), (206, LONG[first : first + 5]))
            self.ask(get(b"Range: bytes=1-2"), client)
            self.assertIn(b"Range: bytes=1-2", self.heard(self.server))  # it is known by now
            self.say(self.server, answer(b"el", private, status=b"206 Part"))
            self.assertEqual(self.told(client)[2], b"el")
            self.over()

    def test_far_behind(self) -> None:
        """Who wants what is far behind what has come asks for that alone, while the whole is being stored."""
        self.store()
        client, server = self.ask(get(b"Range: bytes=-5")), self.server
        self.heard(server)
        said = answer(LONG, FRESH, ETAG)
        self.say(server, said[:1000])
        self.assertIn(b"Range: bytes=-5", self.heard(self.server))
        self.say(self.server, answer(LONG[-5:], FRESH, status=b"206 Part"))
        self.assertEqual(self.told(client)[::2], (206, LONG[-5:]))
        self.say(server, said[1000:400_000])
        late = self.ask(get(b"Range: bytes=450000-450009"))
        self.say(server, said[400_000:])
        self.assertEqual(self.told(late)[::2], (206, LONG[450_000:450_010]))
        self.assertTrue(self.told(self.ask())[2] == LONG)
        self.assertEqual(self.words(), ["miss", "coalesced", "hit"])
        self.over()

    def test_asked_for_alone(self) -> None:
        """The server is asked for a part of what is somebody's, or too long; and for several parts."""
        for lines in (
            [b"Range: bytes=1-2", b"Authorization: Basic x"],
            [b"Range: bytes=1000-"],
            [b"Range: bytes=1-2,4-5"],
        ):
            self.store(max_object=1000)
            client = self.ask(get(*lines))
            self.assertIn(lines[0], self.heard(self.server))
            self.say(self.server, answer(b"el", FRESH, status=b"206 Part"))
            self.assertEqual(self.told(client)[0], 206)
            self.assertEqual(len(self.cache.store), 0)
            self.over()

    def test_stale(self) -> None:
        """What is stale is asked about, and given in parts if it is still good."""
        self.store()
        self.fill(b"Cache-Control: max-age=10\r\n", ETAG)
        self.pass_time(11)
        client = self.ask(get(b"Range: bytes=1-2"))
        asked = self.heard(self.server)
        self.assertTrue(b'If-None-Match: "a"' in asked and b"Range" not in asked)
        self.say(self.server, b"HTTP/1.1 304 Not Modified\r\n" + FRESH + b"\r\n")
        self.assertEqual(self.told(client)[::2], (206, b"el"))
        self.over()

    def test_it_breaks(self) -> None:
        """What breaks off before a part is there is not taken for that."""
        self.store()
        client = self.ask(get(b"Range: bytes=1000-1009"))
        self.say(self.server, answer(BODY, FRESH)[:1000])
        self.server.close()
        self.network.flush()
        self.assertTrue(client.ended)
        self.assertEqual(self.notebook.requests[0].reason, Reason.ANSWER_CUT)
        self.over()


class CodedParts(CodingCase):
    def test_of_what_could_be_compressed(self) -> None:
        """A part is of what is stored; who may have a part of what was compressed gets the whole."""
        dated = b"Date: Sun, 09 Sep 2001 01:46:40 GMT\r\nLast-Modified: Sun, 09 Sep 2001 01:40:00 GMT\r\n"
        by_date = b"If-Range: Sun, 09 Sep 2001 01:40:00 GMT"
        gzip = b"Accept-Encoding: gzip"
        self.store()
        client = self.ask(get(gzip, b"Range: bytes=1-2"))
        self.say(self.server, answer(b"hello" * 1000, FRESH, HTML))
        for asks in (client, self.ask(get(gzip, b"Range: bytes=1-2"))):
            status, fields, body = self.told(asks)
            self.assertEqual((status, body, fields[b"vary"]), (206, b"el", b"accept-encoding"))
        other = self.ask(get(gzip, b"Range: bytes=1-2", by_date, target=b"/y"))
        self.say(self.server, answer(b"hello" * 1000, FRESH, HTML, dated).replace(b"Date: then\r\n", b""))
        self.moment()
        self.assertIn(b"HTTP/1.1 200 OK", self.heard(other))
        other.close()
        self.network.flush()
        self.over()
