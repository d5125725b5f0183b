"""Is all of a session in its record?"""

from __future__ import annotations

from twisted.internet.address import IPv4Address

from proxyd.errors import Reason
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
