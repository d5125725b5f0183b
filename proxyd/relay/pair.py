"""
How are bytes copied between a client and a server, no faster than the slower of the two takes them?

Each side is the producer of the other side's transport.  When one side's send buffer fills, its
transport pauses the reading of the other; when it has drained, it resumes it.  So a connection holds at
most 64 KiB in user space in each direction, whatever its peers do.

What this file guards against:

- One side ends while the other has paused it.  A transport that is told to close waits for its
  registered producer, which is gone, so it would wait for ever (Twisted #6461).  We unregister first.
- A side closes its writing half and goes on listening for the answer.  The half-close is passed on, and
  the connection ends when both sides have said all they have to say.
- A side is reset.  The reset is passed on, but not before the other side has acknowledged what came
  before it, because a reset destroys what is still under way.
- A side falls silent.  `Pair.overdue` looks at plain counters a few times in each time limit, so that a
  chunk costs no timer.  Progress is any byte received and any byte that the peer took from us: a slow
  reader that still drains the last megabyte is not silent.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocol,
    IPushProducer,
)
from twisted.python.failure import Failure
from zope.interface import classImplements

from proxyd.config.tcp import KEEPALIVE
from proxyd.errors import Reason
from proxyd.native import mypyc_attr
from proxyd.policy.minrate import MinRate
from proxyd.relay.deadlines import Wheel
from proxyd.relay.streams import CHUNK, buffered, can_half_close, pump, unsent

LOOKS = 8  # looks in one time limit

PARTING_SECONDS = 1.0  # for streams that were cut to close in order: TLS waits for the peer's close_notify

QUIET_LOOKS = 2  # a process that was held up must not end connections in which bytes move

HELD = CHUNK  # bytes held before there is anywhere to send them; one chunk more may arrive


class Side:
    """One end of a relayed connection: what arrives here leaves at its peer."""

    __slots__ = ("connected", "finished", "held", "pair", "paused", "peer", "received", "transport")

    def __init__(self, pair: Any) -> None:
        self.pair = pair  # until it is over
        self.peer: Optional[Side] = None  # set when the two sides are joined
        self.transport: Any = None
        self.received = 0
        self.held = b""
        self.paused = False  # by the peer's transport, which is full
        self.finished = False  # its FIN has arrived
        self.connected = False  # it has a transport that has not been lost

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.connected = True
        self.connectionMade()

    def connectionMade(self) -> None:
        """The transport is connected."""

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        peer = self.peer
        if peer is not None:
            peer.transport.write(data)
            return
        if self.pair.parting:
            return  # a stream that closes in order may bring more meanwhile
        self.held += data
        if len(self.held) >= HELD:
            self.transport.pauseProducing()
        self.pair.side_spoke(self)

    def readConnectionLost(self) -> None:
        self.finished = True
        self.pair.side_finished(self)

    def writeConnectionLost(self) -> None:
        """Everything we were asked to send has left; the other direction goes on."""

    def connectionLost(self, reason: Failure) -> None:
        self.connected = False
        # An abort is always our own doing, so it is as orderly as a close: neither is the peer's reset.
        if isinstance(reason.value, (ConnectionDone, ConnectionAborted)):
            self.pair.side_lost(self, True)
        else:
            self.pair.side_lost(self, False, " ".join(map(str, getattr(reason.value, "args", ()))))

    def pauseProducing(self) -> None:
        self.paused = True
        if self.connected:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        # A side that has finished must not be resumed: it would read its end a second time.
        if self.connected and not self.finished:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The peer's transport is lost; `Pair.side_lost` has what follows."""

    def readable(self) -> bool:
        """Whether what it sends can be taken now."""
        peer = self.peer
        return not (self.paused or self.finished) and peer is not None and peer.connected

    def held_back(self) -> bool:
        """Whether it could not send, for a reason of ours or its peer's, since this was last asked."""
        return self.paused


classImplements(Side, IProtocol, IHalfCloseableProtocol, IPushProducer)


class ProxyServer(Side):
    """The side that faces the client."""

    __slots__ = ()

    def connectionMade(self) -> None:
        self.pair.client_connected()


class TLSProxyServer(ProxyServer):
    """
    The same where TLS may end here, and the handshake is waited for.

    It is a class of its own because an endpoint forgets that a protocol can half-close when it is told of
    handshakes too: Twisted's `_WrappingProtocol` passes on one interface alone.
    """

    __slots__ = ()

    def handshakeCompleted(self) -> None:
        self.pair.client_shook_hands()


classImplements(TLSProxyServer, IHandshakeListener)


class ProxyClient(Side):
    """The side that faces the server."""

    __slots__ = ()

    def handshakeCompleted(self) -> None:
        """TLS stands that has begun when the server was reached already."""
        self.pair.server_shook_hands()


classImplements(ProxyClient, IHandshakeListener)


@mypyc_attr(allow_interpreted_subclasses=True)  # the tests have some
class Pair:
    """
    Two sides that feed each other, and the rules by which they end.

    ``idle_timeout`` and ``half_closed_timeout`` are seconds.  After the first FIN the second replaces
    the first, and every byte starts it anew.  A subclass is told by `ended` how it went.
    """

    __slots__ = (
        "client",
        "detail",
        "due",
        "ends_at",
        "first",
        "half_closed_timeout",
        "idle_timeout",
        "looks",
        "min_rate",
        "moved",
        "over",
        "parting",
        "reason",
        "resetting",
        "seen",
        "server",
        "wheel",
    )

    def __init__(self, wheel: Wheel, idle_timeout: float, half_closed_timeout: float) -> None:
        self.wheel = wheel
        self.idle_timeout = idle_timeout
        self.half_closed_timeout = half_closed_timeout
        self.client, self.server = self.sides()
        self.due = 0
        self.ends_at = 0.0  # when it has lasted for as long as it may; 0 if there is no such bound
        self.reason: Optional[Reason] = None
        self.detail = ""
        self.first: Optional[Side] = None  # the side that finished first
        self.resetting: Optional[Side] = None  # the side that a reset is being passed on to
        self.seen: Optional[tuple[int, int, int]] = None  # what the last look has found
        self.moved = 0.0  # when a look last found something new
        self.looks = 0  # looks since, that found nothing
        self.min_rate: Optional[MinRate] = None  # what it is judged by, if it is
        self.parting = False  # it was cut
        self.over = False

    def sides(self) -> tuple[ProxyServer, ProxyClient]:
        """What is to face the client and the server, each made for this pair."""
        return ProxyServer(self), ProxyClient(self)

    def client_connected(self) -> None:
        """The client's transport is connected."""

    def client_shook_hands(self) -> None:
        """The client's TLS, which ends here, stands."""

    def server_shook_hands(self) -> None:
        """The server's TLS stands, if it has begun late."""

    def ended(self, reason: Reason, detail: str) -> None:
        """Both transports are gone; called once."""

    def join(self) -> None:
        """Make the two sides feed each other; both must be connected."""
        client, server = self.client, self.server
        client.peer, server.peer = server, client
        client.transport.registerProducer(server, True)
        server.transport.registerProducer(client, True)
        self.start_pumping()
        self._arm()
        for side in (client, server):
            self._release(side)

    def start_pumping(self) -> None:
        """From now on let the two streams move bytes by themselves, if they can."""
        pump(self.client.transport, self.server.transport)

    def _release(self, side: Side) -> None:
        """Pass on what the side has said so far, and let it go on."""
        held, side.held = side.held, b""
        if held and side.peer is not None:
            side.peer.transport.write(held)
        if side.finished:
            self.side_finished(side)
        elif not side.paused:
            side.resumeProducing()

    def side_spoke(self, side: Side) -> None:
        """A side has said something before there was anywhere to send it."""

    def side_finished(self, side: Side) -> None:
        """A side has sent its FIN."""
        peer = side.peer
        if peer is None:
            if self.parting:
                side.transport.loseConnection()
            return  # not joined yet: the half-close is held, and passed on by join
        if self.first is None:
            self.first = side
        if not peer.connected:
            return
        peer.transport.unregisterProducer()
        if not peer.finished and can_half_close(peer.transport):
            peer.transport.loseWriteConnection()
            self._arm()
            return
        if not peer.finished and can_half_close(side.transport):
            # Twisted's TLS cannot end one half alone; closed, it says so, and takes what is still to come.
            peer.transport.loseConnection()
            self._arm()
            return
        # Closing a transport whose write side is shut calls connectionLost before it returns.
        for transport in (side.transport, peer.transport):
            transport.loseConnection()

    def side_lost(self, side: Side, orderly: bool, detail: str = "") -> None:
        """A side's transport is closed; orderly means not by a reset or an error, which the detail names."""
        peer = side.peer
        over = not orderly and peer is not None and peer.finished and side.finished
        if over and not buffered(side.transport):
            # Both have said all and we are closing: epoll may call that a hang-up, Twisted a lost connection.
            orderly = True
        if self.reason is None:
            if orderly:
                self.first = self.first or side
            else:
                self.reason = Reason.CLIENT_RESET if side is self.client else Reason.SERVER_RESET
                self.detail = ", ".join(filter(None, (detail, "after its own end" if side.finished else "")))
        if peer is None:
            self._end_if_over()
            return
        if peer.connected:
            peer.transport.unregisterProducer()
            if orderly:
                peer.transport.loseConnection()
            elif self.resetting is None:
                peer.transport.pauseProducing()  # what it still says has nowhere to go
                self.resetting = peer
                self.seen = None
                self._pass_reset_on()
        self._end_if_over()

    def cut(self, reason: Reason, detail: str = "") -> None:
        """End the connection now, for a reason of ours: in order if nothing is unsent, else by reset."""
        if self.reason is None:
            self.reason = reason
            self.detail = detail
        self.resetting = None
        for side in (self.client, self.server):
            if side.connected:
                side.transport.unregisterProducer()
        for side in (self.client, self.server):
            if side.connected:
                # Left to linger, a peer that never reads would hold its buffers for minutes more.
                if unsent(side.transport):
                    side.transport.abortConnection()
                else:
                    side.transport.loseConnection()
        if not self.over:
            self.parting = True
            self.wheel.arm(self, PARTING_SECONDS)

    def part(self, words: bytes) -> None:
        """
        Say a last word to a client that gets no server, and close when it has closed its side, or soon.

        Closed at once, with bytes of the client's unread, the socket would be reset, and the word be lost.
        """
        client = self.client
        self.parting = True
        client.held = b""
        self.wheel.arm(self, PARTING_SECONDS)
        client.transport.write(words)
        if client.finished or not can_half_close(client.transport):
            client.transport.loseConnection()
        else:
            client.transport.loseWriteConnection()
            client.transport.resumeProducing()

    def overdue(self) -> None:
        """Look whether anything has moved since the last look, and end the connection if it is silent."""
        if self.parting:
            for side in (self.client, self.server):
                if side.connected:
                    side.transport.abortConnection()
            return
        if self.resetting is not None:
            self._pass_reset_on()
            return
        if self.seen is None and self.server.connected:
            # Not when it is dialed: most connections end sooner, and this is four system calls.
            self.server_lasted()
        if 0 < self.ends_at <= self.wheel.clock.seconds():
            self.cut(Reason.LIFETIME)
            return
        silent = self._silent_for()
        limit = self._limit()
        if silent >= limit and self.looks >= QUIET_LOOKS:
            early = silent < limit / self.wheel.patience
            self.cut(Reason.SHED if early else self._who_is_silent(), f"nothing moved for {silent:.1f} s")
        elif self.min_rate is None or not self._cut_for_slowness(self.min_rate):
            self.wheel.arm(self, self._no_later(min(limit / LOOKS, max(0.0, limit - silent))))

    def server_lasted(self) -> None:
        """The server's side has lasted until the first look: notice it from now on if the server vanishes."""
        self.server.transport.setTcpKeepAlive(True)

    def _limit(self) -> float:
        limit = self.idle_timeout if self.first is None else self.half_closed_timeout
        return limit * self.wheel.patience

    def _arm(self) -> None:
        self.seen = None  # asking the kernel at every connection costs too much: the first look does
        look = min(self._limit() / LOOKS, KEEPALIVE.idle)
        if self.ends_at or self.min_rate is not None:
            self.wheel.hasten(self, self._no_later(look))
        else:
            self.wheel.look_in(self, look)

    def _no_later(self, seconds: float) -> float:
        """The same, or sooner if it has to end by its age, or is judged by its speed."""
        if self.min_rate is not None:
            seconds = min(seconds, self.min_rate.every)
        if self.ends_at:
            seconds = min(seconds, max(0.0, self.ends_at - self.wheel.clock.seconds()))
        return seconds

    def _cut_for_slowness(self, min_rate: MinRate) -> bool:
        """Whether one side was slower than it may be; then the connection is cut."""
        assert self.seen is not None
        _, for_client, for_server = self.seen
        held_back = self.client.held_back() or for_server > 0
        received = self.client.received, self.server.received
        found = min_rate.look(self.wheel.clock.seconds(), received, (for_client, for_server), held_back)
        if found is None:
            return False
        reason, rate = found
        self.cut(reason, f"{rate:.0f}/s, and min_rate = {min_rate.spec}")
        return True

    def _silent_for(self) -> float:
        """For how many seconds nothing has moved, as far as the looks can tell; never more than it was."""
        now = self.wheel.clock.seconds()
        progress = (
            self.client.received + self.server.received,
            unsent(self.client.transport) if self.client.connected else 0,
            unsent(self.server.transport) if self.server.connected else 0,
        )
        if progress == self.seen:
            self.looks += 1
        else:
            self.seen = progress
            self.moved = now
            self.looks = 0
        return now - self.moved

    def _who_is_silent(self) -> Reason:
        """One who does not take what it was sent is to blame before one who says nothing."""
        assert self.seen is not None
        _, for_client, for_server = self.seen
        if for_client:
            return Reason.CLIENT_STALLED
        if for_server:
            return Reason.SERVER_STALLED
        if self.first is None:
            return Reason.IDLE_TIMEOUT
        return Reason.SERVER_UNFINISHED if self.first is self.client else Reason.CLIENT_UNFINISHED

    def _pass_reset_on(self) -> None:
        """Reset the other side too once it has all that came before, or when it stops taking it."""
        side = self.resetting
        if side is None or not side.connected:
            return
        silent = self._silent_for()
        if not unsent(side.transport) or silent >= self.half_closed_timeout:
            self.wheel.disarm(self)
            side.transport.abortConnection()
        else:
            self.wheel.arm(self, self.wheel.tick)

    def _end_if_over(self) -> None:
        if self.over or self.client.connected or self.server.connected:
            return
        self.over = True
        self.wheel.disarm(self)
        reason = self.reason
        if reason is None:
            reason = Reason.SERVER_FINISHED if self.first is self.server else Reason.CLIENT_FINISHED
        # The sides, their transports and the pair refer to each other: undone by hand, they are gone at once,
        # and do not pile up for the garbage collector.
        for side in (self.client, self.server):
            side.peer = None
            side.transport = None
            side.pair = None
        self.ended(reason, self.detail)
