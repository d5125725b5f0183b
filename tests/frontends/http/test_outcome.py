"""How a request ends: with a page of ours, cut, or with the next one."""

from __future__ import annotations

from typing import Callable

from proxyd.config.http import HttpSpec
from proxyd.errors import Reason
from tests.frontends.http.front import ANSWERED, GET, OK, HttpCase
from tests.support.streams import FakePeer


class Outcomes(HttpCase):
    """The end of each request, and the turn of the next."""

    def test_client_that_does_not_read(self) -> None:
        """One that asks and asks, and reads no answer, is not heard any more (twisted/twisted#8868)."""
        self.listen()
        client = self.client(window=4096, sending=4096)
        client.stop_reading()
        answer = OK.replace(b"Content-Length: 5", b"Content-Length: 30000").replace(b"hello", bytes(30000))
        asked = 0
        for _ in range(20):
            client.send(GET)
            self.network.flush()
            if self.datapath.peers and self.heard(self.server):
                asked += 1
                self.say(self.server, answer)
        self.assertLessEqual(asked, 2)
        client.read_again()
        for _ in range(20):
            self.network.flush()
            if self.heard(self.server):
                asked += 1
                self.say(self.server, answer)
        self.assertEqual(asked, 20)
        self.over()

    def test_many_requests(self) -> None:
        """After max_requests the connection is closed, and the client is told before."""
        self.listen(http=HttpSpec(max_requests=2))
        client = self.client(GET * 3)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.say(self.server, OK)
        self.assertIn(b"Connection: close\r\n", self.heard(client))
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)] * 2)
        self.over()

    def test_drained(self) -> None:
        """When the listener closes, who is idle goes at once, the others with their answers."""
        self.listen()
        idle, busy = self.client(), self.client(GET)
        self.factory.stopFactory()
        self.network.flush()
        self.assertEqual((idle.ended.value, busy.ended.value), ("an end", "not yet"))
        self.say(self.server, OK)
        self.assertIn(b"Connection: close\r\n", self.heard(busy))
        self.assertEqual(busy.ended.value, "an end")
        self.over()

    def test_drained_in_the_midst_of_an_answer(self) -> None:
        """Who has the head of its answer already, without a word of that, is closed behind the answer."""
        for head, rest in (
            (b"Content-Length: 5\r\n\r\nhe", b"llo"),
            (b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe", b"\r\n3\r\nllo\r\n0\r\n\r\n"),
        ):
            self.listen()
            client = self.client(GET)
            self.say(self.server, b"HTTP/1.1 200 OK\r\n" + head)
            self.factory.stopFactory()
            self.network.flush()
            self.assertEqual(client.ended.value, "not yet")
            self.say(self.server, rest)
            self.assertIn(b"llo", self.heard(client))
            self.assertEqual(client.ended.value, "an end")
            self.over()
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)] * 2)

    def test_drained_before_a_request_that_is_there(self) -> None:
        """A request that waits behind an answer is answered, too, and told of the end."""
        self.listen()
        client = self.client(GET * 2)
        self.say(self.server, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        self.factory.stopFactory()
        self.say(self.server, b"llo")
        self.assertNotIn(b"Connection: close\r\n", self.heard(client))
        self.say(self.server, OK)
        self.assertIn(b"Connection: close\r\n", self.heard(client))
        self.assertEqual(client.ended.value, "an end")
        self.over()

    def test_length_of_a_page(self) -> None:
        """What we say ourselves is counted, as what servers say."""
        self.listen()
        client = self.client(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.the_request().bytes_out, len(self.heard(client)))
        self.over()

    def test_malformed(self) -> None:
        """A request that could be understood in two ways goes nowhere; its client is told, and closed."""
        self.listen()
        client = self.client(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + GET)
        words = self.heard(client)
        self.assertTrue(words.startswith(b"HTTP/1.1 400 Bad Request\r\n"), words)
        self.assertIn(b"Connection: close\r\n", words)
        self.assertEqual((client.ended.value, self.datapath.dialed), ("an end", []))
        record = self.the_request()
        self.assertEqual(
            (record.status, record.detail, record.method), (400, "two Host fields (RFC 9112 3.2)", b"")
        )
        self.over()
        self.assertEqual(self.notebook.records[0].reason, Reason.REQUEST_MALFORMED)

    def test_malformed_answer(self) -> None:
        """An answer that could be understood in two ways is not passed on: 502, and no word of it."""
        self.listen()
        client = self.client(GET)
        self.say(self.server, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
        words = self.heard(client)
        self.assertTrue(words.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"))
        self.assertNotIn(b"10.0.0", words)
        self.assertEqual(self.outcomes(), [(502, Reason.ANSWER_MALFORMED)])
        self.assertEqual(len(self.factory.kept), 0)
        self.say(client, GET)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.over()

    def test_no_server(self) -> None:
        """Where no server can be reached the client is told, by what was wrong, and may ask again."""
        for port, status, reason in ((2, 502, Reason.CONNECT_REFUSED), (5, 503, Reason.DESCRIPTORS)):
            self.listen(port)
            self.notebook.requests.clear()
            client = self.client(GET + GET.replace(b"GET", b"HEAD"))
            words = self.heard(client)
            self.assertEqual(self.outcomes(), [(status, reason)] * 2)
            self.assertEqual(words.count(b"HTTP/1.1 %d " % status), 2)
            self.assertTrue(words.endswith(b"\r\n\r\n"))
            self.over()

    def test_date(self) -> None:
        """The date of a page, and the record, have the time that the clock on the wall has by now."""
        self.listen(2)
        for by, day in ((0.0, b"Sun, 09 Sep 2001 01:46:40"), (86400.0, b"Mon, 10 Sep 2001 01:46:40")):
            self.wall.set(by)
            self.assertIn(b"\r\nDate: %s GMT\r\n" % day, self.heard(self.client(GET)))
            self.assertEqual(self.notebook.requests[-1].started, 1e9 + by)
        self.over()

    def test_many_pages(self) -> None:
        """A client that asks a thousand times at once, with no server up, gets a thousand pages."""
        self.listen(2)
        client = self.client(b"GET / HTTP/1.1\r\nHost:a\r\n\r\n" * 1000)
        for _ in range(1000):
            self.clock.advance(0)
        self.assertEqual(len(self.outcomes()), 1000)
        self.assertEqual(self.heard(client).count(b"HTTP/1.1 502 "), 1000)
        self.over()

    def test_connect_timeout(self) -> None:
        """A server that does not answer the dial is a gateway's timeout."""
        self.listen(3, pool={"retries": 0})
        client = self.client(GET)
        self.pass_time(6)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 504 "))
        self.over()

    def test_cut_answer(self) -> None:
        """An answer that is not complete is cut, and does not look complete."""
        for head in (b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n"):
            self.listen()
            self.notebook.requests.clear()
            client = self.client(GET)
            self.say(self.server, b"HTTP/1.1 200 OK\r\n" + head + b"\r\n4\r\n")
            self.server.close()
            words = self.heard(client)
            self.assertFalse(words.endswith(b"0\r\n\r\n"))
            self.assertNotEqual(client.ended.value, "not yet")
            self.assertEqual(self.outcomes(), [(200, Reason.ANSWER_CUT)])
            self.over()

    def test_cut_answer_until_close(self) -> None:
        """One that would have ended with the connection is reset, as nothing else tells that it is cut."""
        ends: tuple[tuple[Callable[[FakePeer], None], Reason], ...] = (
            (lambda server: server.reset(), Reason.ANSWER_CUT),
            (lambda server: self.pass_time(20), Reason.ANSWER_TIMEOUT),
            (lambda server: next(iter(self.factory.sessions)).cut(Reason.DRAINED), Reason.DRAINED),
        )
        for head, body in ((b"", b"abc"), (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n")):
            for end, reason in ends:
                self.listen(idle_timeout=10.0)
                client = self.client(GET.replace(b"1.1", b"1.0"))
                self.say(self.server, b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
                self.assertTrue(self.heard(client).endswith(b"\r\n\r\nabc"))
                end(self.server)
                self.network.flush()
                self.assertEqual((client.ended.value, self.outcomes()[-1]), ("a reset", (200, reason)))
                self.over()

    def test_bad_chunk(self) -> None:
        """A chunk that is wrong ends the request: the client is told, the server is cut off."""
        self.listen()
        client = self.client(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        server = self.server
        self.say(client, b"+5\r\n" + GET)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 400 Bad Request\r\n"))
        self.assertEqual(server.ended.value, "a reset")
        self.assertEqual(self.outcomes(), [(400, Reason.REQUEST_MALFORMED)])
        self.over()
