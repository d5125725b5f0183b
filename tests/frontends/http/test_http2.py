"""Is each stream of HTTP/2 a request like any other, and is nobody held up or flooded by another?"""

from __future__ import annotations

import gc

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from proxyd.config.http import HttpSpec
from proxyd.errors import Reason
from proxyd.frontends.http.http2 import Http2 as Http2Streams
from proxyd.frontends.http.session import HttpSession
from proxyd.frontends.http.stream import Stream
from proxyd.wire.http2frames import ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, PREFACE
from tests.frontends.http.client2 import GET2, POST2, Http2Client
from tests.frontends.http.front import GET, OK, TOLD, HttpCase

ASKED = b"GET /x HTTP/1.1\r\nHost: example.com\r\n" + TOLD + b"Via: 2.0 proxyd\r\n\r\n"


class Http2(HttpCase):
    """A client of HTTP/2, and servers of HTTP/1.1."""

    def test_requests(self) -> None:
        """Requests reach servers as those of HTTP/1.1 do, and their answers come back; each has a record."""
        self.listen()
        client = Http2Client(self)
        first, second = client.ask(), client.ask()
        one, other = self.datapath.peers
        self.assertEqual(self.heard(one), ASKED)
        self.say(other, OK)
        client.hear()
        self.assertEqual((client.ended, client.bodies[second]), ([second], b"hello"))
        self.assertEqual(
            client.heads[second],
            {":status": "200", "date": "then", "via": "1.1 proxyd", "content-length": "5"},
        )
        third = client.ask()
        self.assertEqual(self.heard(other), ASKED * 2)  # its connection was kept
        self.say(one, OK)
        self.say(other, OK)
        client.hear()
        self.assertEqual(client.ended, [second, first, third])
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)] * 3)
        self.assertEqual([record.version for record in self.notebook.requests], ["2.0"] * 3)
        client.peer.close()
        self.network.flush()
        self.assertEqual([record.requests for record in self.notebook.records], [3])
        self.over()

    def test_malformed(self) -> None:
        """A request that nobody should read is answered 400, and the other streams go on."""
        self.listen()
        client = Http2Client(self)
        good = client.ask()
        bad = [client.ask(("connection", "close")), client.ask(("x", "a\r\nb: c")), client.ask(("X", "y"))]
        bad.append(client.ask(head=[*GET2[:2], (":authority", "a b"), GET2[3]]))
        self.say(self.server, OK)
        client.hear()
        self.pass_time(0)
        client.hear()
        self.assertEqual([client.heads[number][":status"] for number in bad], ["400"] * 4)
        self.assertEqual(client.heads[good][":status"], "200")
        self.assertEqual(len(self.datapath.peers), 1)
        self.assertEqual(self.outcomes().count((400, Reason.REQUEST_MALFORMED)), 4)
        client.peer.close()
        self.over()

    def test_floods(self) -> None:
        """Who floods us is told so by GOAWAY, and its connection ends; no server is bothered more."""
        reset = RstStreamFrame(1, error_code=8).serialize()
        long = (1_000_000).to_bytes(3, "big") + bytes(6)
        continued = HeadersFrame(3, b"").serialize() + ContinuationFrame(3, b"").serialize() * 100
        bomb = HeadersFrame(3, b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000 + b"\xbe" * 8000, flags=["END_HEADERS"])
        for flood, codes in (
            (PingFrame(0, b"12345678").serialize() * 1100, (ENHANCE_YOUR_CALM,)),
            (SettingsFrame(0).serialize() * 1100, (ENHANCE_YOUR_CALM,)),
            (DataFrame(1).serialize() * 1100, (ENHANCE_YOUR_CALM,)),
            (reset * 300, (ENHANCE_YOUR_CALM,)),
            (continued, (ENHANCE_YOUR_CALM,)),
            (bomb.serialize(), (ENHANCE_YOUR_CALM,)),
            (long, (FRAME_SIZE_ERROR,)),
        ):
            self.listen()
            client = Http2Client(self)
            client.ask(head=POST2, ends=False)
            client.raw(flood)
            self.assertIn(client.goaway, codes, flood[:20])
            self.pass_time(2)
            self.assertEqual(self.network.open(), [], flood[:20])
            self.assertEqual(self.notebook.records[-1].reason, Reason.REQUEST_MALFORMED)
            self.over()

    def test_rapid_reset(self) -> None:
        """Requests that are cancelled as soon as they are sent end the connection (CVE-2023-44487)."""
        self.listen()
        client = Http2Client(self)
        asked = 0
        while client.goaway is None and asked < 1000:
            number = client.h2.get_next_available_stream_id()
            client.h2.send_headers(number, GET2, end_stream=True)
            client.h2.reset_stream(number)
            client.flush()
            asked += 1
        self.assertEqual((client.goaway, asked), (ENHANCE_YOUR_CALM, 200))
        self.pass_time(2)
        self.over()

    def test_made_to_reset(self) -> None:
        """So do those that we are made to end, when a server has them already (CVE-2025-8671)."""
        for length, wrong in (
            ([("content-length", "5")], DataFrame(1, b"abcdef", flags=["END_STREAM"])),
            ([], HeadersFrame(1, b"\x10\x01a\x01b" * 51, flags=["END_HEADERS", "END_STREAM"])),
        ):
            self.listen()
            client = Http2Client(self)
            asked = 0
            while client.goaway is None and asked < 1000:
                number = client.h2.get_next_available_stream_id()
                client.h2.send_headers(number, [*POST2, *length])
                wrong.stream_id = number
                client.raw(client.h2.data_to_send() + wrong.serialize())
                client.h2.streams.pop(number, None)
                asked += 1
            self.assertEqual(client.goaway, ENHANCE_YOUR_CALM)
            self.assertIn(asked, range(190, 202))  # SETTINGS cost something, too
            self.pass_time(2)
            self.over()

    def test_too_many_streams(self) -> None:
        """A client is told that it may have 100 streams; more are refused, and many more are a flood."""
        self.listen()
        client = Http2Client(self)
        self.assertEqual(client.h2.remote_settings.max_concurrent_streams, 100)
        for _ in range(100):
            client.ask()
        refused = 0
        while client.goaway is None and refused < 1000:
            number = 201 + 2 * refused
            client.h2.streams.pop(number, None)
            extra = HeadersFrame(number, client.h2.encoder.encode(GET2), flags=["END_HEADERS", "END_STREAM"])
            self.say(client.peer, extra.serialize())
            heard = self.heard(client.peer)
            if RstStreamFrame(number, error_code=7).serialize() not in heard:
                self.assertIn(ENHANCE_YOUR_CALM.to_bytes(4, "big"), heard)
                break
            refused += 1
        self.assertIn(refused, range(190, 201))  # SETTINGS cost something, too
        self.pass_time(2)
        self.over()

    def test_goaway(self) -> None:
        """A client that says GOAWAY gets the answers that it has asked for; with an error it gets none."""
        self.listen()
        client = Http2Client(self)
        client.ask()
        self.say(client.peer, GoAwayFrame(0, 0).serialize())
        self.say(self.server, OK)
        self.pass_time(0)
        self.assertIn(DataFrame(1, b"hello", flags=["END_STREAM"]).serialize(), self.heard(client.peer))
        self.pass_time(2)
        self.assertEqual([record.requests for record in self.notebook.records], [1])
        self.over()
        self.listen()
        client = Http2Client(self)
        client.ask()
        server = self.datapath.peers[-1]
        client.raw(GoAwayFrame(0, 0, error_code=1).serialize())
        self.assertTrue(server.closed)
        self.pass_time(2)
        self.over()

    def test_drain(self) -> None:
        """A listener that closes says GOAWAY, lets what is under way come to its end, and takes no more."""
        self.listen()
        client = Http2Client(self)
        number = client.ask()
        server = self.server
        self.factory.stopFactory()
        self.network.flush()
        late = HeadersFrame(3, client.h2.encoder.encode(GET2), flags=["END_HEADERS", "END_STREAM"])
        self.say(client.peer, late.serialize())
        self.assertFalse(client.peer.closed)
        self.say(server, OK)
        self.pass_time(0)
        heard = self.heard(client.peer)
        self.assertIn(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0", heard)  # GOAWAY, last stream 1, NO_ERROR
        self.assertIn(b"\0\0\x04\x03\0\0\0\0\x03\0\0\0\x07", heard)  # REFUSED_STREAM
        self.assertIn(b"hello", heard)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)])
        self.assertEqual((number, len(self.datapath.peers)), (1, 1))
        self.over()
        self.assertTrue(client.peer.closed)

    def test_drain_in_the_midst_of_the_preface(self) -> None:
        """Who has just begun is told that nothing more is taken, too."""
        self.listen()
        client = self.client(PREFACE[:5])
        self.factory.stopFactory()
        asked = HeadersFrame(1, Encoder().encode(GET2), flags=["END_HEADERS", "END_STREAM"])
        self.say(client, PREFACE[5:] + SettingsFrame(0).serialize() + asked.serialize())
        self.assertIn(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0", self.heard(client))  # GOAWAY
        self.say(self.server, OK)
        self.pass_time(2)
        self.assertIn(b"hello", self.heard(client))
        self.assertEqual(client.ended.value, "an end")
        self.over()

    def test_last_answer_arrives(self) -> None:
        """A connection that ends is closed when all has arrived: a reset would destroy what has not."""
        self.listen()
        client = Http2Client(self, window=4096, sending=4096)
        client.ask()
        client.peer.stop_reading()
        self.factory.stopFactory()
        self.say(self.server, b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30_000)
        self.pass_time(5)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)])
        self.assertLess(client.peer.received.count(b"x"), 10_000)
        client.peer.read_again()
        self.network.flush()
        self.assertGreaterEqual(client.peer.received.count(b"x"), 30_000)
        self.assertEqual(len(self.factory.sessions), 1)
        self.over()

    def test_last_answer_is_not_taken(self) -> None:
        """Who never takes it is cut after idle_timeout."""
        self.listen(idle_timeout=10.0)
        client = Http2Client(self, window=4096, sending=4096)
        client.ask()
        client.peer.stop_reading()
        self.factory.stopFactory()
        self.say(self.server, b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30_000)
        self.pass_time(13)
        self.assertEqual([record.reason for record in self.notebook.records], [Reason.CLIENT_STALLED])
        self.over()

    def test_streams_are_known(self) -> None:
        """What closes the connections of a server finds the requests that it has by HTTP/2."""
        self.listen()
        client = Http2Client(self)
        number = client.ask()
        (stream,) = self.factory.streams
        self.assertEqual((stream.picked, stream.connect_seconds), (self.pool.servers[0], 0.0))
        stream.cut(Reason.SERVER_DOWN, "check failed")
        client.hear()
        self.assertEqual(list(client.resets), [number])
        self.assertEqual(self.outcomes(), [(0, Reason.SERVER_DOWN)])
        self.assertEqual(self.factory.streams, set())
        client.peer.close()
        self.over()

    def test_keepalive_timeout(self) -> None:
        """A connection without requests ends, with GOAWAY, after keepalive_timeout."""
        self.listen(http=HttpSpec(keepalive_timeout=5.0))
        client = Http2Client(self)
        client.ask()
        self.say(self.server, OK)
        client.hear()
        for _ in range(8):
            self.pass_time(1)
        client.hear()
        self.assertEqual(client.goaway, 0)
        self.assertEqual([record.reason for record in self.notebook.records], [Reason.IDLE_TIMEOUT])
        self.over()

    def test_header_timeout(self) -> None:
        """One that never brings a request ends so after header_timeout."""
        self.listen(http=HttpSpec(header_timeout=5.0))
        client = Http2Client(self)
        for _ in range(8):
            self.pass_time(1)
        client.hear()
        self.assertEqual(client.goaway, 0)
        self.assertEqual(
            [(record.reason, record.detail) for record in self.notebook.records],
            [(Reason.IDLE_TIMEOUT, "it has asked for nothing within header_timeout")],
        )
        self.over()

    def test_max_requests(self) -> None:
        """After max_requests the client is told by GOAWAY to come again on another connection."""
        self.listen(http=HttpSpec(max_requests=2))
        client = Http2Client(self)
        client.ask()
        self.say(self.server, OK)
        client.ask()
        self.say(self.server, OK)
        self.pass_time(0)
        heard = self.heard(client.peer)
        self.assertEqual(client.goaway, 0)
        self.assertEqual(heard.count(b"hello"), 1)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)] * 2)
        self.over()

    def test_client_leaves(self) -> None:
        """A client that is gone takes all its requests with it."""
        for how in ("close", "reset", "finish"):
            self.listen()
            client = Http2Client(self)
            client.ask()
            client.ask(head=POST2, ends=False)
            servers = list(self.datapath.peers[-2:])
            getattr(client.peer, how)()
            self.pass_time(1)
            self.assertEqual([server.closed for server in servers], [True, True], how)
            self.over()

    def test_client_leaves_and_reads_nothing(self) -> None:
        """It gets what was sent, if it takes that in time; no server goes on to fill a buffer for it."""
        self.listen(idle_timeout=10.0)
        client = Http2Client(self, window=4096, sending=4096)
        client.ask()
        client.ask()
        one, other = self.datapath.peers
        client.peer.stop_reading()
        self.say(one, b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30_000)
        self.pass_time(0)
        client.peer.finish()
        self.pass_time(1)
        self.assertTrue(other.closed)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED), (0, Reason.CLIENT_RESET)])
        self.assertEqual(self.notebook.records, [])
        self.pass_time(13)
        self.assertEqual([record.reason for record in self.notebook.records], [Reason.CLIENT_STALLED])
        self.over()

    def test_nothing_is_left(self) -> None:
        """What a connection was made of goes with it, and does not wait for the garbage collector."""

        def made() -> int:
            return sum(isinstance(one, (Http2Streams, Stream, HttpSession)) for one in gc.get_objects())

        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = made()  # an error that was raised in another test may still hold on to some
        self.listen()
        client = Http2Client(self)
        first, second = client.ask(), client.ask()
        self.say(self.datapath.peers[0], OK)
        client.hear()
        self.assertEqual((client.ended, second), ([first], 3))
        self.assertEqual(made() - before, 1 + 2 + 3)
        client.peer.close()
        self.pass_time(2)
        self.assertEqual(made() - before, 0)
        self.over()

    def test_only_at_the_beginning(self) -> None:
        """The preface behind a request of HTTP/1.1 is no request, and gets 400."""
        self.listen()
        client = self.client(GET)
        self.say(self.server, OK)
        self.heard(client)
        self.say(client, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.assertTrue(self.heard(client).startswith((b"HTTP/1.1 400", b"HTTP/1.1 505")))
        client.close()
        self.over()

    def test_preface_in_pieces(self) -> None:
        """The preface may come byte by byte."""
        self.listen()
        client = self.client()
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
            self.say(client, bytes([byte]))
        self.say(client, SettingsFrame(0).serialize())
        self.assertIn(SettingsFrame(0, flags=["ACK"]).serialize(), self.heard(client))
        client.close()
        self.over()
