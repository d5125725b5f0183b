"""What is asked of TCP is there on real sockets, and what the host refuses is told."""

from __future__ import annotations

import errno
import socket
from typing import Any, Optional
from unittest import mock

from twisted.internet import reactor
from twisted.internet.task import Clock

from proxyd.config.address import Address, Addresses, EndpointBind, TcpAddress, TcpBind, UnixAddress
from proxyd.config.tcp import Buffer, Keepalive, TcpSpec
from proxyd.errors import DialFailed, Reason, StartError
from proxyd.interfaces import IDatapath
from proxyd.policy.ejection import UNREACHED
from proxyd.policy.server import Server
from proxyd.relay import tcp
from proxyd.relay.deadlines import Wheel
from proxyd.relay.lane.datapath import Lane
from proxyd.relay.listener import EndpointListener, open_socket
from proxyd.relay.pair import Pair
from proxyd.relay.stock import ProxyClientFactory, Stock
from proxyd.relay.tcp import Outward, Setting, degraded_towards, tune_listening
from tests.support.case import AsyncCase, Case
from tests.support.peer import PATIENCE

HOSTS = (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")

ALL = TcpSpec(
    receive_buffer=Buffer(30000),
    send_buffer=Buffer(40000),
    mss=1000,
    window_clamp=Buffer(20, segments=True),
    notsent_lowat=Buffer(16384),
    user_timeout=12.345,
    keepalive=Keepalive(33, 7, 3),
    congestion_control="reno",
    dscp=46,
    interface="lo",
)

TCP = socket.IPPROTO_TCP


def read(skt: socket.socket) -> dict[str, Any]:
    """What the kernel says that is set."""
    tos = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS), (socket.IPPROTO_IP, socket.IP_TOS)
    return {
        "receive_buffer": skt.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        "send_buffer": skt.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
        "window_clamp": skt.getsockopt(TCP, socket.TCP_WINDOW_CLAMP),
        "notsent_lowat": skt.getsockopt(TCP, socket.TCP_NOTSENT_LOWAT),
        "user_timeout": skt.getsockopt(TCP, socket.TCP_USER_TIMEOUT),
        "nodelay": skt.getsockopt(TCP, socket.TCP_NODELAY),
        "keepalive": (
            skt.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            skt.getsockopt(TCP, socket.TCP_KEEPIDLE),
            skt.getsockopt(TCP, socket.TCP_KEEPINTVL),
            skt.getsockopt(TCP, socket.TCP_KEEPCNT),
        ),
        "congestion_control": skt.getsockopt(TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0"),
        "dscp": skt.getsockopt(*tos[skt.family == socket.AF_INET]) >> 2,
        "interface": skt.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0"),
    }


EXPECTED = {
    "receive_buffer": 60000,  # doubled by the kernel
    "send_buffer": 80000,
    "window_clamp": 20000,
    "notsent_lowat": 16384,
    "user_timeout": 12345,
    "nodelay": 1,
    "keepalive": (1, 33, 7, 3),
    "congestion_control": b"reno",
    "dscp": 46,
    "interface": b"lo",
}


class ListeningTests(Case):
    """Sockets that clients come to."""

    def test_every_option(self) -> None:
        """Each is on the listening socket, and each connection that it accepts has it without being asked."""
        for _, host in HOSTS:
            degraded: list[str] = []
            with open_socket(TcpBind("tcp:0", host, 0), {}, ALL, degraded) as listening:
                self.assertEqual((read(listening), degraded), (EXPECTED, []))
                self.assertEqual(listening.getsockopt(TCP, socket.TCP_MAXSEG), 1000)
                with socket.create_connection(listening.getsockname()[:2], PATIENCE) as client:
                    listening.setblocking(True)
                    with listening.accept()[0] as accepted:
                        self.assertEqual(read(accepted), EXPECTED)
                        self.assertIn(accepted.getsockopt(TCP, socket.TCP_MAXSEG), (1000, 988))  # timestamps
                    self.assertIn(client.getsockopt(TCP, socket.TCP_MAXSEG), (1000, 988))

    def test_of_listeners_alone(self) -> None:
        """Deferred accepts and Fast Open are of the listening socket; the time is rounded up."""
        spec = TcpSpec(defer_accept=5, fastopen=100)
        with mock.patch.object(tcp, "_sysctl", lambda name: "3"):
            with open_socket(TcpBind("tcp:0", "127.0.0.1", 0), {}, spec) as listening:
                self.assertGreaterEqual(listening.getsockopt(TCP, socket.TCP_DEFER_ACCEPT), 5)
                self.assertEqual(listening.getsockopt(TCP, socket.TCP_FASTOPEN), 100)

    def test_nothing_asked(self) -> None:
        """Then there is keepalive in the time that is the default, and without it there is not."""
        for spec, seen in (TcpSpec(), 1), (TcpSpec(keepalive=None), 0):
            with open_socket(TcpBind("tcp:0", "127.0.0.1", 0), {}, spec) as listening:
                self.assertEqual(listening.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), seen)
                self.assertEqual(listening.getsockopt(TCP, socket.TCP_NODELAY), 1)

    def test_an_interface_that_is_not_there(self) -> None:
        """Then it does not listen at all, or it would let in clients from everywhere."""
        bind = TcpBind("tcp:0", "127.0.0.1", 0)
        error = self.assertRaises(StartError, open_socket, bind, {}, TcpSpec(interface="eth99"))
        self.assertEqual(error.lines, ("cannot listen on tcp:0: interface eth99: no such interface",))

    def degraded(self, spec: TcpSpec) -> tuple[str, ...]:
        with socket.socket() as skt:
            return tune_listening(skt, spec)

    def test_degraded(self) -> None:
        """What the kernel has not got is told, with what helps; the other options are set all the same."""
        [line] = self.degraded(TcpSpec(congestion_control="nope", mss=1000))
        self.assertRegex(
            line,
            r"^congestion_control = nope: this kernel does not have it; "
            r"modprobe tcp_nope, or one of these: .*\breno\b",
        )

    def test_fast_open_switched_off(self) -> None:
        """The kernel takes the option and does nothing, which a sysctl says."""
        with mock.patch.object(tcp, "_sysctl", lambda name: "0x1"):
            self.assertEqual(
                self.degraded(TcpSpec(fastopen=5)),
                ("fastopen = 5: it is switched off; sysctl -w net.ipv4.tcp_fastopen=3",),
            )

    def test_an_endpoint_of_twisted(self) -> None:
        """A listener of Twisted's own has the options too."""
        bind = EndpointBind(r"haproxy:tcp:0:interface=127.0.0.1")
        listener = EndpointListener(
            reactor, bind, ProxyClientFactory(Pair(Wheel(Clock()), 1, 1).server), None, ALL
        )
        self.addCleanup(listener.stopListening)
        self.assertEqual(listener.degraded, ())


class SettingTests(Case):
    """What is made of what the kernel says."""

    def setUp(self) -> None:
        self.skt = socket.socket()
        self.addCleanup(self.skt.close)

    def tried(self, *arguments: Any, **how: Any) -> tuple[str, Optional[Setting]]:
        return Setting(*arguments, **how).tried(self.skt)

    def test_capped(self) -> None:
        """A buffer that the kernel makes smaller is degraded; what helps is told, and what it gave stays."""

        def like_a_kernel(got: list[int]) -> Any:
            skt = mock.Mock()
            skt.getsockopt.side_effect = got
            return skt

        for got, forced, told in (
            ([2000], True, ""),
            ([2304], True, ""),  # rounded up
            ([1000, 2000], True, ""),  # a privileged process is not bound by the cap
            ([1000], False, "b = 1000: the kernel gives 500; sysctl"),
        ):
            skt = like_a_kernel(got)
            if not forced:
                skt.setsockopt.side_effect = [None, OSError(errno.EPERM, "Operation not permitted")]
            setting = Setting("b", socket.SOL_SOCKET, socket.SO_RCVBUF, 1000, tcp._capped, "sysctl", 33)
            why, best = setting.tried(skt)
            self.assertEqual(why, told)
            assert best is not None
            self.assertEqual(best.option, 33 if len(got) > 1 else socket.SO_RCVBUF)

    def test_refused(self) -> None:
        """An option that this kernel does not know is not tried again."""
        why, best = self.tried("x", TCP, 9999, 1)
        self.assertEqual((why, best), ("x = 1: this kernel does not have the option", None))

    def test_other_value(self) -> None:
        """A value that comes back as another is told."""
        why, best = self.tried(
            "dscp", socket.IPPROTO_IP, socket.IP_TOS, 1
        )  # its lowest bits are the kernel's
        self.assertEqual(why, "dscp = 1: the kernel gives 0")
        self.assertIsNot(best, None)


class Lonely(Pair):
    """A pair of which only the server's side is connected."""

    def __init__(self) -> None:
        super().__init__(Wheel(Clock()), 60, 60)

    def ended(self, reason: Reason, detail: str) -> None:
        """Nobody waits for it."""


class TowardsServers(AsyncCase):
    """Sockets that lead to servers, on both datapaths."""

    def listening(self, host: str) -> tuple[socket.socket, int]:
        skt = open_socket(TcpBind("tcp:0", host, 0), {})
        self.addCleanup(skt.close)
        skt.setblocking(True)
        return skt, skt.getsockname()[1]

    def datapaths(self) -> list[IDatapath]:
        lane, stock = Lane(reactor), Stock(reactor)
        self.addCleanup(lane.close)
        return [lane, stock]

    async def dial(
        self, datapath: IDatapath, address: Address, spec: TcpSpec, client: str = ""
    ) -> socket.socket:
        side = Lonely().server
        await datapath.dial(address, side, spec, client).addTimeout(PATIENCE, reactor)
        self.addCleanup(lambda: side.connected and side.transport.abortConnection())
        handle: socket.socket = side.transport.getHandle()
        return handle

    async def refused(
        self, datapath: IDatapath, address: Address, spec: TcpSpec, client: str = ""
    ) -> DialFailed:
        try:
            await self.dial(datapath, address, spec, client)
        except DialFailed as failed:
            return failed
        raise AssertionError(f"{address} was reached")

    async def test_every_option(self) -> None:
        """Each is set before the connection is made, so that the server has seen it in the handshake."""
        for datapath in self.datapaths():
            for _, host in HOSTS:
                listening, port = self.listening(host)
                addresses: list[Address] = [
                    TcpAddress(host, port),
                    Addresses((TcpAddress(host, port),)),
                ]
                for address in addresses:
                    handle = await self.dial(datapath, address, ALL)
                    self.assertEqual(read(handle), EXPECTED, (datapath, address))
                    with listening.accept()[0] as accepted:
                        self.assertIn(accepted.getsockopt(TCP, socket.TCP_MAXSEG), (1000, 988))

    async def test_keepalive_by_default(self) -> None:
        """The default costs a short connection nothing on the lane; `no` leaves it out everywhere."""
        lane, stock = self.datapaths()
        _, port = self.listening("127.0.0.1")
        for datapath, spec, seen in (
            (lane, TcpSpec(mss=1000), 0),
            (stock, TcpSpec(mss=1000), 1),
            (lane, TcpSpec(keepalive=None), 0),
            (stock, TcpSpec(keepalive=None), 0),
        ):
            handle = await self.dial(datapath, TcpAddress("127.0.0.1", port), spec)
            self.assertEqual(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), seen)

    async def test_source(self) -> None:
        """The server sees the address that was asked for, with any port."""
        for datapath in self.datapaths():
            listening, port = self.listening("127.0.0.1")
            for _ in range(2):
                await self.dial(datapath, TcpAddress("127.0.0.1", port), TcpSpec(source="127.9.8.7"))
                accepted, (host, _) = listening.accept()
                accepted.close()
                self.assertEqual(host, "127.9.8.7")

    async def test_source_that_cannot_be(self) -> None:
        """The dial fails and says why; no server ever sees another address than it should."""
        for datapath in self.datapaths():
            _, port = self.listening("127.0.0.1")
            here = TcpAddress("127.0.0.1", port)
            for spec, client, why in (
                (TcpSpec(source="192.0.2.1"), "", "no interface of this host has 192.0.2.1"),
                (TcpSpec(source="::1"), "", "of different versions of IP"),
                (
                    TcpSpec(source="client"),
                    "fd00::1",
                    "fd00::1 and the server are of different",
                ),
                (TcpSpec(source="client"), "", "source = client: the client has no IP address"),
                (TcpSpec(interface="eth99"), "", "interface eth99: no such interface"),
            ):
                failed = await self.refused(datapath, here, spec, client)
                self.assertIs(failed.reason, Reason.SOURCE_FAILED)
                self.assertNotIn(failed.reason, UNREACHED)  # or one such client would eject the server
                self.assertIn(why, failed.detail)

    async def test_client_of_both_versions(self) -> None:
        """An IPv4 client that came to a socket for both versions is known by its IPv4 address."""
        for datapath in self.datapaths():
            listening, port = self.listening("127.0.0.1")
            spec = TcpSpec(source="client")
            await self.dial(datapath, TcpAddress("127.0.0.1", port), spec, "::ffff:127.1.2.3")
            accepted, (host, _) = listening.accept()
            accepted.close()
            self.assertEqual(host, "127.1.2.3")

    async def test_fast_open(self) -> None:
        """It is on the socket that is dialed."""
        for datapath in self.datapaths():
            _, port = self.listening("127.0.0.1")
            handle = await self.dial(datapath, TcpAddress("127.0.0.1", port), TcpSpec(fastopen=1))
            self.assertEqual(handle.getsockopt(TCP, tcp.TCP_FASTOPEN_CONNECT), 1)

    def test_degraded(self) -> None:
        """What the host does not let us do is told once for all servers that it is asked for."""
        nope = TcpSpec(congestion_control="nope")
        elsewhere = TcpSpec(source="192.0.2.1")
        servers = [
            Server("a", TcpAddress("10.0.0.1", 1), tcp=nope),
            Server("b", Addresses((TcpAddress("10.0.0.2", 1), TcpAddress("fd00::2", 1))), tcp=nope),
            Server("c", TcpAddress("db.example.com", 1), tcp=elsewhere),
            Server("d", UnixAddress("/run/d"), tcp=elsewhere),
            Server("e", TcpAddress("10.0.0.3", 1)),
        ]
        first, second = degraded_towards(servers)
        self.assertTrue(first.startswith("server a, b: congestion_control = nope: "), first)
        self.assertEqual(
            second,
            "server c: source = 192.0.2.1: Cannot assign requested address; "
            "no interface of this host has 192.0.2.1; no server is reached without it",
        )

    def test_what_was_refused_is_not_tried_again(self) -> None:
        """A dial sets what can be set, and does not fail for the rest."""
        outward = Outward(TcpSpec(congestion_control="nope", mss=1000), socket.AF_INET)
        with socket.socket() as skt:
            outward.prepare(skt, "")
            self.assertIn(skt.getsockopt(TCP, socket.TCP_MAXSEG), (1000, 536))
