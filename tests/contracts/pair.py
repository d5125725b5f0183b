"""
What does a test of a joined client and server stand on?

`PairCase` has a client peer, a server peer, and what joins them.  Another datapath overrides how two
streams are connected and joined, how much it holds in user space, and where it counts.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred

from proxyd.errors import Reason
from proxyd.relay.deadlines import Wheel
from proxyd.relay.pair import Pair, Side
from proxyd.relay.streams import CHUNK, buffered
from tests.contracts.worlds import PLENTY, World
from tests.support.case import AsyncCase
from tests.support.peer import Peer

TICK = 0.01
SHORT = 0.16  # seconds: a limit that a test waits for
LONG = 300.0  # one that must not run out
BOUND = 64 * 1024  # bytes in user space in each direction
MANY_MOMENTS = 400
A_FEW = 10


class RecordedPair(Pair):
    """A pair that remembers how it ended."""

    def __init__(self, wheel: Wheel, idle_timeout: float, half_closed_timeout: float) -> None:
        super().__init__(wheel, idle_timeout, half_closed_timeout)
        self.endings: list[tuple[Reason, str]] = []
        self._over: Optional[Deferred[None]] = None

    def ended(self, reason: Reason, detail: str) -> None:
        self.endings.append((reason, detail))
        if self._over is not None:
            self._over.callback(None)

    def is_over(self) -> Deferred[None]:
        """Wait for the end."""
        over = self._over = Deferred()
        if self.endings:
            over.callback(None)
        return over


class PairCase(AsyncCase):
    """A test with a client, a server, and what joins them."""

    make_world: Callable[[Any], World]
    pair: RecordedPair
    client: Peer
    server: Peer

    def setUp(self) -> None:
        self.world = self.make_world(real_reactor)
        self.wheel = Wheel(self.world.clock, TICK)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close()))

    async def close(self) -> None:
        """Leave nothing to the next test, even if this one has failed."""
        await self.world.close()
        for call in list(self.world.clock.getDelayedCalls()):
            if call.func == self.wheel._turn:
                call.cancel()

    # What another datapath does differently

    async def connect(self, idle: float = LONG, half_closed: float = LONG, keep: bool = True) -> None:
        """Connect a client and a server, and join nothing yet."""
        self.pair = RecordedPair(self.wheel, idle, half_closed)
        self.client = await self.connect_side(self.pair.client, keep)
        self.server = await self.connect_side(self.pair.server, keep)

    async def connect_side(self, side: Side, keep: bool) -> Peer:
        peer = await self.world.connect(side, keep)
        side.transport.bufferSize = CHUNK
        return peer

    def held(self, side: Side) -> int:
        """How many bytes wait in user space to be sent to this side."""
        return buffered(side.transport)

    def counts(self) -> tuple[int, int]:
        """The bytes that have come from the client and from the server, as the record has them."""
        return self.pair.client.received, self.pair.server.received

    # The words of the tests

    async def join(self, idle: float = LONG, half_closed: float = LONG, keep: bool = True) -> None:
        await self.connect(idle, half_closed, keep)
        self.pair.join()

    def sides(self, who: str) -> tuple[Peer, Peer, Side]:
        """The one it is about, the other one, and the proxy's side towards the other."""
        if who == "client":
            return self.client, self.server, self.pair.server
        return self.server, self.client, self.pair.client

    async def fill(self, near: Peer, far: Peer, side: Side) -> bytes:
        """Send until the far end, which does not read, makes the proxy hold a little; return it all."""
        far.stop_reading()
        sent = bytearray()
        piece = 0
        while not self.held(side):
            self.assertLess(len(sent), PLENTY)
            data = bytes([piece % 251]) * 8192
            piece += 1
            near.send(data)
            sent += data
            await self.world.turns()
        self.assertEqual(near.queued, 0)
        return bytes(sent)

    async def stall(self, near: Peer, far: Peer) -> None:
        """Send far more than fits while the far end does not read, until next to nothing moves any more."""
        far.stop_reading()
        near.send(bytes(PLENTY))
        await self.world.turns()
        queued = -1
        while queued != near.queued:
            queued = near.queued
            await self.world.turns()
        self.assertGreater(queued, 0)

    async def over(self, *reasons: Reason, detail: str = "") -> None:
        """The pair ends, for one of these reasons, once; both are let go; nothing is left behind."""
        await self.world.until(self.pair.is_over())
        self.assertIn(self.pair.endings[0][0], reasons)
        self.assertIn(detail, self.pair.endings[0][1])
        for peer in (self.client, self.server):
            peer.read_again()
            if not peer.closed:
                await peer.sees_either()
            peer.close()
        for _ in range(MANY_MOMENTS):
            if not self.world.left():
                break
            await self.world.moment()
        self.assertEqual(self.world.left(), [])
        self.assertEqual(len(self.wheel), 0)
        self.assertEqual(len(self.pair.endings), 1)
