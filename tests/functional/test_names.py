"""Do connections follow the name service, and go on when it fails?"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.protocol import Factory, Protocol

from tests.support.daemon import Daemon, DaemonCase
from tests.support.peer import Ended
from tests.support.services import Dnsmasq
from tests.support.stage import Place

reactor: Any = installed_reactor


class Says(Protocol):
    """A server that says which one it is, and then waits."""

    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        self.transport.write(self.factory.who)


def other_host(host: str, number: int) -> str:
    """One of two more loopback addresses that no other process of the tests has."""
    first, second, *rest = host.split(".")
    return ".".join([first, str(int(second) + 64 * number), *rest])


class NamesCase(DaemonCase):
    """A daemon whose servers dnsmasq knows; TTLs are a second, and are heeded."""

    def setUp(self) -> None:
        super().setUp()
        self.dns = Dnsmasq(self.stage)
        self.back = self.stage.tcp()
        self.hosts = [self.back.host, other_host(self.back.host, 1), other_host(self.back.host, 2)]

    def serve(self, host: str, who: bytes, port: int = 0) -> None:
        """A server of this process, on the port that all have."""
        factory: Any = Factory.forProtocol(Says)
        factory.who, factory.noisy = who, False
        listening = reactor.listenTCP(port or self.back.port, factory, interface=host)
        self.addCleanup(listening.stopListening)

    async def daemon(self, *servers: str, pool: str = "") -> Daemon:
        """A daemon with these lines of servers."""
        front = self.stage.tcp()
        lines = "\n".join(f"server {server}" for server in servers)
        return await self.start(
            f"[listener front]\nbind = {front.bind}\npool = servers\n[pool servers]\n{lines}\n{pool}",
            front,
            proxyd=f"resolvers = {self.dns.place} timeout=2s tries=2 min_ttl=1s hosts=none",
        )

    async def who(self, daemon: Daemon, size: int = 1) -> bytes:
        """Which server a new client gets; the client leaves."""
        peer = self.stage.connect(daemon.front)
        said = bytes(await peer.receives(size))
        peer.close()
        return said

    async def until_it_is(self, daemon: Daemon, who: bytes) -> None:
        """Wait until clients get this server."""
        while await self.who(daemon) != who:
            pass

    async def reason(self, daemon: Daemon) -> dict[str, Any]:
        """A client that gets no server, and what is said of it."""
        peer = self.stage.connect(daemon.front)
        await peer.sees_either()
        self.assertEqual(peer.count, 0)
        return (await daemon.records(1))[-1]


class OneServer(NamesCase):
    """A server that is given by the name of a host."""

    async def test_a_change(self) -> None:
        """When the address changes, new clients go there, and those that are there stay."""
        self.serve(self.hosts[0], b"a")
        self.serve(self.hosts[1], b"b")
        self.dns.hosts = {"db.example": (self.hosts[0],)}
        await self.dns.start()
        daemon = await self.daemon(f"s = db.example:{self.back.port}")
        stays = self.stage.connect(daemon.front)
        self.assertEqual(await stays.receives(1), b"a")
        self.dns.answer(db=(self.hosts[1],))
        await self.until_it_is(daemon, b"b")
        self.assertIs(stays.ended, Ended.NOT)
        stays.close()
        records = await daemon.records(2)
        addresses = {record["server_address"] for record in records}
        self.assertLessEqual(addresses, {f"{host}:{self.back.port}" for host in self.hosts})
        self.assertEqual({record["server"] for record in records}, {"s"})

    async def test_a_name_service_that_fails(self) -> None:
        """Whether it has no address, is dead or is stopped: clients are served as before; it is said once."""
        self.serve(self.hosts[0], b"a")
        self.dns.hosts = {"db.example": (self.hosts[0],)}
        await self.dns.start()
        daemon = await self.daemon(f"s = db.example:{self.back.port}")
        self.assertEqual(await self.who(daemon), b"a")
        self.dns.answer(other=("10.0.0.1",))
        await daemon.child.says(
            rb"db.example \(pool servers\) did not resolve, and keeps what it had: there is no"
        )
        self.assertEqual(await self.who(daemon), b"a")
        assert self.dns.child is not None
        os.kill(self.dns.child.pid, signal.SIGSTOP)
        self.assertEqual(await self.who(daemon), b"a")
        await self.dns.child.stop()
        lookups = 'proxyd_name_failures_total{name="db.example"}'
        failures = (await daemon.metrics())[lookups]
        while (await daemon.metrics())[lookups] < failures + 2:
            self.assertEqual(await self.who(daemon), b"a")
        self.assertEqual((await daemon.metrics())['proxyd_name_failing{name="db.example"}'], 1)
        self.dns.hosts = {"db.example": (self.hosts[0],)}
        await self.dns.start()
        await daemon.child.says(rb"db.example resolves again")
        self.assertEqual(daemon.log.count("did not resolve"), 1)

    async def test_never_resolved(self) -> None:
        """A client gets no server as long as the name has never resolved, and one as soon as it has."""
        self.serve(self.hosts[0], b"a")
        await self.dns.start()
        daemon = await self.daemon(f"s = db.example:{self.back.port}")
        record = await self.reason(daemon)
        self.assertEqual((record["reason"], record["fault"]), ("name_failed", "server"))
        self.assertIn("db.example", record["detail"])
        self.dns.answer(db=(self.hosts[0],))
        await daemon.child.says(rb"db.example resolves again")
        self.assertEqual(await self.who(daemon), b"a")

    async def test_a_start_waits(self) -> None:
        """The first client is not refused while the name is looked up for the first time."""
        self.serve(self.hosts[0], b"a")
        self.dns.hosts = {"db.example": (self.hosts[0],)}
        await self.dns.start()
        assert self.dns.child is not None
        os.kill(self.dns.child.pid, signal.SIGSTOP)
        daemon = await self.daemon(f"s = db.example:{self.back.port}")
        peer = self.stage.connect(daemon.front)
        os.kill(self.dns.child.pid, signal.SIGCONT)
        self.assertEqual(await peer.receives(1), b"a")
        peer.close()

    async def test_a_new_address_is_checked_first(self) -> None:
        """A server that has moved gets no client before its check passes there, while another one is up."""
        self.serve(self.hosts[0], b"a")
        self.serve(self.hosts[2], b"c")
        self.dns.hosts = {"db.example": (self.hosts[0],)}
        await self.dns.start()
        daemon = await self.daemon(
            f"s = db.example:{self.back.port}",
            f"t = {self.hosts[2]}:{self.back.port} backup",
            pool="check = tcp interval=1s timeout=900ms slow=200ms fall=1 rise=1",
        )
        await daemon.child.says(rb"server s \S+ is up: check passed")
        await self.until_it_is(daemon, b"a")
        self.dns.answer(db=(self.hosts[1],))
        await daemon.child.says(rb"server s \(%s:\d+\) is checking" % self.hosts[1].encode())
        await daemon.child.says(rb"server s \S+ is down")
        self.assertEqual(await self.who(daemon), b"c")
        self.serve(self.hosts[1], b"b")
        await self.until_it_is(daemon, b"b")

    async def test_a_dead_family(self) -> None:
        """When the IPv6 address is a black hole, or refuses, clients get the IPv4 one; no socket stays."""
        self.serve(self.hosts[0], b"a")
        self.dns.hosts = {"db.example": ("::1", self.hosts[0])}
        await self.dns.start()
        daemon = await self.daemon(
            f"s = db.example:{self.back.port}", pool="connect_timeout = 30s\nretries = 0"
        )
        self.assertEqual(await self.who(daemon), b"a")
        full = socket.socket(socket.AF_INET6)
        self.addCleanup(full.close)
        full.bind(("::1", self.back.port))
        full.listen(0)
        for _ in range(4):  # the queue takes one or two, whatever it is told
            client = socket.socket(socket.AF_INET6)
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect_ex(("::1", self.back.port))
        for _ in range(3):
            self.assertEqual(await self.who(daemon), b"a")
        record = (await daemon.records(4))[-1]
        self.assertEqual(record["server_address"], f"{self.hosts[0]}:{self.back.port}")
        self.assertGreaterEqual(record["connect_seconds"], 0.25)
        self.assertLess(record["connect_seconds"], 30)
        await daemon.leaves_nothing()


class Several(NamesCase):
    """Names that are several servers."""

    async def servers(self, daemon: Daemon) -> dict[str, float]:
        """The weights of the servers, by their names."""
        prefix = 'proxyd_server_weight{pool="servers",server="'
        return {
            name[len(prefix) : -2]: weight
            for name, weight in (await daemon.metrics()).items()
            if name.startswith(prefix)
        }

    async def until_they_are(self, daemon: Daemon, *names: str) -> None:
        """Wait until there are these servers, and no others."""
        while set(await self.servers(daemon)) != set(names):
            pass

    async def test_all(self) -> None:
        """With resolve=all servers come and go with the addresses; connections of one that goes last on."""
        for host, who in zip(self.hosts, (b"a", b"b", b"c")):
            self.serve(host, who)
        a, b, c = (f"s-{host}" for host in self.hosts)
        self.dns.hosts = {"db.example": tuple(self.hosts[:2])}
        await self.dns.start()
        daemon = await self.daemon(
            f"s = db.example:{self.back.port} resolve=all", pool="balance = roundrobin"
        )
        await self.until_they_are(daemon, a, b)
        stays = self.stage.connect(daemon.front)
        first = bytes(await stays.receives(1))
        self.assertEqual({first, await self.who(daemon)}, {b"a", b"b"})
        self.dns.answer(db=(self.hosts[2],))
        await self.until_they_are(daemon, c, a if first == b"a" else b)
        self.assertEqual([await self.who(daemon) for _ in range(3)], [b"c"] * 3)
        self.assertIs(stays.ended, Ended.NOT)
        stays.close()
        await self.until_they_are(daemon, c)
        self.dns.answer(db=tuple(self.hosts))
        await self.until_they_are(daemon, a, b, c)
        self.dns.answer()
        await daemon.child.says(rb"db.example \(pool servers\) did not resolve, and keeps what it had")
        self.assertEqual(set(await self.servers(daemon)), {a, b, c})

    async def test_records_of_a_service(self) -> None:
        """SRV records give ports, weights and priorities, and a change of them is followed."""
        ports = [self.stage.tcp().port for _ in range(3)]
        for port, who in zip(ports, (b"a", b"b", b"c")):
            self.serve(self.back.host, who, port)
        self.dns.hosts = {"x.example": (self.back.host,)}

        def records(*each: tuple[int, int, int]) -> list[str]:
            return [f"srv-host=_db._tcp.example,x.example,{','.join(map(str, record))}" for record in each]

        self.dns.records = records((ports[0], 1, 3), (ports[1], 1, 1), (ports[2], 2, 1))
        await self.dns.start()
        daemon = await self.daemon("s = srv:_db._tcp.example", pool="balance = roundrobin")
        names = [f"s-x.example:{port}" for port in ports]
        await self.until_they_are(daemon, *names)
        self.assertEqual(await self.servers(daemon), {names[0]: 3, names[1]: 1, names[2]: 1})
        self.assertEqual(sorted([await self.who(daemon) for _ in range(8)]), [b"a"] * 6 + [b"b"] * 2)
        self.dns.records = records((ports[1], 1, 9), (ports[2], 0, 5))
        await self.dns.start()
        await self.until_they_are(daemon, *names[1:])
        self.assertEqual(await self.servers(daemon), {names[1]: 9, names[2]: 5})
        self.assertEqual([await self.who(daemon) for _ in range(3)], [b"c"] * 3)

    async def test_a_place_without_dns(self) -> None:
        """Addresses and sockets are taken as they are, and no name server is asked."""
        place: Place = self.back
        self.serve(place.host, b"a")
        daemon = await self.daemon(f"s = {place}")
        self.assertEqual(await self.who(daemon), b"a")
        self.assertNotIn("proxyd_name_lookups_total{", "".join(await daemon.metrics()))
