"""Do clients come back to the server that they had, as long as it may be had?"""

from __future__ import annotations

import json
from random import Random
from typing import Any, Callable, Optional

from proxyd.config.address import TcpAddress
from proxyd.config.affinity import AffinitySpec
from proxyd.config.balance import BalanceSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.policy.affinity import Affinity
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import make_balancer
from proxyd.policy.hashing import BoundedLoad
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.state import State
from tests.policy.servers import client
from tests.support.case import Case


def make(
    key: str = "source",
    balance: Optional[BalanceSpec] = None,
    failback: bool = False,
    most: int = 0,
    count: int = 3,
    **spec: Any,
) -> Pool:
    """A pool of servers a, b and c that takes turns and remembers."""
    servers = tuple(
        ServerSpec("abcdefgh"[n], TcpAddress(f"10.1.0.{n + 1}", 3389), max_connections=most)
        for n in range(count)
    )
    how = balance or BalanceSpec("roundrobin")
    return Pool(
        PoolSpec("web", servers, how, affinity=AffinitySpec(key, **spec), affinity_failback=failback),
        make_balancer(how, Random(1).random, lambda: 0.0),
    )


def memory(pool: Pool) -> Affinity:
    assert pool.affinity is not None
    return pool.affinity


def counts(pool: Pool) -> dict[str, int]:
    """What has been counted, as far as it is not 0."""
    names = ("hits", "misses", "moved", "spilled", "evicted", "expired")
    found = memory(pool).snapshot("web")
    return {name: getattr(found, name) for name in names if getattr(found, name)}


class AffinityCase(Case):
    def get(self, pool: Pool, arrival: Arrival, now: float = 0.0, tried: str = "") -> str:
        """The name of the server that a client gets, "" for none."""
        server = pool.pick([self.named(pool, name) for name in tried], arrival, now)
        if server is None:
            return ""
        pool.opened(server)
        return server.name

    def named(self, pool: Pool, name: str) -> Server:
        return next(server for server in pool.servers if server.name == name)

    def gone(self, pool: Pool, name: str) -> None:
        pool.turned(self.named(pool, name), State.DOWN, "", 0.0)

    def back(self, pool: Pool, name: str) -> None:
        pool.turned(self.named(pool, name), State.UP, "", 0.0)


class Honoured(AffinityCase):
    """Who gets whom."""

    def test_comes_back(self) -> None:
        """Each client gets its server again, whatever the balancer would say."""
        pool = make()
        first = [self.get(pool, client(n)) for n in range(7)]
        self.assertEqual("".join(first), "abcabca")
        for _ in range(3):
            self.assertEqual([self.get(pool, client(n)) for n in range(7)], first)
        self.assertEqual(counts(pool), {"misses": 7, "hits": 21})

    def test_at_once(self) -> None:
        """Connections that come at once stay together: nobody waits until the server has answered."""
        pool = make()
        self.assertEqual({self.get(pool, client(1)) for _ in range(6)}, {"a"})

    def test_in_time(self) -> None:
        """Each connection makes it last for another ttl; after that the client is a new one."""
        pool = make(ttl=60.0)
        self.assertEqual([self.get(pool, client(1), now) for now in (0, 59, 118, 178, 179)], [*"aaabb"])
        self.assertEqual(counts(pool), {"misses": 2, "hits": 3, "expired": 1})

    def test_down(self) -> None:
        """A client whose server is down gets another, and stays there."""
        pool = make()
        self.get(pool, client(1))
        self.gone(pool, "a")
        self.assertEqual([self.get(pool, client(1)) for _ in range(3)], [*"bbb"])
        self.back(pool, "a")
        self.assertEqual(self.get(pool, client(1)), "b")
        self.assertEqual(counts(pool), {"misses": 1, "moved": 1, "hits": 3})

    def test_out(self) -> None:
        """A server that is drained, in maintenance, ejected or without weight gets nobody who had it."""
        outs: list[Callable[[Pool, Server], None]] = [
            lambda pool, a: pool.drain(a, "", 0.0),
            lambda pool, a: pool.disable(a, "", 0.0),
            lambda pool, a: pool.eject(a, 60.0, "", 0.0),
            lambda pool, a: pool.weigh(a, 0, "", 0.0),
            lambda pool, a: pool.remove([a], "", 0.0),
        ]
        for out in outs:
            pool = make()
            self.get(pool, client(1))
            out(pool, self.named(pool, "a"))
            self.assertEqual(self.get(pool, client(1)), "b")

    def test_slow_start(self) -> None:
        """A server that starts slowly is had by those who come back to it."""
        pool = make(failback=True)
        self.get(pool, client(1))
        self.gone(pool, "a")
        self.assertEqual(self.get(pool, client(1)), "b")
        self.back(pool, "a")
        self.assertEqual([self.get(pool, client(1)) for _ in range(5)], [*"aaaaa"])

    def test_nobody(self) -> None:
        """When no server is left nothing moves, and the client comes back to its own."""
        pool = make()
        self.get(pool, client(1))
        for name in "abc":
            self.gone(pool, name)
        self.assertEqual(self.get(pool, client(1)), "")
        for name in "cba":
            self.back(pool, name)
        self.assertEqual(self.get(pool, client(1)), "a")

    def test_retried(self) -> None:
        """A client whose server cannot be reached is tried elsewhere, and stays there."""
        pool = make()
        self.get(pool, client(1))
        self.assertEqual(self.get(pool, client(1)), "a")
        self.assertEqual(self.get(pool, client(1), tried="a"), "b")
        self.assertEqual(self.get(pool, client(1)), "b")
        self.assertEqual(counts(pool), {"misses": 1, "hits": 2, "moved": 1})
        rows = [(entry.key, entry.server, entry.uses) for entry in memory(pool).entries(0.0, 9)]
        self.assertEqual(rows, [("10.0.0.1", "b", 3)])

    def test_failback(self) -> None:
        """If asked, it goes back as soon as its first server may be had."""
        pool = make(failback=True)
        self.get(pool, client(1))
        self.gone(pool, "a")
        self.assertEqual(self.get(pool, client(1)), "b")
        self.gone(pool, "b")
        self.assertEqual(self.get(pool, client(1)), "c")
        self.back(pool, "b")
        self.assertEqual(self.get(pool, client(1)), "c")
        self.back(pool, "a")
        self.assertEqual([self.get(pool, client(1)) for _ in range(2)], [*"aa"])

    def test_failback_to_where_it_was(self) -> None:
        """A server that a new client could not reach is not the one that it goes back to."""
        pool = make(failback=True)
        self.assertEqual(self.get(pool, client(1)), "a")
        self.assertEqual(self.get(pool, client(1), tried="a"), "b")
        self.assertEqual(self.get(pool, client(1)), "b")

    def test_full(self) -> None:
        """A client whose server is full gets another for once, and its own when there is room."""
        pool = make(balance=BalanceSpec("first"), most=2)
        for n in (1, 2):
            self.assertEqual(self.get(pool, client(n)), "a")
        self.assertEqual(self.get(pool, client(1)), "b")
        pool.closed(self.named(pool, "a"))
        self.assertEqual(self.get(pool, client(1)), "a")
        self.assertEqual(counts(pool), {"misses": 2, "spilled": 1, "hits": 1})

    def test_all_full(self) -> None:
        """A client waits only when its own server is full and all others, too; then it gets any with room."""
        pool = make(most=1)
        self.assertEqual({self.get(pool, client(1)) for _ in range(2)}, {"a", "b"})
        self.assertFalse(pool.has_to_wait())
        self.assertEqual(self.get(pool, client(1)), "c")
        self.assertIsNone(pool.pick((), client(1), 0.0))
        self.assertTrue(pool.is_full())
        pool.closed(self.named(pool, "b"))
        self.assertEqual(self.get(pool, client(1)), "b")

    def test_full_and_unreachable(self) -> None:
        """When the other cannot be reached either, its own server stays its own."""
        pool = make(balance=BalanceSpec("first"), most=1)
        self.get(pool, client(1))
        self.assertEqual(self.get(pool, client(1)), "b")
        self.assertEqual(self.get(pool, client(1), tried="b"), "c")
        pool.closed(self.named(pool, "a"))
        self.assertEqual(self.get(pool, client(1)), "a")

    def test_bounded(self) -> None:
        """No server gets more than hash_balance_factor says, however its clients come back."""
        pool = make(balance=BalanceSpec("source", hash_balance_factor=150))
        chosen = [self.get(pool, client(1)) for _ in range(30)]
        loads = [server.open for server in pool.servers]
        self.assertEqual(sum(loads), 30)
        self.assertLessEqual(max(loads), 16)
        self.assertGreater(chosen.count(chosen[0]), 12)
        self.assertGreater(counts(pool)["spilled"], 5)

    def test_bounded_counts(self) -> None:
        """Those who came back count, and count no more when they have gone."""
        pool = make(balance=BalanceSpec("source", hash_balance_factor=150))
        dice, open_ones = Random(1), []
        for _ in range(3000):
            server = pool.pick((), client(dice.randrange(30)))
            assert server is not None
            server.open += 1
            open_ones.append(server)
            if len(open_ones) > 20:
                ended = open_ones.pop(dice.randrange(20))
                ended.open -= 1
                assert pool.released is not None
                pool.released(ended, 0)
        assert isinstance(pool.balancer, BoundedLoad)
        self.assertEqual(pool.balancer._open, 20)

    def test_each_way_of_balancing(self) -> None:
        """With every way of balancing clients come back, and its own counting goes on being right."""
        for name in ("leastconn", "leastbytes", "p2c", "leasttime", "random", "maglev", "static-rr"):
            pool = make(balance=BalanceSpec(name))
            first = [self.get(pool, client(n)) for n in range(20)]
            for _ in range(3):
                self.assertEqual([self.get(pool, client(n)) for n in range(20)], first, name)


class Keys(AffinityCase):
    """What clients are known by."""

    def test_networks(self) -> None:
        """IPv6 clients of a /64 are one client, and prefixes can be chosen."""
        pool = make()
        one, same, other = (Arrival(a) for a in ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"))
        self.assertEqual([self.get(pool, a) for a in (one, same, other)], [*"aab"])
        shown = [entry.key for entry in memory(pool).entries(0.0, 9)]
        self.assertEqual(shown, ["2001:db8:0:1::/64", "2001:db8::/64"])
        pool = make(prefix4=24, prefix6=128)
        one, same, other = (Arrival(a) for a in ("10.0.0.1", "10.0.0.200", "10.0.1.1"))
        self.assertEqual([self.get(pool, a) for a in (one, same, other)], [*"aab"])
        self.get(pool, Arrival("2001:db8::1"))
        shown = [entry.key for entry in memory(pool).entries(0.0, 9)]
        self.assertEqual(shown, ["2001:db8::1", "10.0.1.0/24", "10.0.0.0/24"])

    def test_others(self) -> None:
        """The proxy that it comes through, the name that it asks for."""
        pool = make("via")
        several = [Arrival(f"10.0.0.{n}", via="10.9.9.9", sni="www.example") for n in range(3)]
        self.assertEqual([self.get(pool, arrival) for arrival in several], [*"aaa"])
        pool = make("sni")
        self.assertEqual([self.get(pool, arrival) for arrival in several], [*"aaa"])
        self.assertEqual(memory(pool).entries(0.0, 9)[0].key, "www.example")

    def test_without_a_key(self) -> None:
        """Who has no such thing gets a server by balance, and is not remembered."""
        for key in ("source", "via", "sni", "tls_session", "rdp_cookie"):
            pool = make(key)
            self.assertEqual([self.get(pool, Arrival()) for _ in range(3)], [*"abc"])
            self.assertEqual((counts(pool), len(memory(pool).table)), ({}, 0))

    def test_rdp(self) -> None:
        """A user comes back; a broker's token leads to its server, and elsewhere while that is away."""
        pool = make("rdp_cookie")
        user = Arrival("10.0.0.1", rdp_cookie=b"mstshash=eltons")
        self.assertEqual([self.get(pool, user) for _ in range(2)], [*"aa"])
        token = Arrival("10.0.0.1", rdp_cookie=b"msts=1.2.3", rdp_server="10.1.0.3:3389")
        self.assertEqual(self.get(pool, token), "c")
        self.gone(pool, "c")
        other = self.get(pool, token)
        self.assertEqual([self.get(pool, token) for _ in range(2)], [other] * 2)
        self.back(pool, "c")
        self.assertEqual(self.get(pool, token), "c")
        stranger = Arrival("10.0.0.1", rdp_cookie=b"msts=9.9.9", rdp_server="192.0.2.1:22")
        self.assertIn(self.get(pool, stranger), [*"abc"])

    def test_learned(self) -> None:
        """A TLS session is where the server says it is; the wish to resume one teaches nothing."""
        pool = make("tls_session")
        resumed = Arrival("10.0.0.1", tls_session=b"\x01\x02")
        self.assertEqual([self.get(pool, resumed) for _ in range(2)], [*"ab"])
        memory(pool).learn(b"\x01\x02", "c", 0.0)
        memory(pool).learn(b"", "c", 0.0)
        self.assertEqual([self.get(pool, resumed) for _ in range(2)], [*"cc"])
        self.assertEqual([entry.key for entry in memory(pool).entries(0.0, 9)], ["0102"])
        self.gone(pool, "c")
        self.assertEqual(self.get(pool, resumed), "a")
        self.assertEqual(self.get(pool, resumed, tried="a"), "b")
        self.back(pool, "c")
        self.assertEqual(self.get(pool, resumed), "c")


class Kept(AffinityCase):
    """What outlives a process."""

    def test_dump_and_restore(self) -> None:
        """All of it is in the dump, which is JSON, and comes back with the time that it had left."""
        pool = make(ttl=60.0)
        arrivals = [*map(client, range(5)), Arrival("2001:db8::1"), Arrival("::ffff:10.0.0.9")]
        had = [self.get(pool, arrival, 100.0) for arrival in arrivals]
        dumped = json.loads(json.dumps(memory(pool).dump(110.0, 9)))
        again = make(ttl=60.0)
        self.assertEqual(memory(again).restore(dumped, 5000.0), 7)
        self.assertEqual([self.get(again, arrival, 5049.0) for arrival in arrivals], had)
        late = make(ttl=60.0)
        memory(late).restore(dumped, 5000.0)
        self.get(late, arrivals[0], 5050.0)
        self.assertEqual(counts(late), {"misses": 1, "expired": 4 + 1})

    def test_bytes(self) -> None:
        """Keys that are no text come back too."""
        pool = make("tls_session")
        memory(pool).learn(bytes(range(224, 256)), "b", 0.0)
        again = make("tls_session")
        memory(again).restore(json.loads(json.dumps(memory(pool).dump(0.0, 9))), 0.0)
        self.assertEqual(self.get(again, Arrival(tls_session=bytes(range(224, 256)))), "b")

    def test_another_key(self) -> None:
        """What was remembered by something else is of no use."""
        pool = make()
        self.get(pool, client(1))
        dumped = memory(pool).dump(0.0, 9)
        for other in (make("via"), make(prefix6=56), make("sni")):
            self.assertEqual(memory(other).restore(dumped, 0.0), 0)

    def test_nonsense(self) -> None:
        """A file that somebody has edited costs what makes no sense, and nothing else."""
        good = ["10.0.0.1", "b", "b", 10.0, 1]
        wrong: list[Any] = [
            None, [], [*good, 1], [1, *good[1:]], ["\u2603", *good[1:]], [*good[:3], "x", 1], [*good[:3], 1.0,
            0], [*good[:3], 1.0, 1.5], [*good[:3], float("nan"), 1], [*good[:3], -1.0, 1], [*good[:3], 1.0,
            2**32],
        ]  # fmt: skip
        pool = make()
        empty: list[Any] = [None, [], {}, {"key": "source/32/64"}, {"key": "source/32/64", "rows": 1}]
        for dumped in empty:
            self.assertEqual(memory(pool).restore(dumped, 0.0), 0)
        self.assertEqual(memory(pool).restore({"key": "source/32/64", "rows": [*wrong, good]}, 0.0), 1)
        self.assertEqual(self.get(pool, Arrival("10.0.0.1")), "b")

    def test_a_server_that_is_gone(self) -> None:
        """Whose server is no more in the configuration gets another."""
        pool = make()
        self.get(pool, client(1))
        self.get(pool, client(2))
        again = make(count=1)
        memory(again).restore(memory(pool).dump(0.0, 9), 0.0)
        self.assertEqual([self.get(again, client(n)) for n in (1, 2)], [*"aa"])
        self.assertEqual(counts(again), {"hits": 1, "moved": 1})

    def test_for_people(self) -> None:
        """Rows for people are bounded, the latest first."""
        pool = make(ttl=60.0)
        for n in range(5):
            self.get(pool, client(n), float(n))
        rows = [(e.key, e.server, e.left, e.uses) for e in memory(pool).entries(5.0, 2)]
        self.assertEqual(rows, [("10.0.0.4", "b", 59.0, 1), ("10.0.0.3", "a", 58.0, 1)])
