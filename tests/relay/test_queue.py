"""Clients that wait until a server has room: who is served when, and what becomes of those who go."""

from __future__ import annotations

from typing import Any, Sequence

from twisted.internet.address import IPv4Address

from proxyd.config.address import TcpAddress
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.queue import QueueSpec
from proxyd.errors import Reason
from proxyd.policy.balance import RoundRobin
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from proxyd.relay.factory import ProxyFactory
from tests.relay.test_session import SessionCase
from tests.support.admission import admission
from tests.support.streams import FakePeer


class QueueCase(SessionCase):
    """A pool whose servers take one connection each, and behave as their ports say (FakeDatapath)."""

    def pool_of(self, *ports: int, most: int = 1, **queue: Any) -> None:
        servers = tuple(
            ServerSpec(f"s{place}", TcpAddress("10.0.0.1", port), max_connections=most)
            for place, port in enumerate(ports)
        )
        spec = PoolSpec("web", servers, connect_timeout=5.0, queue=QueueSpec(**queue))
        self.pool = Pool(spec, RoundRobin(lambda: 0.0))
        self.factory = self.listener()

    def listener(self, **options: Any) -> ProxyFactory:
        return ProxyFactory(
            ListenerSpec("front", (), "web", **options),
            {"web": self.pool},
            self.datapath,
            self.wheel,
            self.clock.seconds,
            self.wall,
            self.capacity,
            [self.notebook],
            admission(),
        )

    def come(self, host: str = "10.9.9.9", factory: Any = None) -> FakePeer:
        side = (factory or self.factory).buildProtocol(IPv4Address("TCP", host, 4711))
        peer = self.network.connect(side)
        self.network.flush()
        return peer

    def end(self, client: FakePeer, server: FakePeer) -> None:
        client.finish()
        self.network.flush()
        server.finish()
        self.network.flush()

    def reasons(self) -> Sequence[str]:
        return [record.reason.code for record in self.notebook.records]

    def assertOver(self, ended: int) -> None:
        """All have ended, and nothing is counted, queued or armed any more."""
        self.assertEqual(len(self.notebook.records), ended)
        self.assertEqual(self.network.open(), [])
        self.assertEqual([server.open for server in self.pool.servers], [0] * len(self.pool.servers))
        assert self.pool.queue is not None
        self.assertEqual((len(self.pool.queue), self.capacity.open, len(self.wheel)), (0, 0, 0))


class QueueTests(QueueCase):
    def test_waits_for_the_slot(self) -> None:
        """The second client is served when the first is over, with what it has said meanwhile."""
        self.pool_of(1)
        first = self.come()
        second = self.come()
        second.send(b"meanwhile")
        self.pass_time(2.0)
        self.assertEqual(len(self.datapath.peers), 1)
        self.end(first, self.datapath.peers[0])
        self.assertEqual(self.datapath.peers[1].received, b"meanwhile")
        self.end(second, self.datapath.peers[1])
        self.assertOver(2)
        self.assertEqual([record.queue_seconds for record in self.notebook.records], [None, 2.0])

    def test_slot_is_the_servers(self) -> None:
        """A client that has finished leaves no slot as long as its server has not closed its side."""
        self.pool_of(1)
        first = self.come()
        second = self.come()
        first.finish()
        self.network.flush()
        self.assertEqual(len(self.datapath.peers), 1)
        self.datapath.peers[0].finish()
        self.network.flush()
        self.assertEqual(len(self.datapath.peers), 2)
        self.end(second, self.datapath.peers[1])
        self.assertOver(2)

    def test_timeout(self) -> None:
        """Who waits for longer than the queue's wait is refused, and the record says for what."""
        self.pool_of(1, wait=3.0)
        first = self.come()
        self.come()
        self.pass_time(4.0)
        self.assertEqual(self.reasons(), ["queue_timeout"])
        detail = "[pool web] queue wait=3s: no server had room by then"
        self.assertEqual(self.notebook.records[0].detail, detail)
        self.end(first, self.datapath.peers[0])
        self.assertOver(2)

    def test_timeout_of_one_who_tries_again_and_again(self) -> None:
        """Whose only server with room could not be reached waits for the others, and no longer than that."""
        self.pool_of(2, 1, wait=3.0)
        holder = self.come("10.9.9.1")
        self.come("10.9.9.2")
        for _ in range(4):
            self.pass_time(2.0)
            self.pool.admit(self.clock.seconds())  # what any end of a connection leads to
            self.network.flush()
        self.assertEqual(self.reasons(), ["queue_timeout"])
        self.assertLess(self.notebook.records[0].total_seconds, 4.0)
        self.end(holder, self.datapath.peers[0])
        self.assertOver(2)

    def test_full(self) -> None:
        """When the queue is full too, who comes is refused at once; a queue of 0 means that nobody waits."""
        for length in (0, 1):
            self.pool_of(1, length=length)
            clients = [self.come() for _ in range(2 + length)]
            self.assertEqual(self.reasons(), ["queue_full"])
            detail = f"[pool web] queue length={length}: so many wait already"
            self.assertEqual(self.notebook.records[0].detail, detail)
            for client in clients[: 1 + length]:
                self.end(client, self.datapath.peers[-1])
            self.assertOver(2 + length)
            self.notebook.records.clear()
            self.datapath.peers.clear()

    def test_one_client_cannot_fill_it(self) -> None:
        """A client with a full queue of its own makes room for another one."""
        self.pool_of(1, length=2)
        greedy = [self.come() for _ in range(3)]
        other = self.come("10.8.8.8")
        self.assertEqual(self.reasons(), ["queue_full"])
        detail = "[pool web] queue length=2: so many wait already, and it had to make room"
        self.assertEqual(self.notebook.records[0].detail, detail)
        self.end(greedy[0], self.datapath.peers[0])
        self.end(greedy[1], self.datapath.peers[1])
        other.send(b"me")
        self.network.flush()
        self.assertEqual(self.datapath.peers[2].received, b"me")
        self.end(other, self.datapath.peers[2])
        self.assertOver(4)

    def test_one_client_is_a_network(self) -> None:
        """Who is one client to the limits is one in the queue: a network does not keep others out either."""
        self.pool_of(1, length=2)
        network = self.listener(client_prefix4=24)
        greedy = [self.come(f"10.9.9.{number}", network) for number in range(3)]
        other = self.come("10.8.8.8", network)
        self.assertEqual(self.reasons(), ["queue_full"])
        self.assertIn("had to make room", self.notebook.records[0].detail)
        for client, server in ((greedy[0], 0), (greedy[1], 1), (other, 2)):
            self.end(client, self.datapath.peers[server])
        self.assertOver(4)

    def test_classes(self) -> None:
        """Clients of a listener of a lower number come first."""
        self.pool_of(1)
        first = self.come()
        low = self.come(factory=self.listener(priority=1))
        high = self.come()
        high.send(b"high")
        self.end(first, self.datapath.peers[0])
        self.assertEqual(self.datapath.peers[1].received, b"high")
        self.end(high, self.datapath.peers[1])
        self.end(low, self.datapath.peers[2])
        self.assertOver(3)

    def test_gone(self) -> None:
        """A client that is reset while it waits gives its place up, and no server hears of it."""
        self.pool_of(1)
        first = self.come()
        second = self.come()
        second.reset()
        self.network.flush()
        self.assertEqual(self.reasons(), ["client_gone"])
        self.end(first, self.datapath.peers[0])
        self.assertEqual(len(self.datapath.peers), 1)
        self.assertOver(2)

    def test_half_closed(self) -> None:
        """A client that finishes while it waits may still want its answer, and is served."""
        self.pool_of(1)
        first = self.come()
        second = self.come()
        second.send(b"question")
        second.finish()
        self.network.flush()
        self.end(first, self.datapath.peers[0])
        server = self.datapath.peers[1]
        server.send(b"answer")
        server.finish()
        self.network.flush()
        self.assertEqual((server.received, second.received), (b"question", b"answer"))
        self.assertOver(2)

    def test_refused_dials(self) -> None:
        """Servers that refuse give their slots back at once, however many wait for them."""
        self.pool_of(2, 1)
        clients = [self.come() for _ in range(3)]
        self.assertEqual(self.pool.servers[0].open, 0)
        for client in clients:
            self.end(client, self.datapath.peers[-1])
        self.assertEqual(self.reasons(), ["client_finished"] * 3)
        self.assertOver(3)

    def test_one_wait(self) -> None:
        """Who waits a second time, since a server refused it, waits no longer in all than it may."""
        self.pool_of(2, 1, wait=4.0)
        holders = [self.come()]
        self.pool.opened(self.pool.servers[0])
        waiting = self.come()
        self.pass_time(3.0)
        if self.pool.closed(self.pool.servers[0]):
            self.pool.admit(self.clock.seconds())
        self.network.flush()
        self.assertEqual(self.datapath.dialed.count(2), 2)
        self.pass_time(2.0)
        self.assertEqual(self.reasons(), ["queue_timeout"])
        self.assertEqual(self.notebook.records[0].retries, 0)
        self.assertLessEqual(self.notebook.records[0].total_seconds, 4.5)
        del waiting
        self.end(holders[0], self.datapath.peers[0])
        self.assertOver(2)

    def test_server_comes_up(self) -> None:
        """Those who wait are served as soon as another server is up."""
        self.pool_of(1, 1)
        self.pool.turned(self.pool.servers[1], State.DOWN, "", 0.0)
        first = self.come()
        second = self.come()
        self.assertEqual(len(self.datapath.peers), 1)
        self.pool.turned(self.pool.servers[1], State.UP, "", 1.0)
        self.network.flush()
        self.assertEqual(len(self.datapath.peers), 2)
        for client, server in zip((first, second), self.datapath.peers):
            self.end(client, server)
        self.assertOver(2)

    def test_nobody_up(self) -> None:
        """Nobody waits for a server that is down."""
        self.pool_of(1)
        self.pool.turned(self.pool.servers[0], State.DOWN, "", 0.0)
        self.come()
        self.assertEqual(self.reasons(), [Reason.NO_SERVER.code])
        self.assertOver(1)

    def test_stop(self) -> None:
        """A stop ends those who wait, too."""
        self.pool_of(1)
        first = self.come()
        self.come()
        for session in list(self.factory.sessions):
            session.cut(Reason.DRAINED)
        self.network.flush()
        self.pass_time(1.5)
        self.assertEqual(self.reasons(), ["drained", "drained"])
        del first
        self.assertOver(2)
