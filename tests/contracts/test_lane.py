"""The lane keeps every promise that Twisted's own transports keep."""

from __future__ import annotations

import socket
from typing import Any, Optional

from proxyd.relay.lane.datapath import Lane
from proxyd.relay.lane.pipes import Pipes
from tests.contracts.pair import PairCase
from tests.contracts.stream import StreamCase
from tests.contracts.test_pair import PairContract, PairLimitContract, PairResetContract, SidesContract
from tests.contracts.test_stream import PlainContract, ResetContract, StreamContract
from tests.contracts.worlds import KERNEL_BUFFER, SocketWorld, World
from tests.support.lane import send_urgent
from tests.support.peer import SocketPeer, socket_pair


class LaneWorld(SocketWorld):
    """Connections of the lane, over TCP on IPv4."""

    kernel_buffer = KERNEL_BUFFER
    reads_ahead = False  # a pump holds only what it has already received when the kernel takes no more

    def __init__(self, reactor: Any, pipes: Optional[Pipes] = None) -> None:
        super().__init__(reactor)
        self.lane = Lane(reactor, pipes)

    async def make_transport(self, factory: Any) -> socket.socket:
        ours, theirs = socket_pair(self.family, self.kernel_buffer)
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


class MixedWorld(LaneWorld):
    """Connections of the lane and of Twisted's transports by turns, which cannot pump."""

    lane_is_next = True

    async def make_transport(self, factory: Any) -> socket.socket:
        lane, self.lane_is_next = self.lane_is_next, not self.lane_is_next
        if lane:
            return await super().make_transport(factory)
        return await SocketWorld.make_transport(self, factory)


class LaneStreamTests(StreamContract, PlainContract, ResetContract, StreamCase):
    make_world = LaneWorld


class Lane6StreamTests(StreamContract, PlainContract, ResetContract, StreamCase):
    make_world = Lane6World


class LaneUnixStreamTests(StreamContract, PlainContract, StreamCase):
    make_world = LaneUnixWorld


class LanePairTests(PairContract, PairLimitContract, PairResetContract, SidesContract, PairCase):
    make_world = LaneWorld


class Lane6PairTests(PairContract, PairResetContract, SidesContract, PairCase):
    make_world = Lane6World


class LaneUrgentTests(PairCase):
    """Reading stops at an urgent byte, which must not look as if there were nothing behind it."""

    make_world = LaneWorld

    async def test_urgent_bytes(self) -> None:
        """What telnet or FTP send behind an urgent byte is passed on at once."""
        await self.join()
        client = self.client
        assert isinstance(client, SocketPeer)
        for number in range(1, 10):
            self.pair.client.transport.pauseProducing()
            client.send(b"one ")
            await client.sent()
            send_urgent(client.fileno(), b"two!")
            client.send(b" three ")
            await client.sent()
            await self.world.turns()
            self.pair.client.transport.resumeProducing()
            self.assertEqual(await self.server.receives(number * 14), b"one two three " * number)

    async def test_urgent_bytes_before_joining(self) -> None:
        """Nor does one hide anything from a protocol."""
        await self.connect()
        client = self.client
        assert isinstance(client, SocketPeer)
        send_urgent(client.fileno(), b"one !")
        client.send(b"two")
        await client.sent()
        await self.world.turns()
        self.assertEqual(self.pair.client.received, 7)


class LaneUnixPairTests(PairContract, PairLimitContract, SidesContract, PairCase):
    make_world = LaneUnixWorld


class LaneClientPairTests(PairContract, PairResetContract, SidesContract, PairCase):
    """The client's side is on the lane, the server's is not."""

    make_world = MixedWorld


class LaneServerPairTests(PairContract, PairResetContract, SidesContract, PairCase):
    """The server's side is on the lane, the client's is not."""

    def make_world(self, reactor: Any) -> World:
        world = MixedWorld(reactor)
        world.lane_is_next = False
        return world
