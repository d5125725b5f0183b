"""Do the health checks hold on real sockets what they promise in memory?"""

from __future__ import annotations

import errno
import socket
from typing import Any, Optional, cast

from twisted.internet import reactor as installed_reactor
from twisted.internet import tcp
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from proxyd.config.address import Address, TcpAddress, UnixAddress
from proxyd.config.health import CheckSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.probes import TcpAsk
from proxyd.interfaces import IDatapath
from proxyd.policy.lots import PowerOfTwo
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from proxyd.relay.lane.datapath import Lane
from proxyd.relay.stock import Stock
from proxyd.upkeep.health import HealthChecks
from proxyd.upkeep.probes.conversation import Call
from proxyd.upkeep.probes.tcp import probe
from tests.support.case import AsyncCase
from tests.support.driven import driven
from tests.support.walltime import SetTime

reactor: Any = installed_reactor
UP, DOWN, CHECKING = State.UP, State.DOWN, State.CHECKING


def no_delay() -> float:
    return 0.0


class Ending(Protocol):
    """A server's side of a connection; tells the test how it ended, and what was said."""

    said = b""

    def dataReceived(self, data: bytes) -> None:
        self.said += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        test: Any = self.factory
        test.ended.append((reason.type, self.said))


class WatchedPool:
    """A pool that lets a test wait until a check changes its mind.  No subclass: compiled, it takes none."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.waiting: Optional[Deferred[None]] = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pool, name)

    def next_turn(self) -> Deferred[None]:
        self.waiting = Deferred()
        return self.waiting

    def turned(self, server: Any, state: State, why: str, now: float) -> None:
        self.pool.turned(server, state, why, now)
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.callback(None)


class RealSockets(AsyncCase):
    """The checks on the real reactor.  trial fails a test that leaves a socket or a delayed call."""

    def setUp(self) -> None:
        self.datapath: IDatapath = Lane(reactor)
        self.addCleanup(self.datapath.close)

    def watch(self, *addresses: Address, check: CheckSpec = CheckSpec(interval=0.01)) -> WatchedPool:  # noqa: B008
        """A pool whose checks have begun, and end with the test."""
        servers = tuple(ServerSpec(str(n), address) for n, address in enumerate(addresses))
        pool = WatchedPool(Pool(PoolSpec("web", servers, checks=(check,)), PowerOfTwo(no_delay)))
        self.checks = HealthChecks(
            reactor, SetTime(reactor.seconds), no_delay, self.datapath, [cast(Pool, pool)]
        )
        self.addCleanup(self.checks.stop)
        return pool

    def serve(self) -> tuple[Any, list[tuple[Any, bytes]]]:
        """A port that accepts connections until the test ends, and how each of them ended."""
        factory: Any = Factory.forProtocol(Ending)
        factory.ended = []
        # As many as are checked at once: who finds the backlog full waits for a second, and then for three.
        port = reactor.listenTCP(0, factory, backlog=128, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port, factory.ended

    async def test_comes_and_goes(self) -> None:
        """A server that stops listening goes down and comes up when it listens again."""
        path = self.mktemp()  # relative, so it is short enough for a unix socket
        listen = reactor.listenUNIX
        port = listen(path, Factory.forProtocol(Protocol))
        pool = self.watch(UnixAddress(path))
        turn = pool.next_turn()
        self.checks.start()
        await turn
        self.assertIs(pool.servers[0].state, UP)
        turn = pool.next_turn()
        await port.stopListening()
        await turn
        self.assertIs(pool.servers[0].state, DOWN)
        self.assertEqual(pool.servers[0].why, "no such file or directory (3 checks in a row)")
        turn = pool.next_turn()
        port = listen(path, Factory.forProtocol(Protocol))
        self.addCleanup(port.stopListening)
        await turn
        self.assertIs(pool.servers[0].state, UP)

    async def test_server_sees_a_fin(self) -> None:
        """The server sees a connection that says nothing and ends in the ordinary way."""
        port, ended = self.serve()
        pool = self.watch(TcpAddress("127.0.0.1", port.getHost().port))
        turn = pool.next_turn()
        self.checks.start()
        await turn
        await self.checks.stop()
        while not ended:
            await self.a_turn()
        self.assertEqual(set(ended), {(ConnectionDone, b"")})

    def a_turn(self) -> Deferred[None]:
        turn: Deferred[None] = Deferred()
        reactor.callLater(0, turn.callback, None)
        return turn

    async def test_refused(self) -> None:
        """A port where nobody listens is down with the first check."""
        bound = socket.socket()
        self.addCleanup(bound.close)
        bound.bind(("127.0.0.1", 0))
        pool = self.watch(TcpAddress("127.0.0.1", bound.getsockname()[1]))
        turn = pool.next_turn()
        self.checks.start()
        await turn
        self.assertEqual(pool.servers[0].state, DOWN)
        self.assertEqual(pool.servers[0].why, "connection refused (first check)")

    async def test_no_descriptors(self) -> None:
        """When the system gives us no socket, Twisted's error for it is known as our own."""
        self.datapath = Stock(reactor)

        def no_socket(self: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(tcp.Client, "createInternetSocket", no_socket)
        pool = self.watch(TcpAddress("127.0.0.1", 9))
        with capturedLogs() as events:
            self.checks.start()
            while not events:
                await self.a_turn()
        self.assertIs(pool.servers[0].state, CHECKING)
        self.assertSubstring(
            "cannot be checked, and stays checking: too many open files", formatEvent(events[0])
        )

    async def test_localhost_by_name(self) -> None:
        """A check may go to an address that is given by a name, which the system resolves."""
        port, _ = self.serve()
        elsewhere = TcpAddress("localhost", port.getHost().port)
        pool = self.watch(TcpAddress("127.0.0.1", 9), check=CheckSpec(interval=0.01, address=elsewhere))
        turn = pool.next_turn()
        self.checks.start()
        await turn
        self.assertIs(pool.servers[0].state, UP)

    async def test_cancelled_at_once(self) -> None:
        """A probe that is given up before the answer came leaves no socket."""
        port, _ = self.serve()
        address = TcpAddress("127.0.0.1", port.getHost().port)
        check = driven(probe(Call(reactor, SetTime(reactor.seconds), self.datapath, address), TcpAsk()))
        check.cancel()
        await self.assertFailure(check, CancelledError)

    async def test_many(self) -> None:
        """A hundred servers are all checked, and one stop ends all checks under way."""
        port, _ = self.serve()
        address = TcpAddress("127.0.0.1", port.getHost().port)
        pool = self.watch(*[address] * 100)
        self.checks.start()
        while any(server.state is CHECKING for server in pool.servers):
            await self.a_turn()
        self.assertEqual(repr(pool.pool), "<Pool web 100 up, 0 open>")
        await self.checks.stop()
