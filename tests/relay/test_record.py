"""Is all of a session in its record?"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address

from proxyd.config.address import TcpAddress
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.errors import Reason
from proxyd.policy.balance import RoundRobin
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from proxyd.relay.connections import open_connections
from proxyd.relay.opening import Opening
from proxyd.relay.record import record_of
from tests.relay.test_session import SessionCase


class RecordTests(SessionCase):
    def test_opening(self) -> None:
        """What its opening has told is in it, and what the kernel knew, if that is wanted."""
        client = self.serve([1], tcp_info=True)
        [session] = self.factory.sessions
        record = record_of(session, Reason.DRAINED, "")
        self.assertEqual((record.client, record.via, record.sni, record.route), ("10.9.9.9:4711", "", "", ""))
        self.assertEqual((record.server, record.server_address), ("s0", "10.0.0.1:1"))
        opening = session.opening = Opening(IPv4Address("TCP", "10.7.7.7", 7))
        opening.via, opening.sni, opening.route = session.address, "web.example", "web"
        session.tcp = ({"rtt": 0.5}, None)
        record = record_of(session, Reason.DRAINED, "because")
        self.assertEqual((record.client, record.via), ("10.7.7.7:7", "10.9.9.9:4711"))
        self.assertEqual((record.sni, record.route), ("web.example", "web"))
        self.assertEqual((record.client_tcp, record.server_tcp), ({"rtt": 0.5}, None))
        self.assertEqual((record.reason, record.detail), (Reason.DRAINED, "because"))
        client.reset()
        self.network.flush()

    def test_chosen(self) -> None:
        """By what the client got its server is in it, and seen while it is there; it is that of then."""
        cases: list[tuple[dict[str, Any], str, str, str]] = [
            ({}, "", "a", "balance"),
            ({}, "a", "b", "backup"),
            ({"panic_threshold": 60}, "a", "a", "panic"),
        ]
        for options, down, server, expected in cases:
            names = "ac" if options else "ab"
            specs = [ServerSpec(name, TcpAddress("10.0.0.1", 1), backup=name == "b") for name in names]
            self.front(self.pool_of(specs, options))
            a = self.pool.servers[0]
            if down:
                self.pool.turned(a, State.DOWN, "", 0.0)
            client = self.connect()
            [seen] = open_connections([self.factory], "", False)
            if down:
                self.pool.turned(a, State.UP, "", 0.0)
            client.reset()
            self.network.flush()
            record = self.notebook.records.pop()
            self.assertEqual((record.server, record.chosen, seen.chosen), (server, expected, expected))

    def test_last_resort(self) -> None:
        """One that is ejected serves while there is no other, and it is said that it was no good choice."""
        self.front(self.pool_of([ServerSpec("a", TcpAddress("10.0.0.1", 1))], {}))
        self.pool.eject(self.pool.servers[0], 9.0, "", 0.0)
        self.connect().reset()
        self.assertEqual(self.the_record().chosen, "last_resort")

    def test_nobody(self) -> None:
        """Who got no server was not chosen one; of servers tried in vain it is the last that is told."""
        for ports, expected in ([2, 2], "retry"), ([2], "balance"):
            self.serve(ports)
            self.network.flush()
            self.assertEqual(self.notebook.records.pop().chosen, expected)
        self.front(self.pool_of([ServerSpec("a", TcpAddress("10.0.0.1", 1), weight=0)], {}))
        self.connect()
        self.assertEqual(self.the_record().chosen, "")

    def pool_of(self, servers: list[ServerSpec], options: dict[str, Any]) -> Pool:
        return Pool(PoolSpec("web", tuple(servers), **options), RoundRobin(lambda: 0.0))
