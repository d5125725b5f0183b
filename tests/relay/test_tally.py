"""Are clients counted in and out, refused at their bounds, and banned by the rules of tables?"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Optional, Sequence

from twisted.internet.address import IPv4Address

from proxyd.config.address import TcpAddress
from proxyd.config.counters import CountersSpec, RuleSpec
from proxyd.config.limits import RateSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.tls import PASSTHROUGH
from proxyd.errors import Reason
from proxyd.policy.balance import RoundRobin
from proxyd.policy.bans import Bans
from proxyd.policy.counters import Counters
from proxyd.policy.limits import Limits
from proxyd.policy.pool import Pool
from proxyd.records import Record
from proxyd.relay.factory import ProxyFactory
from proxyd.relay.tally import Complaints, Tally
from proxyd.wire import proxyprotocol
from tests.relay.test_admission import Socket, peer_of
from tests.relay.test_opening import BEHIND, FRONT, TRUSTED
from tests.relay.test_session import SessionCase
from tests.support.admission import admission
from tests.support.hello import hello
from tests.support.streams import FakePeer


class TallyCase(SessionCase):
    """A listener that counts; its server answers everybody."""

    def listen(self, tables: Sequence[Counters] = (), **options: Any) -> None:
        self.bans = Bans(10)
        pool = Pool(PoolSpec("web", (ServerSpec("a", TcpAddress("10.0.0.1", 1)),)), RoundRobin(lambda: 0.0))
        self.pool = pool
        spec = ListenerSpec("front", (), "web", **options)
        self.tally = Tally("front", Limits(spec), tables, self.bans, self.clock.seconds, self.wall)
        self.factory = ProxyFactory(
            spec,
            {"web": pool},
            self.datapath,
            self.wheel,
            self.clock.seconds,
            self.wall,
            self.capacity,
            [self.notebook],
            admission(bans=self.bans),
            self.tally,
        )

    def come(self, host: str = "10.9.9.9") -> Optional[FakePeer]:
        """A client, or None if it is sent away."""
        address = IPv4Address("TCP", host, 4711)
        if self.factory.sends_away(Socket(), peer_of(address)):
            return None
        peer = self.network.connect(self.factory.buildProtocol(address))
        self.network.flush()
        return peer

    def let_in(self, host: str = "10.9.9.9") -> FakePeer:
        peer = self.come(host)
        assert peer is not None
        return peer

    def end(self, *clients: FakePeer) -> None:
        for client in clients:
            client.finish()
        self.network.flush()
        for server in self.datapath.peers:
            server.finish()
        self.network.flush()

    def last(self) -> tuple[str, str]:
        record = self.notebook.records[-1]
        return record.reason.code, record.detail


class LimitTests(TallyCase):
    def test_per_client(self) -> None:
        """A client at its bound is sent away, another is not, and counts end at zero."""
        self.listen(max_connections_per_client=2)
        mine = [self.let_in(), self.let_in()]
        self.assertIsNone(self.come())
        self.assertEqual(self.last(), ("client_full", "max_connections_per_client = 2"))
        other = self.let_in("10.9.9.8")
        self.end(mine.pop())
        mine.append(self.let_in())
        self.end(other, *mine)
        self.assertEqual((self.tally.limits.open, self.tally.limits.clients), (0, {}))

    def test_listener(self) -> None:
        """So is whoever comes when the listener is full."""
        self.listen(max_connections=1)
        client = self.let_in()
        self.assertIsNone(self.come("10.9.9.8"))
        self.assertEqual(self.last(), ("listener_full", "max_connections = 1"))
        self.end(client)
        self.end(self.let_in())
        self.assertEqual(self.tally.limits.open, 0)

    def test_rates(self) -> None:
        """And whoever comes too fast."""
        self.listen(connection_rate_per_client=RateSpec(1, 10.0))
        client = self.let_in()
        self.assertIsNone(self.come())
        self.assertEqual(self.last()[0], "client_rate")
        self.pass_time(10.0)
        self.end(client, self.let_in())

    def test_rates_and_a_clock_that_is_set(self) -> None:
        """Nobody has to wait longer for that, and nobody may come sooner."""
        for by in (-3600.0, 3600.0):
            self.listen(connection_rate_per_client=RateSpec(1, 10.0))
            client = self.let_in()
            self.wall.set(by)
            self.pass_time(9.0)
            self.assertIsNone(self.come())
            self.pass_time(1.0)
            self.end(client, self.let_in())

    def test_a_refused_client_takes_nothing(self) -> None:
        """Who is refused for what it does uses up nothing of what all share."""
        self.listen(max_connections_per_client=1, connection_rate=RateSpec(2, 10.0))
        client = self.let_in()
        for _ in range(5):
            self.assertIsNone(self.come())
        self.end(client, self.let_in("10.9.9.8"))

    def test_handshakes(self) -> None:
        """Clients who have not said what must be known of them are few at a time."""
        self.listen(max_handshakes=1, tls=PASSTHROUGH)
        first = self.let_in()
        self.assertIsNone(self.come())
        self.assertEqual(self.last(), ("handshakes", "max_handshakes = 1"))
        first.send(hello("a.example"))
        self.network.flush()
        second = self.let_in()
        self.pass_time(6.0)
        self.assertEqual(self.last()[0], "opening_timeout")
        self.end(first, second)
        self.assertEqual(self.tally.limits.handshakes, 0)

    def test_behind_a_balancer(self) -> None:
        """The client that a PROXY header tells of is limited, not the balancer."""
        self.listen(max_connections_per_client=1, proxy_protocol=TRUSTED)
        header = proxyprotocol.v2(BEHIND, FRONT)
        first = self.let_in()
        first.send(header)
        self.network.flush()
        second = self.let_in()
        second.send(header)
        self.network.flush()
        self.assertEqual(self.last()[0], "client_full")
        self.assertEqual(self.notebook.records[-1].client, "192.0.2.7:5555")
        self.end(first)
        self.assertEqual((self.tally.limits.open, self.tally.limits.clients), (0, {}))

    def test_behind_a_balancer_in_the_midst_of_openings(self) -> None:
        """A balancer's client is at its bound also while it has not said what must be known of it."""
        self.listen(max_connections_per_client=1, proxy_protocol=TRUSTED, tls=PASSTHROUGH)
        header = proxyprotocol.v2(BEHIND, FRONT)
        first = self.let_in()
        first.send(header)
        self.network.flush()
        self.let_in().send(header)
        self.network.flush()
        self.assertEqual(self.last()[0], "client_full")
        first.send(hello("a.example"))
        self.network.flush()
        self.end(first)
        self.assertEqual((self.tally.limits.open, self.tally.limits.clients), (0, {}))

    def test_lifetime(self) -> None:
        """A connection is closed when it has lasted long enough, however busy it is."""
        self.listen(max_lifetime=20.0)
        client = self.let_in()
        for _ in range(19):
            client.send(b"x")
            self.pass_time(1.0)
        self.assertEqual(self.notebook.records, [])
        self.pass_time(2.0)
        self.assertEqual(self.last()[0], "lifetime")
        self.assertLess(self.notebook.records[0].total_seconds, 21.0)
        self.assertEqual(len(self.wheel), 0)

    def test_lifetime_of_a_silent_one(self) -> None:
        """A silent one ends then, too, and one that ends before leaves no deadline."""
        self.listen(max_lifetime=20.0, idle_timeout=600.0)
        self.let_in()
        self.end(self.let_in())
        self.pass_time(21.0)
        self.assertEqual(
            [record.reason.code for record in self.notebook.records], ["client_finished", "lifetime"]
        )


class CountersTests(TallyCase):
    def table(self, *rules: RuleSpec, **options: Any) -> Counters:
        return Counters(CountersSpec("clients", rules=rules, **options))

    def test_ban(self) -> None:
        """A client that comes too often is banned for its time, and its network is."""
        flood = RuleSpec("flood", "ban", "connection_rate", 2, 10.0, 60.0)
        self.listen([self.table(flood, prefix4=24)])
        self.end(*[self.let_in(f"10.9.9.{n}") for n in range(3)])
        [ban] = self.bans
        self.assertEqual((ban.network, ban.until), (ip_network("10.9.9.0/24"), self.wall.now() + 60.0))
        self.assertEqual(ban.reason, "counters clients, rule flood: ban 60s when connection_rate > 2/10s")
        self.assertIsNone(self.come("10.9.9.77"))
        self.assertEqual(self.last()[0], "banned")
        self.pass_time(60.0)
        self.end(self.let_in("10.9.9.77"))

    def test_errors(self) -> None:
        """What a client does wrong is known when it ends, and may ban it, too."""
        for rule, records in (
            (RuleSpec("rude", "ban", "protocol_errors", 1, 0.0, 60.0), 2),
            (RuleSpec("bad", "ban", "errors", 1, 60.0, 60.0), 2),
        ):
            self.listen([self.table(rule)], tls=PASSTHROUGH)
            for number in range(records):
                self.assertEqual(len(self.bans), 0, number)
                client = self.let_in()
                client.send(b"GET / HTTP/1.1\r\n\r\n")
                self.network.flush()
            self.assertEqual(len(self.bans), 1, rule)
            self.pass_time(2.0)

    def test_errors_behind_a_balancer(self) -> None:
        """They are the client's that the balancer tells of, also if nothing else comes than its header."""
        rude = RuleSpec("rude", "ban", "protocol_errors", 1, 0.0, 60.0)
        self.listen([self.table(rude)], tls=PASSTHROUGH, proxy_protocol=TRUSTED)
        for rest in (b"GET / HTTP/1.1\r\n\r\n", b""):
            self.assertEqual(len(self.bans), 0)
            self.let_in().send(proxyprotocol.v2(BEHIND, FRONT) + rest)
            self.network.flush()
        self.pass_time(6.0)
        self.assertEqual(self.last()[0], "opening_timeout")
        self.assertEqual([ban.network for ban in self.bans], [ip_network("192.0.2.7")])
        self.assertEqual(self.tally.limits.clients, {})

    def test_broken_tls(self) -> None:
        """A handshake that fails by what the client sends counts; its distrust of us does not."""
        rude = RuleSpec("rude", "ban", "protocol_errors", 1, 0.0, 60.0)
        self.listen([self.table(rude)])
        for detail, bans in (("TLS: unknown ca (alert from the client)", 0), ("TLS: http request", 1)):
            for _ in range(2):
                counted = self.tally.begin()
                self.tally.known(counted, bytes([10, 9, 9, 9]))
                record = Record(0.0, "front", "10.9.9.9:1", Reason.TLS_HANDSHAKE, 0.1, detail=detail)
                self.tally.end(counted, record)
            self.assertEqual(len(self.bans), bans, detail)

    def test_names(self) -> None:
        """A name that is asked for too often is refused, whoever asks."""
        busy = RuleSpec("busy", "deny", "open", 1)
        self.listen([self.table(busy, key="sni")], tls=PASSTHROUGH)
        clients = [self.let_in(f"10.9.9.{n}") for n in range(3)]
        for client in clients:
            client.send(hello("a.example"))
            self.network.flush()
        self.assertEqual(self.last(), ("rule_denied", "counters clients, rule busy: deny when open > 1"))
        self.assertEqual(len(self.datapath.dialed), 2)
        self.end(*clients[:2])

    def test_deny(self) -> None:
        """A rule that denies sends away at accept."""
        table = self.table(RuleSpec("many", "deny", "open", 1))
        self.listen([table])
        clients = [self.let_in(), self.let_in()]
        self.assertIsNone(self.come())
        self.assertEqual(self.last()[0], "rule_denied")
        self.end(*clients)
        self.assertEqual([row.open for row in table.rows(0.0, 9)], [0])
        self.end(self.let_in())


class ComplaintTests(SessionCase):
    def test_said_once_a_minute(self) -> None:
        """The first refusal names the setting, the others are only counted until a minute has passed."""
        said: list[str] = []
        complaints = Complaints("front", self.clock.seconds)
        self.patch(Complaints, "say", lambda complaints, text: said.append(text))
        for _ in range(5):
            complaints.about(Reason.CLIENT_FULL, "max_connections_per_client = 2")
        complaints.about(Reason.DENIED, "deny all")
        self.clock.advance(60.0)
        complaints.about(Reason.CLIENT_FULL, "max_connections_per_client = 2")
        first = "clients are refused, client_full: max_connections_per_client = 2"
        self.assertEqual(said, [first, f"{first} (and 4 since this was last said)"])
