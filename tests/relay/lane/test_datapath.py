"""What the rest of the relay sees of the lane."""

from __future__ import annotations

import socket

from zope.interface.verify import verifyObject

from proxyd.config.address import Address, TcpAddress, UnixAddress
from proxyd.interfaces import IDatapath
from proxyd.relay.lane.datapath import Lane, can_run_on, target_of
from tests.support.case import Case
from tests.support.lane import StillReactor


class LaneTests(Case):
    """The lane as a datapath; what it does with connections is in tests/contracts/test_lane.py."""

    def test_it_is_a_datapath(self) -> None:
        """Whatever takes one takes this one."""
        lane = Lane(StillReactor())
        self.addCleanup(lane.close)
        verifyObject(IDatapath, lane)

    def test_a_reactor_that_watches_no_descriptors(self) -> None:
        """The lane needs a reactor that can watch its epoll."""
        self.assertFalse(can_run_on(StillReactor()))

    def test_where_a_server_is(self) -> None:
        """Numbers need no look-up; a name is left as it is."""
        name = TcpAddress("localhost", 80)
        cases: list[tuple[Address, tuple[int, object]]] = [
            (UnixAddress("/run/s"), (socket.AF_UNIX, "/run/s")),
            (TcpAddress("10.0.0.1", 80), (socket.AF_INET, ("10.0.0.1", 80))),
            (TcpAddress("::1", 80), (socket.AF_INET6, ("::1", 80))),
            (name, (socket.AF_UNSPEC, name)),
        ]
        for address, expected in cases:
            self.assertEqual(target_of(address), expected)
