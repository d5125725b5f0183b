"""Is each request that is under way seen as it is, and none that is over?"""

from __future__ import annotations

from attrs import evolve

from proxyd.frontends.http.underway import count_requests, open_requests
from proxyd.snapshots import RequestSnapshot
from tests.frontends.http.client2 import Http2Client
from tests.frontends.http.front import GET, OK, HttpCase
from tests.relay.test_session import SessionCase

PUT = b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"


class UnderWay(HttpCase):
    """Requests on the fake network."""

    def seen(self, listener: str = "", older: float = 0.0) -> list[RequestSnapshot]:
        self.network.flush()
        return list(open_requests([self.factory], listener, older))

    def states(self) -> list[str]:
        return [each.state for each in self.seen()]

    def test_life(self) -> None:
        """From its head to the end of its answer."""
        self.listen()
        client = self.client()
        self.assertEqual((self.states(), count_requests(self.factory)), ([], 0))
        self.say(client, PUT[:9])
        began = self.clock.seconds()
        bare = RequestSnapshot("front", "10.9.9.9:4711", "head", began, 9, 0)
        self.assertEqual((self.seen(), count_requests(self.factory)), ([bare], 0))
        self.pass_time(1)
        self.say(client, PUT[9:])
        asked = RequestSnapshot(
            "front", "10.9.9.9:4711", "body", self.clock.seconds(), len(PUT), 0,
            "PUT", "a", "/up", "1.1", "", "web", "a", "10.0.0.1:1", chosen="balance",
        )  # fmt: skip
        self.assertEqual((self.seen(), count_requests(self.factory)), ([asked], 1))
        self.pass_time(2)
        self.say(client, b"456789")
        self.assertEqual(self.seen(), [evolve(asked, state="wait", bytes_in=len(PUT) + 6)])
        self.assertEqual((self.seen("front", 2.0), self.seen("front", 2.1)), (self.seen(), []))
        self.assertEqual(self.seen("other"), [])
        self.say(self.server, OK[:-2])
        seen = evolve(asked, state="answer", status=200, bytes_in=len(PUT) + 6, bytes_out=len(OK) - 2)
        self.assertEqual(self.seen(), [seen])
        self.say(self.server, OK[-2:])
        self.assertEqual((self.states(), count_requests(self.factory)), ([], 0))
        self.over()

    def test_reaching(self) -> None:
        """While its server is being reached, and in the queue of a pool that is full."""
        self.listen(3)
        self.client(GET)
        [seen] = self.seen()
        self.assertEqual((seen.state, seen.server, seen.server_address), ("connect", "a", "10.0.0.1:3"))
        self.over()

    def test_tunnel(self) -> None:
        """What has become a tunnel is under way until it ends."""
        self.listen()
        client = self.client(GET[:-2] + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n")
        self.say(self.server, b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        self.assertEqual([(each.state, each.status) for each in self.seen()], [("tunnel", 101)])
        client.close()
        self.server.close()
        self.assertEqual(self.seen(), [])
        self.over()

    def test_http2(self) -> None:
        """Each stream is a request."""
        self.listen()
        client = Http2Client(self)
        for _ in range(2):
            client.ask()
        self.assertEqual(
            [(each.state, each.version, each.target) for each in self.seen()], [("wait", "2.0", "/x")] * 2
        )
        self.assertEqual(count_requests(self.factory), 2)
        client.peer.close()
        self.assertEqual(self.seen(), [])
        self.over()


class Elsewhere(SessionCase):
    """A listener that does not speak HTTP."""

    def test_none(self) -> None:
        """It has no requests."""
        self.serve([1])
        self.assertEqual(list(open_requests([self.factory], "", 0.0)), [])
        self.assertIsNone(count_requests(self.factory))
