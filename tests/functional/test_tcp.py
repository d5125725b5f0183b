"""What is asked of TCP, as clients and servers see it on the wire; and what a host refuses."""

from __future__ import annotations

import re
import socket
import sys
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from proxyd.wire.tcpinfo import SIZE, parse
from tests.support.daemon import Daemon, DaemonCase
from tests.support.echo import EchoFactory
from tests.support.networks import Host, host, join
from tests.support.peer import SocketPeer
from tests.support.stage import Child, Place

CLIENT, TO_CLIENTS = "10.77.1.2", "10.77.1.1"
SERVER, TO_SERVERS = "10.77.2.2", "10.77.2.1"
CLIENT6, TO_CLIENTS6 = "fd77:1::2", "fd77:1::1"

HANDSHAKES = "tcp[tcpflags] & tcp-syn != 0"
HANDSHAKES6 = "ip6 and tcp and ip6[53] & 2 != 0"

MSG_FASTOPEN = 0x20000000  # Linux's; Python 3.9 has no name for it

TIMESTAMPS = 12  # bytes of each segment that the timestamps of RFC 7323 take, padded


class Greeter(Protocol):
    """Says who it thinks has connected, and leaves."""

    transport: Any

    factory: Any

    def connectionMade(self) -> None:
        host = self.transport.getPeer().host
        self.factory.greeted.append(host)
        self.transport.write(host.encode())
        self.transport.loseConnection()


class GreeterFactory(Factory):
    noisy = False
    protocol = Greeter

    def __init__(self) -> None:
        self.greeted: list[str] = []


class Networks(DaemonCase):
    """A client, a proxy and a server, each on a host of its own; the proxy is between two networks."""

    async def hosts(self) -> None:
        self.client, self.proxy, self.server = [await host(self.stage) for _ in range(3)]
        await join(self.client, f"{CLIENT}/24", self.proxy, f"{TO_CLIENTS}/24", "clients")
        await join(self.server, f"{SERVER}/24", self.proxy, f"{TO_SERVERS}/24", "servers")

    async def listen(self, at: Host, address: str, factory: Factory) -> Place:
        """Serve on a host, in this process."""
        with at.entered():
            port = self.stage.reactor.listenTCP(0, factory, interface=address)
        self.addCleanup(port.stopListening)
        return Place(address, port.getHost().port)

    async def serve(self, sections: str) -> Daemon:
        return await self.start(sections, Place(TO_CLIENTS, 1), network=self.proxy.pid)

    def connect(self, address: str, port: int) -> SocketPeer:
        """A client of the proxy."""
        with self.client.entered():
            self.skt = Place(address, port).socket()
        peer = SocketPeer(self.stage.reactor, self.skt)
        self.addCleanup(peer.close)
        return peer


def handshake(said: bytes, sender: str) -> dict[str, Any]:
    """Of the last handshake that was seen, what the sender, a pattern of address and port, has said."""
    pattern = (
        r"IP6? \((?:tos 0x(?P<tos>[0-9a-f]+)|class 0x(?P<tclass>[0-9a-f]+))?[^\n]*(?:\n +)?[^\n]*"
        rf"{sender} > [^\n]*Flags \[S[^\n]*win (?P<win>\d+),"
        r" options \[mss (?P<mss>\d+)[^\n]*?(?:wscale (?P<wscale>\d+))?\]"
    )
    [*_, found] = re.finditer(pattern, said.decode())
    mark = found["tos"] or found["tclass"] or "0"
    return {
        "window": int(found["win"]),
        "mss": int(found["mss"]),
        "scale": int(found["wscale"]),
        "mark": int(mark, 16) >> 2,
    }


class Handshakes(Networks):
    """What is seen of the options of listeners and servers in the first two packets of a connection."""

    async def seen(self, child: Child, sender: str) -> dict[str, Any]:
        """What the sender, a pattern, has said in its handshake, once that was seen."""
        await child.says(rf"{sender} > .*Flags \[S.*options .*\], length".encode())
        return handshake(bytes(child.out), sender)

    async def test_towards_clients(self) -> None:
        """The SYN-ACK has a listener's segment, window, scale and mark, and clients keep to them."""
        await self.hosts()
        place = await self.listen(self.server, SERVER, EchoFactory())
        listeners = {
            6001: "mss = 1000\nreceive_buffer = 4mss\ndscp = ef",
            6002: "receive_buffer = 128k",
            6003: "mss = 1200\nwindow_clamp = 2mss",
            6004: "receive_buffer = 60k\ndatapath = stock",
        }
        sections = "".join(
            f"[listener l{port}]\nbind = tcp:{port}:interface={TO_CLIENTS}\npool = p\n{options}\n"
            for port, options in listeners.items()
        )
        daemon = await self.serve(f"{sections}[pool p]\nserver a = {place}\n")
        self.assertNotIn("degraded", daemon.log)
        eavesdropper = await self.client.sees("clients", HANDSHAKES)
        for port, mss, window, scale, mark in (
            (6001, 1000, 4 * (1000 - TIMESTAMPS), 0, 46),
            (6002, 1460, 65535, 2, 0),
            (6003, 1200, 2 * 1200 // (1200 - TIMESTAMPS) * (1200 - TIMESTAMPS), 0, 0),
            (6004, 1460, 60 * 1024 // (1460 - TIMESTAMPS) * (1460 - TIMESTAMPS), 0, 0),
        ):
            peer = self.connect(TO_CLIENTS, port)
            info = parse(self.skt.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SIZE), sys.byteorder)
            self.assertEqual((info["mss"], info["snd_wscale"]), (mss - TIMESTAMPS, scale))
            seen = await self.seen(eavesdropper, rf"{re.escape(TO_CLIENTS)}\.{port}")
            self.assertEqual(seen, {"mss": mss, "window": window, "scale": scale, "mark": mark})
            # More than the window holds goes through it.
            peer.send(b"x" * 100_000)
            peer.finish()
            self.assertEqual(len(await peer.sees_end()), 100_000)

    async def test_towards_clients_on_ipv6(self) -> None:
        """The same, with the segment and the traffic class of IPv6."""
        await self.hosts()
        for at, address in (self.client, CLIENT6), (self.proxy, TO_CLIENTS6):
            await at.run("ip", "address", "add", f"{address}/64", "dev", "clients", "nodad")
        place = await self.listen(self.server, SERVER, EchoFactory())
        await self.serve(
            f"[listener l]\nbind = tcp6:6001:interface=[{TO_CLIENTS6}]\npool = p\n"
            f"receive_buffer = 4mss\ndscp = af21\n[pool p]\nserver a = {place}\n"
        )
        eavesdropper = await self.client.sees("clients", HANDSHAKES6)
        self.connect(TO_CLIENTS6, 6001).finish()
        self.assertEqual(
            await self.seen(eavesdropper, rf"{TO_CLIENTS6}\.6001"),
            {"mss": 1440, "window": 4 * (1440 - TIMESTAMPS), "scale": 0, "mark": 18},
        )

    async def test_towards_servers(self) -> None:
        """The SYN has what the pool or the server itself asks for."""
        await self.hosts()
        place = await self.listen(self.server, SERVER, EchoFactory())
        eavesdropper = await self.server.sees("servers", f"{HANDSHAKES} and src {TO_SERVERS}")
        for number, (pool, server, expected) in enumerate(
            (
                ("mss = 1000\nreceive_buffer = 4mss", "", (1000, 4000, 0, 0)),
                ("mss = 1000\ndscp = ef", "mss=536 receive_buffer=8k", (536, 8192 // 536 * 536, 0, 46)),
            )
        ):
            for datapath in "lane", "stock":
                sections = f"[listener l]\nbind = tcp:6001:interface={TO_CLIENTS}\npool = p\n"
                sections += f"datapath = {datapath}\n[pool p]\nserver a = {place} {server}\n{pool}\n"
                daemon = await self.serve(sections)
                eavesdropper.out.clear()
                peer = self.connect(TO_CLIENTS, 6001)
                peer.send(b"x" * 20_000)
                peer.finish()
                self.assertEqual(len(await peer.sees_end()), 20_000)
                seen = await self.seen(eavesdropper, rf"{re.escape(TO_SERVERS)}\.\d+")
                self.assertEqual(
                    (seen["mss"], seen["window"], seen["scale"], seen["mark"]), expected, (number, datapath)
                )
                await daemon.leaves_nothing()
                await daemon.stop()
                daemon.folder.rename(self.stage.folder / f"{datapath}{number}")


class FastOpen(Networks):
    """The first bytes with the SYN."""

    async def test_both_ways(self) -> None:
        """Who has a cookie sends its first bytes with the SYN: clients to us, and we to servers."""
        await self.hosts()
        for each in self.client, self.proxy, self.server:
            await each.run("sh", "-c", "echo 3 > /proc/sys/net/ipv4/tcp_fastopen")
        with self.server.entered():
            port: Any = self.stage.reactor.listenTCP(0, EchoFactory(), interface=SERVER)
        self.addCleanup(port.stopListening)
        port.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        clients = await self.client.sees("clients", f"{HANDSHAKES} and src {CLIENT}")
        servers = await self.server.sees("servers", f"{HANDSHAKES} and src {TO_SERVERS}")
        for datapath in "lane", "stock":
            daemon = await self.serve(
                f"[listener l]\nbind = tcp:6001:interface={TO_CLIENTS}\npool = p\nfastopen = 8\n"
                f"datapath = {datapath}\n"
                f"[pool p]\nfastopen = yes\nserver a = {SERVER}:{port.getHost().port}\n"
            )
            self.assertNotIn("degraded", daemon.log)
            for _ in range(2):
                with self.client.entered():
                    skt = socket.socket()
                skt.sendto(b"hello", MSG_FASTOPEN, (TO_CLIENTS, 6001))
                peer = SocketPeer(self.stage.reactor, skt)
                self.addCleanup(peer.close)
                await peer.receives(5)
                peer.finish()
                self.assertEqual(await peer.sees_end(), b"hello")
            for child in clients, servers:
                await child.says(rb"Flags \[S\], .* length 5")
                child.out.clear()
            await daemon.leaves_nothing()
            await daemon.stop()
            daemon.folder.rename(self.stage.folder / datapath)


class Sources(Networks):
    """Where connections to servers come from."""

    async def greeted(self, daemon: Daemon) -> bytes:
        """Whom the server takes for its client."""
        peer = self.connect(TO_CLIENTS, 6001)
        peer.finish()
        return await peer.sees_end()

    async def test_client(self) -> None:
        """With `source = client` the server sees the client's own address, and its answers find back."""
        await self.hosts()
        await self.server.run("ip", "route", "add", "default", "via", TO_SERVERS)
        await self.proxy.run("ip", "rule", "add", "iif", "servers", "lookup", "100")
        await self.proxy.run("ip", "route", "add", "local", "default", "dev", "lo", "table", "100")
        place = await self.listen(self.server, SERVER, GreeterFactory())
        for datapath in "lane", "stock":
            daemon = await self.serve(
                f"[listener l]\nbind = tcp:6001:interface={TO_CLIENTS}\npool = p\ndatapath = {datapath}\n"
                f"[pool p]\nsource = client\nserver a = {place}\n"
            )
            self.assertNotIn("degraded", daemon.log)
            self.assertEqual(await self.greeted(daemon), CLIENT.encode(), datapath)
            await daemon.leaves_nothing()
            await daemon.stop()
            daemon.folder.rename(self.stage.folder / datapath)

    async def test_address(self) -> None:
        """Servers are reached from any address of the host, and by an interface; checks go that way too."""
        await self.hosts()
        await self.proxy.run("ip", "address", "add", "10.77.2.9/24", "dev", "servers")
        greeter = GreeterFactory()
        place = await self.listen(self.server, SERVER, greeter)
        daemon = await self.serve(
            f"[listener l]\nbind = tcp:6001:interface={TO_CLIENTS}\npool = p\n"
            f"[pool p]\nsource = 10.77.2.9\ninterface = servers\nserver a = {place}\n"
            "check = script expect=10.77.2.9\n"
        )
        await self.stage.until(lambda: greeter.greeted, "a check")
        self.assertEqual(await self.greeted(daemon), b"10.77.2.9")
        self.assertEqual(set(greeter.greeted), {"10.77.2.9"})
        # The check has connected, and what it was told may still be on its way.
        while (await daemon.metrics())['proxyd_server_up{pool="p",server="a"}'] != 1:
            pass


class Degraded(DaemonCase):
    """A host that does not do all that it is asked for."""

    async def test_no_capabilities(self) -> None:
        """Each refusal is a line with what would help; the daemon starts, and serves whom it can."""
        place = self.stage.tcp()
        server = self.stage.reactor.listenTCP(place.port, EchoFactory(), interface=place.host)
        self.addCleanup(server.stopListening)
        front = self.stage.tcp()
        daemon = await self.start(
            f"[listener l]\nbind = {front.bind}\npool = p\n"
            "receive_buffer = 1024M\ncongestion_control = nope\nmss = 1000\n"
            f"[listener m]\nbind = {self.stage.tcp().bind}\npool = q\n"
            f"[pool p]\nserver a = {place}\nserver b = {place} weight=0 send_buffer=1024M\n"
            f"[pool q]\nsource = client\nserver c = {place}\nserver d = {place}\n",
            front,
            capable=False,
        )
        peer = self.stage.connect(front)
        peer.send(b"hello")
        peer.finish()
        self.assertEqual(await peer.sees_end(), b"hello")
        lines = re.findall(r"degraded: (.*)", daemon.log)
        for line, wanted in zip(
            lines,
            (
                r"\[listener l\] receive_buffer = 1073741824: the kernel gives \d+; "
                r"sysctl -w net\.core\.rmem_max=1073741824, or CAP_NET_ADMIN",
                r"\[listener l\] congestion_control = nope: this kernel does not have it; "
                r"modprobe tcp_nope, or one of these: .*reno.*",
                r"\[pool p\] server b: send_buffer = 1073741824: the kernel gives \d+; "
                r"sysctl -w net\.core\.wmem_max=1073741824, or CAP_NET_ADMIN",
                r"\[pool q\] server c, d: source = client: Operation not permitted; "
                r"CAP_NET_RAW or CAP_NET_ADMIN \(AmbientCapabilities= of systemd\); "
                r"no server is reached without it",
            ),
        ):
            self.assertRegex(line, f"^{wanted}$")
        self.assertEqual(len(lines), 4, lines)

    async def test_a_source_is_not_optional(self) -> None:
        """A server that must see the client's address sees no other one, and the record says why."""
        place = self.stage.tcp()
        server = self.stage.reactor.listenTCP(place.port, EchoFactory(), interface=place.host)
        self.addCleanup(server.stopListening)
        daemon = await self.relay(place, pool="source = client", capable=False)
        await self.stage.connect(daemon.front).sees_either()
        record = await daemon.record()
        self.assertEqual(record["reason"], "source_failed")
        self.assertIn("source = client: Operation not permitted", record["detail"])


class InTheRecord(DaemonCase):
    """What the kernel knew of a connection."""

    async def test_tcp_info(self) -> None:
        """With `tcp_info = yes` the access log has it of both sides, however the connection ended."""
        place = self.stage.tcp()
        server = self.stage.reactor.listenTCP(place.port, EchoFactory(), interface=place.host)
        self.addCleanup(server.stopListening)
        for datapath in "lane", "stock":
            daemon = await self.relay(place, listener=f"tcp_info = yes\nmss = 1000\ndatapath = {datapath}")
            peer = self.stage.connect(daemon.front)
            peer.send(b"hello")
            peer.finish()
            await peer.sees_end()
            peer = self.stage.connect(daemon.front)
            peer.send(b"hello")
            await peer.receives(5)
            peer.reset()
            for record in await daemon.records(2):
                client, server_side = record["client_tcp"], record["server_tcp"]
                self.assertGreater(server_side["mss"], 1000)
                if datapath == "stock" and record["reason"] == "client_reset":
                    self.assertIs(client, None)  # Twisted has closed the socket before it tells anybody
                    continue
                self.assertIn(client["mss"], (1000, 988), record)
                self.assertGreater(client["rtt"], 0)
                self.assertEqual(client["retransmits"], 0)
            await daemon.leaves_nothing()
            await daemon.stop()
            daemon.folder.rename(self.stage.folder / datapath)

    async def test_none(self) -> None:
        """Of a unix socket there is nothing to know, nor of a server that was not reached."""
        daemon = await self.relay(self.stage.tcp(), front=self.stage.unix("front"), listener="tcp_info = yes")
        await self.stage.connect(daemon.front).sees_either()
        record = await daemon.record()
        self.assertEqual((record["client_tcp"], record["server_tcp"]), (None, None))
