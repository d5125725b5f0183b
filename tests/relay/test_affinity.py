"""Do sessions bring clients back, and is a server listened to for no longer than it teaches anything?"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Optional

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from proxyd.config.address import TcpAddress
from proxyd.config.affinity import AffinitySpec
from proxyd.config.balance import CONNECT, FIRST_BYTE, BalanceSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.proxyprotocol import ProxyIn
from proxyd.config.tls import PASSTHROUGH
from proxyd.errors import Reason
from proxyd.policy.balance import make_balancer
from proxyd.policy.pool import Pool
from proxyd.relay.affinity import Lesson
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.factory import ProxyFactory
from tests.relay.test_session import FakeDatapath, Notebook
from tests.support.admission import admission
from tests.support.case import Case
from tests.support.hello import body, handshake, in_records
from tests.support.streams import FakePeer, Network
from tests.support.walltime import SetTime
from tests.wire.test_rdp import request
from tests.wire.test_serverhello import SESSION, answer


def resuming(session_id: bytes) -> bytes:
    """A ClientHello of TLS 1.2 that would resume this session."""
    return in_records(handshake(body([], session_id=session_id)))


class LessonTests(Case):
    """`Lesson`."""

    def setUp(self) -> None:
        self.told: list[bytes] = []

    def test_found(self) -> None:
        """The id is told once, however the answer is cut; none is told as that."""
        for data, told in ((answer(), SESSION), (answer(b""), b""), (b"HTTP/1.1 400 ", b"")):
            self.told.clear()
            lesson = Lesson(self.told.append)
            heard = [lesson.heard(data[place : place + 1]) for place in range(len(data))]
            self.assertEqual(self.told, [told])
            self.assertIn(True, heard)

    def test_bounded(self) -> None:
        """A server that never comes to an end is listened to no longer."""
        lesson = Lesson(self.told.append)
        self.assertFalse(lesson.heard(b"\x16\x03\x03\xff\xff\x02\x00\x0f\x00"))
        for _ in range(100):
            if lesson.heard(bytes(100)):
                break
        self.assertEqual(self.told, [b""])

    def test_ended(self) -> None:
        """When the connection has ended, nobody is told."""
        lesson = Lesson(self.told.append)
        lesson.ended()
        lesson.heard(answer())
        self.assertEqual(self.told, [])


class AffinityCase(Case):
    """Sessions of a pool that remembers, whose servers behave as their ports say (FakeDatapath)."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds)
        self.network = Network(self.clock)
        self.datapath = FakeDatapath(self.network)
        self.capacity = Capacity(self.clock, 100)
        self.addCleanup(self.capacity.stop)
        self.notebook = Notebook()
        self.wheel = Wheel(self.clock)

    def factory(
        self, key: Optional[str], *ports: int, measure: str = CONNECT, **listener: Any
    ) -> ProxyFactory:
        servers = tuple(
            ServerSpec("abc"[place], TcpAddress("10.1.0.1", port)) for place, port in enumerate(ports)
        )
        balance = BalanceSpec("leasttime" if measure == FIRST_BYTE else "roundrobin", measure=measure)
        affinity = AffinitySpec(key) if key is not None else None
        self.pool = Pool(
            PoolSpec("web", servers, balance, affinity=affinity),
            make_balancer(balance, lambda: 0.0, self.clock.seconds),
        )
        return ProxyFactory(
            ListenerSpec("front", (), "web", **listener),
            {"web": self.pool},
            self.datapath,
            self.wheel,
            self.clock.seconds,
            self.wall,
            self.capacity,
            [self.notebook],
            admission(),
        )

    def served(
        self, factory: ProxyFactory, host: str = "10.9.9.9", says: bytes = b"", answers: bytes = b""
    ) -> str:
        """The name of the server that a client gets, which says something, is answered, and leaves."""
        client = self.network.connect(factory.buildProtocol(IPv4Address("TCP", host, 4711)))
        client.send(says)
        self.network.flush()
        server: FakePeer = self.datapath.peers[-1]
        server.send(answers)
        self.network.flush()
        for peer in (client, server):
            peer.finish()
        self.network.flush()
        self.assertEqual((server.received, client.received), (says, answers))
        self.assertEqual(self.network.open(), [])
        return self.notebook.records[-1].server


class AffinityTests(AffinityCase):
    """What a session tells its pool."""

    def test_source(self) -> None:
        """Clients come back by their address, each connection by itself."""
        factory = self.factory("source", 1, 1, 1)
        hosts = [f"10.0.0.{n}" for n in range(4)]
        first = [self.served(factory, host) for host in hosts]
        self.assertEqual(first, [*"abca"])
        self.assertEqual([self.served(factory, host) for host in hosts], first)
        chosen = [record.chosen for record in self.notebook.records]
        self.assertEqual(chosen, ["balance"] * 4 + ["affinity"] * 4)

    def test_nothing_is_waited_for(self) -> None:
        """A pool that goes by addresses does not wait for its client to speak, and one by RDP does."""
        self.assertFalse(self.factory("source", 1).reads_opening)
        self.assertFalse(self.factory("via", 1).reads_opening)
        self.assertFalse(self.factory(None, 1).reads_opening)
        self.assertTrue(self.factory("rdp_cookie", 1).reads_opening)

    def test_unreachable(self) -> None:
        """Whose server refuses is served by another without an error, and stays there."""
        factory = self.factory("source", 2, 1, 1)
        self.assertEqual([self.served(factory) for _ in range(3)], [*"bbb"])
        self.assertEqual([record.retries for record in self.notebook.records], [1, 0, 0])
        chosen = [record.chosen for record in self.notebook.records]
        self.assertEqual(chosen, ["retry", "affinity", "affinity"])
        self.assertEqual(self.notebook.records[0].reason, Reason.CLIENT_FINISHED)

    def test_proxies(self) -> None:
        """Behind a proxy the client is who the header says, and the proxy is what it comes via."""
        trusted = ProxyIn((ip_network("10.9.0.0/16"),))
        for key, expected in (("source", "aba"), ("via", "aaa")):
            factory = self.factory(key, 1, 1, 1, proxy_protocol=trusted)
            found = ""
            for host in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
                client = self.network.connect(factory.buildProtocol(IPv4Address("TCP", "10.9.9.9", 1)))
                client.send(f"PROXY TCP4 {host} 192.0.2.9 5 443\r\n".encode())
                self.network.flush()
                for peer in (client, self.datapath.peers[-1]):
                    peer.finish()
                self.network.flush()
                found += self.notebook.records[-1].server
            self.assertEqual(found, expected)

    def test_rdp(self) -> None:
        """The user's cookie is read, however it arrives, and the packet reaches the server as it was."""
        factory = self.factory("rdp_cookie", 1, 1, 1)
        users = [request(b"Cookie: mstshash=%s\r\n" % name) for name in (b"al", b"bo", b"al", b"bo")]
        self.assertEqual("".join(self.served(factory, says=user) for user in users), "abab")
        self.assertEqual(self.served(factory, says=b"SSH-2.0-x\r\n"), "c")
        client = self.network.connect(factory.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1)))
        for place in range(len(users[1])):
            client.send(users[1][place : place + 1])
            self.network.flush()
        server = self.datapath.peers[-1]
        self.assertEqual(server.received, users[1])
        for peer in (client, server):
            peer.finish()
        self.network.flush()
        self.assertEqual(self.notebook.records[-1].server, "b")

    def test_rdp_in_part(self) -> None:
        """A client that does not finish its request is served all the same when its time is over."""
        factory = self.factory("rdp_cookie", 1)
        client = self.network.connect(factory.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1)))
        client.send(request(b"Cookie: mstshash=al\r\n")[:20])
        self.network.flush()
        self.assertEqual(self.datapath.peers, [])
        for _ in range(24):
            self.clock.advance(0.25)
            self.network.flush()
        self.assertEqual(len(self.datapath.peers[0].received), 20)

    def test_tls_session(self) -> None:
        """A session is resumed where it was begun, and the server's bytes arrive as they were sent."""
        for measure in (CONNECT, FIRST_BYTE):
            factory = self.factory("tls_session", 1, 1, 1, measure=measure, tls=PASSTHROUGH)
            begun = [
                (answer(name), self.served(factory, says=resuming(b""), answers=answer(name)))
                for name in (SESSION, b"other", b"third")
            ]
            self.assertGreater(len({server for _, server in begun}), 1)
            for name, (answers, server) in zip((SESSION, b"other", b"third"), begun):
                self.assertEqual(self.served(factory, says=resuming(name), answers=answers), server)

    def test_no_session(self) -> None:
        """What TLS 1.3 repeats, an alert, and no answer at all teach nothing, and leave nothing behind."""
        factory = self.factory("tls_session", 1, 1, tls=PASSTHROUGH)
        for answers in (answer(chosen=0x0304), b"\x15\x03\x03\x00\x02\x02\x28", b""):
            self.served(factory, says=resuming(SESSION), answers=answers)
        assert self.pool.affinity is not None
        self.assertEqual(len(self.pool.affinity.table), 0)
        self.assertEqual((factory.sessions, len(self.wheel)), (set(), 0))
