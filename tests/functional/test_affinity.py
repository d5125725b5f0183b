"""Do real clients come back to the servers that they had, also when these die and the daemon restarts?"""

from __future__ import annotations

import re

from tests.support.daemon import Daemon, DaemonCase, twistd
from tests.support.echo import EchoFactory
from tests.support.peer import SocketPeer
from tests.support.services import redis, s_server
from tests.support.stage import Place, program
from tests.wire.test_rdp import request

PING, PONG = b"PING\r\n", b"+PONG\r\n"

SOURCES = [f"127.0.0.{number}" for number in range(2, 10)]


class ComeBack(DaemonCase):
    """Clients of a pool with affinity."""

    async def asks(self, daemon: Daemon, source: str, says: bytes, answer: bytes) -> None:
        """A client from an address asks, and gets its answer."""
        peer = SocketPeer(self.stage.reactor, daemon.front.socket(source))
        self.stage.add_cleanup(peer.close)
        peer.send(says)
        self.assertEqual(await peer.receives(len(answer)), answer)
        peer.close()

    async def served(self, daemon: Daemon, count: int) -> list[str]:
        """Who has served so many clients, one after another."""
        return [record["server"] for record in await daemon.records(count)]

    async def each_in_turn(self, daemon: Daemon, came: int) -> tuple[dict[str, str], int]:
        """A client from each address, so many having come: who serves it, and how many have come by now."""
        for source in SOURCES:
            await self.asks(daemon, source, PING, PONG)
            came += 1
            await daemon.records(came)
        return dict(zip(SOURCES, (await self.served(daemon, came))[-len(SOURCES) :])), came

    async def again(self, daemon: Daemon) -> Daemon:
        """Stop the daemon, and start it with the same configuration."""
        await daemon.stop()
        child = twistd(self.stage, "-n", "--pidfile=", "tcpproxy", "--config", daemon.folder / "proxy.ini")
        await child.says(rb"8 clients are remembered as before")
        await child.says(rb"proxyd [^:]+: \d+ listener")
        return self._tended(Daemon(self.stage, daemon.folder, child, daemon.front))

    async def test_addresses(self) -> None:
        """Each address keeps its server; one that dies is replaced without an error; a restart knows all."""
        backs = [await redis(self.stage) for _ in range(3)]
        state = self.stage.folder / "state"
        state.mkdir()
        daemon = await self.relay(
            *(back.place for back in backs),
            proxyd=f"state = {state}",
            pool="balance = roundrobin\naffinity = source ttl=1h",
        )
        first, came = await self.each_in_turn(daemon, 0)
        self.assertEqual("".join(first.values()), "abcabcab")
        again, came = await self.each_in_turn(daemon, came)
        self.assertEqual(again, first)
        backs[1].child.signal("KILL")
        await backs[1].child.ends()
        moved, came = await self.each_in_turn(daemon, came)
        for source, server in first.items():
            self.assertIn(moved[source], "ac" if server == "b" else server)
        again, came = await self.each_in_turn(daemon, came)
        self.assertEqual(again, moved)
        metrics = await daemon.metrics()
        for name, count in (("misses_total", 8), ("moved_total", 3), ("entries", 8)):
            self.assertEqual(metrics[f'proxyd_affinity_{name}{{pool="servers"}}'], count)
        daemon = await self.again(daemon)
        again, came = await self.each_in_turn(daemon, came)
        self.assertEqual(again, moved)
        records = await daemon.records(came)
        self.assertEqual({record["reason"] for record in records}, {"client_finished"})

    async def test_stay(self) -> None:
        """When a server is back, its clients stay where they went meanwhile."""
        _, moved, now = await self.down_and_up("")
        self.assertEqual(now, moved)

    async def test_failback(self) -> None:
        """With affinity_failback they come back to it, and nobody else moves."""
        first, _, now = await self.down_and_up("affinity_failback = yes")
        self.assertEqual(now, first)

    async def down_and_up(self, option: str) -> list[dict[str, str]]:
        """Who serves each client: before a server is killed, when that is known, and when it is back."""
        backs = [await redis(self.stage) for _ in range(3)]
        daemon = await self.relay(
            *(back.place for back in backs),
            pool="balance = roundrobin\naffinity = source ttl=1h\nslow_start = 0s\n"
            f"check = redis interval=2s timeout=1900ms slow=200ms fall=1 rise=1\n{option}",
        )
        for name in "abc":
            await daemon.child.says(rf"server {name} \S+ is up".encode())
        first, came = await self.each_in_turn(daemon, 0)
        self.assertIn("b", first.values())
        backs[1].child.signal("KILL")
        await daemon.child.says(rb"server b \S+ is down")
        moved, came = await self.each_in_turn(daemon, came)
        self.assertNotIn("b", moved.values())
        await redis(self.stage, backs[1].place)
        await daemon.child.says(rb"server b \S+ is up: check passed \(1 check\)")
        now, came = await self.each_in_turn(daemon, came)
        records = await daemon.records(came)
        self.assertEqual({(one["reason"], one["retries"]) for one in records}, {("client_finished", 0)})
        return [first, moved, now]

    async def test_tls_sessions(self) -> None:
        """OpenSSL's client resumes its session each time it reconnects: it gets the server that has it."""
        options = ("-tls1_2", "-no_ticket")
        backs = [
            (await s_server(self.stage, f"{name}.example", name, *options)).place for name in ("one", "other")
        ]
        daemon = await self.relay(
            *backs, listener="tls = passthrough", pool="balance = roundrobin\naffinity = tls_session"
        )
        servers = []
        for times in (1, 2):
            out = await self.stage.check(
                program("openssl", "openssl"),
                "s_client",
                "-connect",
                str(daemon.front),
                "-reconnect",
                *options,
            )
            self.assertEqual(len(re.findall(rb"^Reused, TLSv1.2", out, re.MULTILINE)), 5, out)
            servers.append({*(await self.served(daemon, 6 * times))[-6:]})
        self.assertEqual(servers, [{"a"}, {"b"}])
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_affinity_hits_total{pool="servers"}'], 10)

    async def test_rdp(self) -> None:
        """Users come back by the cookie that their clients send, and a broker's token leads to its server."""
        places = [self.stage.tcp() for _ in range(3)]
        for place in places:
            port = self.stage.reactor.listenTCP(place.port, EchoFactory(), interface=place.host)
            self.addCleanup(port.stopListening)
        daemon = await self.relay(*places, pool="balance = roundrobin\naffinity = rdp_cookie")
        users = (b"al", b"bo", b"cy", b"al", b"cy")
        said = [request(b"Cookie: mstshash=%s\r\n" % user) for user in users]
        said += [request(b"Cookie: msts=%s\r\n" % token(place)) for place in (places[2], places[0])]
        for number, says in enumerate(said, 1):
            await self.asks(daemon, "", says, says)
            await daemon.records(number)
        self.assertEqual("".join(await self.served(daemon, len(said))), "abcac" + "ca")


def token(place: Place) -> bytes:
    """The routing token of a session broker for a server."""
    address = int.from_bytes(bytes(map(int, place.host.split("."))), "little")
    return b"%d.%d.0000" % (address, int.from_bytes(place.port.to_bytes(2, "big"), "little"))
