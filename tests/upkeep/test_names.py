"""Do the servers of names follow the name service, when it is time and no more often?"""

from __future__ import annotations

import gc
from typing import Optional

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from proxyd.config.address import Address, SrvAddress, TcpAddress
from proxyd.config.health import CheckSpec
from proxyd.config.pool import ALL, FIRST, PoolSpec, ServerSpec
from proxyd.config.resolvers import ResolversSpec
from proxyd.policy.agent import heed
from proxyd.policy.balance import make_balancer
from proxyd.policy.names import Answer, Service
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.state import State
from proxyd.snapshots import NameSnapshot
from proxyd.upkeep.names import MOST_AT_ONCE, Names
from proxyd.wire.agent import Report
from tests.support.case import Case
from tests.support.names import Zone

DB = TcpAddress("db.example", 80)
SRV = SrvAddress("_db._tcp.example")


class Slow(Zone):
    """A name service that answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred[None]] = []

    async def host(self, name: str) -> Answer:
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        await waiting
        return await super().host(name)


class NamesCase(Case):
    """A pool and its names, on a clock that the test moves; TTLs are a minute."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.zone = Zone(60)

    def start(
        self,
        address: Address = DB,
        resolve: str = FIRST,
        check: Optional[CheckSpec] = None,
        more: tuple[ServerSpec, ...] = (),
    ) -> None:
        """A pool ``web`` with a server ``a`` there."""
        spec = PoolSpec(
            "web", (ServerSpec("a", address, resolve=resolve), *more), checks=(check,) if check else ()
        )
        self.pool = Pool(spec, make_balancer(spec.balance, lambda: 0.0, self.clock.seconds))
        self.begin([self.pool])

    def begin(self, pools: list[Pool]) -> None:
        self.names = Names(self.clock, self.zone, ResolversSpec(), pools)
        self.names.start()
        self.addCleanup(self.still)
        self.clock.advance(0)

    def still(self) -> None:
        """Nothing is left after a stop."""
        self.successResultOf(self.names.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.5] * int(seconds * 2))

    def now(self) -> list[str]:
        """The servers that there are, each with its address and its state."""
        return [f"{server.name} {server.address} {server.state.value}" for server in self.pool.servers]

    def server(self, name: str = "a") -> Server:
        return next(server for server in self.pool.servers if server.name == name)


class Following(NamesCase):
    """A server that is given by the name of a host."""

    def test_first_answer(self) -> None:
        """The name is looked up at the start; the server keeps its name, and is up."""
        self.zone.hosts["db.example"] = ("10.0.0.1", "fd00::1")
        self.start()
        self.assertEqual(self.now(), ["a [fd00::1]:80,10.0.0.1:80 up"])
        self.assertEqual(self.server().origin, DB)

    def test_by_ttl(self) -> None:
        """It is looked up again when the TTL is over, which counts as 5 s at least and as 300 s at most."""
        for ttl, seconds in (1, 5), (60, 60), (86400, 300):
            self.zone = Zone(ttl)
            self.zone.hosts["db.example"] = ("10.0.0.1",)
            self.start()
            self.pass_time(seconds - 0.5)
            self.assertEqual(len(self.zone.asked), 1)
            self.pass_time(0.5)
            self.assertEqual(len(self.zone.asked), 2)
            self.still()

    def test_change(self) -> None:
        """When the address changes the server is there; with a check it is checked first."""
        for check, state in (None, "up"), (CheckSpec(), "checking"):
            self.zone.hosts["db.example"] = ("10.0.0.1",)
            self.start(check=check)
            if check:
                self.pool.turned(self.server(), State.UP, "", 0)
            self.server().open = 3
            self.zone.hosts["db.example"] = ("10.0.0.2",)
            self.pass_time(60)
            self.assertEqual(self.now(), [f"a 10.0.0.2:80 {state}"])
            self.assertEqual(self.server().open, 3)
            self.still()

    def test_trouble(self) -> None:
        """Whatever the name service does, the server stays, and this is said once; so is the end of it."""
        self.zone.hosts["db.example"] = ("10.0.0.1",)
        self.start()
        with capturedLogs() as events:
            for trouble, addresses in ("timeout", ()), ("", ()), ("server failure", ()), ("", ("10.0.0.1",)):
                self.zone.trouble, self.zone.hosts["db.example"] = trouble, addresses
                self.pass_time(60)
                self.assertEqual(self.now(), ["a 10.0.0.1:80 up"])
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in events],
            [
                (LogLevel.warn, "db.example (pool web) did not resolve, and keeps what it had: timeout"),
                (LogLevel.info, "db.example resolves again"),
            ],
        )

    def test_after_trouble(self) -> None:
        """After a failure it is tried again every 5 s."""
        self.zone.trouble = "timeout"
        self.start()
        self.pass_time(15)
        self.assertEqual(len(self.zone.asked), 4)
        self.zone.trouble, self.zone.hosts["db.example"] = "", ("10.0.0.1",)
        self.pass_time(5)
        self.assertEqual(self.now(), ["a 10.0.0.1:80 up"])

    def test_never_resolved(self) -> None:
        """A server whose name has never resolved is there, under its name, and it is said so."""
        with capturedLogs() as events:
            self.start()
            self.pass_time(30)
        self.assertEqual(self.now(), ["a db.example:80 up"])
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "db.example (pool web) did not resolve, and has never done so: "
                "there is no such name, or it has no address"
            ],
        )

    def test_literals(self) -> None:
        """Nobody asks for an address or a socket, and no timer runs."""
        self.start(TcpAddress("10.0.0.1", 80))
        self.assertEqual((self.zone.asked, self.clock.getDelayedCalls()), ([], []))

    def test_shared(self) -> None:
        """A name that several servers have, of any pool and with any port, is looked up once for all."""
        self.zone.hosts["db.example"] = ("10.0.0.1",)
        self.start(DB, more=(ServerSpec("b", TcpAddress("DB.example", 81)),))
        self.assertEqual(self.zone.asked, ["db.example"])
        self.assertEqual(self.now(), ["a 10.0.0.1:80 up", "b 10.0.0.1:81 up"])

    def test_snapshot(self) -> None:
        """It is seen what a name stands for, for how long yet, and what is wrong."""
        self.zone.hosts["db.example"] = ("10.0.0.1",)
        self.start()
        self.pass_time(20)
        [snapshot] = self.names.snapshots()
        self.assertEqual(snapshot, NameSnapshot("db.example", (("web", "a"),), ("10.0.0.1",), 40.0, "", 1, 0))
        self.zone.trouble = "timeout"
        self.pass_time(41)
        [snapshot] = self.names.snapshots()
        self.assertEqual((snapshot.ttl_seconds, snapshot.trouble), (4.0, "timeout"))
        self.assertEqual((snapshot.lookups, snapshot.failures), (2, 1))


class All(NamesCase):
    """With resolve=all each address is a server."""

    def setUp(self) -> None:
        super().setUp()
        self.zone.hosts["db.example"] = ("10.0.0.1", "10.0.0.2")

    def test_grows_and_shrinks(self) -> None:
        """New addresses come in, checked first; those that are gone go, and the others stay as they are."""
        self.start(resolve=ALL, check=CheckSpec())
        self.assertEqual(self.now(), ["a-10.0.0.1 10.0.0.1:80 checking", "a-10.0.0.2 10.0.0.2:80 checking"])
        for server in self.pool.servers:
            self.pool.turned(server, State.UP, "", 0)
        kept = self.server("a-10.0.0.2")
        self.zone.hosts["db.example"] = ("10.0.0.3", "10.0.0.2")
        self.pass_time(60)
        self.assertEqual(self.now(), ["a-10.0.0.2 10.0.0.2:80 up", "a-10.0.0.3 10.0.0.3:80 checking"])
        self.assertIs(self.server("a-10.0.0.2"), kept)

    def test_connections_of_one_that_is_gone(self) -> None:
        """They go on, and when the last one has ended the server is no more."""
        self.start(resolve=ALL)
        self.server("a-10.0.0.1").open = 1
        self.zone.hosts["db.example"] = ("10.0.0.2",)
        self.pass_time(60)
        self.assertEqual(self.now(), ["a-10.0.0.1 10.0.0.1:80 draining", "a-10.0.0.2 10.0.0.2:80 up"])
        self.assertEqual({self.pool.pick() for _ in range(9)}, {self.server("a-10.0.0.2")})
        self.server("a-10.0.0.1").open = 0
        self.pass_time(1)
        self.assertEqual(self.now(), ["a-10.0.0.2 10.0.0.2:80 up"])

    def test_back_before_it_was_gone(self) -> None:
        """It gets connections again, unless an operator drains it."""
        for by_hand, state in (False, "up"), (True, "draining"):
            self.zone.hosts["db.example"] = ("10.0.0.1", "10.0.0.2")
            self.start(resolve=ALL)
            server = self.server("a-10.0.0.1")
            server.open = 1
            if by_hand:
                self.pool.drain(server, "by hand", 0)
            self.zone.hosts["db.example"] = ("10.0.0.2",)
            self.pass_time(60)
            self.assertIs(server.state, State.DRAINING)
            self.zone.hosts["db.example"] = ("10.0.0.1", "10.0.0.2")
            self.pass_time(60)
            self.assertIn(f"a-10.0.0.1 10.0.0.1:80 {state}", self.now())
            self.assertIs(self.server("a-10.0.0.1"), server)
            self.still()

    def test_drained_by_hand_after_it_was_gone(self) -> None:
        """One that an operator drains while its last connections end stays so when its address is back."""
        self.start(resolve=ALL)
        server = self.server("a-10.0.0.1")
        server.open = 1
        self.zone.hosts["db.example"] = ("10.0.0.2",)
        self.pass_time(60)
        self.pool.drain(server, "by root", 0)
        self.zone.hosts["db.example"] = ("10.0.0.1", "10.0.0.2")
        self.pass_time(60)
        self.assertIs(server.state, State.DRAINING)
        self.assertFalse(server.leaving)

    def test_drained_by_its_agent_and_gone(self) -> None:
        """An agent that drained it may bring it back when its address is back, and not before."""
        self.start(resolve=ALL)
        server = self.server("a-10.0.0.1")
        server.open = 1
        heed(self.pool, server, Report(admin="drain"), 0.0)
        self.zone.hosts["db.example"] = ("10.0.0.2",)
        self.pass_time(60)
        heed(self.pool, server, Report(admin="ready"), 0.0)
        self.assertIs(server.state, State.DRAINING)
        self.zone.hosts["db.example"] = ("10.0.0.1", "10.0.0.2")
        self.pass_time(60)
        self.assertIs(server.state, State.DRAINING)
        heed(self.pool, server, Report(admin="ready"), 0.0)
        self.assertIs(server.state, State.UP)

    def test_not_at_process_start(self) -> None:
        """What is there at the first answer does not start slowly; what comes later does."""
        self.start(resolve=ALL)
        self.zone.hosts["db.example"] += ("10.0.0.3",)
        self.pass_time(60)
        shares = {server.name: server.share for server in self.pool.servers}
        self.assertEqual(shares["a-10.0.0.1"], shares["a-10.0.0.2"])
        self.assertLess(shares["a-10.0.0.3"], shares["a-10.0.0.1"])

    def test_a_name_that_is_taken(self) -> None:
        """A server that is called like another one's address stays, and it is said once."""
        with capturedLogs() as events:
            self.start(resolve=ALL, more=(ServerSpec("a-10.0.0.1", TcpAddress("10.9.9.9", 80)),))
            self.pass_time(120)
        self.assertEqual(self.now(), ["a-10.0.0.1 10.9.9.9:80 up", "a-10.0.0.2 10.0.0.2:80 up"])
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["[pool web] server a-10.0.0.1 is there twice; the first stays"],
        )


class OfAService(NamesCase):
    """Servers that SRV records give."""

    def setUp(self) -> None:
        super().setUp()
        self.zone.hosts.update({"x.example": ("10.0.0.1",), "y.example": ("10.0.0.2", "10.0.0.3")})
        self.records(Service("x.example", 81, 0, 10), Service("y.example", 82, 1, 20))

    def records(self, *services: Service) -> None:
        self.zone.targets["_db._tcp.example"] = services

    def weights(self) -> list[tuple[str, int, int]]:
        return [(server.name, server.weight, server.priority) for server in self.pool.servers]

    def test_targets(self) -> None:
        """Each target is a server with its own port, weight and priority."""
        self.start(SRV)
        self.assertEqual(
            self.now(), ["a-x.example:81 10.0.0.1:81 up", "a-y.example:82 10.0.0.2:82,10.0.0.3:82 up"]
        )
        self.assertEqual(self.weights(), [("a-x.example:81", 10, 0), ("a-y.example:82", 20, 1)])

    def test_change(self) -> None:
        """Weights, priorities and ports are those of the last answer."""
        self.start(SRV)
        self.records(Service("x.example", 81, 3, 30), Service("y.example", 83, 1, 20))
        self.pass_time(60)
        self.assertEqual(self.weights(), [("a-x.example:81", 30, 3), ("a-y.example:83", 20, 1)])

    def test_all(self) -> None:
        """With resolve=all each address of each target is one."""
        self.start(SRV, resolve=ALL)
        self.assertEqual(
            [server.name for server in self.pool.servers],
            ["a-10.0.0.1:81", "a-10.0.0.2:82", "a-10.0.0.3:82"],
        )

    def test_trouble(self) -> None:
        """Without an answer, or when the hosts of all targets have gone, all stays as it was."""
        self.start(SRV)
        before = self.now()
        self.zone.trouble = "timeout"
        self.pass_time(60)
        self.assertEqual(self.now(), before)
        self.zone.trouble = ""
        self.records()
        self.pass_time(60)
        self.assertEqual(self.now(), before)
        self.records(Service("z.example", 81, 0, 1))
        self.pass_time(60)
        self.assertEqual(self.now(), before)
        [snapshot] = self.names.snapshots()
        self.assertSubstring("z.example: there is no such name", snapshot.trouble)

    def test_never_resolved(self) -> None:
        """Until there is an answer the service is one server, which cannot be reached."""
        self.records()
        self.start(SRV)
        self.assertEqual(self.now(), ["a srv:_db._tcp.example up"])


class Starting(NamesCase):
    """Who waits for whom."""

    def setUp(self) -> None:
        super().setUp()
        self.zone: Slow = Slow()
        self.zone.hosts.update({"db.example": ("10.0.0.1",), "other.example": ("10.0.0.2",)})

    def test_looked_up(self) -> None:
        """It is told when all names of a pool were looked up once; a pool without names waits for nobody."""
        self.start(more=(ServerSpec("b", TcpAddress("other.example", 80)),))
        waiting = self.names.looked_up(["web"])
        self.successResultOf(self.names.looked_up(["elsewhere"]))
        self.zone.waiting[0].callback(None)
        self.assertNoResult(waiting)
        self.zone.waiting[1].callback(None)
        self.successResultOf(waiting)
        self.successResultOf(self.names.looked_up(["web"]))

    def test_looked_up_in_vain(self) -> None:
        """A failure is told like an answer, a stop as well."""
        self.zone.trouble = "timeout"
        self.start(more=(ServerSpec("b", TcpAddress("other.example", 80)),))
        waiting = self.names.looked_up(["web"])
        self.zone.waiting[0].callback(None)
        self.assertNoResult(waiting)
        self.successResultOf(self.names.stop())
        self.successResultOf(waiting)

    def test_nobody_waits_any_more(self) -> None:
        """Who has waited for too long is told so, and nothing else is said, now or when the answers come."""
        self.start(more=(ServerSpec("b", TcpAddress("other.example", 80)),))
        waiting = self.names.looked_up(["web"])
        waiting.addTimeout(5.0, self.clock)
        self.pass_time(5.0)
        self.failureResultOf(waiting)
        for one in self.zone.waiting:
            one.callback(None)
        del waiting
        gc.collect()  # that is when it would be said
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stopped_while_asking(self) -> None:
        """To stop in the middle of a look-up says nothing, also of the hosts of a service."""
        self.zone.targets["_db._tcp.example"] = (Service("x", 1, 0, 1), Service("y", 1, 0, 1))
        with capturedLogs() as events:
            self.start(SRV)
            self.assertEqual(len(self.zone.waiting), 2)
            self.still()
        self.assertEqual(events, [])

    def test_how_many_at_once(self) -> None:
        """Of many names only so many are looked up at a time."""
        more = tuple(ServerSpec(f"s{n}", TcpAddress(f"h{n}.example", 80)) for n in range(MOST_AT_ONCE))
        self.start(more=more)
        self.assertEqual(len(self.zone.waiting), MOST_AT_ONCE)
        self.zone.waiting[0].callback(None)
        self.assertEqual(len(self.zone.waiting), MOST_AT_ONCE + 1)

    def test_a_look_up_that_breaks(self) -> None:
        """A fault of ours is logged, changes nothing, and the next look-up comes all the same."""
        self.start()
        self.zone.waiting.pop().errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.successResultOf(self.names.looked_up(["web"]))
        self.pass_time(5)
        self.zone.waiting.pop().callback(None)
        self.assertEqual(self.now(), ["a 10.0.0.1:80 up"])
