"""The life of one request: what its server sees, what its client gets, and what goes wrong."""

from __future__ import annotations

from typing import Optional

from twisted.internet.address import IPv4Address

from proxyd.config.balance import BalanceSpec
from proxyd.config.http import HttpSpec
from proxyd.errors import Reason
from tests.frontends.http.front import ANSWERED, GET, OK, TOLD, HttpCase

HEAD_OF_GET = b"GET /x HTTP/1.1\r\nHost: example.com\r\n" + TOLD + b"Via: 1.1 proxyd\r\n\r\n"


class Requests(HttpCase):
    """A request and its answer."""

    def test_answered(self) -> None:
        """The server gets the rebuilt request, the client the answer, and both connections go on."""
        self.listen()
        client = self.client(GET)
        self.assertEqual(self.heard(self.server), HEAD_OF_GET)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        record = self.the_request()
        self.assertEqual(
            (record.reason, record.status, record.method, record.host, record.target, record.server),
            (Reason.ANSWERED, 200, b"GET", b"example.com", b"/x", "a"),
        )
        self.assertEqual((record.bytes_in, record.bytes_out), (len(GET), len(OK)))
        self.assertEqual((len(self.factory.kept), self.pool.open), (1, 0))
        self.over()
        self.assertEqual([record.requests for record in self.notebook.records], [1])
        self.assertEqual(self.notebook.records[0].bytes_out, len(OK))

    def test_kept(self) -> None:
        """The next requests, of this client and of others, go to the same connection, one after another."""
        self.listen()
        one = self.client(GET)
        self.say(self.server, OK)
        self.say(one, GET)
        self.assertEqual(self.heard(self.server), HEAD_OF_GET * 2)
        self.say(self.server, OK)
        two = self.client(GET)
        self.say(self.server, OK)
        self.assertEqual((self.heard(one), self.heard(two)), (ANSWERED * 2, ANSWERED))
        self.assertEqual(self.datapath.hosts, ["10.0.0.1"])
        self.over()

    def test_again(self) -> None:
        """Who comes again with the same bytes has asked the same; secrets are not remembered for that."""
        self.listen()
        secret = GET[:-2] + b"Cookie: a=b\r\n\r\n"
        for number, (host, data) in enumerate(
            [("10.9.9.9", GET), ("10.9.9.9", GET), ("10.9.9.8", GET), ("10.9.9.9", secret), ("10.9.9.9", GET)]
        ):
            client = self.client(data, host)
            heard = self.heard(self.server)
            self.assertIn(b"X-Forwarded-For: %s\r\n" % host.encode(), heard)
            self.assertEqual(b"Cookie: a=b\r\n" in heard, data is secret)
            self.say(self.server, OK)
            self.assertEqual(self.heard(client), ANSWERED)
            self.assertEqual(len(self.notebook.requests), number + 1)
            asked = self.factory.introduction(IPv4Address("TCP", "10.9.9.9", 1), False).asked
            self.assertEqual(asked, GET)
            client.close()
        self.over()

    def test_by_a_key_of_requests(self) -> None:
        """What requests have leads them to their servers, whoever makes them and on whichever connection."""
        self.listen(1, 1, 1, pool={"balance": BalanceSpec("hash", key="path")})
        one, two = self.client(), self.client(host="10.9.9.8")
        for client in (one, two, one):
            for number in range(9):
                before = len(self.notebook.requests)
                self.say(client, b"GET /%d?%d HTTP/1.1\r\nHost: example.com\r\n\r\n" % (number, before))
                (server,) = (peer for peer in self.datapath.peers if self.heard(peer))
                self.say(server, OK)
        led: dict[bytes, set[Optional[str]]] = {}
        for record in self.notebook.requests:
            led.setdefault(record.target.partition(b"?")[0], set()).add(record.server)
        self.assertEqual([len(servers) for servers in led.values()], [1] * 9)
        self.assertEqual(set.union(*led.values()), {"a", "b", "c"})
        self.over()

    def test_in_pieces(self) -> None:
        """However the bytes come, on either side, what leaves is the same."""
        self.listen()
        client = self.client()
        for data in (GET[at : at + 1] for at in range(len(GET))):
            self.say(client, data)
        for data in (OK[at : at + 1] for at in range(len(OK))):
            self.say(self.server, data)
        self.assertEqual(self.heard(self.server), HEAD_OF_GET)
        self.assertEqual(self.heard(client), ANSWERED)
        self.over()

    def test_max_body(self) -> None:
        """A body that is longer than the listener's max_body is 413, whether its length is told or not."""
        self.listen(http=HttpSpec(max_body=4))
        post = b"POST / HTTP/1.1\r\nHost: a\r\n%s\r\n%s"
        for field, body, dialed in (
            (b"Content-Length: 5\r\n", b"", 0),
            (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n2\r\n", 0),
            (b"Content-Length: 4\r\n", b"abcd", 1),
            (b"Transfer-Encoding: chunked\r\n", b"4\r\nabcd\r\n0\r\n\r\n", 1),
        ):
            client = self.client(post % (field, body))
            self.assertEqual(len(self.datapath.peers), dialed)
            if dialed:
                self.say(self.server, OK)
            self.assertIn(b" 200 OK" if dialed else b" 413 Content Too Large", self.heard(client))
        self.assertEqual([reason for _, reason in self.outcomes()][:2], [Reason.BODY_TOO_LARGE] * 2)
        self.over()

    def test_pipelined(self) -> None:
        """Requests are answered in their order; the second leaves when the first is answered."""
        self.listen()
        client = self.client(GET + GET.replace(b"/x", b"/y") + GET.replace(b"/x", b"/z"))
        self.assertEqual(self.heard(self.server), HEAD_OF_GET)
        for path in (b"/y", b"/z"):
            self.say(self.server, OK)
            self.assertEqual(self.heard(self.server), HEAD_OF_GET.replace(b"/x", path))
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED * 3)
        self.over()

    def test_pipelining_is_bounded(self) -> None:
        """What comes behind a request waits unread: with the proxy there is a chunk of it at most."""
        self.listen()
        client = self.client(GET, window=64 * 1024)
        client.send(b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n" * 20000)
        self.network.flush()
        (session,) = self.factory.sessions
        self.assertLessEqual(len(session.client.held), 64 * 1024)
        self.assertGreater(client.queued, 100_000)
        client.close()
        self.over()

    def test_head(self) -> None:
        """An answer to HEAD has the length of what it would have, and no body."""
        self.listen()
        client = self.client(GET.replace(b"GET", b"HEAD") + GET)
        self.say(self.server, OK[:-5])
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED[:-5] + ANSWERED)
        self.over()

    def test_old_client(self) -> None:
        """A client of HTTP/1.0 is closed behind its answer, unless it asks not to be; it gets no chunks."""
        self.listen()
        client = self.client(b"GET / HTTP/1.0\r\n\r\n")
        self.assertIn(b"GET / HTTP/1.1\r\nHost: 192.0.2.1:5432\r\n", self.heard(self.server))
        self.say(
            self.server,
            b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )
        head, _, body = self.heard(client).partition(b"\r\n\r\n")
        self.assertEqual(body, b"abc")
        self.assertIn(b"Connection: close", head)
        self.assertNotIn(b"chunked", head)
        self.assertTrue(client.ended.value, "an end")
        lasting = self.client(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.say(self.server, OK)
        self.assertIn(b"Connection: keep-alive\r\n", self.heard(lasting))
        self.over()


class Bodies(HttpCase):
    """What is behind the heads."""

    def test_upload(self) -> None:
        """A body is passed on as it comes, and what is behind it is the next request."""
        self.listen()
        client = self.client(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
        self.assertTrue(self.heard(self.server).endswith(b"\r\n\r\n01234"))
        self.say(client, b"56789" + GET)
        self.assertEqual(self.heard(self.server), b"56789")
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.assertEqual(self.heard(self.server), HEAD_OF_GET)
        self.assertEqual(self.the_request().bytes_in, 58)
        self.over()

    def test_chunked_upload(self) -> None:
        """Chunks are put together anew, extensions stay here, and trailers are passed on."""
        self.listen()
        client = self.client(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n"
        )
        head, _, body = self.heard(self.server).partition(b"\r\n\r\n")
        self.assertIn(b"\r\nTransfer-Encoding: chunked\r\n", head)
        self.assertEqual(body, b"3\r\nabc\r\n")
        self.say(client, b"2\r\nde\r\n1\r\nf\r\n0\r\nX:  y\r\n\r\n" + GET)
        self.assertEqual(self.heard(self.server), b"3\r\ndef\r\n0\r\nX: y\r\n\r\n")
        self.say(self.server, OK)
        self.assertEqual(self.heard(self.server), HEAD_OF_GET)
        self.over()

    def test_answers(self) -> None:
        """Each way in which an answer may be framed, and what the client gets of it; and who goes on."""
        for head, pieces, body, goes_on in (
            (b"Content-Length: 6\r\n", [b"abc", b"def"], b"abcdef", True),
            (
                b"Transfer-Encoding: chunked\r\n",
                [b"3;x\r\nabc\r\n", b"3\r\ndef\r\n0\r\n\r\n"],
                b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
                True,
            ),
            (
                b"Transfer-Encoding: chunked\r\n",
                [b"1\r\na\r\n0\r\nX:y\r\n\r\n"],
                b"1\r\na\r\n0\r\nX: y\r\n\r\n",
                True,
            ),
            (b"Content-Length: 3\r\nConnection: close\r\n", [b"abc"], b"abc", False),
            (b"Content-Length: 3\r\n", [b"abc" + OK], b"abc", False),
            (b"Transfer-Encoding: chunked\r\n", [b"0\r\n\r\n" + OK], b"0\r\n\r\n", False),
        ):
            for at_once in (True, False):
                self.listen()
                client = self.client(GET)
                server = self.server
                data = [b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", *pieces]
                for piece in [b"".join(data)] if at_once else data:
                    self.say(server, piece)
                found = self.heard(client).partition(b"\r\n\r\n")[2]
                if at_once and b"chunked" in head:
                    found, body = found.replace(b"6\r\nabcdef", b"3\r\nabc\r\n3\r\ndef"), body
                self.assertEqual(found, body, head)
                self.assertEqual(len(self.factory.kept), int(goes_on), head)
                self.say(client, GET)
                self.say(self.server, OK)
                self.assertEqual(self.heard(client), ANSWERED)
                self.over()

    def test_until_close(self) -> None:
        """An answer that ends with the connection leaves in chunks, whose end can be told from a cut."""
        self.listen()
        client = self.client(GET)
        self.say(self.server, b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\nabc")
        self.say(self.server, b"def")
        self.server.finish()
        self.assertTrue(self.heard(client).endswith(b"\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"))
        self.say(client, GET)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.over()

    def test_slow_reader(self) -> None:
        """A client that reads slowly slows the server down: 64 KiB are held at most."""
        self.listen()
        client = self.client(GET, window=4096, sending=4096)
        client.stop_reading()
        server = self.server
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        self.network.flush()
        self.assertGreater(server.queued, 500_000)
        self.assertLessEqual(max(stream.buffered() for stream in self.network.open()), 128 * 1024)
        client.read_again()
        self.network.flush()
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)])
        self.over()

    def test_slow_server(self) -> None:
        """And a server that reads slowly slows the client down."""
        self.listen()
        client = self.client(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        server = self.server
        server.stop_reading()
        client.send(bytes(1_000_000))
        self.network.flush()
        self.assertGreater(client.queued, 500_000)
        server.read_again()
        self.network.flush()
        self.assertEqual(client.queued, 0)
        self.say(server, OK)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)])
        self.over()

    def test_continue(self) -> None:
        """100 is the server's to say: it passes, and then the body; HTTP/1.0 gets none."""
        self.listen()
        client = self.client(
            b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        self.assertIn(b"Expect: 100-continue\r\n", self.heard(self.server))
        self.say(self.server, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(self.heard(client), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.say(client, b"abc")
        self.assertEqual(self.heard(self.server), b"abc")
        self.say(self.server, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
        self.assertEqual(self.heard(client), b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ANSWERED)
        self.over()

    def test_early_answer(self) -> None:
        """An answer before the end of the body is passed on; then both connections are closed."""
        self.listen()
        client = self.client(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
        server = self.server
        self.say(server, OK)
        self.assertEqual(self.heard(client).partition(b"\r\n\r\n")[2], b"hello")
        self.assertEqual((client.ended.value, server.ended.value), ("an end", "a reset"))
        self.say(client, b"more")
        self.over()


class Tunnels(HttpCase):
    """Connections that go on with another protocol."""

    ASKING = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

    def test_upgrade(self) -> None:
        """What was asked for and granted becomes a tunnel, with the first bytes of both sides in it."""
        self.listen()
        client = self.client(self.ASKING)
        self.assertIn(b"Upgrade: websocket\r\nConnection: Upgrade\r\n", self.heard(self.server))
        self.say(client, b"early")
        self.say(self.server, self.SWITCHING + b"welcome")
        self.assertEqual(
            self.heard(client),
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nwelcome",
        )
        self.assertEqual(self.heard(self.server), b"early")
        self.say(client, GET)
        self.say(self.server, b"\x00\x01")
        self.assertEqual((self.heard(self.server), self.heard(client)), (GET, b"\x00\x01"))
        client.finish()
        self.network.flush()
        self.server.finish()
        self.network.flush()
        self.assertEqual(self.outcomes(), [(101, Reason.CLIENT_FINISHED)])
        self.over()

    def test_not_asked_for(self) -> None:
        """A server that switches by itself is not believed."""
        self.listen()
        client = self.client(GET)
        self.say(self.server, self.SWITCHING)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 502 "))
        self.assertEqual(self.outcomes(), [(502, Reason.ANSWER_MALFORMED)])
        self.over()

    def test_declined(self) -> None:
        """A server that does not switch answers as always."""
        self.listen()
        client = self.client(self.ASKING)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.over()


class Failures(HttpCase):
    """What goes wrong, and what is made of it."""

    def test_another_server(self) -> None:
        """What cannot be reached, or closes without an answer, is tried on another server."""
        self.listen(2, 1, 1)
        client = self.client(GET)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.assertEqual(self.the_request().retries, 1)
        self.over()

    def test_closed_without_an_answer(self) -> None:
        """An idempotent request goes to another server; any other does not, as it may have done something."""
        for method, again in ((b"GET", True), (b"DELETE", True), (b"POST", False), (b"PATCH", False)):
            self.listen(1, 1)
            self.notebook.requests.clear()
            client = self.client(GET.replace(b"GET", method))
            self.server.close()
            if again:
                self.say(self.server, OK)
                self.assertEqual(self.heard(client), ANSWERED)
                self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)])
            else:
                self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 502 "))
                self.assertEqual(self.outcomes(), [(502, Reason.NO_ANSWER)])
            self.over()

    def test_all_close(self) -> None:
        """Each server is tried once, and no more than the pool lets us."""
        self.listen(1, 1, 1, pool={"retries": 1})
        client = self.client(GET)
        for _ in range(2):
            self.server.close()
        self.network.flush()
        self.assertEqual(len(self.datapath.peers), 2)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 502 "))
        self.assertEqual(self.outcomes(), [(502, Reason.NO_ANSWER)])
        self.over()

    def test_race_of_reuse(self) -> None:
        """A kept connection that is closed as the request comes is replaced by one to the same server."""
        self.listen(1, 1, pool={"retries": 0})
        client = self.client(GET)
        self.say(self.server, OK)
        self.pool.disable(self.pool.servers[1], "so that the first is chosen", 0.0)
        self.heard(client)
        old = self.server
        self.say(client, GET)
        old.close()
        self.network.flush()
        self.assertIsNot(self.server, old)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.assertEqual(
            (self.datapath.hosts, self.outcomes()), (["10.0.0.1"] * 2, [(200, Reason.ANSWERED)] * 2)
        )
        self.over()

    def test_never_twice(self) -> None:
        """Not on a kept connection either is a request sent twice that may have done something."""
        self.listen(1, 1)
        client = self.client(GET)
        self.say(self.server, OK)
        self.heard(client)
        self.pool.disable(self.pool.servers[1], "so that the first is chosen", 0.0)
        self.say(client, GET.replace(b"GET", b"POST"))
        self.server.close()
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 502 "))
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED), (502, Reason.NO_ANSWER)])
        self.assertEqual(len(self.datapath.peers), 1)
        self.over()

    def test_answer_timeout(self) -> None:
        """A server that does not begin its answer in time: 504."""
        self.listen(pool={"response_timeout": 5.0})
        client = self.client(GET)
        server = self.server
        self.pass_time(7)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 504 "))
        self.assertEqual(self.outcomes(), [(504, Reason.ANSWER_TIMEOUT)])
        self.assertEqual(server.ended.value, "a reset")
        self.over()

    def test_after_an_answer_timeout(self) -> None:
        """Who was told 504 goes on with deadlines as before, for the next answer and the next request."""
        self.listen(pool={"response_timeout": 5.0})
        client = self.client(GET)
        other = self.client(GET)
        self.say(self.server, OK)  # whose connection is kept
        self.pass_time(7)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 504 "))
        self.say(client, GET)
        self.pass_time(7)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 504 "))
        self.assertEqual(len(self.datapath.peers), 2)
        self.pass_time(70)
        self.assertEqual((client.ended.value, other.ended.value), ("an end", "an end"))
        self.over()

    def test_client_leaves(self) -> None:
        """A client that leaves before its answer is complete takes its request back: the server is cut."""
        for leaves in ("reset", "close"):
            for begun in (False, True):
                self.listen()
                self.notebook.requests.clear()
                client = self.client(GET)
                server = self.server
                if begun:
                    self.say(server, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
                getattr(client, leaves)()
                self.network.flush()
                self.assertEqual(server.ended.value, "a reset" if leaves == "reset" else server.ended.value)
                self.assertNotEqual(server.ended.value, "not yet")
                (outcome,) = self.outcomes()
                self.assertIn(outcome[1], (Reason.CLIENT_GONE, Reason.CLIENT_RESET))
                self.over()

    def test_half_close(self) -> None:
        """With abort_on_close = no a client that has closed its side still gets its answers."""
        self.listen(abort_on_close=False)
        client = self.client(GET + GET)
        client.finish()
        self.network.flush()
        self.say(self.server, OK)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client).count(b"hello"), 2)
        self.assertEqual(client.ended.value, "an end")
        self.over()

    def test_client_leaves_while_dialing(self) -> None:
        """A client that leaves while its server is dialed ends the dial."""
        self.listen(3)
        client = self.client(GET)
        client.reset()
        self.network.flush()
        self.assertEqual((self.datapath.cancelled, len(self.outcomes())), (1, 1))
        self.over()

    def test_unfinished_request(self) -> None:
        """A client that stops in the midst of its body, and closes, is gone; nothing is answered."""
        self.listen()
        client = self.client(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        client.finish()
        self.network.flush()
        self.assertEqual(self.outcomes(), [(0, Reason.CLIENT_GONE)])
        self.over()


class Waiting(HttpCase):
    """Where servers have room for so many requests."""

    def test_queue(self) -> None:
        """A request that finds no room waits for the next that is complete, and has its connection."""
        self.listen(pool={"max_connections": 1})
        one, two = self.client(GET), self.client(GET)
        self.assertEqual((len(self.datapath.peers), self.pool.open), (1, 1))
        self.say(self.server, OK)
        self.assertEqual((self.heard(one), self.pool.open), (ANSWERED, 1))
        self.assertEqual(self.heard(self.server), HEAD_OF_GET * 2)
        self.say(self.server, OK)
        self.assertEqual(self.heard(two), ANSWERED)
        self.assertEqual(len(self.datapath.peers), 1)
        self.over()

    def test_queue_timeout(self) -> None:
        """One that waits for too long is told to come again."""
        self.listen(pool={"max_connections": 1})
        self.client(GET)
        two = self.client(GET)
        self.pass_time(11)
        words = self.heard(two)
        self.assertTrue(words.startswith(b"HTTP/1.1 503 "))
        self.assertIn(b"Retry-After: 5\r\n", words)
        self.assertEqual(self.outcomes(), [(503, Reason.QUEUE_TIMEOUT)])
        self.over()
