"""Who waits while the servers of a pool are full, and who is let in when one has room?"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Optional

from proxyd.config.address import TcpAddress
from proxyd.config.balance import BALANCES, BalanceSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.queue import QueueSpec
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import make_balancer
from proxyd.policy.pool import Pool
from proxyd.policy.queue import Ticket
from proxyd.policy.server import Server
from proxyd.policy.state import State
from tests.policy.pools import fit, make, named
from tests.support.case import Case


class Full(Case):
    """What a server's max_connections mean to the choice."""

    def test_bound(self) -> None:
        """One connection below the bound a server is chosen, at the bound it is not, and then it is again."""
        pool, _ = make("a/m2", "b")
        a = named(pool)("a")
        pool.opened(a)
        self.assertEqual(fit(pool), "ab")
        pool.opened(a)
        self.assertEqual((fit(pool), pool.is_full()), ("b", True))
        pool.closed(a)
        self.assertEqual((fit(pool), pool.is_full()), ("ab", False))

    def test_backups(self) -> None:
        """A backup stands in for servers that are down, not for those that are full."""
        pool, _ = make("a/m1", "s/backup")
        a = named(pool)("a")
        pool.opened(a)
        self.assertIsNone(pool.pick())
        self.assertTrue(pool.is_full())
        pool.turned(a, State.DOWN, "", 0.0)
        self.assertEqual(fit(pool), "s")

    def test_tried(self) -> None:
        """When all with room have been tried, one that is full is waited for, unless it was tried too."""
        pool, _ = make("a/m1", "b", "s/backup")
        server = named(pool)
        pool.opened(server("a"))
        self.assertIsNone(pool.pick([server("b")]))
        self.assertTrue(pool.is_full([server("b")]))
        self.assertIs(pool.pick([server("a"), server("b")]), server("s"))
        self.assertFalse(pool.is_full([server("a"), server("b")]))

    def test_bound_that_is_raised(self) -> None:
        """However they are balanced, a server that may have more gets more at once, before one has ended."""
        for name in BALANCES:
            servers = (ServerSpec("a", TcpAddress("10.0.0.1", 1), max_connections=1),)
            spec = BalanceSpec(name)
            pool = Pool(PoolSpec("web", servers, spec), make_balancer(spec, lambda: 0.0, lambda: 0.0))
            arrival = Arrival("10.9.9.9", 4711)
            (a,) = pool.servers
            pool.opened(a)
            self.assertIsNone(pool.pick((), arrival), name)
            pool.limit(a, 2, 0.0)
            self.assertIs(pool.pick((), arrival), a, name)

    def test_every_way_to_balance(self) -> None:
        """None gives a server more than it may have, and all servers are full before anybody has to wait."""
        for name in BALANCES:
            servers = tuple(ServerSpec(n, TcpAddress("10.0.0.1", 1), max_connections=3) for n in "abc")
            spec = BalanceSpec(name)
            pool = Pool(PoolSpec("web", servers, spec), make_balancer(spec, Random(1).random, lambda: 0.0))
            for n in range(9):
                server = pool.pick((), Arrival(f"10.0.0.{n}", n))
                assert server is not None, (name, n)
                pool.opened(server)
            self.assertEqual([server.open for server in pool.servers], [3, 3, 3], name)
            self.assertIsNone(pool.pick((), Arrival("10.0.0.9", 9)), name)

    def test_no_queue(self) -> None:
        """Without bounds nobody waits."""
        pool, _ = make("a", "b")
        self.assertIsNone(pool.queue)
        self.assertFalse(pool.has_to_wait() or pool.is_full() or pool.closed(self.opened(pool)))
        pool.admit(0.0)

    def opened(self, pool: Pool) -> Server:
        pool.opened(pool.servers[0])
        return pool.servers[0]


class Waiting(Case):
    """Who waits, and who is let in."""

    def wait(self, pool: Pool, name: str) -> Ticket:
        """One waits who takes a slot when it may."""

        def come() -> None:
            server = pool.pick()
            assert server is not None
            pool.opened(server)
            self.came.append(name)

        ticket = Ticket(name, 0, come, lambda: None)
        assert pool.queue is not None and pool.queue.enter(ticket, 0.0)
        return ticket

    def setUp(self) -> None:
        self.came: list[str] = []

    def test_turns(self) -> None:
        """As many are let in as there is room for, in their order."""
        pool, _ = make("a/m2")
        a = pool.servers[0]
        pool.opened(a)
        pool.opened(a)
        for name in "xyz":
            self.wait(pool, name)
        self.assertTrue(pool.has_to_wait())
        for _ in range(2):
            self.assertTrue(pool.closed(a))
        pool.admit(0.0)
        self.assertEqual((self.came, a.open), (["x", "y"], 2))
        self.assertTrue(pool.closed(a))
        pool.admit(0.0)
        self.assertEqual(self.came, ["x", "y", "z"])
        self.assertFalse(pool.closed(a))

    def test_changes(self) -> None:
        """A server that comes up, or is enabled, takes in those who wait."""
        pool, _ = make("a/m1", "b/m1")
        a, b = pool.servers
        pool.drain(b, "", 0.0)
        pool.opened(a)
        self.wait(pool, "x")
        pool.enable(b, "", 0.0)
        self.assertEqual((self.came, b.open), (["x"], 1))

    def test_all_down(self) -> None:
        """While others wait and no server is up any more, who comes need not wait to be told so."""
        pool, _ = make("a/m1")
        a = pool.servers[0]
        pool.opened(a)
        self.wait(pool, "x")
        pool.turned(a, State.DOWN, "", 0.0)
        self.assertEqual((pool.has_to_wait(), pool.pick(), pool.is_full()), (False, None, False))
        pool.turned(a, State.UP, "", 1.0)
        self.assertTrue(pool.has_to_wait())

    def test_who_gets_nothing(self) -> None:
        """Those who are let in and wait again, whatever for, do not keep the pool for ever."""
        pool, _ = make("a/m1", retries=2)
        times: list[str] = []

        def wait_again() -> None:
            times.append("x")
            assert pool.queue is not None
            pool.queue.enter(Ticket("x", 0, wait_again, lambda: None), 0.0)

        assert pool.queue is not None
        pool.queue.enter(Ticket("x", 0, wait_again, lambda: None), 0.0)
        pool.admit(0.0)
        self.assertEqual(times, ["x"] * 3)

    def test_one_admitted_brings_the_next(self) -> None:
        """A thousand who are let in and fail at once are served one after another, not one inside another."""
        pool, _ = make("a/m1", queue=QueueSpec(length=2000))
        a = pool.servers[0]
        served = []

        def fail_at_once() -> None:
            pool.opened(a)
            served.append(a.open)
            if pool.closed(a):
                pool.admit(0.0)

        pool.opened(a)
        assert pool.queue is not None
        for _ in range(2000):
            pool.queue.enter(Ticket("x", 0, fail_at_once, lambda: None), 0.0)
        pool.closed(a)
        pool.admit(0.0)
        self.assertEqual((served, a.open), ([1] * 2000, 0))

    def test_one_who_cannot_use_the_room(self) -> None:
        """Who has tried the only server with room is passed over, keeps its place, and is next elsewhere."""
        pool, _ = make("a/m1", "b/m1")
        a, b = pool.servers
        pool.opened(b)
        came: list[str] = []

        def come(name: str) -> None:
            came.append(name)
            server = pool.pick([a] if name == "x" else ())
            assert server is not None
            pool.opened(server)

        assert pool.queue is not None
        pool.queue.enter(Ticket("x", 0, lambda: come("x"), lambda: None, [a]), 0.0)
        pool.admit(0.0)
        self.assertEqual((came, len(pool.queue)), ([], 1))
        pool.queue.enter(Ticket("y", 0, lambda: come("y"), lambda: None), 1.0)
        pool.admit(1.0)
        self.assertEqual((came, a.open), (["y"], 1))
        pool.closed(b)
        pool.admit(2.0)
        self.assertEqual((came, b.open, len(pool.queue)), (["y", "x"], 1, 0))

    def test_one_who_waits_for_a_backup(self) -> None:
        """Who has tried all others waits for a backup that is full, and gets it before the rest."""
        for most in (0, 1):
            pool, _ = make("a", "s/backup")
            a, s = pool.servers
            pool.limit(a, most, 0.0)
            pool.limit(s, 1, 0.0)
            for server in pool.servers:
                pool.opened(server)
            came: list[Optional[Server]] = []
            assert pool.queue is not None
            if most:
                self.wait(pool, "y")
            self.assertTrue(pool.is_full([a]))
            pool.queue.enter(one_who_tried(a, pool, came), 0.0)
            pool.admit(0.0)
            self.assertEqual(came, [])
            self.assertTrue(pool.has_to_wait([a]))
            self.assertTrue(pool.closed(s))
            self.assertFalse(pool.has_to_wait([a]))
            self.assertEqual(pool.has_to_wait(), most > 0)
            pool.admit(0.0)
            self.assertEqual((came, len(pool.queue), pool.queue.retrying), ([s], most, 0))

    def test_one_with_nothing_to_wait_for(self) -> None:
        """Who waits for a server that is removed, and has tried all others, is told so at once."""
        pool, _ = make("a", "b/m1")
        a, b = pool.servers
        pool.opened(b)
        came: list[Optional[Server]] = []
        assert pool.queue is not None
        pool.queue.enter(one_who_tried(a, pool, came), 0.0)
        pool.remove([b], "", 0.0)
        self.assertEqual((came, pool.is_full([a])), ([None], False))


def one_who_tried(server: Server, pool: Pool, came: list[Optional[Server]]) -> Ticket:
    """One who has tried this server, and notes which other it is given."""
    tried = [server]
    return Ticket("x", 0, lambda: came.append(pool.pick(tried)), lambda: None, tried)


class Crowd:
    """Clients of a pool who come, wait, leave and end by chance."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.bounds = [dice.randrange(1, 4) for _ in range(dice.randrange(1, 4))]
        words = (f"{'abc'[n]}/m{most}" for n, most in enumerate(self.bounds))
        self.pool, _ = make(*words, queue=QueueSpec(length=5))
        assert self.pool.queue is not None
        self.queue = self.pool.queue
        self.live: list[Server] = []
        self.waiting: list[Ticket] = []
        self.came = 0
        self.ended = 0

    def step(self) -> None:
        chance = self.dice.random()
        if chance < 0.5:
            self.come()
        elif chance < 0.6 and self.waiting:
            ticket = self.dice.choice(self.waiting)
            self.queue.leave(ticket)
            self.gone(ticket)
        elif self.live:
            self.end()

    def come(self) -> None:
        self.came += 1
        server = None if self.pool.has_to_wait() else self.pool.pick()
        if server is not None:
            self.take(server)
            return
        ticket = Ticket(self.dice.choice("xyz"), self.dice.randrange(2), lambda: None, lambda: None)
        ticket.admit, ticket.evict = partial(self.admitted, ticket), partial(self.gone, ticket)
        self.waiting.append(ticket)
        if not self.queue.enter(ticket, 0.0):
            self.gone(ticket)

    def take(self, server: Optional[Server]) -> None:
        assert server is not None
        self.pool.opened(server)
        self.live.append(server)

    def admitted(self, ticket: Ticket) -> None:
        self.waiting.remove(ticket)
        self.take(self.pool.pick())

    def gone(self, ticket: Ticket) -> None:
        self.waiting.remove(ticket)
        self.ended += 1

    def end(self) -> None:
        self.ended += 1
        if self.pool.closed(self.live.pop(self.dice.randrange(len(self.live)))):
            self.pool.admit(0.0)


class Properties(Case):
    def test_any_order(self) -> None:
        """However connections come, wait, leave and end: never above the bound, and zero at the end."""
        for seed in range(150):
            crowd = Crowd(Random(seed))
            for _ in range(200):
                crowd.step()
                counts = [server.open for server in crowd.pool.servers]
                self.assertTrue(all(0 <= count <= most for count, most in zip(counts, crowd.bounds)), counts)
                self.assertEqual(sum(counts), len(crowd.live))
                self.assertEqual(len(crowd.queue), len(crowd.waiting))
                self.assertTrue(not crowd.waiting or counts == crowd.bounds, "somebody waits beside room")
            while crowd.live:
                crowd.end()
            self.assertEqual([server.open for server in crowd.pool.servers], [0] * len(crowd.bounds))
            self.assertEqual((len(crowd.queue), crowd.waiting, crowd.ended), (0, [], crowd.came))
