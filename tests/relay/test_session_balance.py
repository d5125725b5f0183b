"""Is a balancer told by the sessions what it wants to know, and nothing it does not want?"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Collection, Optional

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from zope.interface import implementer

from proxyd.config.adaptive import AdaptiveSpec
from proxyd.config.address import TcpAddress
from proxyd.config.balance import BalanceSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.proxyprotocol import ProxyIn
from proxyd.config.tls import PASSTHROUGH
from proxyd.interfaces import IBalancer, ICounting, IKeyed, ITiming
from proxyd.policy.adaptive import Adaptive
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import make_balancer
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.factory import ProxyFactory
from tests.relay.test_session import FakeDatapath, Notebook
from tests.support.admission import admission
from tests.support.case import Case
from tests.support.hello import hello
from tests.support.streams import FakePeer, Network
from tests.support.walltime import SetTime

CLIENT = IPv4Address("TCP", "10.9.9.9", 4711)


@implementer(IKeyed, ICounting, ITiming)
class Curious:
    """Takes one after another, and writes down all that it is told."""

    def __init__(self) -> None:
        self.arrivals: list[Optional[Arrival]] = []
        self.heard: list[tuple[Any, ...]] = []

    def lay_out(self, servers: Collection[Server]) -> None:
        self.heard.append(("servers", "".join(server.name for server in servers)))

    def choose(
        self, servers: list[Server], avoid: Collection[Server] = (), arrival: Optional[Arrival] = None
    ) -> Optional[Server]:
        self.arrivals.append(arrival)
        return next((server for server in servers if server not in avoid), None)

    def take(self, server: Server) -> bool:
        self.heard.append(("take", server.name))
        return True

    def released(self, server: Server, moved: int) -> None:
        self.heard.append(("released", server.name, server.open, moved))

    def timed(self, server: Server, seconds: float) -> None:
        self.heard.append(("timed", server.name, seconds))


class BalanceCase(Case):
    """Sessions of a pool whose servers behave as their ports say (FakeDatapath)."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds)
        self.network = Network(self.clock)
        self.datapath = FakeDatapath(self.network)
        self.capacity = Capacity(self.clock, 100)
        self.addCleanup(self.capacity.stop)
        self.notebook = Notebook()
        self.wheel = Wheel(self.clock)
        self.curious = Curious()

    def factory(
        self,
        ports: Collection[int],
        balance: Optional[BalanceSpec] = None,
        balancer: Optional[IBalancer] = None,
        most: int = 0,
        adaptive: Optional[AdaptiveSpec] = None,
        **listener: Any,
    ) -> ProxyFactory:
        servers = tuple(
            ServerSpec("abc"[place], TcpAddress("10.0.0.1", port), max_connections=most, adaptive=adaptive)
            for place, port in enumerate(ports)
        )
        self.pool = Pool(PoolSpec("web", servers, balance or BalanceSpec()), balancer or self.curious)
        self.curious.heard.clear()
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

    def connect(self, factory: ProxyFactory, address: Any = CLIENT) -> FakePeer:
        peer = self.network.connect(factory.buildProtocol(address))
        self.network.flush()
        return peer

    def finish(self, *peers: FakePeer) -> None:
        for peer in peers:
            peer.finish()
        self.network.flush()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.network.flush()


class Clients(BalanceCase):
    """Who the client is."""

    def test_address_and_port(self) -> None:
        """A balancer that goes by the client gets its address and port, of either family."""
        factory = self.factory([1])
        for address, arrival in [
            (CLIENT, Arrival("10.9.9.9", 4711, via="10.9.9.9")),
            (IPv6Address("TCP", "2001:db8::7", 99), Arrival("2001:db8::7", 99, via="2001:db8::7")),
            (UNIXAddress(None), Arrival()),
        ]:
            self.connect(factory, address)
            self.assertEqual(self.curious.arrivals.pop(), arrival)

    def test_name(self) -> None:
        """It gets the name in the ClientHello where that was read."""
        client = self.connect(self.factory([1], tls=PASSTHROUGH))
        client.send(hello("www.example"))
        self.network.flush()
        self.assertEqual(
            self.curious.arrivals, [Arrival("10.9.9.9", 4711, "www.example", "10.9.9.9", bytes(32))]
        )

    def test_behind_another_proxy(self) -> None:
        """Behind a proxy the client is the one that the PROXY header tells of."""
        trusted = ProxyIn((ip_network("10.9.0.0/16"),))
        client = self.connect(self.factory([1], proxy_protocol=trusted))
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n")
        self.network.flush()
        self.assertEqual(self.curious.arrivals, [Arrival("192.0.2.7", 5555, via="10.9.9.9")])

    def test_each_try(self) -> None:
        """A retry is for the same client."""
        self.connect(self.factory([2, 1]))
        self.assertEqual(self.curious.arrivals, [Arrival("10.9.9.9", 4711, via="10.9.9.9")] * 2)

    def test_sticks(self) -> None:
        """With `balance = source` a client comes back to its server, others go elsewhere."""
        spec = BalanceSpec("source")
        factory = self.factory([1, 1, 1], spec, make_balancer(spec, lambda: 0.0, self.clock.seconds))
        for host in range(1, 9):
            for port in range(3):
                self.connect(factory, IPv4Address("TCP", f"10.0.0.{host}", 4000 + port))
        counts = [server.open for server in self.pool.servers]
        self.assertEqual((sum(counts), [count % 3 for count in counts]), (24, [0, 0, 0]))
        self.assertLess(max(counts), 24)


class Ends(BalanceCase):
    """When a slot of a server is free again."""

    def test_a_connection_that_ends(self) -> None:
        """It is told once, after the count is down, with the bytes of both directions."""
        client = self.connect(self.factory([1]))
        client.send(b"question")
        self.network.flush()
        server = self.datapath.peers[0]
        server.send(b"the answer")
        self.network.flush()
        self.assertEqual([what for what in self.curious.heard if what[0] == "released"], [])
        self.finish(client, server)
        self.assertEqual(self.curious.heard, [("timed", "a", 0.0), ("released", "a", 0, 18)])

    def test_a_reset(self) -> None:
        """A reset frees it as well."""
        client = self.connect(self.factory([1]))
        client.reset()
        self.network.flush()
        self.assertEqual(self.curious.heard[1:], [("released", "a", 0, 0)])

    def test_a_dial_that_fails(self) -> None:
        """A server that could not be reached is free at once, and counts as slow as could be."""
        client = self.connect(self.factory([2, 1]))
        timed = ("timed", "a", 5.0)
        self.assertEqual(self.curious.heard, [("released", "a", 0, 0), timed, ("timed", "b", 0.0)])
        self.finish(client, self.datapath.peers[0])
        self.assertEqual(self.curious.heard[3:], [("released", "b", 0, 0)])

    def test_a_client_that_leaves(self) -> None:
        """When a client leaves during the dial the slot is free, and nothing is learnt of the server."""
        client = self.connect(self.factory([3]))
        client.reset()
        self.network.flush()
        self.assertEqual(self.curious.heard, [("released", "a", 0, 0)])

    def test_no_descriptor(self) -> None:
        """A dial for which we had no descriptor says nothing about the server."""
        self.connect(self.factory([5, 1]))
        self.assertEqual(self.curious.heard, [("released", "a", 0, 0)])

    def test_no_local_port(self) -> None:
        """Nor does one for which we had no local port; another server has others."""
        self.connect(self.factory([6, 1]))
        self.assertEqual(self.curious.heard, [("released", "a", 0, 0), ("timed", "b", 0.0)])

    def test_full(self) -> None:
        """With `first` the next server gets what is too much for one."""
        spec = BalanceSpec("first")
        factory = self.factory([1, 1], spec, make_balancer(spec, lambda: 0.0, self.clock.seconds), most=1)
        one, _ = self.connect(factory), self.connect(factory)
        self.assertEqual([server.open for server in self.pool.servers], [1, 1])
        self.finish(one, self.datapath.peers[0])
        self.connect(factory)
        self.assertEqual([server.open for server in self.pool.servers], [1, 1])


class Times(BalanceCase):
    """How long servers take."""

    def times(self) -> list[float]:
        return [what[2] for what in self.curious.heard if what[0] == "timed"]

    def test_connect(self) -> None:
        """Unless more is asked for, it is the time to connect, told as soon as it is known."""
        self.connect(self.factory([1], BalanceSpec("leasttime")))
        self.assertEqual(self.times(), [0.0])

    def test_round_trip(self) -> None:
        """A round trip that the kernel does not know, as on a fake network, is not told."""
        self.connect(self.factory([1], BalanceSpec("leasttime", measure="rtt")))
        self.assertEqual(self.times(), [])

    def first_byte(self, *before: bytes) -> tuple[FakePeer, FakePeer]:
        factory = self.factory([1], BalanceSpec("leasttime", measure="first_byte"))
        side = factory.buildProtocol(CLIENT)
        client = self.network.connect(side)
        for data in before:
            client.send(data)
        self.network.flush()
        return client, self.datapath.peers[0]

    def test_first_byte(self) -> None:
        """From the client's first bytes to the server's, however long the client thought before."""
        client, server = self.first_byte()
        self.advance(7.0)
        for peer, data, later in (
            (client, b"quest", 0.125),
            (client, b"ion", 0.125),
            (server, b"ans", 1.0),
            (server, b"wer", 0.0),
            (client, b"!", 0.0),
        ):
            peer.send(data)
            self.network.flush()
            self.clock.advance(later)
        self.assertEqual(self.times(), [0.25])
        self.assertEqual((server.received, client.received), (b"question!", b"answer"))
        self.finish(client, server)
        record = self.notebook.records[0]
        self.assertEqual((record.bytes_in, record.bytes_out), (9, 6))
        self.assertEqual(self.times(), [0.25])

    def test_early_client(self) -> None:
        """A client that spoke at once has asked when the server was reached."""
        client, server = self.first_byte(b"question")
        self.advance(0.5)
        client.send(b"!")
        self.advance(0.5)
        server.send(b"answer")
        self.network.flush()
        self.assertEqual((self.times(), server.received), ([1.0], b"question!"))
        self.finish(client, server)

    def test_server_speaks_first(self) -> None:
        """A server that greets is timed from its connection."""
        client, server = self.first_byte()
        self.advance(0.75)
        server.send(b"220 welcome")
        self.network.flush()
        self.assertEqual((self.times(), client.received), ([0.75], b"220 welcome"))
        self.finish(client, server)

    def test_no_answer(self) -> None:
        """A server that was asked and said nothing to the end has taken all that time."""
        client, server = self.first_byte(b"question")
        self.advance(3.0)
        self.finish(server, client)
        self.assertEqual(self.times(), [3.0])

    def test_nobody_spoke(self) -> None:
        """A connection on which nobody spoke tells nothing."""
        client, server = self.first_byte()
        self.advance(3.0)
        self.finish(client, server)
        self.assertEqual((self.times(), len(self.notebook.records)), ([], 1))


class AdaptiveTimes(BalanceCase):
    """What is told to a server's adaptive limit."""

    def setUp(self) -> None:
        super().setUp()
        self.sampled: list[float] = []
        self.failed: list[float] = []

    def serve(self, port: int, **values: Any) -> Adaptive:
        self.serving = self.factory([port], adaptive=AdaptiveSpec(), **values)
        adaptive = self.pool.servers[0].adaptive
        assert adaptive is not None
        self.patch(Adaptive, "sampled", lambda adaptive, seconds, *_: self.sampled.append(seconds))
        self.patch(Adaptive, "failed", lambda adaptive, dialed: self.failed.append(dialed))
        return adaptive

    def test_response(self) -> None:
        """The time to the first byte of the answer, whatever way to balance there is."""
        for balance in (None, BalanceSpec("leasttime", measure="first_byte"), BalanceSpec("leasttime")):
            self.sampled.clear()
            adaptive = self.serve(1, balance=balance)
            client, server = self.connect(self.serving), self.datapath.peers[-1]
            self.advance(7.0)
            client.send(b"question")
            self.network.flush()
            self.assertEqual(adaptive.pending, 1)
            self.clock.advance(0.25)
            server.send(b"answer")
            self.network.flush()
            self.assertEqual((self.sampled, adaptive.pending, client.received), ([0.25], 0, b"answer"))
            self.finish(client, server)
            self.assertEqual(self.sampled, [0.25])

    def test_nothing(self) -> None:
        """A server that ends connections without a byte is not quick but failing."""
        adaptive = self.serve(1)
        client, server = self.connect(self.serving), self.datapath.peers[0]
        client.send(b"question")
        self.network.flush()
        self.advance(1.0)
        self.finish(server)
        self.finish(client)
        self.assertEqual((self.sampled, self.failed, adaptive.pending), ([], [0.0], 0))

    def test_client_leaves(self) -> None:
        """A client that does not wait for its answer has shown that it takes as long, at least."""
        adaptive = self.serve(1)
        client = self.connect(self.serving)
        client.send(b"question")
        self.network.flush()
        self.clock.advance(4.0)
        client.reset()
        self.network.flush()
        self.assertEqual((self.sampled, self.failed, adaptive.pending), ([4.0], [], 0))

    def test_refused(self) -> None:
        """A server that cannot be reached has failed."""
        self.serve(2)
        self.connect(self.serving)
        self.assertEqual((self.sampled, self.failed), ([], [0.0]))


class Plain(BalanceCase):
    """What is not wanted is not done."""

    def test_nothing_is_told(self) -> None:
        """A pool that goes by nothing of this is asked and told nothing."""
        spec = BalanceSpec("p2c")
        factory = self.factory([1], spec, make_balancer(spec, lambda: 0.0, self.clock.seconds))
        self.assertEqual((self.pool.by_client, self.pool.released, self.pool.timed), (False, None, None))
        self.assertFalse(factory.times_first_byte)
        client = self.connect(factory)
        self.finish(client, self.datapath.peers[0])
        self.assertEqual(len(self.notebook.records), 1)
