"""Is a second server asked when the first is slow, once, and does one of them answer?"""

from __future__ import annotations

from typing import Any

from proxyd.config.limits import RateSpec
from proxyd.config.retries import BudgetSpec, RetryOnSpec
from proxyd.errors import Reason
from tests.frontends.http.front import ANSWERED, GET, OK, HttpCase
from tests.support.streams import FakePeer

AFTER = 0.5  # seconds
NEVER = BudgetSpec(0, RateSpec(1, 1e6))
HOWDY = OK.replace(b"hello", b"howdy")
BUSY = b"HTTP/1.1 503 Busy\r\nDate: then\r\nContent-Length: 4\r\n\r\nbusy"


class Hedges(HttpCase):
    """A pool with hedge_after."""

    def listen(self, *ports: int, pool: Any = None, **how: Any) -> None:
        super().listen(*(ports or (1, 1)), pool={"hedge_after": AFTER, **(pool or {})}, **how)
        self.notebook.requests.clear()

    def wait(self, seconds: float = AFTER) -> None:
        self.clock.advance(seconds)
        self.network.flush()

    def asked(self) -> list[FakePeer]:
        """Those who have been asked something since this was last asked."""
        self.network.flush()
        return [peer for peer in self.datapath.peers if self.heard(peer)]

    def hedged(self, request: bytes = GET) -> tuple[FakePeer, FakePeer, FakePeer]:
        """A client, and the two servers that have its request."""
        client = self.client(request)
        [one] = self.asked()
        self.wait()
        [other] = self.asked()
        self.assertIsNot(one, other)
        return client, one, other

    def answered_by(self, server: str, hedged: bool = True) -> None:
        record = self.the_request()
        self.assertEqual((record.status, record.server, record.hedged), (200, server, hedged))
        self.assertEqual(record.chosen, "hedge" if server == "b" else "balance")

    def test_in_time(self) -> None:
        """A server that begins its answer in time is the only one that is asked."""
        self.listen()
        client = self.client(GET)
        self.wait(AFTER - 0.01)
        self.say(self.server, OK[:9])
        self.wait(2 * AFTER)
        self.say(self.server, OK[9:])
        self.assertEqual((self.heard(client), len(self.datapath.peers)), (ANSWERED, 1))
        self.answered_by("a", hedged=False)
        self.over()

    def test_the_second(self) -> None:
        """The second may be faster: its answer counts, and the first is cut."""
        self.listen()
        client, one, other = self.hedged()
        self.say(other, HOWDY[:30])
        self.say(other, HOWDY[30:])
        self.assertEqual(self.heard(client), ANSWERED.replace(b"hello", b"howdy"))
        self.assertEqual((one.ended.value, other.ended.value), ("a reset", "not yet"))
        self.answered_by("b")
        self.say(client, GET)
        self.assertEqual(len(self.factory.kept), 0)  # the one that has won was kept, and is used again
        self.say(self.asked()[0], OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.over()

    def test_the_first(self) -> None:
        """Or the first, after all: then the second is cut."""
        self.listen()
        client, one, other = self.hedged()
        self.say(one, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.assertEqual((one.ended.value, other.ended.value), ("not yet", "a reset"))
        self.answered_by("a")
        self.over()

    def test_on_kept_connections(self) -> None:
        """Both may be kept ones: then nothing is dialed, and who has lost is dialed anew."""
        self.listen()
        clients = [self.client(GET) for _ in range(2)]
        for peer in self.asked():
            self.say(peer, OK)
        self.notebook.requests.clear()
        self.say(clients[0], GET)
        [one] = self.asked()
        self.wait()
        [other] = self.asked()
        self.say(other, OK)
        self.assertEqual(self.heard(clients[0]), ANSWERED * 2)
        self.assertEqual((len(self.datapath.peers), one.ended.value), (2, "a reset"))
        self.over()

    def test_once(self) -> None:
        """Never is a third asked, however long it takes; then it is 504, and both are cut."""
        self.listen(1, 1, 1, pool={"response_timeout": 5.0})
        client, one, other = self.hedged()
        for _ in range(12):
            self.pass_time(1)
        self.assertEqual(len(self.datapath.peers), 2)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 504 "))
        self.assertEqual((one.ended.value, other.ended.value), ("a reset", "a reset"))
        self.assertEqual(self.outcomes(), [(504, Reason.ANSWER_TIMEOUT)])
        self.over()

    def test_one_fails(self) -> None:
        """While two are asked, one that closes without an answer does no harm."""
        for leaves in ("close", "reset"):
            for loses in (0, 1):
                self.listen()
                client, *servers = self.hedged()
                getattr(servers[loses], leaves)()
                self.network.flush()
                self.say(servers[1 - loses], OK)
                self.assertEqual(self.heard(client), ANSWERED)
                self.assertEqual([server.failures for server in self.pool.servers], [1 - loses, loses])
                self.answered_by("ba"[loses])
                self.over()

    def test_both_fail(self) -> None:
        """When both have, a third is asked as without."""
        self.listen(1, 1, 1)
        client, one, other = self.hedged()
        one.close()
        self.network.flush()
        other.close()
        [third] = self.asked()
        self.say(third, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.over()

    def test_first_fails_while_the_second_is_dialed(self) -> None:
        """Then another is asked in its place, and no dial goes on behind the answer."""
        self.listen(1, 3, 3)
        dials: list[tuple[Any, Any]] = []
        dial = self.datapath.dial

        def slow(address: Any, side: Any, *how: Any) -> Any:
            dials.append((side, dial(address, side, *how)))
            return dials[-1][1]

        self.datapath.dial = slow  # type: ignore[assignment,method-assign]
        client = self.client(GET)
        [one] = self.asked()
        self.wait()
        one.close()
        self.network.flush()
        for side, dialing in dials[1:]:
            if not dialing.called:
                peer = self.network.connect(side)
                dialing.callback(None)
                self.assertTrue(self.heard(peer))
                self.say(peer, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.assertEqual((len(dials), self.datapath.cancelled), (3, 1))
        self.assertEqual((self.pool.open, [server.open for server in self.pool.servers]), (0, [0] * 3))
        self.assertTrue(self.the_request().hedged)
        self.over()

    def test_turned_down(self) -> None:
        """An answer of retry_on is not passed on while the second may have a better one."""
        self.listen(pool={"retry_on": RetryOnSpec(frozenset((503,)))})
        client, one, other = self.hedged()
        self.say(one, BUSY)
        self.assertEqual(self.heard(client), b"")
        self.say(other, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.answered_by("b")
        self.over()

    def test_unreached(self) -> None:
        """A second that refuses, or does not take the connection, does no harm to the first."""
        for port in (2, 3):
            self.listen(1, port)
            client = self.client(GET)
            self.wait()
            self.say(self.datapath.peers[-1], OK)
            self.assertEqual(self.heard(client), ANSWERED)
            self.answered_by("a")
            self.over()

    def test_client_leaves(self) -> None:
        """With the client both go."""
        for port in (1, 3):
            self.listen(1, port)
            client = self.client(GET)
            self.wait()
            client.reset()
            self.network.flush()
            self.assertEqual(self.outcomes(), [(0, Reason.CLIENT_RESET)])
            self.over()

    def test_hints(self) -> None:
        """Who has given an interim answer is the one."""
        self.listen()
        client, one, other = self.hedged()
        hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
        self.say(one, hints)
        self.assertEqual(other.ended.value, "a reset")
        self.say(one, OK)
        self.assertEqual(self.heard(client), hints + ANSWERED)
        self.over()

    def test_what_is_not_hedged(self) -> None:
        """Not what may have done something, or has a body; nor beyond the budget, the servers, their room."""
        upgrade = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        for ports, how, request in (
            ((1, 1), {}, GET.replace(b"GET", b"POST")),
            ((1, 1), {}, GET.replace(b"GET", b"PUT")[:-2] + b"Content-Length: 2\r\n\r\nok"),
            ((1, 1), {}, upgrade),
            ((1, 1), {"retry_budget": NEVER}, GET),
            ((1, 1), {"max_connections": 1}, GET),
            ((1,), {}, GET),
        ):
            self.listen(*ports, pool=how)
            before = len(self.datapath.peers)
            client = self.client(request)
            self.wait(3 * AFTER)
            self.assertEqual(len(self.datapath.peers), before + 1)
            self.say(self.server, OK)
            self.assertEqual(self.heard(client), ANSWERED)
            self.answered_by("a", hedged=False)
            self.over()

    def test_budget(self) -> None:
        """What is hedged counts as what is asked again."""
        self.listen(pool={"retry_budget": BudgetSpec(100, RateSpec(1, 1e6))})
        client, one, _ = self.hedged()
        self.say(one, OK)
        budget = self.pool.budget
        assert budget is not None
        self.assertEqual((budget.taken, budget.refused, budget.left(self.clock.seconds())), (1, 0, 0))
        self.over()

    def test_without_retries(self) -> None:
        """It is no other server in the place of one that has failed, so `retries` has no say."""
        self.listen(pool={"retries": 0})
        client, _, other = self.hedged()
        self.say(other, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.over()
