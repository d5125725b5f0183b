"""How a server is reached: which are tried, how often, and what is told of those that could not be."""

from __future__ import annotations

from proxyd.errors import Reason
from proxyd.policy.state import State
from tests.relay.test_session import Door, SessionCase


class ReachingTests(SessionCase):
    """One server after another."""

    def test_a_refused_connection_is_tried_on_another_server(self) -> None:
        """The client does not notice that a server was down."""
        client = self.serve([2, 1])
        client.send(b"hello")
        self.network.flush()
        self.assertEqual(self.datapath.dialed, [2, 1])
        self.assertEqual(self.datapath.peers[0].received, b"hello")
        self.datapath.peers[0].finish()
        client.finish()
        record = self.the_record()
        self.assertEqual((record.server, record.retries), ("s1", 1))

    def test_when_all_refuse_the_client_is_closed_at_once(self) -> None:
        """Every server is tried once, and the last word is the record's."""
        client = self.serve([2, 2, 2])
        record = self.the_record()
        self.assertEqual(self.datapath.dialed, [2, 2, 2])
        self.assertEqual((record.reason, record.retries), (Reason.CONNECT_REFUSED, 2))
        self.assertEqual(record.detail, "connection refused")
        self.assertIsNone(record.connect_seconds)
        self.successResultOf(client.sees_either())

    def test_retries_are_bounded(self) -> None:
        """``retries = 1`` means one more server, however many there are."""
        self.serve([2, 2, 2, 2], retries=1)
        self.assertEqual(self.the_record().retries, 1)
        self.assertEqual(len(self.datapath.dialed), 2)

    def test_no_server_is_up(self) -> None:
        """Without a server that is up nothing is dialed, and the record says so."""
        client = self.serve([1])
        client.reset()
        self.network.flush()
        self.notebook.records.clear()
        self.pool.turned(self.pool.servers[0], State.DOWN, "test", 0.0)
        self.connect()
        record = self.the_record()
        self.assertEqual((record.reason, record.server), (Reason.NO_SERVER, ""))

    def test_a_silent_server_is_given_up_after_connect_timeout(self) -> None:
        """A black hole costs one connect_timeout; then the next server is tried."""
        client = self.serve([3, 1])
        client.send(b"early")
        self.pass_time(4.75)
        self.assertEqual(self.datapath.dialed, [3])
        self.pass_time(1)
        self.assertEqual((self.datapath.dialed, self.datapath.cancelled), ([3, 1], 1))
        self.assertEqual(self.datapath.peers[0].received, b"early")
        self.datapath.peers[0].finish()
        self.network.flush()
        client.finish()
        self.assertEqual(self.the_record().retries, 1)

    def test_only_silent_servers(self) -> None:
        """When none answers in time, the reason is connect_timeout, with the time that was waited."""
        self.serve([3], retries=0)
        self.pass_time(6)
        record = self.the_record()
        self.assertEqual(record.reason, Reason.CONNECT_TIMEOUT)
        self.assertEqual(record.detail, "no answer within 5 s")

    def test_no_descriptor_for_a_dial(self) -> None:
        """That we ran out is no fault of the server's: no other is tried, and the fault is ours."""
        self.serve([5, 1])
        self.clock.advance(0)
        record = self.the_record()
        self.assertEqual((record.reason, self.datapath.dialed), (Reason.DESCRIPTORS, [5]))

    def test_no_descriptor_for_a_dial_closes_the_doors(self) -> None:
        """The next client would fare no better: it waits in the backlog until there is room."""
        door = Door()
        self.capacity.add(door)
        self.serve([5])
        self.clock.advance(0)
        self.assertEqual(door.moved, ["closed", "open"])
        self.assertEqual(self.the_record().reason, Reason.DESCRIPTORS)

    def test_the_slot_is_free_when_the_server_has_closed(self) -> None:
        """A client that lingers does not count against the server any more."""
        client = self.serve([1], half_closed_timeout=1000.0)
        client.stop_reading()
        server = self.datapath.peers[0]
        server.send(b"x" * 140_000)
        self.network.flush()
        server.reset()
        self.network.flush()
        self.assertEqual(self.pool.servers[0].open, 0)
        self.assertEqual(len(self.factory.sessions), 1)
        client.reset()
        self.assertEqual(self.the_record().reason, Reason.SERVER_RESET)
