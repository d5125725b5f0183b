"""Do the limits, the rules and the queue of a real daemon hold for clients from real addresses?"""

from __future__ import annotations

from proxyd.wire import proxyprotocol
from proxyd.wire.proxyprotocol import End
from tests.functional.test_bans import BanCase
from tests.functional.test_lists import PING, PONG
from tests.support.hello import openssl
from tests.support.peer import SocketPeer
from tests.support.services import redis

ONE, OTHER = "127.0.0.2", "127.0.0.3"


def told(client: str) -> bytes:
    """The header of a balancer that tells of this client."""
    return proxyprotocol.v1(End(client, 4000), End("127.0.0.1", 80))


class Gatekeeper(BanCase):
    async def guard(self, listener: str, sections: str = "", pool: str = "", front: str = "") -> None:
        """A daemon whose listener has these lines, before Redis."""
        place = self.stage.tcp()
        server = await redis(self.stage)
        text = (
            f"[listener front]\nbind = {front or place.bind}\npool = servers\n{listener}\n"
            f"[pool servers]\nserver a = {server.place}\n{pool}\n{sections}\n"
        )
        self.daemon = await self.start(text, place, proxyd="admin = unix:admin.sock")

    async def stays(self, source: str = "", first: bytes = b"") -> SocketPeer:
        """A client that has been answered, and stays."""
        peer = self.come(source, first)
        await peer.receives(len(PONG))
        return peer

    async def leaves(self, peer: SocketPeer) -> None:
        peer.finish()
        await peer.sees_end()

    def refused(self, metrics: dict[str, float]) -> dict[str, float]:
        """How many were refused, for each reason that there was."""
        start, end = 'proxyd_refused_total{listener="front",reason="', '"}'
        return {
            name[len(start) : -len(end)]: count
            for name, count in metrics.items()
            if name.startswith(start) and count
        }

    async def were_refused(self, **reasons: int) -> None:
        """So many were refused for each reason, by the metrics and by the access log."""
        self.assertEqual(self.refused(await self.daemon.metrics()), reasons)
        for reason, count in reasons.items():
            await self.stage.until(
                lambda: self.daemon.access_log.read_text().count(f'"{reason}"') == count,  # noqa: B023
                f"{count} records of {reason}",
            )


class PerClient(Gatekeeper):
    async def test_connections(self) -> None:
        """A client has as many as it may, of either family; others come in all the same."""
        place, place6 = self.stage.tcp(), self.stage.tcp6()
        await self.guard("max_connections_per_client = 2", front=f"{place.bind}\n  {place6.bind}")
        for front, source in ((place, ONE), (place6, "")):
            self.daemon.front = front
            first, _ = await self.stays(source), await self.stays(source)
            await self.closed(source=source)
            await self.leaves(first)
            await self.stays(source)
        self.daemon.front = place
        await self.stays(OTHER)
        await self.were_refused(client_full=2)
        self.assertEqual(self.daemon.log.count("client_full: max_connections_per_client = 2"), 1)

    async def test_networks(self) -> None:
        """Addresses of one network are one client, if the listener says so."""
        await self.guard("max_connections_per_client = 1\nclient_prefix4 = 24")
        await self.stays(ONE)
        await self.closed(source=OTHER)
        await self.stays("127.0.1.2")
        await self.were_refused(client_full=1)

    async def test_rate(self) -> None:
        """A client comes as often as it may, and others as before."""
        await self.guard("connection_rate_per_client = 3/1h")
        for _ in range(3):
            await self.answered(source=ONE)
        await self.closed(source=ONE)
        await self.answered(source=OTHER)
        await self.were_refused(client_rate=1)
        self.assertIn("client_rate: connection_rate_per_client = 3/3600s", self.daemon.log)

    async def test_behind_a_balancer(self) -> None:
        """The client that a balancer tells of is limited, and the balancer itself is not."""
        await self.guard(
            "proxy_protocol = 127.0.0.0/8\nmax_connections_per_client = 1\nconnection_rate_per_client = 5/1h"
        )
        for client in ("192.0.2.1", "192.0.2.2", "2001:db8:1::1", "2001:db8:2::1"):
            await self.stays(first=told(client))
        await self.closed(first=told("192.0.2.1"))
        await self.closed(first=told("2001:db8:1::ffff"))  # the same /64
        await self.were_refused(client_full=2)


class Rules(Gatekeeper):
    async def test_ban(self) -> None:
        """Who comes too often is banned, which is listed with the rule, and others are served."""
        await self.guard("track = clients", "[counters clients]\nrule flood = ban 1h when connections > 3")
        for _ in range(4):
            await self.answered(source=ONE)
        for _ in range(2):
            await self.closed(source=ONE)
        await self.answered(source=OTHER)
        await self.were_refused(banned=2)
        said = await self.does("bans", "list")
        self.assertRegex(said, rf"\n{ONE} .* counters clients, rule flood: ban 3600s when connections > 3\n")
        self.assertNotIn(OTHER, said)

        said = await self.does("show", "tables")
        self.assertRegex(said, r"\ncounters/clients  counters  +2  100000\n")
        said = await self.does("show", "table", "counters/clients")
        self.assertRegex(said, rf"\n{OTHER} +0 +1 +0 +0 +{len(PING)} +{len(PONG)} ")
        self.assertRegex(said, rf"\n{ONE} +0 +4 ")
        self.assertEqual(
            await self.does("clear", "table", "counters/clients", ONE),
            f"counters/clients has forgotten {ONE}\n",
        )
        await self.does("bans", "remove", ONE)
        await self.answered(source=ONE)


class AllTogether(Gatekeeper):
    async def test_handshakes(self) -> None:
        """Silent TLS clients fill max_handshakes; who does speak is served as soon as one of them is gone."""
        await self.guard("tls = passthrough\nmax_handshakes = 3\nopening_timeout = 1m")
        silent = [self.stage.connect(self.daemon.front) for _ in range(3)]
        while await self.daemon.open_connections() < 3:
            pass
        await self.closed(first=openssl("a.example"))
        silent[0].close()
        await self.daemon.records(2)
        peer = self.stage.connect(self.daemon.front)
        peer.send(openssl("a.example"))
        await self.leaves(peer)
        served = [one for one in await self.daemon.records(3) if one["reason"] == "client_finished"]
        self.assertEqual([one["server"] for one in served], ["a"])
        await self.were_refused(handshakes=1, client_gone=1)
        self.assertIn("handshakes: max_handshakes = 3", self.daemon.log)

    async def test_lifetime(self) -> None:
        """A connection ends when its time is over, however lively it is."""
        await self.guard("max_lifetime = 2s")
        peer = await self.stays()
        await peer.sees_either()
        self.assertEqual((await self.daemon.record())["reason"], "lifetime")

    async def test_listener(self) -> None:
        """A listener that is full, or has had as many as its rate allows, refuses whoever comes."""
        await self.guard("max_connections = 2\nconnection_rate = 3/1h")
        first, second = await self.stays(ONE), await self.stays(OTHER)
        await self.closed(source="127.0.0.4")
        await self.leaves(first)
        await self.leaves(second)
        await self.daemon.records(3)
        await self.answered()
        await self.closed()
        await self.were_refused(listener_full=1, listener_rate=1)
        for setting in ("listener_full: max_connections = 2", "listener_rate: connection_rate = 3/3600s"):
            self.assertEqual(self.daemon.log.count(setting), 1)

    async def test_queue(self) -> None:
        """Beyond a pool's max_connections clients wait, then are served in turn; the rest are refused."""
        await self.guard("", pool="max_connections = 1\nqueue = length=2 wait=1m")
        served = await self.stays(ONE)
        waiting: list[SocketPeer] = []
        for number in range(2):
            waiting.append(self.come(f"127.0.0.{10 + number}"))
            await self.waiting(number + 1)
        await self.closed(source=OTHER)
        self.assertRegex(await self.does("show", "pools"), r"\nservers +\S+ +\S+ +1 +2/2 ")
        for peer in waiting:
            self.assertEqual(peer.count, 0)
            await self.leaves(served)
            await peer.receives(len(PONG))
            served = peer
        await self.were_refused(queue_full=1)
        self.assertIn("queue_full: [pool ", self.daemon.log)
        self.assertIn("queue length=", self.daemon.log)

    async def waiting(self, count: int) -> None:
        """Wait until so many wait."""
        while (await self.daemon.metrics())['proxyd_queue_waiting{pool="servers"}'] != count:
            pass
