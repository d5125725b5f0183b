"""Is a client cut that sends a body too slowly, or takes its answer so, and nobody else?"""

from __future__ import annotations

from typing import Any

from proxyd.config.minrate import MinRateSpec
from proxyd.errors import Reason
from tests.frontends.http.client2 import Http2Client
from tests.frontends.http.front import ANSWERED, GET, OK, HttpCase
from tests.support.streams import FakePeer

PUT = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n"
LARGE = b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 500000\r\n\r\n" + bytes(500_000)
SAID = "and min_rate = 500/s after 10s"


class MinRate(HttpCase):
    """A listener with ``min_rate``; looks come every 2.5 seconds."""

    def judge(self, **listener: Any) -> None:
        self.listen(min_rate=MinRateSpec(500, 10.0), idle_timeout=60.0, **listener)

    def seconds(self, count: int, peer: FakePeer, each: bytes) -> None:
        """Let time pass, in each second of which a peer sends this."""
        for _ in range(count):
            if not peer.closed and each:
                peer.send(each)
            self.pass_time(1)

    def the_end(self) -> tuple[int, Reason, str]:
        """What became of the one request."""
        record = self.the_request()
        return record.status, record.reason, record.detail

    def test_slow_upload(self) -> None:
        """A byte a second, or none: 408 after the time, and the server is cut off."""
        for each, rate in ((b"x", 1), (b"", 0)):
            self.judge()
            client = self.client(PUT + b"\r\n")
            server = self.server
            self.seconds(9, client, each)
            self.assertEqual(self.notebook.requests, [])
            self.seconds(7, client, each)
            self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 408 "))
            self.assertEqual(self.the_end(), (408, Reason.CLIENT_TOO_SLOW, f"{rate}/s, {SAID}"))
            self.assertEqual(server.ended.value, "a reset")
            self.over()
            self.assertEqual(self.notebook.records.pop().reason, Reason.CLIENT_TOO_SLOW)
            self.notebook.requests.clear()

    def test_fast_enough(self) -> None:
        """600 bytes a second may go on for ever, and so may requests with time between them."""
        self.judge()
        client = self.client(PUT.replace(b"1000000", b"36000") + b"\r\n")
        self.seconds(60, client, b"x" * 600)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        for _ in range(5):
            self.pass_time(20)
            self.say(client, PUT.replace(b"1000000", b"3") + b"\r\nabc")
            self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED * 5)
        self.over()

    def test_slow_server(self) -> None:
        """A server that takes nothing of an upload is to blame, and the client is told 504."""
        self.judge()
        client = self.client()
        self.say(client, PUT + b"\r\n")
        self.server.stop_reading()
        client.send(b"x" * 500_000)
        self.pass_time(18)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 504 "))
        self.assertEqual(self.the_end(), (504, Reason.SERVER_TOO_SLOW, f"0/s, {SAID}"))
        self.over()

    def test_waits_for_100(self) -> None:
        """A client that waits to be told to go on owes nothing yet."""
        self.judge()
        client = self.client(PUT + b"Expect: 100-continue\r\n\r\n")
        self.pass_time(30)
        self.assertEqual(client.ended.value, "not yet")
        self.say(self.server, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.say(client, b"x")
        self.pass_time(18)
        self.assertEqual(self.the_end(), (408, Reason.CLIENT_TOO_SLOW, f"0/s, {SAID}"))
        self.over()

    def test_slow_reader(self) -> None:
        """A client that takes nothing of its answer is cut."""
        self.judge()
        client = self.client(GET, window=4096, sending=4096)
        client.stop_reading()
        self.server.send(LARGE)
        self.pass_time(18)
        self.assertEqual(self.the_end(), (200, Reason.CLIENT_TOO_SLOW, f"0/s, {SAID}"))
        client.read_again()
        self.network.flush()
        self.assertEqual(client.ended.value, "a reset")
        self.over()

    def test_slow_answer(self) -> None:
        """A server that sends its answer a byte a second, to who takes it, harms nobody but itself."""
        self.judge()
        client = self.client(GET)
        self.say(self.server, OK.replace(b"5", b"50")[:-5])
        self.seconds(50, self.server, b"x")
        self.assertEqual(self.the_end()[:2], (200, Reason.ANSWERED))
        self.assertTrue(self.heard(client).endswith(b"x" * 50))
        self.over()

    def test_tunnel(self) -> None:
        """What has become a tunnel is judged as connections are."""
        self.judge()
        client = self.client(GET[:-2] + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n")
        self.say(self.server, b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        self.seconds(20, client, b"x")
        self.assertEqual(self.the_end(), (101, Reason.CLIENT_TOO_SLOW, f"1/s, {SAID}"))
        self.over()

    def test_http2(self) -> None:
        """A stream whose client opens no window is reset, and the others go on."""
        self.judge()
        client = Http2Client(self, acknowledges=False)
        number = client.ask()
        self.say(self.server, LARGE)
        client.hear()
        for _ in range(17):
            self.pass_time(1)
        client.hear()
        self.assertEqual(list(client.resets), [number])
        self.assertEqual(self.the_end(), (200, Reason.CLIENT_TOO_SLOW, f"0/s, {SAID}"))
        self.assertIsNone(client.goaway)
        client.peer.close()
        self.over()
