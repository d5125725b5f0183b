"""The story of one connection: which server it gets, when it is tried elsewhere, and what its record says."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Sequence

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from proxyd.config.address import Address, TcpAddress
from proxyd.config.listener import ListenerSpec
from proxyd.config.lists import Clients
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.errors import DialFailed, Reason
from proxyd.interfaces import IDatapath, IObserver
from proxyd.policy.balance import RoundRobin
from proxyd.policy.lists import Lists
from proxyd.policy.pool import Pool
from proxyd.records import Record, RequestRecord
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.dial import told_of_dial
from proxyd.relay.factory import ProxyFactory
from proxyd.relay.pair import ProxyClient
from proxyd.relay.streams import address_text
from tests.ops.records import names
from tests.support.admission import admission
from tests.support.case import Case
from tests.support.streams import FakePeer, Network
from tests.support.walltime import SetTime


@implementer(IObserver)
class Notebook:
    """An observer that keeps the records."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.requests: list[RequestRecord] = []

    def closed(self, record: Record) -> None:
        self.records.append(record)

    def answered(self, record: RequestRecord) -> None:
        self.requests.append(record)


@implementer(IObserver)
class Broken:
    """An observer that breaks its promise."""

    def closed(self, record: Record) -> None:
        raise ValueError("broken observer")

    def answered(self, record: RequestRecord) -> None:
        raise ValueError("broken observer")


@implementer(IDatapath)
class FakeDatapath:
    """
    Servers that answer, refuse or stay silent, by port: 1 answers, 2 refuses, 3 is silent, 4 breaks.

    For 5 there is no descriptor, and for 6 no local port.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.dialed: list[int] = []
        self.cancelled = 0
        self.peers: list[FakePeer] = []

    def dial(
        self, address: Address, side: ProxyClient, tcp: Any = None, client: str = "", tls: Any = None
    ) -> Deferred[None]:
        assert isinstance(address, TcpAddress)
        self.dialed.append(address.port)
        dialing: Deferred[None] = Deferred(self._cancel)
        if address.port == 1:
            self.peers.append(self.network.connect(side))
            dialing.callback(None)
        elif address.port == 2:
            dialing.errback(DialFailed(Reason.CONNECT_REFUSED, "connection refused"))
        elif address.port == 4:
            raise RuntimeError("broken datapath")
        elif address.port == 5:
            dialing.errback(DialFailed(Reason.DESCRIPTORS, "Too many open files"))
        elif address.port == 6:
            dialing.errback(DialFailed(Reason.LOCAL_PORTS, "Cannot assign requested address"))
        return dialing

    def reach(self, address: Any, side: Any, asker: Any, tcp: Any = None) -> Any:
        return told_of_dial(self.dial(address, side), asker)

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    def start_tls(self, side: Any, tls: Any, early: bool = False) -> None:
        raise NotImplementedError

    def accept(self, skt: Any, peer: Any, factory: Any, tls: Any = None) -> None:
        raise NotImplementedError("the fake network makes the clients")

    def addReader(self, reader: Any) -> None:
        raise NotImplementedError

    def removeReader(self, reader: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """There is nothing to give up."""


class Door:
    """A listener that notes when it was closed and opened."""

    def __init__(self) -> None:
        self.moved: list[str] = []

    def pause(self) -> None:
        self.moved.append("closed")

    def resume(self) -> None:
        self.moved.append("open")


class SessionCase(Case):
    """Sessions on the verified fake, with a clock that the test moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds, 1e9)
        self.network = Network(self.clock)
        self.datapath = FakeDatapath(self.network)
        self.capacity = Capacity(self.clock, 100)
        self.addCleanup(self.capacity.stop)
        self.notebook = Notebook()
        self.wheel = Wheel(self.clock)

    def serve(self, ports: Sequence[int], retries: int = 2, **listener: Any) -> FakePeer:
        """A client of a pool whose servers behave as their ports say."""
        servers = tuple(
            ServerSpec(f"s{place}", TcpAddress("10.0.0.1", port)) for place, port in enumerate(ports)
        )
        spec = PoolSpec("web", servers, retries=retries, connect_timeout=5.0)
        self.front(Pool(spec, RoundRobin(lambda: 0.0)), **listener)
        return self.connect()

    def front(self, pool: Pool, **listener: Any) -> None:
        """A listener before a pool."""
        self.pool = pool
        self.factory = ProxyFactory(
            ListenerSpec("front", listener.pop("binds", ()), "web", **listener),
            {"web": pool},
            self.datapath,
            self.wheel,
            self.clock.seconds,
            self.wall,
            self.capacity,
            [Broken(), self.notebook] if listener.pop("broken", False) else [self.notebook],
            admission(),
        )

    def connect(self) -> FakePeer:
        side = self.factory.buildProtocol(IPv4Address("TCP", "10.9.9.9", 4711))
        peer = self.network.connect(side)
        self.network.flush()
        return peer

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.25)):
            self.clock.advance(0.25)
            self.network.flush()

    def the_record(self) -> Record:
        """The one record, once everything is over and nothing is left."""
        self.network.flush()
        self.assertEqual(len(self.notebook.records), 1)
        self.assertEqual(self.network.open(), [])
        self.assertEqual((len(self.wheel), self.clock.getDelayedCalls()), (0, []))
        self.assertEqual([server.open for server in self.pool.servers], [0] * len(self.pool.servers))
        self.assertEqual((self.capacity.open, self.factory.sessions), (0, set()))
        return self.notebook.records[0]


class SessionTests(SessionCase):
    """What happens to one connection."""

    def test_a_whole_connection(self) -> None:
        """A client's bytes reach the server and the answer comes back; the record has it all."""
        client = self.serve([1])
        client.send(b"question")
        self.network.flush()
        server = self.datapath.peers[0]
        self.assertEqual(server.received, b"question")
        self.assertEqual(self.pool.servers[0].open, 1)
        server.send(b"the answer")
        self.clock.advance(2)
        self.network.flush()
        client.finish()
        self.network.flush()
        server.finish()
        record = self.the_record()
        self.assertEqual(client.received, b"the answer")
        expected = Record(
            started=1e9,
            listener="front",
            client="10.9.9.9:4711",
            reason=Reason.CLIENT_FINISHED,
            total_seconds=2.0,
            pool="web",
            server="s0",
            server_address="10.0.0.1:1",
            connect_seconds=0.0,
            bytes_in=8,
            bytes_out=10,
            chosen="balance",
        )
        for name in names(Record):
            self.assertEqual(getattr(record, name), getattr(expected, name), name)

    def test_a_clock_that_is_set(self) -> None:
        """That holds up no deadline and lets none pass, and the record has the time that it is by now."""
        for by in (-3600.0, 3600.0):
            self.notebook.records.clear()
            dialing = self.serve([3], retries=0)
            self.wall.set(by)
            self.pass_time(4)
            self.assertEqual(self.notebook.records, [])
            self.pass_time(2)
            self.assertEqual(self.the_record().reason, Reason.CONNECT_TIMEOUT)
            self.assertTrue(dialing.ended)
            self.notebook.records.clear()
            self.serve([1], idle_timeout=60.0)
            self.wall.set(by)
            began = self.wall.now()
            self.pass_time(59)
            self.assertEqual(self.notebook.records, [])
            self.pass_time(20)
            record = self.the_record()
            self.assertEqual((record.reason, record.started), (Reason.IDLE_TIMEOUT, began))

    def test_a_client_that_resets_while_we_dial_ends_the_dial(self) -> None:
        """Nobody waits for a server any more, so the dial is cancelled and no other is tried."""
        client = self.serve([3, 1])
        client.reset()
        record = self.the_record()
        self.assertEqual((record.reason, self.datapath.cancelled), (Reason.CLIENT_GONE, 1))
        self.assertEqual(self.datapath.dialed, [3])

    def test_a_client_that_finishes_while_we_dial_is_served(self) -> None:
        """A FIN is a half-close: question and end are held, and the answer is delivered."""
        client = self.serve([3, 1])
        client.send(b"question")
        client.finish()
        self.network.flush()
        self.pass_time(6)
        server = self.datapath.peers[0]
        self.assertEqual(server.received, b"question")
        self.successResultOf(server.sees_end())
        server.send(b"answer")
        server.finish()
        self.assertEqual(self.the_record().reason, Reason.CLIENT_FINISHED)
        self.assertEqual(client.received, b"answer")

    def test_abort_on_close(self) -> None:
        """With abort_on_close a FIN while we dial means that the client has left."""
        client = self.serve([3, 1], abort_on_close=True)
        client.send(b"question")
        client.finish()
        record = self.the_record()
        self.assertEqual((record.reason, self.datapath.cancelled), (Reason.CLIENT_GONE, 1))

    def test_early_bytes_are_bounded(self) -> None:
        """A client that talks on while we dial is stopped before 64 KiB, and loses nothing."""
        client = self.serve([3, 1])
        sent = bytes(range(256)) * 2048
        client.send(sent)
        self.network.flush()
        (session,) = self.factory.sessions
        self.assertLessEqual(len(session.client.held), 64 * 1024)
        self.pass_time(6)
        self.assertEqual(self.datapath.peers[0].received, sent)
        self.datapath.peers[0].finish()
        client.finish()
        self.assertEqual(self.the_record().bytes_in, len(sent))

    def test_a_server_that_speaks_first(self) -> None:
        """SMTP, MySQL and FTP greet before the client says a word."""
        client = self.serve([1])
        self.datapath.peers[0].send(b"220 welcome\r\n")
        self.network.flush()
        self.assertEqual(client.received, b"220 welcome\r\n")
        self.datapath.peers[0].finish()
        self.network.flush()
        client.finish()
        self.assertEqual(self.the_record().reason, Reason.SERVER_FINISHED)

    def test_maintenance(self) -> None:
        """A client of a pool in maintenance reaches no server, unless it is one of those who are let in."""
        spec = PoolSpec("web", (ServerSpec("s", TcpAddress("10.0.0.1", 1)),))
        self.front(Pool(spec, RoundRobin(lambda: 0.0)))
        self.pool.maintenance.turn(True, "disk", 0.0)
        self.connect()
        record = self.the_record()
        self.assertEqual((record.reason, record.server), (Reason.MAINTENANCE, ""))
        self.assertEqual((record.detail, self.datapath.peers), ("[pool web] maintenance: disk", []))
        office = Clients((ip_network("10.9.9.0/24"),))
        self.pool.maintenance.allowed = Lists(()).members(office, "office")
        client = self.connect()
        client.send(b"hello")
        self.network.flush()
        self.assertEqual(self.datapath.peers[0].received, b"hello")
        client.reset()
        self.network.flush()
        self.assertEqual(self.notebook.records[-1].reason, Reason.CLIENT_RESET)

    def test_being_cut_while_dialing(self) -> None:
        """A stop of the daemon ends the dial too, with its own reason."""
        self.serve([3])
        (session,) = self.factory.sessions
        session.cut(Reason.DRAINED)
        record = self.the_record()
        self.assertEqual((record.reason, self.datapath.cancelled), (Reason.DRAINED, 1))

    def test_a_fault_of_our_own(self) -> None:
        """A bug closes its own connection, is logged once, and leaves nothing behind."""
        self.serve([4])
        self.assertEqual(self.the_record().reason, Reason.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_an_observer_that_fails_does_not_keep_the_others_from_their_record(self) -> None:
        """A broken observer is logged; the next still gets the record."""
        client = self.serve([1])
        self.factory.observers = (Broken(), self.notebook)
        client.reset()
        self.assertEqual(self.the_record().reason, Reason.CLIENT_RESET)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class TimeLimitTests(SessionCase):
    """A time limit is kept, however short it is."""

    def test_a_limit_is_never_early_and_little_late(self) -> None:
        """From half a second to ten minutes: at most a quarter of the limit and three ticks late."""
        for limit in (0.5, 1.0, 2.0, 5.0, 30.0, 600.0):
            for half_closed in (False, True):
                self.notebook.records.clear()
                idle, half = (1e6, limit) if half_closed else (limit, 1e6)
                client = self.serve([1], idle_timeout=idle, half_closed_timeout=half)
                client.send(b"x")
                self.network.flush()
                if half_closed:
                    client.finish()
                    self.network.flush()
                began = self.clock.seconds()
                while not self.notebook.records:
                    self.clock.advance(0.05)
                    self.network.flush()
                waited = self.clock.seconds() - began
                self.assertGreaterEqual(waited, limit)
                self.assertLess(waited, limit * 1.25 + 3 * 0.25 + 0.05)
                reason = Reason.SERVER_UNFINISHED if half_closed else Reason.IDLE_TIMEOUT
                self.assertIs(self.the_record().reason, reason)


class AddressTextTests(Case):
    """Addresses as operators write them."""

    def test_each_family(self) -> None:
        """IPv6 has brackets, unix sockets their path or nothing."""
        cases = [
            (IPv4Address("TCP", "10.0.0.1", 80), "10.0.0.1:80"),
            (IPv6Address("TCP", "::1", 80), "[::1]:80"),
            (UNIXAddress("/run/x.sock"), "unix:/run/x.sock"),
            (UNIXAddress(None), "unix:"),
        ]
        for address, text in cases:
            self.assertEqual(address_text(address), text)
