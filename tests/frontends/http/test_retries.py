"""Is a request asked again where that can help, and nowhere else?"""

from __future__ import annotations

from proxyd.config.ejection import EjectSpec
from proxyd.config.limits import RateSpec
from proxyd.config.retries import BudgetSpec, RetryOnSpec
from proxyd.errors import Reason
from proxyd.policy.state import State
from tests.frontends.http.front import ANSWERED, GET, OK, HttpCase
from tests.support.streams import FakePeer

BUSY = b"HTTP/1.1 503 Busy\r\nDate: then\r\nContent-Length: 4\r\n\r\nbusy"
TOLD_BUSY = b"HTTP/1.1 503 Busy\r\nDate: then\r\nContent-Length: 4\r\nVia: 1.1 proxyd\r\n\r\nbusy"
ON_503 = RetryOnSpec(frozenset((503,)))
NEVER = BudgetSpec(0, RateSpec(1, 1e6))


class RetriesCase(HttpCase):
    """Servers of which any may be asked."""

    def asked(self) -> FakePeer:
        """The one that was asked last, and has not answered yet."""
        [peer] = [peer for peer in self.datapath.peers if self.heard(peer) and not peer.closed]
        return peer


class NoAnswers(RetriesCase):
    """Servers that close without a word."""

    def test_nobody_else(self) -> None:
        """Where none is left to ask, the last one that was asked is to blame, and named."""
        for servers, name in ((1,), "a"), ((1, 1), "b"):
            self.listen(*servers, pool={"eject": None})
            self.notebook.requests.clear()
            self.client(GET)
            for _ in servers:
                self.server.close()
            record = self.the_request()
            self.assertEqual((record.status, record.reason), (502, Reason.NO_ANSWER))
            self.assertEqual((record.server, record.server_address[-2:]), (name, ":1"))
            self.assertEqual(record.detail, "and no server is left to ask")
            self.over()


class Statuses(RetriesCase):
    """Answers that are not passed on."""

    def test_another_server(self) -> None:
        """An answer of retry_on is not passed on: another server is asked, and the connection is kept."""
        self.listen(1, 1, pool={"retry_on": ON_503})
        client = self.client(GET)
        self.say(self.server, BUSY)
        self.assertEqual((self.heard(client), len(self.datapath.peers)), (b"", 2))
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        record = self.the_request()
        self.assertEqual((record.status, record.server, record.retries), (200, "b", 1))
        self.assertEqual(len(self.factory.kept), 2)
        self.over()

    def test_in_pieces(self) -> None:
        """One whose body is still to come costs its connection."""
        self.listen(1, 1, pool={"retry_on": ON_503})
        client = self.client(GET)
        self.say(self.server, BUSY[:-2])
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.assertEqual((self.datapath.peers[0].ended.value, len(self.factory.kept)), ("a reset", 1))
        self.over()

    def test_on_a_kept_connection(self) -> None:
        """Nor is it passed on where both connections were kept; then nothing is dialed."""
        self.listen(1, 1, pool={"retry_on": ON_503})
        client = self.client()
        for _ in range(4):
            self.say(client, GET)
            self.say(self.asked(), BUSY)
            self.say(self.asked(), OK)
            self.assertEqual(self.heard(client), ANSWERED)
        self.assertEqual(len(self.datapath.peers), 2)
        self.over()

    def test_what_is_passed_on(self) -> None:
        """An answer is passed on if none is left to ask, or the request may not be sent twice."""
        for servers, how, request in (
            ((1,), {}, GET),
            ((1, 1), {"retries": 0}, GET),
            ((1, 1), {"retry_budget": NEVER}, GET),
            ((1, 1), {"retry_on": RetryOnSpec()}, GET),
            ((1, 1), {}, GET.replace(b"GET", b"POST")),
            (
                (1, 1),
                {},
                GET.replace(b"GET", b"PUT").replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\nhalf"),
            ),
        ):
            self.listen(*servers, pool={"retry_on": ON_503, **how})
            self.notebook.requests.clear()
            client = self.client(request)
            self.say(self.server, BUSY)
            self.assertIn(b"\r\n\r\nbusy", self.heard(client))
            self.assertEqual((self.outcomes(), self.the_request().retries), ([(503, Reason.ANSWERED)], 0))
            self.over()

    def test_a_body_that_came_whole(self) -> None:
        """An idempotent request with a body is asked again if all of it is still there."""
        self.listen(1, 1, pool={"retry_on": ON_503})
        self.client(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        self.say(self.server, BUSY)
        self.assertTrue(self.server.received.endswith(b"\r\n\r\nhello"))
        self.say(self.server, OK)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)])
        self.over()

    def test_all_busy(self) -> None:
        """When all are busy the client is told so by the last of them."""
        self.listen(1, 1, 1, pool={"retry_on": ON_503, "retries": 9})
        client = self.client(GET)
        for _ in range(3):
            self.say(self.server, BUSY)
        self.assertEqual((self.heard(client), len(self.datapath.peers)), (TOLD_BUSY, 3))
        self.assertEqual((self.outcomes(), self.the_request().retries), ([(503, Reason.ANSWERED)], 2))
        self.over()

    def test_who_waits_comes_first(self) -> None:
        """Nobody is asked again where others wait for a server."""
        self.listen(1, 1, pool={"retry_on": ON_503, "max_connections": 1})
        client = self.client(GET)
        other = self.client(GET)
        self.say(self.server, BUSY)
        self.assertEqual(self.heard(client), TOLD_BUSY)
        self.say(self.server, OK)
        self.assertEqual(self.heard(other), ANSWERED)
        self.over()

    def test_timeout(self) -> None:
        """With `timeout`, one that does not begin its answer is let go, and another asked in its time."""
        self.listen(1, 1, pool={"retry_on": RetryOnSpec(timeout=True), "response_timeout": 5.0})
        client = self.client(GET)
        self.pass_time(7)
        self.assertEqual((self.datapath.peers[0].ended.value, len(self.datapath.peers)), ("a reset", 2))
        self.pass_time(3)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        client.send(GET)
        self.pass_time(7)
        self.pass_time(7)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 504 "))
        self.over()


class Budgets(RetriesCase):
    """How often requests are asked again."""

    def fails(self, client: FakePeer) -> bytes:
        """Have a server close without an answer, and the next one answer."""
        self.say(client, GET)
        self.asked().close()
        said = self.heard(client)
        if said:
            return said
        self.say(self.asked(), OK.replace(b"Date", b"Connection: close\r\nDate"))
        return self.heard(client)

    def test_used_up(self) -> None:
        """No more than a share of them, be there ever so many servers; the record and the numbers tell."""
        self.listen(1, 1, 1, pool={"retry_budget": BudgetSpec(50, RateSpec(1, 1e6)), "eject": None})
        client = self.client()
        statuses = [self.fails(client)[9:12] for _ in range(6)]
        self.assertEqual(statuses, [b"502", b"200", b"502", b"200", b"502", b"200"])
        self.assertEqual(
            [record.detail for record in self.notebook.requests if record.status == 502],
            ["the retry_budget is used up"] * 3,
        )
        budget = self.pool.budget
        assert budget is not None
        self.assertEqual((budget.taken, budget.refused), (3, 3))
        self.over()

    def test_unreached(self) -> None:
        """Servers that cannot be reached had nothing to do: others are tried whatever the budget says."""
        self.listen(2, 2, 1, pool={"retry_budget": NEVER})
        client = self.client(GET)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.assertEqual(self.the_request().chosen, "retry")
        self.over()


class Ejections(RetriesCase):
    """What the statuses of answers do to the servers that gave them."""

    def ask(self, said: bytes) -> bytes:
        client = self.client(GET)
        self.say(self.asked(), said)
        client.close()
        self.network.flush()
        return self.notebook.requests[-1].server.encode()

    def test_in_a_row(self) -> None:
        """So many answers of these statuses in a row eject a server; others begin a new row."""
        eject = EjectSpec(2, statuses=frozenset((503,)))
        self.listen(1, 1, pool={"eject": eject, "max_idle_connections": 0})
        a = self.pool.servers[0]
        for said in (BUSY, BUSY, OK, OK, BUSY, OK):
            self.ask(said)
        self.assertEqual((a.state, a.failures), (State.UP, 1))
        self.assertEqual(self.ask(BUSY), b"a")
        self.assertIs(a.state, State.EJECTED)
        self.assertIn("2 connections in a row came to nothing, the last: status 503", a.why)
        self.over()
