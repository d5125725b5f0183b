"""Is a stream of HTTP/2 what a session takes it for, and does nothing wait in it without a bound?"""

from __future__ import annotations

from hyperframe.frame import DataFrame, HeadersFrame

from proxyd.config.action import RespondSpec
from proxyd.config.http import HttpSpec
from proxyd.errors import Reason
from proxyd.frontends.http.auth import Verdict
from proxyd.frontends.http.session import HttpSession
from proxyd.wire.http2frames import NO_ERROR, PROTOCOL_ERROR
from tests.frontends.http.client2 import GET2, POST2, Http2Client
from tests.frontends.http.front import GET, OK, HttpCase
from tests.frontends.http.test_routed import Judge, RoutedCase, route


class Streams(HttpCase):
    """What passes one of them."""

    def test_bodies(self) -> None:
        """Bodies and trailers pass both ways, in chunks where their length is not known."""
        self.listen()
        client = Http2Client(self)
        number = client.ask(("te", "trailers"), head=POST2, ends=False)
        client.h2.send_data(number, b"abc")
        client.h2.send_data(number, b"")
        client.h2.send_headers(number, [("x-sum", "1")], end_stream=True)
        client.flush()
        self.assertTrue(self.heard(self.server).endswith(b"\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"))
        self.say(
            self.server,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\nX-End: yes\r\n\r\n",
        )
        client.hear()
        self.assertEqual((client.bodies[number], client.ended), (b"xyz", [number]))
        self.assertEqual(client.trailers[number], [("x-end", "yes")])
        self.assertNotIn("transfer-encoding", client.heads[number])
        client.peer.close()
        self.over()

    def test_interim_and_head(self) -> None:
        """100 (Continue) is passed on, and the answer to HEAD has a length and no body."""
        self.listen()
        client = Http2Client(self)
        number = client.ask(("expect", "100-continue"), ("content-length", "2"), head=POST2, ends=False)
        self.say(self.server, b"HTTP/1.1 100 Continue\r\n\r\n")
        client.hear()
        self.assertEqual(client.interim, {number: "100"})
        client.h2.send_data(number, b"ab", end_stream=True)
        client.flush()
        self.say(self.server, OK)
        head = client.ask(head=[(":method", "HEAD"), *GET2[1:]])
        self.say(self.server, b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
        client.hear()
        self.assertEqual(client.ended, [number, head])
        self.assertEqual((client.heads[head]["content-length"], client.bodies[head]), ("7", b""))
        client.peer.close()
        self.over()

    def test_cancelled(self) -> None:
        """RST_STREAM ends the server's side of that request alone."""
        self.listen()
        client = Http2Client(self)
        first, second = client.ask(), client.ask()
        one, other = self.datapath.peers
        client.h2.reset_stream(first)
        client.flush()
        self.assertTrue(one.closed)
        self.say(other, OK)
        client.hear()
        self.assertEqual(client.ended, [second])
        self.assertEqual(self.outcomes(), [(0, Reason.CLIENT_RESET), (200, Reason.ANSWERED)])
        client.peer.close()
        self.over()

    def test_server_cut(self) -> None:
        """An answer that the server does not complete ends in RST_STREAM, so nobody takes it for whole."""
        self.listen()
        client = Http2Client(self)
        number = client.ask()
        self.say(self.server, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        self.server.close()
        client.hear()
        self.assertEqual((client.ended, list(client.resets)), ([], [number]))
        other = client.ask()
        self.say(self.server, OK)
        client.hear()
        self.assertEqual(client.ended, [other])
        client.peer.close()
        self.over()

    def test_slow_reader(self) -> None:
        """Who does not read one stream has its server paused, and that alone."""
        self.listen()
        client = Http2Client(self, acknowledges=False)
        client.h2.increment_flow_control_window(10_000_000)
        slow = client.ask()
        server = self.server
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        self.network.flush()
        client.hear()
        self.assertEqual(len(client.bodies[slow]), 65_535)
        self.assertGreater(server.queued, 500_000)
        quick = client.ask()
        self.say(self.server, OK)
        client.hear()
        self.assertEqual(client.ended, [quick])
        client.h2.increment_flow_control_window(1_000_000, slow)
        client.flush()
        for _ in range(100):
            client.hear()
        self.assertEqual((client.ended, len(client.bodies[slow])), ([quick, slow], 1_000_000))
        client.peer.close()
        self.over()

    def test_zero_window(self) -> None:
        """Who opens no window at all is cut after idle_timeout, stream by stream."""
        self.listen(idle_timeout=10.0)
        client = Http2Client(self)
        client.h2.update_settings({4: 0})
        client.flush()
        number = client.ask()
        self.say(self.server, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(50_000))
        for _ in range(40):
            self.pass_time(1)
        client.hear()
        self.assertEqual((client.bodies[number], list(client.resets)), (b"", [number]))
        self.assertEqual(self.outcomes(), [(200, Reason.CLIENT_STALLED)])
        client.peer.close()
        self.over()

    def test_slow_server(self) -> None:
        """The window of an upload opens when the server's side has taken it, and other streams go on."""
        self.listen()
        client = Http2Client(self)
        number = client.ask(("content-length", "500000"), head=POST2, ends=False)
        server = self.server
        server.stop_reading()
        sent = 0
        for _ in range(200):
            room = min(client.h2.local_flow_control_window(number), 16_384, 500_000 - sent)
            if not room:
                break
            client.h2.send_data(number, bytes(room))
            sent += room
            client.flush()
        self.assertLess(sent, 400_000)
        other = client.ask()
        self.say(self.server, OK)
        client.hear()
        self.assertEqual(client.ended, [other])
        server.read_again()
        for _ in range(200):
            self.network.flush()
            client.hear()
            room = min(client.h2.local_flow_control_window(number), 16_384, 500_000 - sent)
            client.h2.send_data(number, bytes(room), end_stream=sent + room == 500_000)
            sent += room
            client.flush()
            if sent == 500_000:
                break
        self.assertEqual(len(self.heard(server).partition(b"\r\n\r\n")[2]), 500_000)
        self.say(server, OK)
        client.hear()
        self.assertEqual(client.ended, [other, number])
        client.peer.close()
        self.over()

    def test_early_answer(self) -> None:
        """A server that answers before it has the body has the rest called off by RST_STREAM."""
        self.listen()
        client = Http2Client(self)
        number = client.ask(("content-length", "500000"), head=POST2, ends=False)
        self.say(self.server, b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        client.hear()
        self.pass_time(0)
        client.hear()
        self.assertEqual((client.heads[number][":status"], client.bodies[number]), ("413", b"no"))
        self.assertEqual(client.resets, {number: 0})
        client.peer.close()
        self.over()

    def test_small_pieces(self) -> None:
        """A body in the smallest of pieces, for a server that takes none, waits as one."""
        self.listen()
        client = Http2Client(self)
        number = client.ask(head=POST2, ends=False)
        (session,) = self.factory.streams
        session.client.transport.pauseProducing()
        for _ in range(3000):
            client.h2.send_data(number, b"z")
        client.h2.end_stream(number)
        client.flush()
        self.assertTrue(self.heard(self.server).endswith(b"\r\n\r\n"))
        session.client.transport.resumeProducing()
        self.assertEqual(self.heard(self.server), b"bb8\r\n" + b"z" * 3000 + b"\r\n0\r\n\r\n")
        self.say(self.server, OK)
        client.hear()
        self.assertEqual(client.ended, [number])
        client.peer.close()
        self.over()

    def test_length(self) -> None:
        """A body that is not as long as was said reaches no server whole, and nothing of it is a request."""
        for body, ends in ((b"abc", True), (b"abcdef" + GET, False)):
            self.listen()
            client = Http2Client(self)
            number = client.ask(("content-length", "5"), head=POST2, ends=False)
            server = self.server
            client.raw(DataFrame(number, body, flags=["END_STREAM"] if ends else []).serialize())
            client.hear()
            self.assertEqual(client.heads[number][":status"], "400")
            self.assertNotIn(b"GET /x", self.heard(server))
            self.assertTrue(server.closed)
            self.assertEqual(self.outcomes()[-1], (400, Reason.REQUEST_MALFORMED))
            self.pass_time(0)
            other = client.ask()
            self.say(self.server, OK)
            client.hear()
            self.assertEqual(client.bodies[other], b"hello")
            client.peer.close()
            self.over()

    def test_more_than_the_length(self) -> None:
        """What comes behind a body that was long enough, and behind its answer, ends that stream alone."""
        self.listen()
        client = Http2Client(self)
        number = client.ask(("content-length", "5"), head=POST2, ends=False)
        client.raw(DataFrame(number, b"abcde").serialize())
        self.say(self.server, OK)
        client.hear()
        self.assertEqual(client.ended, [number])
        client.raw(DataFrame(number, GET).serialize())
        self.assertNotIn(b"GET /x", self.heard(self.server))
        self.assertEqual(client.resets, {number: PROTOCOL_ERROR})
        other = client.ask()
        self.say(self.server, OK)
        client.hear()
        self.assertEqual(client.ended, [number, other])
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)] * 2)
        client.peer.close()
        self.over()

    def test_what_was_taken(self) -> None:
        """What leaves at once counts for min_rate as what has waited for a window does."""
        self.listen()
        client = Http2Client(self, acknowledges=False)
        client.ask()
        (session,) = self.factory.streams
        assert isinstance(session, HttpSession)
        self.say(self.server, b"HTTP/1.1 200 OK\r\nContent-Length: 80000\r\n\r\n" + b"x" * 1000)
        self.pass_time(0)
        stream = session.client.transport
        self.assertEqual((stream.taken(), stream.buffered()), (1000, 0))
        self.say(self.server, b"x" * 70_000)
        self.pass_time(0)
        self.assertEqual((stream.taken(), stream.buffered()), (65_535, 71_000 - 65_535))
        client.peer.close()
        self.over()

    def test_sessions_that_wait(self) -> None:
        """A request finds the session of one before; those that wait in vain end by keepalive_timeout."""
        self.listen(http=HttpSpec(keepalive_timeout=5.0))
        client = Http2Client(self)
        for rounds in range(3):
            for _ in range(20):
                client.ask()
            for server in self.datapath.peers:
                self.say(server, OK)
            client.hear()
            self.assertEqual(len(client.ended), 20 + 20 * rounds)
        self.assertEqual(self.factory.streams, set())
        long = client.ask(head=POST2, ends=False)
        for _ in range(8):
            self.pass_time(1)
        self.assertEqual(len(self.factory.streams), 1)
        client.h2.reset_stream(long)
        client.flush()
        for _ in range(8):
            self.pass_time(1)
        self.over()

    def test_rejected_while_dialing(self) -> None:
        """A body that is wrong while its server is dialed ends the dial, and that alone."""
        self.listen(3)
        client = Http2Client(self)
        number = client.ask(("content-length", "5"), head=POST2, ends=False)
        behind = HeadersFrame(number + 2, client.h2.encoder.encode(GET2), flags=["END_HEADERS", "END_STREAM"])
        wrong = DataFrame(number, b"abcdef", flags=["END_STREAM"])
        self.say(client.peer, wrong.serialize() + behind.serialize())
        self.pass_time(0)
        self.assertEqual(self.outcomes(), [(400, Reason.REQUEST_MALFORMED)])
        self.assertEqual((self.datapath.cancelled, len(self.datapath.dialed)), (1, 2))
        client.peer.close()
        self.over()


class Tunnels(HttpCase):
    """Streams that are WebSockets (RFC 8441)."""

    SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    ACCEPTED = b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n"

    def open(self) -> tuple[Http2Client, int]:
        """A client that asks for one."""
        self.listen(http=HttpSpec(keepalive_timeout=5.0))
        client = Http2Client(self)
        self.assertEqual(client.h2.remote_settings.enable_connect_protocol, 1)
        asks = [(":method", "CONNECT"), *GET2[1:], (":protocol", "websocket")]
        return client, client.ask(("sec-websocket-version", "13"), head=asks, ends=False)

    def test_websocket(self) -> None:
        """A WebSocket is one of HTTP/1.1 to its server, and bytes pass both ways until both have ended."""
        client, number = self.open()
        asked = self.heard(self.server)
        self.assertTrue(asked.startswith(b"GET /x HTTP/1.1\r\nHost: example.com\r\n"), asked)
        self.assertRegex(asked.lower(), rb"\r\nsec-websocket-key: [a-z0-9+/]{22}==\r\n")
        self.assertIn(b"Upgrade: websocket\r\nConnection: Upgrade\r\n", asked)
        self.say(self.server, self.SWITCHING + self.ACCEPTED + b"welcome")
        client.hear()
        self.assertEqual(client.heads[number], {":status": "200", "sec-websocket-protocol": "chat"})
        self.assertEqual(client.bodies[number], b"welcome")
        client.h2.send_data(number, GET)
        client.flush()
        self.say(self.server, b"\x00\x01")
        client.hear()
        self.assertEqual((self.heard(self.server), client.bodies[number]), (GET, b"welcome\x00\x01"))
        client.h2.send_data(number, b"bye", end_stream=True)
        client.flush()
        self.assertEqual(self.heard(self.server), b"bye")
        self.say(self.server, b"bye")
        self.server.finish()
        client.hear()
        self.assertEqual((client.ended, client.resets), ([number], {}))
        self.assertEqual(client.bodies[number], b"welcome\x00\x01bye")
        self.assertEqual(self.outcomes(), [(101, Reason.CLIENT_FINISHED)])
        client.peer.close()
        self.over()

    def test_server_ends_first(self) -> None:
        """The server's half may end while the client goes on; so may all, by RST_STREAM."""
        for resets in (False, True):
            client, number = self.open()
            server = self.server
            self.say(server, self.SWITCHING + b"\r\n" + b"bye")
            server.finish()
            client.hear()
            self.assertEqual((client.ended, client.bodies[number]), ([number], b"bye"))
            client.h2.send_data(number, b"still here")
            client.flush()
            self.assertEqual(self.heard(server)[-10:], b"still here")
            if resets:
                client.h2.reset_stream(number)
            else:
                client.h2.end_stream(number)
            client.flush()
            self.assertTrue(server.closed)
            self.assertEqual(self.factory.streams, set())
            client.peer.close()
            self.over()

    def test_slow_reader(self) -> None:
        """A client that opens no window has the server paused, and gets all when it does."""
        client, number = self.open()
        server = self.server
        self.say(server, self.SWITCHING + b"\r\n" + bytes(1_000_000))
        self.assertGreater(server.queued, 500_000)
        for _ in range(100):
            client.hear()
        self.assertEqual(len(client.bodies[number]), 1_000_000)
        client.peer.close()
        self.over()

    def test_refused(self) -> None:
        """A server that opens none has its answer passed on, but for one that would be taken for yes."""
        for status, told in ((b"403", "403"), (b"200", "502")):
            client, number = self.open()
            self.say(self.server, b"HTTP/1.1 " + status + b" Hm\r\nContent-Length: 2\r\n\r\nhm")
            client.hear()
            self.assertEqual((client.heads[number][":status"], client.bodies[number]), (told, b"hm"))
            self.assertEqual(client.resets, {number: NO_ERROR})  # nothing can follow
            other = client.ask()
            self.say(self.server, OK)
            client.hear()
            self.assertEqual(client.bodies[other], b"hello")
            client.peer.close()
            self.over()

    def test_said_too_early(self) -> None:
        """What a client says before a tunnel stands is the tunnel's, and never another request."""
        early = b"GET /hidden HTTP/1.1\r\nHost: example.com\r\n\r\n"
        for answer, arrives in (
            (self.SWITCHING + self.ACCEPTED, early),
            (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", b""),
        ):
            client, number = self.open()
            client.h2.send_data(number, early)
            client.flush()
            self.heard(self.server)
            self.say(self.server, answer)
            client.hear()
            self.assertEqual(self.heard(self.server), arrives)
            self.assertEqual(len(self.datapath.peers), 1)
            client.peer.close()
            self.over()
            self.datapath.peers.clear()


class Bodies(RoutedCase):
    """Bodies that come while nobody takes them yet."""

    HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: example.com\r\n\r\n"

    def test_behind_an_answer_of_ours(self) -> None:
        """A session that has just answered by itself hears a request before its body."""
        answers = route("no", "", {"path": ("/no",)}, respond=RespondSpec(403))
        for length in ((), (("content-length", str(len(self.HIDDEN))),)):
            self.routes(answers)
            client = Http2Client(self)
            head = [*GET2[:3], (":path", "/no")]
            first, second = client.h2.get_next_available_stream_id(), 3
            client.h2.send_headers(first, head, end_stream=True)
            client.h2.send_headers(second, [*POST2, *length])
            client.h2.send_data(second, self.HIDDEN, end_stream=True)
            client.flush()
            self.assertEqual(client.heads[first][":status"], "403")
            heard = self.heard(self.server)
            self.assertTrue(heard.startswith(b"POST /x HTTP/1.1\r\n"), heard)
            self.assertEqual(heard.count(self.HIDDEN), 1)
            self.say(self.server, OK)
            client.hear()
            self.assertEqual(client.bodies[second], b"hello")
            targets = [record.target for record in self.notebook.requests[-2:]]
            self.assertEqual(targets, [b"/no", b"/x"])
            client.peer.close()
            self.over()

    def test_while_it_is_decided(self) -> None:
        """It arrives whole where somebody is asked first who the client is."""
        routing = self.routes(route("r"))
        judge = Judge()
        (course,) = routing.courses
        course.auth, course.patience = judge, judge.patience  # type: ignore[assignment]
        client = Http2Client(self)
        number = client.ask(("content-length", "5"), head=POST2, ends=False)
        client.h2.send_data(number, b"abcde", end_stream=True)
        client.flush()
        judge.verdicts[0].callback(Verdict())
        self.pass_time(0)
        self.assertTrue(self.heard(self.server).endswith(b"\r\n\r\nabcde"))
        self.say(self.server, OK)
        client.hear()
        self.assertEqual(client.bodies[number], b"hello")
        client.peer.close()
        self.over()

    def test_trailers_too_long(self) -> None:
        """Trailers that nobody should read end their stream, and that alone."""
        self.routes(route("r"))
        client = Http2Client(self)
        number, other = client.ask(head=POST2, ends=False), client.ask()
        client.h2.send_headers(number, [("x-a", "b" * 9000)], end_stream=True)
        client.flush()
        self.assertEqual(client.heads[number][":status"], "431")
        self.say(self.datapath.peers[-1], OK)
        client.hear()
        self.assertEqual(client.bodies[other], b"hello")
        client.peer.close()
        self.over()
