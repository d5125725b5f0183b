"""Do connections move no more than they may, lose nothing by it, and take turns where they share?"""

from __future__ import annotations

import os
import socket
from hashlib import sha256
from typing import Any, Optional

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.threads import deferToThread

from proxyd.config.address import TcpAddress
from proxyd.config.balance import FIRST_BYTE, BalanceSpec
from proxyd.config.bandwidth import Allowance, BandwidthSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.tls import PASSTHROUGH
from proxyd.policy.balance import RoundRobin
from proxyd.policy.pool import Pool
from proxyd.relay.bandwidth import TICK_SECONDS, PacedClient
from proxyd.relay.lane.datapath import Lane
from proxyd.relay.stock import Stock
from tests.relay.test_session import SessionCase
from tests.support.case import AsyncCase
from tests.support.hello import hello
from tests.support.peer import SocketPeer, listening_socket
from tests.support.relay import Relay
from tests.support.streams import FakePeer

RATE, BURST = 100_000, 20_000
READ = RATE // 10
BOTH = BandwidthSpec(Allowance(RATE, BURST), Allowance(RATE, BURST))
INWARD = BandwidthSpec(inward=Allowance(RATE, BURST))
OUTWARD = BandwidthSpec(outward=Allowance(RATE, BURST))


class PacedTests(SessionCase):
    """Sessions on the fake network, by a clock that the test moves."""

    def listen(self, balance: Optional[BalanceSpec] = None, **listener: Any) -> None:
        servers = (ServerSpec("a", TcpAddress("10.0.0.1", 1)),)
        self.front(
            Pool(PoolSpec("web", servers, balance or BalanceSpec()), RoundRobin(lambda: 0.0)), **listener
        )

    def come(self, host: str = "10.9.9.9") -> tuple[FakePeer, FakePeer]:
        """A client and its server."""
        client = self.network.connect(self.factory.buildProtocol(IPv4Address("TCP", host, 4711)))
        self.network.flush()
        return client, self.datapath.peers[-1]

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.advance(TICK_SECONDS)
            self.network.flush()

    def end(self, *peers: FakePeer) -> None:
        for peer in peers:
            peer.finish()
        for _ in range(100):  # who has just sent too much waits before it can see an end
            self.tick()
        assert self.factory.pacing is not None
        self.assertEqual((len(self.factory.pacing.wheel), len(self.factory.sessions)), (0, 0))

    def follow(self, sender: FakePeer, receiver: FakePeer, size: int) -> float:
        """Send so much, and see at each tick that it is no faster than it may be; return the seconds."""
        data = os.urandom(size)
        began = self.clock.seconds()
        sender.send(data)
        self.network.flush()
        for _ in range(100_000):
            seconds = self.clock.seconds() - began
            self.assertLessEqual(receiver.count, BURST + RATE * seconds + READ)
            if receiver.count == size:
                break
            self.tick()
        self.assertEqual(receiver.received[-size:], data)
        return seconds

    def test_inward(self) -> None:
        """A client sends as fast as it may, and hardly slower; the answer is as fast as ever."""
        self.listen(bandwidth=INWARD)
        client, server = self.come()
        seconds = self.follow(client, server, 500_000)
        self.assertLess(abs(seconds - (500_000 - BURST) / RATE), 0.2)
        server.send(b"x" * 1_000_000)
        self.network.flush()
        self.assertEqual(client.count, 1_000_000)
        self.end(client, server)

    def test_outward(self) -> None:
        """The same the other way round."""
        self.listen(bandwidth=OUTWARD)
        client, server = self.come()
        seconds = self.follow(server, client, 500_000)
        self.assertLess(abs(seconds - (500_000 - BURST) / RATE), 0.2)
        client.send(b"x" * 1_000_000)
        self.network.flush()
        self.assertEqual(server.count, 1_000_000)
        self.end(client, server)

    def test_said_before(self) -> None:
        """What a client has said before a server was reached is passed on at once, and counts."""
        self.listen(bandwidth=INWARD, tls=PASSTHROUGH)
        client = self.network.connect(self.factory.buildProtocol(IPv4Address("TCP", "10.9.9.9", 4711)))
        said = hello("a.example").ljust(BURST + READ, b"x")
        client.send(said)
        self.network.flush()
        server = self.datapath.peers[-1]
        self.assertEqual(server.count, len(said))
        client.send(b"x" * 100)
        self.network.flush()
        self.assertEqual(server.count, len(said))
        self.tick(int(READ / RATE / TICK_SECONDS) + 2)
        self.assertEqual(server.count, len(said) + 100)
        self.end(client, server)

    def test_burst(self) -> None:
        """What is less than the burst passes at once, again and again after a pause."""
        self.listen(bandwidth=BOTH)
        client, server = self.come()
        for number in range(1, 4):
            client.send(b"x" * BURST)
            self.network.flush()
            self.assertEqual(server.count, number * BURST)
            self.tick(20)
        self.end(client, server)

    def test_small_steps(self) -> None:
        """A slow connection is read from in small steps, and not 32 KiB every few seconds."""
        slow = Allowance(2000, 16_384)
        self.listen(bandwidth=BandwidthSpec(slow, slow))
        client, server = self.come()
        client.send(b"x" * 50_000)
        self.network.flush()
        before, longest, waited = server.count, 0, 0
        while server.count < 50_000:
            self.tick()
            waited = 0 if server.count > before else waited + 1
            longest = max(longest, waited)
            before = server.count
        self.assertLess(longest * TICK_SECONDS, 0.6)
        self.end(client, server)

    def test_shared(self) -> None:
        """The connections of a client share what it may move, in turns; another client has its own."""
        self.listen(bandwidth_per_client=INWARD)
        mine = [self.come() for _ in range(5)]
        other = self.come("10.9.9.8")
        for client, _ in (*mine, other):
            client.send(b"x" * 100_000)
        self.network.flush()
        began = self.clock.seconds()
        while sum(server.count for _, server in mine) < 400_000:
            self.tick()
            moved = sum(server.count for _, server in mine)
            # All are read from before the first of them is known to have sent too much.
            self.assertLessEqual(moved, BURST + RATE * (self.clock.seconds() - began) + 5 * READ)
        seconds = self.clock.seconds() - began
        self.assertLess(abs(seconds - (400_000 - BURST) / RATE), 0.3)
        counts = [server.count for _, server in mine]
        self.assertLessEqual(max(counts) - min(counts), 2 * READ)
        self.assertEqual(other[1].count, 100_000)
        while sum(server.count for _, server in mine) < 500_000:
            self.tick()
        self.end(*(peer for both in (*mine, other) for peer in both))

    def test_both(self) -> None:
        """Where both hold, a connection has no more than its own, all together not more than the client."""
        own = BandwidthSpec(inward=Allowance(RATE // 2, BURST))
        self.listen(bandwidth=own, bandwidth_per_client=INWARD)
        one = self.come()
        one[0].send(b"x" * 100_000)
        began = self.clock.seconds()
        while one[1].count < 100_000:
            self.tick()
        self.assertLess(abs(self.clock.seconds() - began - (100_000 - BURST) / (RATE // 2)), 0.2)
        four = [self.come() for _ in range(4)]
        for client, _ in four:
            client.send(b"x" * 100_000)
        began = self.clock.seconds()
        while sum(server.count for _, server in four) < 400_000:
            self.tick()
        self.assertLess(abs(self.clock.seconds() - began - (400_000 - BURST) / RATE), 0.4)
        self.end(*one, *(peer for both in four for peer in both))

    def test_coming_anew(self) -> None:
        """A client that has had its share gains nothing by closing and coming again."""
        self.listen(bandwidth_per_client=INWARD)
        began = self.clock.seconds()
        for _ in range(20):
            client, server = self.come()
            client.send(b"x" * BURST)
            self.network.flush()
            while server.count < BURST:
                self.tick()
            client.reset()
            self.network.flush()
        self.assertGreaterEqual(self.clock.seconds() - began, 19 * BURST / RATE - READ / RATE)
        self.end()
        assert self.factory.pacing is not None
        self.assertEqual(len(self.factory.pacing.clients), 1)

    def test_full_peer(self) -> None:
        """A side that its peer has paused is not read from because its allowance is whole again."""
        self.listen(bandwidth=INWARD)
        client, server = self.come()
        server.stop_reading()
        client.send(os.urandom(800_000))
        for _ in range(1000):
            self.tick()
        self.assertGreater(client.queued, 400_000)
        server.read_again()
        for _ in range(1000):
            self.tick()
        self.assertEqual(server.count, 800_000)
        self.end(client, server)

    def test_gone_while_it_waits(self) -> None:
        """Whoever leaves while it waits is forgotten, by whichever side it ends."""
        for who in range(3):
            self.listen(bandwidth=BOTH, bandwidth_per_client=BOTH)
            client, server = self.come()
            client.send(b"x" * 200_000)
            server.send(b"x" * 200_000)
            self.network.flush()
            if who == 2:
                (session,) = self.factory.sessions
                session.client.transport.abortConnection()
            else:
                (client, server)[who].reset()
            for _ in range(500):
                self.tick()
            self.end()

    def test_finished_before(self) -> None:
        """What a client has sent before its end still arrives, and so does the end."""
        self.listen(bandwidth=INWARD)
        client, server = self.come()
        client.send(b"x" * 200_000)
        client.finish()
        for _ in range(200):
            self.tick()
        self.assertEqual((server.count, server.ended.value), (200_000, "an end"))
        self.end(server)

    def test_timed(self) -> None:
        """A pool that goes by the first byte learns of it as without a bound."""
        told: list[float] = []
        self.listen(BalanceSpec(measure=FIRST_BYTE), bandwidth=BOTH)
        self.pool.timed = lambda server, seconds: told.append(seconds)
        client, server = self.come()
        client.send(b"x")
        self.tick(5)
        server.send(b"x")
        self.tick()
        self.assertEqual(len(told), 1)
        self.end(client, server)

    def test_without(self) -> None:
        """Where nothing is bounded no side is of another kind, and there is no other wheel."""
        self.listen()
        self.come()
        (session,) = self.factory.sessions
        self.assertIsNone(self.factory.pacing)
        self.assertNotIsInstance(session.server, PacedClient)


class SocketTests(AsyncCase):
    """The same on real sockets, of either datapath."""

    async def move(self, datapath: Any) -> None:
        """2 MB there, and 2 MB back, on two connections at the same time."""
        with listening_socket(socket.AF_INET, 256 * 1024) as listening:
            allowance = Allowance(8_000_000, 800_000)
            spec = BandwidthSpec(allowance, allowance)
            address = TcpAddress(*listening.getsockname())
            relay = Relay(reactor, address, lane=datapath, bandwidth=spec, bandwidth_per_client=spec)
            self.addCleanup(relay.stop)
            peers = []
            for _ in range(2):
                client = socket.create_connection(("127.0.0.1", relay.address.port))
                server, _ = await deferToThread(listening.accept)
                peers.append(tuple(SocketPeer(reactor, skt, keep=False) for skt in (client, server)))
        data = os.urandom(2_000_000)
        digest = sha256(data).hexdigest()
        for pair in peers:
            for peer in pair:
                peer.send(data)
                peer.finish()
        for pair in peers:
            for peer in pair:
                await peer.sees_end()
                self.assertEqual(peer.digest, digest)
        for pair in peers:
            for peer in pair:
                await peer.sent()
        assert relay.factory.pacing is not None
        self.assertEqual(len(relay.factory.pacing.wheel), 0)
        moved = [record.bytes_in + record.bytes_out for record in relay.notebook.records]
        self.assertEqual(moved, [4_000_000] * 2)
        self.assertEqual(relay.left(), [])

    async def test_lane(self) -> None:
        """On the lane all bytes arrive, in order, and the ends behind them."""
        await self.move(Lane(reactor))

    async def test_stock(self) -> None:
        """On Twisted's transports, too."""
        await self.move(Stock(reactor))
