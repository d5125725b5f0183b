"""An open connection is seen as it is, from the moment its client has come."""

from __future__ import annotations

from proxyd.relay.connections import open_connections
from proxyd.snapshots import ConnectionSnapshot
from tests.relay.test_session import SessionCase


class OpenConnections(SessionCase):
    """Sessions on the verified fake; what the kernel knows is looked at in tests/functional/test_admin.py."""

    def seen(self, listener: str = "", tcp: bool = False) -> list[ConnectionSnapshot]:
        return list(open_connections([self.factory], listener, tcp))

    def test_joined(self) -> None:
        """It tells where it leads, and what has come from both sides."""
        client = self.serve([1])
        client.send(b"hello")
        self.network.flush()
        self.datapath.peers[0].send(b"hi")
        self.network.flush()
        started = self.clock.seconds()
        snapshot = ConnectionSnapshot(
            "front", "10.9.9.9:4711", "web", "s0", "10.0.0.1:1", started, 5, 2, None, None, "balance"
        )
        self.assertEqual(self.seen(), [snapshot])
        self.assertEqual(self.seen("front", tcp=True), [snapshot])  # of a fake the kernel knows nothing
        self.assertEqual(self.seen("other"), [])

    def test_dialing(self) -> None:
        """While a server is being reached, that one is told; when all is over, nothing is."""
        client = self.serve([3])
        [seen] = self.seen(tcp=True)
        self.assertEqual((seen.server, seen.server_address, seen.bytes_out), ("s0", "10.0.0.1:3", 0))
        client.reset()
        self.network.flush()
        self.assertEqual(self.seen(), [])
