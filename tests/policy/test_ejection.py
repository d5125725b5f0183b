"""When does traffic take a server out, for how long, and when not?"""

from __future__ import annotations

from typing import Optional

from proxyd.config.ejection import EjectSpec
from proxyd.config.health import CheckSpec
from proxyd.errors import Reason
from proxyd.policy.ejection import Window, came_to_nothing, may_go, seconds, times
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.state import State
from tests.policy.pools import fit, make
from tests.support.case import Case

SPEC = EjectSpec()  # 5 in a row, 30s times n up to 300s, at most half


class Numbers(Case):
    """The arithmetic."""

    def test_times(self) -> None:
        """Each time it is out for longer, up to a bound; good behaviour is counted in its favour."""
        for before, good, number, out in [
            (0, 0.0, 1, 30.0),
            (1, 0.0, 2, 60.0),
            (1, 29.9, 2, 60.0),
            (1, 30.0, 1, 30.0),
            (9, 0.0, 10, 300.0),
            (10, 0.0, 10, 300.0),
            (10, 90.0, 8, 240.0),
            (3, 1e9, 1, 30.0),
            (3, -5.0, 4, 120.0),  # a clock that was set back
        ]:
            self.assertEqual(times(SPEC, before, good), number, (before, good))
            self.assertEqual(seconds(SPEC, number), out)

    def test_may_go(self) -> None:
        """At most so many percent are out, and never the last that is up."""
        for servers, ejected, others_up, may in [
            (1, 0, 0, False),
            (2, 0, 1, True),
            (2, 1, 0, False),
            (2, 0, 0, False),
            (3, 1, 1, False),
            (4, 1, 2, True),
            (4, 2, 1, False),
            (1000, 499, 500, True),
        ]:
            self.assertEqual(may_go(SPEC, servers, ejected, others_up), may, (servers, ejected, others_up))

    def test_window(self) -> None:
        """So large a share of so many at least, in one window after another."""
        window = Window(EjectSpec(share=50, least=4, window=10.0))
        for now, failed, too_much in [
            (100.0, True, False),
            (101.0, True, False),
            (102.0, True, False),
            (103.0, False, True),  # 3 of 4
            (104.0, False, True),
            (105.0, False, True),  # 3 of 6
            (106.0, False, False),
            (110.0, True, False),  # a new one
            (111.0, True, False),
            (112.0, True, False),
            (150.0, True, False),  # and another, long after
            (151.0, True, False),
            (152.0, True, False),
            (153.0, True, True),
        ]:
            self.assertEqual(window.note(now, failed), too_much, now)

    def test_reasons(self) -> None:
        """What counts is an end by the server without a byte; silence only when a client has asked."""
        for reason in Reason:
            ended = reason in (Reason.SERVER_FINISHED, Reason.SERVER_RESET)
            silent = reason in (Reason.SERVER_STALLED, Reason.SERVER_UNFINISHED, Reason.IDLE_TIMEOUT)
            self.assertEqual(came_to_nothing(reason, asked=False), ended, reason)
            self.assertEqual(came_to_nothing(reason, asked=True), ended or silent, reason)


class Pools(Case):
    """What failures do to the servers of a pool."""

    def make(self, *words: str, eject: Optional[EjectSpec] = SPEC) -> tuple[Pool, Server]:
        pool, _ = make(*words, eject=eject)
        return pool, pool.servers[0]

    def failing(self, pool: Pool, server: Server, failures: int, now: float = 10.0) -> None:
        for _ in range(failures):
            pool.failed(server, "connect_refused", now)

    def test_in_a_row(self) -> None:
        """Five in a row take a server out, and one that works in between begins a new row."""
        pool, a = self.make("a", "b")
        self.failing(pool, a, 4)
        a.failures = 0  # as a session does when it has seen a byte
        self.failing(pool, a, 4)
        self.assertIs(a.state, State.UP)
        self.failing(pool, a, 1)
        self.assertEqual((a.state, a.until, fit(pool)), (State.EJECTED, 40.0, "b"))
        self.assertEqual(
            a.why, "5 connections in a row came to nothing, the last: connect_refused; out for 30s"
        )

    def test_again_and_again(self) -> None:
        """It stays out for longer each time, until it has been good for a while."""
        pool, a = self.make("a", "b")
        now, out = 10.0, []
        for good in (0.0, 0.0, 10.0, 60.0, 1000.0):
            self.failing(pool, a, 5, now + good)
            out.append(a.until - now - good)
            now = a.until
            pool.tick(now)
            self.assertIs(a.state, State.UP)
        self.assertEqual(out, [30.0, 60.0, 90.0, 60.0, 30.0])

    def test_never_the_last(self) -> None:
        """Of two servers that fail one goes; the other stays, and goes on being tried."""
        pool, a = self.make("a", "b")
        b = pool.servers[1]
        self.failing(pool, a, 5)
        self.failing(pool, b, 50)
        self.assertEqual((a.state, b.state), (State.EJECTED, State.UP))
        pool.tick(40.0)
        self.failing(pool, b, 1, 41.0)
        self.assertEqual((a.state, b.state), (State.UP, State.EJECTED))

    def test_others_that_are_down(self) -> None:
        """The last that is up is not ejected because others are down or drained."""
        pool, a = self.make("a", "b", "c", "d/0")
        pool.drain(pool.servers[1], "", 1.0)
        pool.disable(pool.servers[2], "", 1.0)
        self.failing(pool, a, 50)
        self.assertIs(a.state, State.UP)

    def test_most(self) -> None:
        """No more than so many are out at once."""
        pool, _ = self.make("a", "b", "c", "d", "e", eject=EjectSpec(in_a_row=1, most=40))
        for server in pool.servers:
            self.failing(pool, server, 1)
        self.assertEqual(fit(pool), "cde")

    def test_who_is_out_already(self) -> None:
        """A connection that fails late, when its server is down, drained or ejected, changes nothing."""
        for state in (State.DOWN, State.DRAINING, State.MAINTENANCE, State.EJECTED):
            pool, _ = make("a", "b", check=CheckSpec())
            a, b = pool.servers
            pool.turned(a, State.UP, "", 1.0)
            pool.turned(b, State.UP, "", 1.0)
            if state is State.DOWN:
                pool.turned(a, State.DOWN, "", 2.0)
            elif state is State.EJECTED:
                pool.eject(a, 99.0, "", 2.0)
            else:
                (pool.drain if state is State.DRAINING else pool.disable)(a, "", 2.0)
            self.failing(pool, a, 50)
            self.assertEqual((a.state, a.since), (state, 2.0))

    def test_one_that_is_no_more(self) -> None:
        """What ends badly after a server was removed ejects nobody."""
        pool, a = self.make("a", "b", "c", "d")
        pool.remove([a], "", 1.0)
        heard: list[str] = []
        pool.watch(lambda change: heard.append(change.server.name))
        self.failing(pool, a, 9)
        self.assertEqual((a.state, heard), (State.UP, []))

    def test_share(self) -> None:
        """Half of what it had lately is enough, in a row or not; and then it begins anew."""
        pool, a = self.make("a", "b", eject=EjectSpec(share=50, least=6))
        now = 10.0
        for _ in range(2):
            for failed in (True, False, True, False, False):
                if failed:
                    pool.failed(a, "status 500", now)
                else:
                    pool.worked(a, now, now)
                self.assertIs(a.state, State.UP)
            pool.failed(a, "status 500", now)
            self.assertEqual(
                (a.state, a.why.partition(";")[0]),
                (State.EJECTED, "50% or more in 10s came to nothing, the last: status 500"),
            )
            now = a.until
            pool.tick(now)
            self.assertIs(a.state, State.UP)

    def test_trial(self) -> None:
        """It comes back with one request at a time; the first that works is enough, one that fails too."""
        pool, a = self.make("a", "b", eject=EjectSpec(2, trial=True))
        b = pool.servers[1]
        self.failing(pool, a, 2)
        pool.tick(a.until)
        now = a.until
        self.assertEqual((a.state, a.trial), (State.UP, True))
        for _ in range(2):
            self.assertIs(pool.pick(), a)
            pool.opened(a)
            self.assertIs(pool.pick(), b)  # since a is tried out
            self.assertIs(pool.pick([b]), a)  # there is no other
            pool.closed(a)  # its client has left: that says nothing
        self.assertIs(pool.pick(), a)
        self.failing(pool, a, 1, now)
        self.assertEqual((a.state, a.ejections), (State.EJECTED, 2))
        self.assertTrue(a.why.startswith("it was on trial, and failed: connect_refused"))
        pool.tick(a.until)
        pool.worked(a, now - 1.0)  # one from before says nothing
        self.assertTrue(a.trial)
        pool.worked(a, a.returned)
        self.assertEqual((a.trial, a.failures), (False, 0))
        self.assertIs(pool.pick(), a)
        pool.opened(a)
        self.assertIs(pool.pick(), a)
        pool.closed(a)

    def test_off(self) -> None:
        """With eject = off nothing is counted."""
        pool, a = self.make("a", "b", eject=None)
        self.failing(pool, a, 50)
        self.assertEqual((a.state, a.failures), (State.UP, 0))
