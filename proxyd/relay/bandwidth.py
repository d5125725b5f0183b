"""
How is a connection kept from moving more bytes than it may?

A side that has sent more than its allowance is not read from for a while, as if its peer were full: the
window of TCP closes, and the sender waits.  Who waits for an allowance stands in a line, and is let on when
the allowance is no longer overdrawn, with one read paid in advance: so the connections of a client that
share one take turns, and overdraw it by one read and not by one each.  All lines of a listener are on one
wheel with short ticks.

Only sessions of listeners with ``bandwidth`` or ``bandwidth_per_client`` have sides with meters.  They are
told of every chunk, so the pair does not pump.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Callable, Optional

from twisted.internet.interfaces import IHandshakeListener, IReactorTime
from twisted.python.failure import Failure
from zope.interface import classImplements

from proxyd.config.bandwidth import BURST_SECONDS, Allowance, BandwidthSpec
from proxyd.config.listener import ListenerSpec
from proxyd.policy.bandwidth import Bucket, Clients
from proxyd.policy.limits import prefix_of
from proxyd.relay.affinity import LearningClient
from proxyd.relay.deadlines import Wheel
from proxyd.relay.firstbyte import TimedServer
from proxyd.relay.pair import Pair, Side
from proxyd.relay.streams import CHUNK

TICK_SECONDS = 0.02  # a fifth of the burst that there is at least, so a tick late costs nothing of the rate

LEAST_READ = 1024  # bytes; slow connections are read from in small steps, and not in bursts with long pauses


class Line:
    """Those who wait until one bucket is no longer overdrawn, in the order in which they came."""

    __slots__ = ("bucket", "due", "waiting", "wheel")

    def __init__(self, bucket: Bucket, wheel: Wheel) -> None:
        self.bucket = bucket
        self.wheel = wheel
        self.due = 0
        self.waiting: OrderedDict[Meter, None] = OrderedDict()

    def join(self, meter: Meter) -> None:
        """Wait at the end."""
        self.waiting[meter] = None
        if not self.due:
            self.wheel.arm(self, self.bucket.wait(self.wheel.clock.seconds()))

    def leave(self, meter: Meter) -> None:
        """Wait no more."""
        self.waiting.pop(meter, None)
        if not self.waiting:
            self.wheel.disarm(self)

    def overdue(self) -> None:
        """Let on as many as the bucket has something for, and then one."""
        now = self.wheel.clock.seconds()
        while self.waiting and not self.bucket.wait(now):
            meter, _ = self.waiting.popitem(last=False)
            meter.go_on(now)
        if self.waiting:
            self.wheel.arm(self, self.bucket.wait(now))


class Meter:
    """What one side of a connection has sent, against the allowances that hold for it."""

    __slots__ = ("_clock", "_credit", "_end", "_held", "_lines", "_read", "_side", "_was_held")

    def __init__(
        self, side: Side, lines: tuple[Line, ...], clock: IReactorTime, end: Optional[Callable[[], None]]
    ) -> None:
        """``lines`` are one or two; ``end`` is called when the side is lost."""
        self._side = side
        self._lines = lines
        self._clock = clock
        self._end = end
        self._read = CHUNK
        self._credit = 0  # taken from all lines in advance
        self._held: Optional[Line] = None  # where it waits
        self._was_held = False  # since that was last asked

    @property
    def held(self) -> bool:
        """Whether the side must not be read from."""
        return self._held is not None

    def read_at_most(self, count: int) -> None:
        """Have no read bring more than so many bytes."""
        self._read = count
        self._side.transport.bufferSize = count

    def begin(self) -> None:
        """Do not even begin to read while an allowance is overdrawn by what was sent before."""
        now = self._clock.seconds()
        if self._held is None and self._must_wait(now):
            self._was_held = True
            self._side.transport.pauseProducing()

    def passed(self, count: int) -> None:
        """The side has sent so many bytes."""
        spent = min(self._credit, count)
        self._credit -= spent
        now = self._clock.seconds()
        for line in self._lines:
            line.bucket.take(count - spent, now)
        if not self._credit and self._held is None and self._must_wait(now):
            self._was_held = True
            if self._side.connected:
                self._side.transport.pauseProducing()

    def go_on(self, now: float) -> None:
        """It has had its turn in a line: read again, unless it has to wait in the other one, too."""
        if self._must_wait(now):
            return
        for line in self._lines:
            line.bucket.take(self._read, now)
        self._credit = self._read
        if self._side.readable():
            self._side.transport.resumeProducing()

    def was_held(self) -> bool:
        """Whether it had to wait since this was last asked."""
        was, self._was_held = self._was_held, self._held is not None
        return was

    def end(self) -> None:
        """The side is lost."""
        held, self._held = self._held, None
        if held is not None:
            held.leave(self)
        for line in self._lines:
            line.bucket.give_back(self._credit)
        self._credit = 0
        end, self._end = self._end, None
        if end is not None:
            end()

    def _must_wait(self, now: float) -> bool:
        self._held = None
        for line in self._lines:
            if line.bucket.wait(now) > 0:
                self._held = line
                line.join(self)
                return True
        return False


# The two say the same of two kinds of sides: compiled classes have one base each.


class PacedServer(TimedServer):
    """The side that faces the client, and is not read from faster than it may send."""

    __slots__ = ("meter",)

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.meter: Optional[Meter] = None  # until the two sides are joined

    def dataReceived(self, data: bytes) -> None:
        joined = self.meter is not None  # what it says before is counted when it is
        super().dataReceived(data)
        if joined and self.meter is not None:
            self.meter.passed(len(data))

    def resumeProducing(self) -> None:
        if self.meter is not None and self.meter.held:
            self.paused = False
        else:
            super().resumeProducing()

    def held_back(self) -> bool:
        return self.paused or (self.meter is not None and self.meter.was_held())

    def connectionLost(self, reason: Failure) -> None:
        meter, self.meter = self.meter, None
        if meter is not None:
            meter.end()
        super().connectionLost(reason)


class PacedTLSServer(PacedServer):
    """The same where TLS may end here (`proxyd.relay.pair.TLSProxyServer`)."""

    __slots__ = ()

    def handshakeCompleted(self) -> None:
        self.pair.client_shook_hands()


classImplements(PacedTLSServer, IHandshakeListener)


class PacedClient(LearningClient):
    """The side that faces the server, and is not read from faster than the client may be sent."""

    __slots__ = ("meter",)

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.meter: Optional[Meter] = None

    def dataReceived(self, data: bytes) -> None:
        joined = self.meter is not None  # what it says before is counted when it is
        super().dataReceived(data)
        if joined and self.meter is not None:
            self.meter.passed(len(data))

    def resumeProducing(self) -> None:
        if self.meter is not None and self.meter.held:
            self.paused = False
        else:
            super().resumeProducing()

    def connectionLost(self, reason: Failure) -> None:
        meter, self.meter = self.meter, None
        if meter is not None:
            meter.end()
        super().connectionLost(reason)


class Shared:
    """The lines that all connections of a client share, one for each direction that has a bound."""

    __slots__ = ("inward", "outward")

    def __init__(self, inward: Optional[Line], outward: Optional[Line]) -> None:
        self.inward = inward
        self.outward = outward

    def settled(self, now: float) -> bool:
        """Whether nothing of what the client has moved counts against it any more."""
        return all(line is None or line.bucket.full(now) for line in (self.inward, self.outward))


class Paced:
    """What holds for one connection."""

    __slots__ = ("_clock", "_end", "_inward", "_outward", "_read_in", "_read_out")

    def __init__(
        self,
        inward: tuple[Line, ...],
        outward: tuple[Line, ...],
        read_in: int,
        read_out: int,
        clock: IReactorTime,
        end: Optional[Callable[[], None]],
    ) -> None:
        self._inward = inward
        self._outward = outward
        self._read_in = read_in
        self._read_out = read_out
        self._clock = clock
        self._end = end

    def of_client(self, side: Side) -> Optional[Meter]:
        """The meter of the side that faces the client; to be had once."""
        if not self._inward and self._end is None:
            return None
        meter = Meter(side, self._inward, self._clock, self._end)
        meter.read_at_most(self._read_in)
        if side.held:
            meter.passed(len(side.held))  # what it has said before
        return meter

    def of_server(self, side: Side) -> Optional[Meter]:
        """The meter of a side that faces a server."""
        if not self._outward:
            return None
        meter = Meter(side, self._outward, self._clock, None)
        meter.read_at_most(self._read_out)
        return meter


class Pacing:
    """The allowances of one listener's connections and clients."""

    def __init__(self, spec: ListenerSpec, clock: IReactorTime) -> None:
        self._own = spec.bandwidth or BandwidthSpec()
        self._shared = spec.bandwidth_per_client or BandwidthSpec()
        self._spec = spec
        self._clock = clock
        self.wheel = Wheel(clock, TICK_SECONDS)
        self.clients: Clients[Shared] = Clients(self._share, Shared.settled)

    def pace(self, client: Side, server: Side, address: bytes) -> None:
        """From now on let the sides of a connection, which are paced ones, send no more than they may."""
        assert isinstance(client, PacedServer) and isinstance(server, PacedClient)
        paced = self.begin(address)
        client.meter = paced.of_client(client)
        server.meter = paced.of_server(server)

    def begin(self, address: bytes) -> Paced:
        """What holds for a connection of this client that begins now."""
        now = self._clock.seconds()
        end: Optional[Callable[[], None]] = None
        shared = Shared(None, None)
        if self._spec.bandwidth_per_client is not None:
            key = prefix_of(address, self._spec.client_prefix4, self._spec.client_prefix6)
            shared = self.clients.enter(key, now)
            end = partial(self._leave, key)
        own, common = self._own, self._shared
        return Paced(
            _some(self._line(own.inward, now), shared.inward),
            _some(self._line(own.outward, now), shared.outward),
            _read_for(own.inward, common.inward),
            _read_for(own.outward, common.outward),
            self._clock,
            end,
        )

    def _leave(self, key: bytes) -> None:
        self.clients.leave(key, self._clock.seconds())

    def _share(self, now: float) -> Shared:
        return Shared(self._line(self._shared.inward, now), self._line(self._shared.outward, now))

    def _line(self, allowance: Optional[Allowance], now: float) -> Optional[Line]:
        return Line(Bucket(allowance, now), self.wheel) if allowance is not None else None


def _some(*lines: Optional[Line]) -> tuple[Line, ...]:
    return tuple(line for line in lines if line is not None)


def _read_for(*allowances: Optional[Allowance]) -> int:
    """How many bytes one read may bring where these allowances hold."""
    rates = [allowance.rate for allowance in allowances if allowance is not None]
    return min(CHUNK, max(LEAST_READ, int(min(rates) * BURST_SECONDS))) if rates else CHUNK
