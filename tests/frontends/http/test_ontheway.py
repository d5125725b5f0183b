"""Is what is fetched for a cache compressed as it comes, once, and kept so?"""

from __future__ import annotations

from random import Random
from unittest.mock import patch

from proxyd.errors import Reason
from proxyd.frontends.http.making import Making
from proxyd.frontends.http.recoding import PAUSE, TURN
from tests.frontends.http.caches import ETAG, FRESH, GZIP, HTML, CodingCase, answer, get
from tests.frontends.http.client2 import GET2, Http2Client
from tests.frontends.http.test_recoding import TEXT, decoded, taken_apart
from tests.support.peer import Ended

PAGE = TEXT[:20_000]


class OnTheWay(CodingCase):
    """What is fetched is compressed as it comes, and kept so."""

    def test_missed(self) -> None:
        """One fetch, each coding made once: for all who wait, come late, or come when it is stored."""
        self.store()
        asked = [GZIP, GZIP, b"Accept-Encoding: br", b"Accept: */*", GZIP]
        clients = [self.ask(get(line)) for line in asked[:4]]
        whole = answer(PAGE, FRESH, HTML, ETAG, b"Accept-Ranges: bytes\r\n")
        self.say(self.server, whole[:9000])
        clients.append(self.ask(get(asked[4])))
        self.say(self.server, whole[9000:])
        for line, client in zip(asked, clients):
            coding = line.partition(b"ing: ")[2]
            if coding:
                fields, body = self.comes(client)
                body = decoded(coding.decode(), body)
                self.assertEqual((fields[b"content-encoding"], fields[b"etag"]), (coding, b'w/"a"'))
                self.assertNotIn(b"content-length", fields)
                self.assertNotIn(b"accept-ranges", fields)
            else:
                _, fields, body = self.told(client)
                self.assertEqual((fields[b"etag"], fields[b"accept-ranges"]), (b'"a"', b"bytes"))
                self.assertEqual(fields[b"content-length"], b"%d" % len(PAGE))
            self.assertEqual((body, fields[b"vary"]), (PAGE, b"accept-encoding"))
        for name in ("gzip", "br"):
            _, fields, body = self.told(self.ask(get(b"Accept-Encoding: " + name.encode())))
            self.assertEqual((decoded(name, body), self.made(name)), (PAGE, 1))
            self.assertEqual(fields[b"content-length"], b"%d" % len(body))
        self.assertEqual(self.words(), ["miss", *["coalesced"] * 4, "hit", "hit"])
        found = [record.encoding for record in self.notebook.requests]
        self.assertEqual(sorted(found), ["", "br", "br", "gzip", "gzip", "gzip", "gzip"])
        passed = self.compressor.passed["gzip"]
        self.assertEqual(
            (passed.bytes_in, passed.bytes_out), (len(PAGE), self.notebook.requests[0].bytes_out)
        )
        self.assertEqual(len(self.datapath.peers), 1)
        self.over()

    def test_trickle(self) -> None:
        """What comes is given a moment later, though there is more to come."""
        self.store()
        client = self.ask(get(GZIP))
        said, whole = b"", answer(PAGE, FRESH, HTML)
        place = whole.index(b"\r\n\r\n") + 4
        self.say(self.server, whole[:place])
        for _ in range(3):
            self.say(self.server, whole[place : place + 100])
            self.moment(PAUSE)
            place += 100
            said += self.heard(client)
            body = taken_apart(said)[1]
            self.assertEqual(decoded("gzip", body, whole=False), whole[:place].partition(b"\r\n\r\n")[2])
        self.say(self.server, whole[place:])
        self.assertEqual(decoded("gzip", taken_apart(said + self.heard(client))[1]), PAGE)
        self.over()

    def test_the_first_leaves(self) -> None:
        """Who asked first may leave in the midst of it: the others get all, and it is kept."""
        self.store()
        first, other = self.ask(get(GZIP)), self.ask(get(GZIP))
        whole = answer(PAGE, FRESH, HTML)
        self.say(self.server, whole[:5000])
        first.reset()
        self.say(self.server, whole[5000:])
        self.assertEqual(decoded("gzip", self.comes(other)[1]), PAGE)
        self.assertEqual(decoded("gzip", self.told(self.ask(get(GZIP)))[2]), PAGE)
        self.assertEqual(self.made(), 1)
        self.over()

    def test_all_leave(self) -> None:
        """Though nobody reads it any more it is made to its end, as it is fetched, and kept."""
        self.store()
        client = self.ask(get(GZIP))
        whole = answer(PAGE, FRESH, HTML)
        self.say(self.server, whole[:5000])
        client.reset()
        self.say(self.server, whole[5000:])
        _, fields, body = self.told(self.ask(get(GZIP)))
        self.assertEqual((decoded("gzip", body), self.made()), (PAGE, 1))
        self.over()

    def test_broken(self) -> None:
        """A fetch that breaks off cuts its readers, and nothing of it is kept."""
        self.store()
        clients = [self.ask(get(GZIP)), self.ask(get(GZIP))]
        self.say(self.server, answer(PAGE, FRESH, HTML)[:9000])
        self.server.close()
        for client in clients:
            self.assertEqual(taken_apart(self.heard(client))[2], b"not complete")
            self.assertIsNot(client.ended, Ended.NOT)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWER_CUT)] * 2)
        self.assertEqual((len(self.cache.store), self.cache.filling.used), (0, 0))
        client = self.ask(get(GZIP))
        self.say(self.server, answer(PAGE, FRESH, HTML))
        self.assertEqual(decoded("gzip", self.comes(client)[1]), PAGE)
        self.over()

    def test_purged_meanwhile(self) -> None:
        """What was thrown away while it came is given, and not kept."""
        self.store()
        client = self.ask(get(GZIP))
        whole = answer(PAGE, FRESH, HTML)
        self.say(self.server, whole[:5000])
        self.cache.purge_url(b"http://example.com/x")
        self.say(self.server, whole[5000:])
        self.assertEqual(decoded("gzip", self.comes(client)[1]), PAGE)
        self.assertEqual((len(self.cache.store), self.cache.store.used), (0, 0))
        self.over()

    def test_more_than_a_turn(self) -> None:
        """Where the coding is slower than the server, who comes when all is stored reads it, too."""
        body = TEXT * 5
        self.store()
        self.step = TURN
        first = self.ask(get(GZIP))
        waiting: list[Making] = []
        with patch.object(Making, "_next_turn", lambda making: waiting.append(making)):
            self.say(self.server, answer(body, FRESH, HTML))
            self.assertEqual((len(self.cache.store), len(waiting)), (1, 1))
            second = self.ask(get(GZIP))
        waiting[0]._next_turn()
        for client in (first, second):
            self.assertTrue(decoded("gzip", self.comes(client)[1]) == body)
        self.assertEqual(self.made(), 1)
        self.assertTrue(decoded("gzip", self.told(self.ask(get(GZIP)))[2]) == body)
        self.assertEqual(self.words(), ["miss", "hit", "hit"])
        self.over()

    def test_not_stored(self) -> None:
        """What is for one alone is compressed no faster than it is taken, and the server waits."""
        body = Random(3).randbytes(2_000_000)
        self.store()
        client = self.ask(get(GZIP))
        client.stop_reading()
        server = self.server
        self.say(server, answer(body, b"Cache-Control: private\r\n", HTML))
        for _ in range(100):
            self.moment()
        self.assertGreater(server.queued, 500_000)
        self.assertEqual(self.cache.filling.used, 0)
        client.read_again()
        self.assertTrue(decoded("gzip", self.comes(client)[1]) == body)
        self.assertEqual((self.words(), len(self.cache.store)), (["miss"], 0))
        self.over()

    def test_not_stored_and_left(self) -> None:
        """If that one leaves, nothing goes on."""
        self.store()
        client = self.ask(get(GZIP))
        self.say(self.server, answer(PAGE, b"Cache-Control: private\r\n", HTML)[:9000])
        self.assertEqual(self.compressor.guard.under_way, 1)
        client.reset()
        self.moment()
        self.assertEqual((self.compressor.guard.under_way, self.server.closed), (0, True))
        self.over()

    def test_too_long(self) -> None:
        """What turns out to be too long to be stored goes on, and is not kept."""
        body = TEXT * 5
        self.store(max_object=100_000)
        clients = [self.ask(get(GZIP)), self.ask(get(GZIP))]
        head = b"HTTP/1.1 200 OK\r\nDate: then\r\n" + FRESH + HTML + b"\r\n"
        self.say(self.server, head + body[:50_000])
        self.server.send(body[50_000:])
        self.server.finish()
        for client in clients:
            self.assertTrue(decoded("gzip", self.comes(client)[1]) == body)
        self.assertEqual((len(self.cache.store), self.cache.filling.used), (0, 0))
        self.over()

    def test_no_time(self) -> None:
        """Where there is none it goes as it is, and so for HTTP/1.0, which has no end for it."""
        self.store()
        self.lag = 1.0
        client = self.ask(get(GZIP))
        old = self.client(get(GZIP).replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.say(self.server, answer(PAGE, FRESH, HTML))
        for each in (client, old):
            _, fields, body = self.told(each)
            self.assertEqual((body, fields[b"vary"]), (PAGE, b"accept-encoding"))
            self.assertNotIn(b"content-encoding", fields)
        self.assertEqual(self.compressor.passed["gzip"].passed_over, 1)
        self.over()

    def test_slow_reader(self) -> None:
        """One who does not read holds nobody up; what is kept for it counts, until it has it."""
        body = Random(4).randbytes(300_000)
        self.store()
        slow = self.ask(get(GZIP))
        slow.stop_reading()
        other = self.ask(get(GZIP))
        self.say(self.server, answer(body, FRESH, HTML))
        self.assertTrue(decoded("gzip", self.comes(other)[1]) == body)
        self.assertGreater(self.cache.filling.used, 300_000)
        self.assertTrue(decoded("gzip", self.told(self.ask(get(GZIP)))[2]) == body)
        slow.read_again()
        self.assertTrue(decoded("gzip", self.comes(slow)[1]) == body)
        self.assertEqual(self.cache.filling.used, 0)
        self.over()

    def test_http2_on_the_way(self) -> None:
        """A stream gets the same, and a HEAD what goes before it."""
        self.store()
        client = Http2Client(self)
        number = client.ask(("accept-encoding", "gzip"))
        self.say(self.server, answer(TEXT, FRESH, HTML))
        client.hear()
        self.assertEqual(decoded("gzip", client.bodies[number]), TEXT)
        self.step = TURN
        self.cache.store.find(b"http://example.com/x", self.way(), []).variants.clear()  # type: ignore[union-attr]
        number = client.ask(("accept-encoding", "gzip"), head=[(":method", "HEAD"), *GET2[1:]])
        client.hear()
        self.assertEqual((client.heads[number]["content-encoding"], client.bodies[number]), ("gzip", b""))
        self.assertIn(number, client.ended)
        client.peer.close()
        for _ in range(100):
            self.moment()
        self.over()

    def way(self) -> bytes:
        return next(iter(self.cache.store._by_url[b"http://example.com/x"])).way
