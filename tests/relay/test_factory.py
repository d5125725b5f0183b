"""What does the factory of a listener's sessions say of those whom it turns away?"""

from __future__ import annotations

from twisted.internet.address import IPv6Address

from proxyd.errors import Reason
from tests.relay.test_session import SessionCase


class FactoryTests(SessionCase):
    def test_shed(self) -> None:
        """A client for whom there was no descriptor has a record, and no session."""
        client = self.serve([1])
        self.factory.shed(IPv6Address("TCP", "2001:db8::1", 99))
        [record] = self.notebook.records
        self.assertEqual((record.reason, record.client), (Reason.DESCRIPTORS, "[2001:db8::1]:99"))
        self.assertEqual((record.listener, record.total_seconds, self.capacity.open), ("front", 0.0, 1))
        client.finish()
        self.network.flush()
