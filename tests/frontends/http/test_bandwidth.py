"""Do requests and answers move no faster than they may, and is nobody blamed for it?"""

from __future__ import annotations

import os
from typing import Callable

from proxyd.config.bandwidth import Allowance, BandwidthSpec
from proxyd.config.cache import CacheSpec
from proxyd.config.minrate import MinRateSpec
from proxyd.errors import Reason
from proxyd.frontends.http.cache import Cache
from proxyd.frontends.http.filebody import FileBody
from proxyd.policy.cachekey import of_pool, way
from proxyd.policy.cachestore import Stored
from proxyd.policy.freshness import Terms
from proxyd.relay.bandwidth import TICK_SECONDS
from proxyd.wire.httpfields import parse_field
from tests.frontends.http.client2 import POST2, Http2Client
from tests.frontends.http.front import GET, OK, HttpCase
from tests.support.streams import FakePeer

RATE, BURST = 100_000, 20_000
READ = RATE // 10
HEADS = 1000  # bytes of what is not body
INWARD = BandwidthSpec(inward=Allowance(RATE, BURST))
OUTWARD = BandwidthSpec(outward=Allowance(RATE, BURST))
SIZE = 300_000
SECONDS = (SIZE - BURST) / RATE
PUT = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE
LARGE = b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: %d\r\n\r\n" % SIZE
SMALL = OK.replace(b"5", b"5000").replace(b"hello", bytes(5000))


class Paced(HttpCase):
    """A listener with a bandwidth."""

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.advance(TICK_SECONDS)
            self.network.flush()

    def until(self, done: Callable[[], bool]) -> None:
        """Let time pass until it is so."""
        for _ in range(5000):
            if done():
                return
            self.tick()
        self.fail("it never is")

    def follow(self, *receivers: FakePeer, size: int) -> float:
        """See at each tick that nothing arrives faster than it may, until so much has; the seconds."""
        before = sum(each.count for each in receivers)
        began = self.clock.seconds()
        for _ in range(1000):
            seconds, count = self.clock.seconds() - began, sum(each.count for each in receivers) - before
            self.assertLessEqual(count, BURST + RATE * seconds + READ * len(receivers) + HEADS)
            if count >= size:
                break
            self.tick()
        return seconds

    def settled(self) -> None:
        """Nobody waits for an allowance any more."""
        self.tick(50)
        assert self.factory.pacing is not None
        self.assertEqual(len(self.factory.pacing.wheel), 0)
        self.over()

    def test_upload(self) -> None:
        """A body comes as fast as it may, and hardly slower; the answer to it is as fast as ever."""
        self.listen(bandwidth=INWARD)
        client = self.client()
        self.say(client, PUT)
        server = self.server
        client.send(bytes(SIZE))
        self.assertLess(abs(self.follow(server, size=SIZE) - SECONDS), 0.2)
        self.say(self.server, LARGE + bytes(SIZE))
        self.assertGreater(client.count, SIZE)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)])
        self.settled()

    def test_download(self) -> None:
        """So does an answer; a chunked one, too."""
        for head, end in (
            (LARGE, b""),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % SIZE, b"\r\n0\r\n\r\n"),
        ):
            self.listen(bandwidth=OUTWARD)
            client = self.client(GET)
            self.server.send(head + bytes(SIZE) + end)
            self.assertLess(abs(self.follow(client, size=SIZE) - SECONDS), 0.2)
            self.tick(50)
            self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)])
            self.notebook.requests.clear()
            self.assertEqual(len(self.factory.kept), 1)
            self.settled()

    def test_small_answers(self) -> None:
        """Many small ones are as slow together as a large one, whoever asked before on that connection."""
        self.listen(bandwidth=OUTWARD)
        client = self.client()
        began = self.clock.seconds()
        for number in range(60):
            self.say(client, GET)
            self.say(self.server, SMALL)
            self.until(lambda: len(self.notebook.requests) > number)  # noqa: B023
        self.assertLess(abs(self.clock.seconds() - began - SECONDS), 0.3)
        other = self.client(GET)
        self.say(self.server, SMALL)
        self.assertGreater(other.count, 5000)  # which has an allowance of its own
        self.assertEqual(len(self.datapath.peers), 1)
        self.settled()

    def test_stored(self) -> None:
        """What is given from a cache comes no faster, be it long or short, or read while it is fetched."""
        fresh = b"Date: then\r\nCache-Control: max-age=999\r\n"
        for answer, count in ((LARGE + bytes(SIZE), 1), (SMALL, 60)):
            cache = Cache(CacheSpec("pages"), self.clock, self.wall)
            self.listen(bandwidth=OUTWARD, cache=cache)
            self.notebook.requests.clear()
            fetched = self.client(GET)
            self.server.send(answer.replace(b"Date: then\r\n", fresh))
            if count == 1:
                self.assertLess(abs(self.follow(fetched, size=SIZE) - SECONDS), 0.2)
            self.until(lambda: len(self.notebook.requests) == 1)
            client = self.client()
            began = self.clock.seconds()
            for number in range(count):
                self.say(client, GET)
                self.until(lambda: len(self.notebook.requests) > number + 1)  # noqa: B023
            self.assertLess(abs(self.clock.seconds() - began - SECONDS), 0.3)
            self.assertGreaterEqual(client.count, SIZE)
            streams = Http2Client(self)
            began = self.clock.seconds()
            for _ in range(count):
                streams.ask()
            for _ in range(1000):
                self.tick()
                streams.hear()
                if len(streams.ended) == count:
                    break
            self.assertLess(abs(self.clock.seconds() - began - SECONDS), 0.3)
            self.assertEqual({record.cache for record in self.notebook.requests[1:]}, {"hit"})
            cache.close()
            self.settled()

    def test_from_a_file(self) -> None:
        """What a cache has in a file comes no faster either."""
        cache = Cache(CacheSpec("pages"), self.clock, self.wall)
        self.listen(bandwidth=OUTWARD, cache=cache)
        body = bytes(range(256)) * (SIZE // 256)
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(body)
        fields = [parse_field(b"Date: then")]
        held = FileBody(os.open(path, os.O_RDONLY), 0, len(body))
        key = b"http://example.com/x", way(of_pool("web"), [], False)
        cache.store.put(Stored(*key, (), (), 200, b"OK", fields, held, Terms(999.0, self.clock.seconds())))
        client = self.client()
        began = self.clock.seconds()
        self.say(client, GET)
        self.until(lambda: len(self.notebook.requests) == 1)
        self.assertLess(abs(self.clock.seconds() - began - SECONDS), 0.3)
        self.assertTrue(client.received.endswith(body))
        self.assertEqual([record.cache for record in self.notebook.requests], ["hit"])
        cache.close()
        self.settled()

    def test_small_requests(self) -> None:
        """A client cannot ask faster than it may send."""
        self.listen(bandwidth=INWARD)
        client = self.client()
        asks = GET[:-2] + b"X: " + b"x" * 5000 + b"\r\n\r\n"
        began = self.clock.seconds()
        for number in range(60):
            self.say(client, asks)
            self.until(lambda: self.server.received.count(b"GET /x") > number)  # noqa: B023
            self.say(self.server, OK)
        self.assertLess(abs(self.clock.seconds() - began - SECONDS), 0.3)
        self.settled()

    def test_clients_share(self) -> None:
        """With bandwidth_per_client two connections of a client are as fast together as one."""
        self.listen(bandwidth_per_client=OUTWARD)
        clients = [self.client(GET), self.client(GET)]
        for server in self.datapath.peers:
            server.send(LARGE + bytes(SIZE))
        self.assertLess(abs(self.follow(*clients, size=2 * SIZE) - (2 * SIZE - BURST) / RATE), 0.3)
        self.tick(50)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)] * 2)
        self.settled()

    def test_nobody_is_blamed(self) -> None:
        """A server whose answer waits for its turn is not silent, and a client that may not send not slow."""
        slow = BandwidthSpec(Allowance(2000, 20_000), Allowance(2000, 20_000))
        self.listen(bandwidth=slow, min_rate=MinRateSpec(3000, 2.0), pool={"response_timeout": 2.0})
        client = self.client(GET)
        self.say(self.server, OK.replace(b"5", b"40000").replace(b"hello", bytes(40000)))
        self.until(lambda: bool(self.notebook.requests))
        self.say(client, GET)
        self.tick(20)
        self.say(self.server, OK)
        self.pass_time(5)
        self.until(lambda: len(self.notebook.requests) == 2)
        client.send(PUT.replace(b"%d" % SIZE, b"30000") + bytes(30000))
        self.until(lambda: self.server.count >= 30_000)
        self.say(self.server, OK)
        self.until(lambda: len(self.notebook.requests) == 3)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)] * 3)
        self.settled()

    def test_tunnel(self) -> None:
        """What has become a tunnel goes on so, in both directions."""
        self.listen(bandwidth=BandwidthSpec(Allowance(RATE, BURST), Allowance(RATE, BURST)))
        client = self.client(GET[:-2] + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n")
        self.say(self.server, b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        server = self.server
        client.send(bytes(SIZE))
        self.assertLess(abs(self.follow(server, size=SIZE) - SECONDS), 0.3)
        self.server.send(bytes(SIZE))
        self.assertLess(abs(self.follow(client, size=SIZE) - SECONDS), 0.3)
        self.server.close()
        client.close()
        self.settled()

    def test_who_leaves(self) -> None:
        """A client or a server that leaves while it has to wait leaves nothing."""
        for leaves in ("close", "reset"):
            for who in (0, 1):
                self.listen(bandwidth=BandwidthSpec(Allowance(RATE, BURST), Allowance(RATE, BURST)))
                client = self.client(PUT)
                client.send(bytes(SIZE // 2))
                self.server.send(LARGE + bytes(SIZE // 2))
                self.tick(3)
                getattr((client, self.server)[who], leaves)()
                self.tick(500)
                self.settled()

    def test_http2(self) -> None:
        """All streams of a connection share its bandwidth, both ways."""
        self.listen(bandwidth=BandwidthSpec(Allowance(RATE, BURST), Allowance(RATE, BURST)))
        client = Http2Client(self)
        began = self.clock.seconds()
        for _ in range(3):
            client.ask()
        for server in self.datapath.peers:
            server.send(LARGE.replace(b"%d" % SIZE, b"100000") + bytes(100_000))
        for _ in range(1000):
            self.tick()
            client.hear()
            if len(client.ended) == 3:
                break
        self.assertLess(abs(self.clock.seconds() - began - SECONDS), 0.5)
        number = client.ask(head=POST2, ends=False)
        began, left = self.clock.seconds(), 100_000
        for _ in range(1000):
            room = min(left, client.h2.local_flow_control_window(number), 16_384)
            if room:
                client.h2.send_data(number, bytes(room), end_stream=room == left)
                left -= room
            client.flush()
            self.tick()
            if not left and self.server.received.endswith(b"0\r\n\r\n"):
                break
        self.assertGreater(self.clock.seconds() - began, (100_000 - BURST - READ) / RATE - 0.1)
        client.peer.close()
        self.settled()
