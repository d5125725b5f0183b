"""Requests of HTTP keep their promises on every datapath: nothing is lost, held whole, or left behind."""

from __future__ import annotations

import gzip
from ipaddress import ip_network
from random import Random
from typing import Any, Callable

from twisted.internet import reactor as real_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from zope.interface import implementer

from proxyd.config.address import TcpAddress
from proxyd.config.compression import CompressionSpec
from proxyd.config.http import HttpSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.proxyprotocol import ProxyIn
from proxyd.errors import Reason
from proxyd.frontends.http.factory import HttpFactory
from proxyd.frontends.http.recoding import Compressor
from proxyd.interfaces import IDatapath
from proxyd.policy.balance import RoundRobin
from proxyd.policy.pool import Pool
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.dial import told_of_dial
from proxyd.relay.streams import CHUNK, buffered
from proxyd.wire.chunked import Chunks
from tests.contracts.test_lane import LaneWorld
from tests.contracts.test_splice import SpliceWorld
from tests.contracts.worlds import PLENTY, FakeWorld, TCP4World, World
from tests.support.admission import admission
from tests.support.case import AsyncCase
from tests.support.peer import Ended, Peer
from tests.support.relay import Notebook
from tests.support.walltime import SetTime

BOUND = 128 * 1024  # bytes in user space towards one side: what was read, and what is buffered
ASKING = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@implementer(IDatapath)
class WorldDatapath:
    """Reaches servers that are peers of the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.peers: list[Peer] = []
        self.turns = 0  # that it takes

    def dial(
        self, address: Any, side: Any, tcp: Any = None, client: str = "", tls: Any = None
    ) -> Deferred[None]:
        async def connect() -> None:
            if self.turns:
                await self.world.turns(self.turns)
            self.peers.append(await self.world.connect(side))
            side.transport.bufferSize = CHUNK

        return Deferred.fromCoroutine(connect())

    def reach(self, address: Any, side: Any, asker: Any, tcp: Any = None) -> Any:
        return told_of_dial(self.dial(address, side), asker)

    def accept(self, skt: Any, peer: Any, factory: Any, tls: Any = None) -> None:
        raise NotImplementedError("the world makes the clients")

    def addReader(self, reader: Any) -> None:
        raise NotImplementedError

    def removeReader(self, reader: Any) -> None:
        raise NotImplementedError

    def start_tls(self, side: Any, tls: Any, early: bool = False) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """There is nothing to give up."""


class HttpContract(AsyncCase):
    """A client, a listener of HTTP, and a server."""

    make_world: Callable[[Any], World] = FakeWorld

    def setUp(self) -> None:
        self.world = type(self).make_world(real_reactor)
        self.wheel = Wheel(self.world.clock, 0.01)
        self.datapath: Any = WorldDatapath(self.world)
        self.capacity = Capacity(self.world.clock, 100)
        self.notebook = Notebook()
        spec = PoolSpec("web", (ServerSpec("a", TcpAddress("10.0.0.1", 80)),))
        self.pool = Pool(spec, RoundRobin(lambda: 0.0))
        self.factory = self.listen(ListenerSpec("front", (), "web", protocol="http"))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close()))

    def listen(self, spec: ListenerSpec) -> HttpFactory:
        """A listener before the server."""
        return HttpFactory(
            spec,
            {"web": self.pool},
            self.datapath,
            self.wheel,
            self.world.clock.seconds,
            SetTime(self.world.clock.seconds),
            self.capacity,
            [self.notebook],
            admission(),
        )

    async def close(self) -> None:
        """Let everything go; nothing may be left."""
        self.factory.stopFactory()
        for session in list(self.factory.sessions):
            session.cut(Reason.DRAINED)
        for _ in range(400):
            if not (self.factory.sessions or len(self.wheel)):
                break
            await self.world.moment()
        self.capacity.stop()
        await self.world.close()
        self.assertEqual((self.factory.sessions, len(self.wheel), self.pool.open), (set(), 0, 0))

    async def client(self) -> Peer:
        """A client that has connected."""
        side = self.factory.buildProtocol(IPv4Address("TCP", "10.9.9.9", 4711))
        peer = await self.world.connect(side)
        if side.transport is not None:
            side.transport.bufferSize = CHUNK
        return peer

    async def server(self, heard: bytes = b"\r\n\r\n") -> Peer:
        """The server that was dialed last, when it has heard this."""
        for _ in range(2000):
            if self.datapath.peers and heard in self.datapath.peers[-1].received:
                found: Peer = self.datapath.peers[-1]
                return found
            await self.world.moment()
        raise AssertionError(f"{heard!r} was never heard")

    async def quiet(self, peer: Peer) -> int:
        """Wait until a peer gets rid of nothing more, and say how much it has left."""
        queued = -1
        while queued != peer.queued:
            queued = peer.queued
            await self.world.turns(50)
        return queued

    def held(self) -> int:
        """The most that waits in user space for any side."""
        (session,) = self.factory.sessions
        return max(buffered(side.transport) for side in (session.client, session.server) if side.connected)

    async def told(self, count: int = 1) -> list[tuple[int, Reason]]:
        """What has become of the requests, when so many are over."""
        for _ in range(2000):
            if len(self.notebook.requests) >= count:
                break
            await self.world.moment()
        return [(record.status, record.reason) for record in self.notebook.requests]

    async def test_one_after_another(self) -> None:
        """Requests on one connection get their own answers, on one connection to the server."""
        client = await self.client()
        expected = b""
        for number in range(5):
            client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            server = await self.server(b"GET /%d " % number)
            server.send(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 1\r\n\r\n%d" % number)
            expected += (
                b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 1\r\nVia: 1.1 proxyd\r\n\r\n%d" % number
            )
            got = await self.world.until(client.receives(len(expected)))
            self.assertEqual(got, expected)
        self.assertEqual(len(self.datapath.peers), 1)
        client.close()

    async def test_behind_a_balancer(self) -> None:
        """A request that comes with its PROXY header waits for its server like any other."""
        self.datapath.turns = 3
        senders = ProxyIn((ip_network("10.9.9.9/32"),))
        self.factory = self.listen(ListenerSpec("front", (), "web", protocol="http", proxy_protocol=senders))
        client = await self.client()
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n" + ASKING)
        server = await self.server(b"X-Forwarded-For: 192.0.2.7\r\n")
        server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertEqual(await self.told(), [(204, Reason.ANSWERED)])
        client.close()

    async def test_bulk_down(self) -> None:
        """A large answer arrives whole at a client that stops reading meanwhile; little of it is held."""
        client = await self.client()
        client.send(ASKING)
        server = await self.server()
        client.stop_reading()
        body = Random(1).randbytes(PLENTY) if hasattr(Random, "randbytes") else bytes(PLENTY)
        server.send(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.assertGreater(await self.quiet(server), 0)
        self.assertLessEqual(self.held(), BOUND)
        client.read_again()
        head = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: %d\r\nVia: 1.1 proxyd\r\n\r\n" % len(body)
        got = await self.world.until(client.receives(len(head) + len(body)))
        self.assertEqual(got[len(head) :], body)
        self.assertEqual(await self.told(), [(200, Reason.ANSWERED)])
        client.close()

    async def test_taken_by_nobody(self) -> None:
        """A client that takes no more of a large answer is to blame for its end, wherever that waits."""
        self.factory = self.listen(ListenerSpec("front", (), "web", protocol="http", idle_timeout=0.2))
        client = await self.client()
        client.send(ASKING)
        server = await self.server()
        client.stop_reading()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % PLENTY + bytes(PLENTY))
        self.assertEqual(await self.told(), [(200, Reason.CLIENT_STALLED)])
        client.read_again()

    async def test_sent_to_nobody(self) -> None:
        """So is a server that takes no more of a large body."""
        self.factory = self.listen(ListenerSpec("front", (), "web", protocol="http", idle_timeout=0.2))
        client = await self.client()
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % PLENTY)
        server = await self.server()
        server.stop_reading()
        client.send(bytes(PLENTY))
        ((_, reason),) = await self.told()
        self.assertIs(reason, Reason.SERVER_STALLED)
        server.read_again()

    async def test_long_head(self) -> None:
        """So does one whose head alone is longer than what is read at once."""
        http = HttpSpec(max_header=64 * 1024)
        self.factory = self.listen(ListenerSpec("front", (), "web", protocol="http", http=http))
        client = await self.client()
        client.send(ASKING)
        server = await self.server()
        field = b"X-Long: %s\r\n" % (b"~" * 1000)
        body = b"".join(b"%07d\n" % number for number in range(20_000))
        server.send(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (field * 40, len(body)) + body)
        self.assertEqual(await self.told(), [(200, Reason.ANSWERED)])
        while not client.received.endswith(body[-8:]):
            await self.world.moment()
        head, _, got = client.received.partition(b"\r\n\r\n")
        self.assertEqual((head.count(b"X-Long: ~~~"), got), (40, body))
        client.close()

    async def test_more_than_was_asked(self) -> None:
        """A byte behind a large body is no part of the next answer, not even for who has asked already."""
        client = await self.client()
        client.send(ASKING + ASKING)
        server = await self.server()
        server.send(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 100000\r\n\r\n" + bytes(99_900))
        head = len(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 100000\r\nVia: 1.1 proxyd\r\n\r\n")
        await self.world.until(client.receives(head + 99_900))
        server.send(bytes(100) + b"!")  # in one segment: a byte that comes later may be too late
        while len(self.datapath.peers) < 2:
            self.assertEqual(server.received.count(b"GET / "), 1)
            await self.world.moment()
        client.close()

    async def test_bulk_compressed(self) -> None:
        """So does one that is compressed on the way, and one that is decoded."""
        spec = CompressionSpec(("gzip",), decompress=True)
        self.factory.compressor = Compressor(spec, self.world.clock.seconds, lambda: 0.0, lambda: 0.0)
        body = Random(3).randbytes(PLENTY) if hasattr(Random, "randbytes") else bytes(PLENTY)
        coded = gzip.compress(body, 1)
        for number, (accepted, fields, sent, expected) in enumerate(
            (
                (b"gzip", b"Content-Type: text/plain\r\n", body, body),
                (b"", b"Content-Encoding: gzip\r\n", coded, body),
            ),
            1,
        ):
            client = await self.client()
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: %s\r\n\r\n" % accepted)
            server = await self.server()
            client.stop_reading()
            server.send(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (fields, len(sent)) + sent)
            self.assertGreater(await self.quiet(server), 0)
            self.assertLessEqual(self.held(), 2 * BOUND)  # isal keeps 128 KiB until it says anything
            client.read_again()
            self.assertEqual(await self.told(number), [(200, Reason.ANSWERED)] * number)
            await self.world.until(client.receives(client.received.index(b"\r\n\r\n")))
            while not client.received.endswith(b"\r\n0\r\n\r\n"):
                await self.world.moment()
            head, _, rest = client.received.partition(b"\r\n\r\n")
            got = Chunks().feed(rest)
            self.assertTrue((gzip.decompress(got) if accepted else got) == expected)
            client.close()
            server.close()
            self.datapath.peers.clear()

    async def test_bulk_up(self) -> None:
        """So does a large body at a server, and the answer behind it."""
        client = await self.client()
        body = Random(2).randbytes(PLENTY) if hasattr(Random, "randbytes") else bytes(PLENTY)
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        server = await self.server()
        before = server.count
        server.stop_reading()
        client.send(body + ASKING)
        self.assertGreater(await self.quiet(client), 0)
        self.assertLessEqual(self.held(), BOUND)
        server.read_again()
        got = await self.world.until(server.receives(before + len(body)))
        self.assertEqual(got[before : before + len(body)], body)
        server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        await self.server(b"GET / HTTP/1.1")
        self.assertEqual(await self.told(), [(204, Reason.ANSWERED)])
        client.close()

    async def test_chunks(self) -> None:
        """Chunks of any size pass both ways, and their data is what it was."""
        client = await self.client()
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        sizes = [1, 10, 5000, 70_000, 3]
        for size in sizes:
            client.send(b"%x\r\n" % size + b"~" * size + b"\r\n")
        client.send(b"0\r\n\r\n")
        server = await self.server(b"\r\n0\r\n\r\n")
        self.assertEqual(server.received.count(b"~"), sum(sizes))
        server.send(b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for size in sizes:
            server.send(b"%x\r\n" % size + b"~" * size + b"\r\n")
        server.send(b"0\r\n\r\n")
        self.assertEqual(await self.told(), [(200, Reason.ANSWERED)])
        await self.world.turns()
        self.assertEqual(client.received.count(b"~"), sum(sizes))
        client.close()

    async def test_tunnel(self) -> None:
        """An upgrade makes a tunnel, through which both sides say as much as they like."""
        client = await self.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        server = await self.server()
        server.send(b"HTTP/1.1 101 On\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        await self.world.until(client.receives(10))
        at_client, at_server = client.count, server.count
        client.send(bytes(PLENTY))
        server.send(bytes(PLENTY))
        await self.world.until(server.receives(at_server + PLENTY))
        await self.world.until(client.receives(at_client + PLENTY))
        client.finish()
        await self.world.until(server.sees_end())
        server.finish()
        await self.world.until(client.sees_end())
        self.assertEqual(await self.told(), [(101, Reason.CLIENT_FINISHED)])

    async def test_client_leaves(self) -> None:
        """When a client leaves in the midst of a large answer, its server is cut off."""
        client = await self.client()
        client.send(ASKING)
        server = await self.server()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (10 * PLENTY) + bytes(PLENTY))
        await self.world.until(client.receives(100_000))
        client.reset()
        await self.world.until(server.sees_either())
        ((status, reason),) = await self.told()
        self.assertEqual(status, 200)
        self.assertIn(reason, (Reason.CLIENT_RESET, Reason.CLIENT_GONE))

    async def test_server_leaves(self) -> None:
        """When a server leaves in the midst of its answer, the client sees that it is not whole."""
        client = await self.client()
        client.send(ASKING)
        server = await self.server()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (10 * PLENTY) + bytes(100_000))
        await self.world.until(client.receives(100_000))
        server.close()
        await self.world.until(client.sees_either())
        self.assertEqual(await self.told(), [(200, Reason.ANSWER_CUT)])
        self.assertIsNot(client.ended, Ended.NOT)


class StockHttp(HttpContract):
    """On Twisted's transports."""

    make_world = TCP4World


class LaneHttp(HttpContract):
    """On the lane, with small buffers in the kernel."""

    make_world = LaneWorld

    async def test_tcp_info(self) -> None:
        """What the kernel knew of a client is in its record when it was closed for its silence, too."""
        http = HttpSpec(keepalive_timeout=0.1)
        self.factory = self.listen(
            ListenerSpec("front", (), "web", protocol="http", http=http, tcp_info=True)
        )
        client = await self.client()
        client.send(ASKING)
        (await self.server()).send(b"HTTP/1.1 204 No Content\r\n\r\n")
        await self.world.until(client.sees_end())
        (record,) = self.notebook.records
        self.assertIs(record.reason, Reason.IDLE_TIMEOUT)
        self.assertIsNotNone(record.client_tcp)


class SpliceHttp(HttpContract):
    """On the lane, with bulk to be spliced."""

    make_world = SpliceWorld
