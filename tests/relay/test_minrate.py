"""Is a session ended whose client or server is too slow, and no other?"""

from __future__ import annotations

from typing import Any

from proxyd.config.bandwidth import Allowance, BandwidthSpec
from proxyd.config.minrate import MinRateSpec
from proxyd.errors import Reason
from tests.relay.test_session import SessionCase
from tests.support.streams import FakePeer

SPEC = MinRateSpec(500, 10.0)


class MinRateTests(SessionCase):
    """A session that is judged; looks come every 2.5 seconds."""

    def join(self, **listener: Any) -> tuple[FakePeer, FakePeer]:
        client = self.serve([1], min_rate=SPEC, **listener)
        return client, self.datapath.peers[-1]

    def seconds(self, count: int, *peers: FakePeer) -> None:
        """Let time pass, in each second of which these peers send a byte."""
        for _ in range(count):
            for peer in peers:
                if not peer.closed:
                    peer.send(b"x")
            self.pass_time(1)

    def ended(self, reason: Reason, detail: str, before: float) -> None:
        record = self.the_record()
        self.assertEqual((record.reason, record.detail), (reason, detail))
        self.assertLessEqual(record.total_seconds, before)

    def test_slow_read(self) -> None:
        """A client that asks for much, and takes none of it, is cut, whatever the server sends meanwhile."""
        client, server = self.join()
        client.send(b"GET /large")
        client.stop_reading()
        server.send(b"x" * 500_000)
        self.seconds(16)
        self.ended(Reason.CLIENT_TOO_SLOW, "0/s, and min_rate = 500/s after 10s", 15.5)

    def test_slow_server(self) -> None:
        """A server that takes nothing of an upload is to blame, and not the client that cannot go on."""
        client, server = self.join()
        server.stop_reading()
        client.send(b"x" * 500_000)
        self.seconds(16)
        self.ended(Reason.SERVER_TOO_SLOW, "0/s, and min_rate = 500/s after 10s", 15.5)

    def test_slow_request(self) -> None:
        """A client that sends a byte a second of a request that never ends is cut."""
        client, _ = self.join()
        self.seconds(20, client)
        self.ended(Reason.CLIENT_TOO_SLOW, "1/s, and min_rate = 500/s after 10s", 15.5)

    def test_dialogue(self) -> None:
        """A client that sends a byte a second, and gets one, is not slow."""
        client, server = self.join()
        self.seconds(120, client, server)
        self.finish(client, server)

    def test_idle(self) -> None:
        """One that says nothing, or waits for a server that thinks, is left to idle_timeout."""
        client, _ = self.join(idle_timeout=300.0)
        client.send(b"a question")
        self.seconds(290)
        self.assertEqual(len(self.notebook.records), 0)
        self.seconds(60)
        self.ended(Reason.IDLE_TIMEOUT, "nothing moved for 300.2 s", 350)

    def test_held_back_by_us(self) -> None:
        """A client that is slow because it may not be faster is not to blame."""
        slow = BandwidthSpec(inward=Allowance(400, 20_000))
        client, server = self.join(bandwidth=slow)
        client.send(b"x" * 60_000)
        self.seconds(110)
        self.assertEqual(server.count, 60_000)
        self.finish(client, server)

    def test_old_and_judged(self) -> None:
        """It ends by its age at the right time, however often it is looked at."""
        self.join(max_lifetime=33.0)
        self.seconds(32)
        self.assertEqual(len(self.notebook.records), 0)
        self.seconds(2)
        self.ended(Reason.LIFETIME, "", 34)

    def finish(self, *peers: FakePeer) -> None:
        for peer in peers:
            peer.finish()
        self.network.flush()
        self.assertEqual(self.the_record().reason, Reason.CLIENT_FINISHED)
