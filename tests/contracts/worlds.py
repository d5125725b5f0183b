"""
On what do the contracts run?

A contract is a class of tests that asks a `World` for streams.  Each transport that wants to be called
a stream brings a World of its own, and passes the same tests.
"""

from __future__ import annotations

import socket
from random import Random
from typing import Any, Optional

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, LoopingCall, deferLater

from proxyd.relay.stock import ProxyClientFactory
from tests.support.peer import PATIENCE, Peer, SocketPeer, limit_buffers, listening_socket, socket_pair
from tests.support.streams import Network

PLENTY = 4 * 1024 * 1024  # more bytes than all buffers between two ends hold
KERNEL_BUFFER = 64 * 1024
A_FEW = 10


class World:
    """Makes streams, and knows how time passes for them."""

    resets = True  # whether a reset arrives as one; a unix socket only closes
    reads_ahead = True  # whether a side is read on while a little waits for the other one
    clock: Any

    async def connect(self, protocol: Any, keep: bool = True) -> Peer:
        """Connect the protocol to a new peer."""
        raise NotImplementedError

    def turns(self, count: int = A_FEW) -> Deferred[None]:
        """Let what is about to happen happen, as far as no timer is involved."""
        raise NotImplementedError

    def moment(self) -> Deferred[None]:
        """Let a very short time pass."""
        raise NotImplementedError

    def until(self, deferred: Deferred[Any]) -> Deferred[Any]:
        """Let time pass until this fires."""
        raise NotImplementedError

    def left(self) -> list[str]:
        """What the streams made here have left behind with the reactor or the kernel."""
        raise NotImplementedError

    async def close(self) -> None:
        """Take everything down, whatever state it is in."""
        raise NotImplementedError


class FakeWorld(World):
    """Streams of a fake network; with a seed, the streams of a turn are served in random order."""

    STEP = 0.01
    LONG = 20.0  # simulated seconds, after which what is waited for will not happen
    MOMENTS = 20_000  # after which the same holds; else a test that looks in vain would never end

    def __init__(self, reactor: Any = None, seed: Optional[int] = None) -> None:
        self.clock = Clock()
        self.network = Network(self.clock, None if seed is None else Random(seed))
        self.peers: list[Peer] = []
        self._moments = 0

    async def connect(self, protocol: Any, keep: bool = True) -> Peer:
        peer = self.network.connect(protocol, keep=keep)
        self.peers.append(peer)
        return peer

    def turns(self, count: int = A_FEW) -> Deferred[None]:
        self.network.flush()
        return succeed(None)

    def moment(self) -> Deferred[None]:
        self._moments += 1
        assert self._moments < self.MOMENTS, "looked again and again for what does not happen"
        self.clock.advance(self.STEP)
        return self.turns()

    def until(self, deferred: Deferred[Any]) -> Deferred[Any]:
        self.network.flush()
        end = self.clock.seconds() + self.LONG
        while not deferred.called:
            if self.clock.seconds() > end:
                raise AssertionError(f"did not happen within {self.LONG} s")
            self.clock.advance(self.STEP)
            self.network.flush()
        return deferred

    def left(self) -> list[str]:
        things: list[object] = [*self.network.open(), *self.clock.getDelayedCalls()]
        return [repr(thing) for thing in (*things, *(peer for peer in self.peers if not peer.closed))]

    async def close(self) -> None:
        """The fake world is simply forgotten."""


class _FactoryOf(Factory):
    """Gives the protocol that it was made with."""

    noisy = False

    def __init__(self, protocol: Any) -> None:
        self._made = protocol

    def buildProtocol(self, addr: Optional[IAddress]) -> Any:
        return self._made


class SocketWorld(World):
    """
    Twisted's stock transports on real sockets of the loopback, as if they had been accepted.

    Its time passes no faster than the kernel's, and only while a test waits for it: when this process is held
    up, as on a busy machine, nobody has been silent for so long.
    """

    STEP = 0.005  # seconds that a moment takes

    family = socket.AF_INET

    def __init__(self, reactor: Any) -> None:
        self.clock = Clock()
        self.reactor = reactor
        self.peers: list[Peer] = []
        self.transports: list[Any] = []
        self._before: Optional[set[object]] = None

    async def connect(self, protocol: Any, keep: bool = True) -> Peer:
        if self._before is None:
            await self.turns(1)  # trial and the reactor have their own things in place by then
            self._before = self._registered()
        theirs = await self.make_transport(_FactoryOf(protocol))
        self.transports.append(protocol.transport)
        peer = self.make_peer(theirs, keep)
        self.peers.append(peer)
        return peer

    def make_peer(self, theirs: socket.socket, keep: bool) -> Peer:
        """What speaks at the far end."""
        return SocketPeer(self.reactor, theirs, keep)

    async def make_transport(self, factory: Factory) -> socket.socket:
        """Connect the factory's protocol, and return the socket of the far end."""
        ours, theirs = socket_pair(self.family, KERNEL_BUFFER)
        ours.setblocking(False)
        with ours:  # the reactor takes a duplicate
            self.reactor.adoptStreamConnection(ours.fileno(), self.family, factory)
        return theirs

    def turns(self, count: int = A_FEW) -> Deferred[None]:
        turned: Deferred[None] = deferLater(self.reactor, 0)
        if count > 1:
            turned.addCallback(lambda _: self.turns(count - 1))
        return turned

    def moment(self) -> Deferred[None]:
        return deferLater(self.reactor, self.STEP, self.clock.advance, self.STEP)

    def until(self, deferred: Deferred[Any]) -> Deferred[Any]:
        passing = LoopingCall(self.clock.advance, self.STEP)
        passing.start(self.STEP, now=False)

        def over(result: Any) -> Any:
            passing.stop()
            return result

        return deferred.addTimeout(PATIENCE, self.reactor).addBoth(over)

    def left(self) -> list[str]:
        things = list(self._registered() - (self._before or set()))
        things += [transport for transport in self.transports if transport.connected]
        return [repr(thing) for thing in (*things, *(peer for peer in self.peers if not peer.closed))]

    async def close(self) -> None:
        for peer in self.peers:
            peer.close()
        for transport in self.transports:
            transport.abortConnection()
        await self.turns()

    def _registered(self) -> set[object]:
        reactor = self.reactor
        return {*reactor.getReaders(), *reactor.getWriters(), *reactor.getDelayedCalls()}


class TCP4World(SocketWorld):
    """Accepted TCP over IPv4."""


class TCP6World(SocketWorld):
    """Dialed TCP over IPv6, so that Twisted's client transports are under test too."""

    family = socket.AF_INET6

    async def make_transport(self, factory: Factory) -> socket.socket:
        with listening_socket(self.family, KERNEL_BUFFER) as listener:
            host, port = listener.getsockname()[:2]
            # As the stock datapath does: an endpoint would forget that a server's side can half-close.
            dialing = ProxyClientFactory(factory.buildProtocol(None))
            self.reactor.connectTCP(host, port, dialing)
            transport = await dialing.arrived
            limit_buffers(transport.getHandle(), KERNEL_BUFFER)
            return listener.accept()[0]


class UnixWorld(SocketWorld):
    """Unix stream sockets."""

    family = socket.AF_UNIX
    resets = False
