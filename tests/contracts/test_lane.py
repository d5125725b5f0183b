"""The lane keeps every promise that Twisted's own transports keep."""

from __future__ import annotations

import socket
from typing import Any

from proxyd.relay.lane.datapath import Lane
from tests.contracts.pair import PairCase
from tests.contracts.stream import StreamCase
from tests.contracts.test_pair import PairContract, PairResetContract, SidesContract
from tests.contracts.test_stream import ResetContract, StreamContract
from tests.contracts.worlds import KERNEL_BUFFER, SocketWorld
from tests.support.peer import socket_pair


class LaneWorld(SocketWorld):
    """Connections of the lane, over TCP on IPv4."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.lane = Lane(reactor)

    async def make_transport(self, factory: Any) -> socket.socket:
        ours, theirs = socket_pair(self.family, KERNEL_BUFFER)
        ours.setblocking(False)
        self.lane.accept(ours, ours.getpeername(), factory)
        return theirs

    async def close(self) -> None:
        await super().close()
        self.lane.close()


class Lane6World(LaneWorld):
    family = socket.AF_INET6


class LaneUnixWorld(LaneWorld):
    family = socket.AF_UNIX
    resets = False


class LaneStreamTests(StreamContract, ResetContract, StreamCase):
    make_world = LaneWorld


class Lane6StreamTests(StreamContract, ResetContract, StreamCase):
    make_world = Lane6World


class LaneUnixStreamTests(StreamContract, StreamCase):
    make_world = LaneUnixWorld


class LanePairTests(PairContract, PairResetContract, SidesContract, PairCase):
    make_world = LaneWorld


class Lane6PairTests(PairContract, PairResetContract, SidesContract, PairCase):
    make_world = Lane6World


class LaneUnixPairTests(PairContract, SidesContract, PairCase):
    make_world = LaneUnixWorld
