"""Do browsers come back to the server that they had, by our cookie or by its own?"""

from __future__ import annotations

import json
from typing import Any

from proxyd.config.affinity import CookieSpec
from proxyd.config.balance import BalanceSpec
from proxyd.config.words import Invalid
from proxyd.policy.affinity import SealedAffinity, key_called
from proxyd.policy.arrival import Arrival
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from tests.policy.test_affinity import AffinityCase, counts, make, memory


class OurCookies(AffinityCase):
    """A cookie that says which server its client had."""

    def setUp(self) -> None:
        super().setUp()
        self.nonces = iter(range(1000))

    def pool(self, secret: bytes = b"of this pool alone", **how: Any) -> Pool:
        cookie = CookieSpec("SRV", **how.pop("cookie", {}))
        pool = make("cookie", cookie=cookie, **how)
        if secret:
            self.sealed(pool).secret(secret)
        return pool

    def sealed(self, pool: Pool) -> SealedAffinity:
        assert isinstance(pool.affinity, SealedAffinity)
        return pool.affinity

    def given(self, pool: Pool, server: str, secure: bool = False) -> bytes:
        return self.sealed(pool).give(server, next(self.nonces).to_bytes(8, "big"), secure)

    def browser(self, pool: Pool, server: str) -> Arrival:
        """A client with a cookie for this server."""
        return Arrival("10.0.0.1", cookie=self.given(pool, server)[4:47])

    def test_given(self) -> None:
        """What browsers are told of it."""
        for cookie, secure, says in [
            ({}, False, b"Path=/; HttpOnly; SameSite=Lax"),
            ({}, True, b"Path=/; HttpOnly; Secure; SameSite=Lax"),
            (
                {"path": "/app", "max_age": 60, "same_site": "none", "secure": True},
                False,
                b"Path=/app; Max-Age=60; HttpOnly; Secure; SameSite=None",
            ),
        ]:
            pool = self.pool(cookie=cookie)
            first, second = self.given(pool, "a", secure), self.given(pool, "a", secure)
            self.assertRegex(first, rb"^SRV=[A-Za-z0-9_-]{43}; " + says + rb"$")
            self.assertNotEqual(first[:47], second[:47])

    def test_comes_back(self) -> None:
        """Who brings it gets its server, whatever the balancer would say, and keeps the cookie."""
        pool = self.pool()
        for name in "bbcab":
            self.assertEqual(self.get(pool, self.browser(pool, name)), name)
            self.assertTrue(self.sealed(pool).stays)
        self.assertEqual(counts(pool), {"hits": 5})

    def test_a_cookie_of_others(self) -> None:
        """What we did not make is as good as nothing, and a new one is given."""
        pool, other = self.pool(), self.pool(b"of another pool")
        for cookie, name in (b"a", "a"), (b"x" * 43, "b"), (self.browser(other, "b").cookie, "c"):
            self.assertEqual(self.get(pool, Arrival(cookie=cookie)), name)
            self.assertFalse(self.sealed(pool).stays)
        self.assertEqual(counts(pool), {"misses": 3})

    def test_down(self) -> None:
        """Another server, and another cookie."""
        pool = self.pool()
        browser = self.browser(pool, "b")
        for name in "ab":
            self.gone(pool, name)
        self.assertEqual((self.get(pool, browser), self.sealed(pool).stays), ("c", False))
        self.assertEqual(counts(pool), {"moved": 1})

    def test_drained(self) -> None:
        """A server that is drained keeps its own, and gets nobody else; in maintenance it gets nobody."""
        for out in ("drain", "weigh"):
            pool = self.pool()
            browser, server = self.browser(pool, "b"), self.named(pool, "b")
            if out == "drain":
                pool.drain(server, "", 0.0)
            else:
                pool.weigh(server, 0, "", 0.0)
            self.assertEqual((self.get(pool, browser), self.sealed(pool).stays), ("b", True))
            self.assertEqual([self.get(pool, Arrival()) for _ in range(3)], [*"aca"])
            pool.turned(server, State.DOWN, "", 0.0)
            self.assertEqual((self.get(pool, browser), self.sealed(pool).stays), ("c", False))
        for away in (
            lambda pool, b: pool.disable(b, "", 0.0),
            lambda pool, b: pool.eject(b, 60.0, "", 0.0),
            lambda pool, b: pool.remove([b], "", 0.0),
        ):
            pool = self.pool()
            browser = self.browser(pool, "b")
            away(pool, self.named(pool, "b"))
            self.assertEqual((self.get(pool, browser), self.sealed(pool).stays), ("a", False))

    def test_all_drained(self) -> None:
        """When all are drained those who had one are served, and nobody else."""
        pool = self.pool()
        for server in pool.servers:
            pool.drain(server, "", 0.0)
        self.assertEqual(self.get(pool, self.browser(pool, "c")), "c")
        self.assertEqual(self.get(pool, Arrival()), "")

    def test_leaving(self) -> None:
        """One whose name leads elsewhere goes when its requests have ended, and is had by nobody."""
        pool = self.pool()
        browser, server = self.browser(pool, "b"), self.named(pool, "b")
        server.leaving = True
        pool.drain(server, "", 0.0)
        self.assertEqual(self.get(pool, browser), "a")

    def test_full(self) -> None:
        """Another server for once; the cookie stays."""
        pool = self.pool(balance=BalanceSpec("first"), most=1)
        browser = self.browser(pool, "b")
        self.assertEqual([self.get(pool, browser) for _ in range(2)], [*"ba"])
        self.assertTrue(self.sealed(pool).stays)
        self.assertEqual(self.get(pool, browser, tried="a"), "c")
        self.assertTrue(self.sealed(pool).stays)
        self.assertEqual(counts(pool), {"hits": 1, "spilled": 1})

    def test_retried(self) -> None:
        """A server that cannot be reached loses its client."""
        pool = self.pool()
        browser = self.browser(pool, "b")
        self.assertEqual(self.get(pool, browser), "b")
        self.assertEqual((self.get(pool, browser, tried="b"), self.sealed(pool).stays), ("a", False))
        self.assertEqual(counts(pool), {"hits": 1, "moved": 1})

    def test_without_a_secret(self) -> None:
        """Nobody gets a cookie, and none is believed."""
        browser = self.browser(self.pool(b""), "b")
        self.assertEqual(browser.cookie, b"")
        pool = self.pool(b"")
        self.assertEqual(self.get(pool, self.browser(self.pool(), "b")), "a")

    def test_many(self) -> None:
        """What was read lately is remembered, and no more than so much."""
        pool = self.pool()
        for number in range(5000):
            arrival = Arrival(cookie=self.sealed(pool).give("b", number.to_bytes(8, "big"), False)[4:47])
            self.assertEqual(len(self.sealed(pool).servers(arrival.cookie, arrival, 0.0)), 1)
            self.sealed(pool).servers(b"%043d" % number, arrival, 0.0)
        self.assertEqual(len(self.sealed(pool)._known), 5000 - 4096)


class LearnedCookies(AffinityCase):
    """A cookie that the servers give."""

    def pool(self, **how: Any) -> Pool:
        return make("learned_cookie", cookie=CookieSpec("SID"), **how)

    def learn(self, pool: Pool, cookie: bytes, server: str) -> Arrival:
        arrival = Arrival(cookie=cookie)
        memory(pool).learn(memory(pool).key(arrival), server, 0.0)
        return arrival

    def test_learned(self) -> None:
        """The server that has given it out has its client; what clients make up teaches nothing."""
        pool = self.pool()
        self.assertEqual([self.get(pool, Arrival(cookie=b"made-up")) for _ in range(3)], [*"abc"])
        self.assertEqual(len(memory(pool).table), 0)
        arrival = self.learn(pool, b"1234", "c")
        self.assertEqual([self.get(pool, arrival) for _ in range(3)], [*"ccc"])
        self.learn(pool, b"", "c")
        self.assertEqual(counts(pool), {"misses": 3, "hits": 3})

    def test_moves(self) -> None:
        """A session whose server is away has another from then on, since servers may share them."""
        pool = self.pool()
        arrival = self.learn(pool, b"1234", "b")
        self.gone(pool, "b")
        self.assertEqual([self.get(pool, arrival) for _ in range(2)], [*"aa"])
        self.back(pool, "b")
        self.assertEqual(self.get(pool, arrival), "a")
        self.assertEqual(self.get(pool, arrival, tried="a"), "c")
        self.assertEqual(self.get(pool, arrival), "c")

    def test_failback(self) -> None:
        """If asked it goes back to the server that has given it out."""
        pool = self.pool(failback=True)
        arrival = self.learn(pool, b"1234", "b")
        self.gone(pool, "b")
        self.assertEqual(self.get(pool, arrival), "a")
        self.back(pool, "b")
        self.assertEqual(self.get(pool, arrival), "b")

    def test_drained(self) -> None:
        """A server that is drained keeps its sessions."""
        pool = self.pool()
        arrival = self.learn(pool, b"1234", "b")
        pool.drain(self.named(pool, "b"), "", 0.0)
        self.assertEqual(
            [self.get(pool, arrival), self.get(pool, Arrival()), self.get(pool, arrival)], [*"bab"]
        )

    def test_no_secrets(self) -> None:
        """Who sees the table cannot take over a session, and can have one forgotten."""
        pool = self.pool()
        self.learn(pool, b"1234", "b")
        (entry,) = memory(pool).entries(0.0, 9)
        self.assertRegex(entry.key, "^[0-9a-f]{32}$")
        self.assertNotIn("1234", json.dumps(memory(pool).dump(0.0, 9)))
        self.assertTrue(memory(pool).table.clear(key_called(memory(pool).spec, entry.key)))
        wrong = self.assertRaises(Invalid, key_called, memory(pool).spec, "1234x")
        self.assertIn("is no entry of cookies", str(wrong))

    def test_kept(self) -> None:
        """The next process knows them; of a cookie of another name it knows none."""
        pool, again = self.pool(), self.pool()
        arrival = self.learn(pool, b"1234", "b")
        dumped = json.loads(json.dumps(memory(pool).dump(0.0, 9)))
        self.assertEqual(memory(again).restore(dumped, 0.0), 1)
        self.assertEqual(self.get(again, arrival), "b")
        other = make("learned_cookie", cookie=CookieSpec("other"))
        self.assertEqual(memory(other).restore(dumped, 0.0), 0)
