"""Each kind of address leads to the endpoint that fits, and of several addresses to the one that answers."""

from __future__ import annotations

import socket
from typing import Any, Optional

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock

from proxyd.config.address import Address, Addresses, TcpAddress, TcpBind, UnixAddress
from proxyd.errors import DialFailed, Reason
from proxyd.relay.deadlines import Wheel
from proxyd.relay.dial import MOST_AT_ONCE, STAGGER, Race, client_endpoint
from proxyd.relay.lane.datapath import Lane
from proxyd.relay.listener import open_socket
from proxyd.relay.pair import Pair
from proxyd.relay.stock import Stock
from tests.support.case import AsyncCase, Case
from tests.support.descriptors import open_files, open_files_before
from tests.support.peer import PATIENCE

A_FEW = 10  # turns of the reactor


class ClientEndpointTests(Case):
    """From an address to an endpoint."""

    def test_each_kind(self) -> None:
        """Literals need no name service, and unix sockets no port."""
        cases: list[tuple[Address, type]] = [
            (TcpAddress("10.0.0.1", 80), TCP4ClientEndpoint),
            (TcpAddress("::1", 80), TCP6ClientEndpoint),
            (TcpAddress("db.example.com", 80), HostnameEndpoint),
            (UnixAddress("/run/db.sock"), UNIXClientEndpoint),
        ]
        for address, kind in cases:
            self.assertIs(type(client_endpoint(MemoryReactorClock(), address, None)), kind)

    def test_the_caller_may_keep_the_time(self) -> None:
        """The timeout is handed on as it is, None included."""
        for timeout in None, 5.0:
            reactor = MemoryReactorClock()
            client_endpoint(reactor, TcpAddress("10.0.0.1", 80), timeout).connect(Factory())
            self.assertEqual([call[3] for call in reactor.tcpClients], [timeout])


class RaceTests(Case):
    """The order of attempts, on a clock that the test moves: RFC 8305, section 5."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.begun: list[str] = []
        self.attempts: dict[str, Deferred[str]] = {}
        self.cancelled: list[str] = []
        self.known: dict[str, Deferred[str]] = {}

    def dial(self, address: TcpAddress) -> Deferred[str]:
        self.begun.append(address.host)
        known = self.known.get(address.host)
        attempt: Deferred[str] = known or Deferred(lambda _: self.cancelled.append(address.host))
        self.attempts[address.host] = attempt
        return attempt

    def race(self, hosts: str) -> Deferred[str]:
        """A race among hosts of one letter each."""
        return Race(self.clock, [TcpAddress(host, 1) for host in hosts], self.dial).won

    def refuse(self, host: str) -> None:
        self.attempts[host].errback(OSError(host))

    def test_the_first_answers(self) -> None:
        """No other is tried, and no timer is left."""
        won = self.race("ab")
        self.attempts["a"].callback("a won")
        self.assertEqual(self.successResultOf(won), "a won")
        self.assertEqual((self.begun, self.clock.getDelayedCalls()), (["a"], []))

    def test_a_silent_one(self) -> None:
        """After 250 ms the next is tried as well; who answers first wins, and the other is cancelled."""
        for winner, loser in "ab", "ba":
            won = self.race("abc")
            self.clock.advance(STAGGER - 0.01)
            self.assertEqual(self.begun, ["a"])
            self.clock.advance(0.01)
            self.assertEqual(self.begun, ["a", "b"])
            self.attempts[winner].callback(winner)
            self.assertEqual(self.successResultOf(won), winner)
            self.assertEqual((self.cancelled, self.clock.getDelayedCalls()), ([loser], []))
            self.setUp()

    def test_one_that_refuses(self) -> None:
        """The next is tried at once, and the one after that 250 ms later."""
        self.race("abc")
        self.clock.advance(0.1)
        self.refuse("a")
        self.assertEqual(self.begun, ["a", "b"])
        self.clock.advance(STAGGER - 0.01)
        self.assertEqual(self.begun, ["a", "b"])
        self.clock.advance(0.01)
        self.assertEqual(self.begun, ["a", "b", "c"])

    def test_all_refuse(self) -> None:
        """It fails when the last one has, as that one did."""
        won = self.race("abc")
        self.clock.advance(STAGGER)
        self.refuse("b")
        self.refuse("c")
        self.assertNoResult(won)
        self.refuse("a")
        self.assertEqual(str(self.failureResultOf(won, OSError).value), "a")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_outcomes_that_are_known_at_once(self) -> None:
        """However many addresses fail before anything is waited for, the next one is tried."""
        self.known = {chr(n): fail(OSError()) for n in range(1000, 1063)}
        self.known["z"] = succeed("z")
        self.assertEqual(self.successResultOf(self.race("".join(self.known))), "z")
        self.assertEqual(len(self.begun), 64)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_how_many_at_once(self) -> None:
        """When many are silent, further ones wait until one has failed."""
        self.race("abcdefghijk")
        self.clock.pump([STAGGER] * 20)
        self.assertEqual(len(self.begun), MOST_AT_ONCE)
        self.refuse("c")
        self.assertEqual(len(self.begun), MOST_AT_ONCE + 1)

    def test_giving_up(self) -> None:
        """All that is under way ends, and nothing else begins."""
        won = self.race("abc")
        self.clock.advance(STAGGER)
        won.cancel()
        self.failureResultOf(won, CancelledError)
        self.assertEqual((self.cancelled, self.clock.getDelayedCalls()), (["a", "b"], []))

    def test_an_attempt_that_cannot_be_made(self) -> None:
        """What goes wrong in trying is a failure like another."""

        def dial(address: TcpAddress) -> Deferred[None]:
            raise ZeroDivisionError

        self.failureResultOf(Race(self.clock, [TcpAddress("a", 1)] * 2, dial).won, ZeroDivisionError)


class Lonely(Pair):
    """A pair of which only the server's side is connected."""

    def __init__(self) -> None:
        super().__init__(Wheel(Clock()), 60, 60)
        self.gone: Deferred[None] = Deferred()

    def ended(self, reason: Reason, detail: str) -> None:
        self.gone.callback(None)


class SeveralAddresses(AsyncCase):
    """Servers with several addresses, on both datapaths and in the checks, on real sockets."""

    def setUp(self) -> None:
        self.lane = Lane(reactor)
        self.addCleanup(self.lane.close)
        skt = open_socket(TcpBind("tcp:0", "127.0.0.1", 0), {})
        self.addCleanup(skt.close)
        self.port = skt.getsockname()[1]

    def silent(self) -> TcpAddress:
        """Where the kernel does not answer any more: the backlog is full, and nobody accepts."""
        skt = socket.socket()
        self.addCleanup(skt.close)
        skt.bind(("127.0.0.1", 0))
        skt.listen(0)
        for _ in range(3):
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(skt.getsockname())
        return TcpAddress("127.0.0.1", skt.getsockname()[1])

    def refusing(self, host: str = "127.0.0.1") -> TcpAddress:
        """A port on which nobody listens."""
        with open_socket(TcpBind("tcp:0", host, 0), {}) as skt:
            return TcpAddress(host, skt.getsockname()[1])

    async def settle(self) -> None:
        """Let the reactor open what it needs itself, and close what was given up."""
        for _ in range(A_FEW):
            await deferLater(reactor, 0)

    async def reach(self, datapath: Any, *addresses: TcpAddress) -> Optional[TcpAddress]:
        """The one that was reached; it is closed again."""
        pair = Lonely()
        dialing = datapath.dial(Addresses(addresses), pair.server)
        reached: Optional[TcpAddress] = await dialing.addTimeout(PATIENCE, reactor)
        assert reached is not None
        self.assertEqual(pair.server.transport.getPeer().port, reached.port)
        pair.server.transport.abortConnection()
        await pair.gone
        return reached

    async def test_the_one_that_answers(self) -> None:
        """A family that is dead, or silent, does not keep the client; no descriptor is left of the losers."""
        good = TcpAddress("127.0.0.1", self.port)
        lists = [
            (good, self.refusing()),
            (self.refusing("::1"), good),
            (self.silent(), good),
            (TcpAddress("255.255.255.255", 1), self.refusing(), self.silent(), good, self.silent()),
        ]
        for datapath in self.lane, Stock(reactor):
            await self.reach(datapath, good, good)
            await self.settle()
            before = open_files_before()
            for addresses in lists:
                self.assertEqual(await self.reach(datapath, *addresses), good)
            await self.settle()
            self.assertEqual(open_files(), before)

    async def test_none_answers(self) -> None:
        """The reason is why the last one did not."""
        for datapath in self.lane, Stock(reactor):
            side = Lonely().server
            try:
                await datapath.dial(Addresses((TcpAddress("255.255.255.255", 1), self.refusing())), side)
            except DialFailed as failed:
                self.assertEqual(failed.reason, Reason.CONNECT_REFUSED)
            else:
                self.fail("it was reached")

    async def test_giving_up(self) -> None:
        """When connect_timeout has run out, all attempts end and leave nothing."""
        for datapath in self.lane, Stock(reactor):
            addresses = Addresses((self.silent(), self.silent()))
            await self.settle()
            before = open_files_before()
            dialing = datapath.dial(addresses, Lonely().server)
            while open_files() < before + 2:
                await self.settle()
            dialing.cancel()
            self.failureResultOf(dialing, CancelledError)
            await self.settle()
            self.assertEqual(open_files(), before)

    async def test_a_check(self) -> None:
        """A check connects to the first address that answers, too."""
        addresses = Addresses((self.refusing("::1"), self.silent(), TcpAddress("127.0.0.1", self.port)))
        connecting = client_endpoint(reactor, addresses, None).connect(Factory.forProtocol(Protocol))
        protocol: Any = await connecting.addTimeout(PATIENCE, reactor)
        self.assertEqual(protocol.transport.getPeer().port, self.port)
        gone: Deferred[None] = Deferred()
        protocol.connectionLost = lambda reason: gone.callback(None)
        protocol.transport.loseConnection()
        await gone
