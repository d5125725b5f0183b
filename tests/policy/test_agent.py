"""Does what an agent reports happen, and does it leave alone what is not its own?"""

from __future__ import annotations

from proxyd.config.balance import BalanceSpec
from proxyd.policy.agent import heed
from proxyd.policy.server import Server
from proxyd.policy.state import State
from proxyd.wire.agent import Report
from tests.policy.pools import make
from tests.support.case import Case


class AgentTests(Case):
    def setUp(self) -> None:
        self.pool, _ = make("a/10", "b")
        self.a: Server = self.pool.servers[0]

    def says(self, percent: int = -1, most: int = -1, admin: str = "") -> str:
        """The agent of a says this; what could not be done is returned."""
        report = Report(None if percent < 0 else percent, None if most < 0 else most, admin=admin)
        return heed(self.pool, self.a, report, 1.0)

    def test_weight(self) -> None:
        """Its per cent are of the configured weight, rounded up, and within what a weight can be."""
        for percent, weight in ((50, 5), (51, 6), (1, 1), (100, 10), (300, 30), (99999, 256)):
            self.assertEqual((self.says(percent), self.a.weight), ("", weight))
        self.says()
        self.assertEqual(self.a.weight, 256)

    def test_fixed_weight(self) -> None:
        """Where weights cannot change it is said, and nothing happens."""
        self.pool, _ = make("a/10", balance=BalanceSpec("static-rr"))
        self.a = self.pool.servers[0]
        self.assertEqual(self.says(50), "its agent's weight 50% cannot be had with balance static-rr")
        self.assertEqual((self.says(100), self.a.weight), ("", 10))

    def test_drains(self) -> None:
        """It drains with a word or with 0 per cent, and takes that back."""
        for out, back in (((-1, "drain"), (-1, "ready")), ((0, ""), (40, "")), ((0, ""), (-1, "ready"))):
            self.says(out[0], admin=out[1])
            self.assertIs(self.a.state, State.DRAINING)
            self.says(50 if out[1] else -1)
            self.assertIs(self.a.state, State.DRAINING)
            self.says(back[0], admin=back[1])
            self.assertIs(self.a.state, State.UP)
        self.assertEqual(self.a.why, "agent: ready")

    def test_reason(self) -> None:
        """What the agent says for people is kept with the state, fit for a terminal."""
        for report, state, why in (
            (Report(admin="drain", text=b"backup \x1b"), State.DRAINING, "agent: drain (backup \\x1b)"),
            (Report(admin="ready", text=b"done"), State.UP, "agent: ready (done)"),
            (Report(0, text=b"busy"), State.DRAINING, "agent: 0% (busy)"),
            (Report(50), State.UP, "agent: 50%"),
            (Report(admin="maint", text=b"\xff"), State.MAINTENANCE, "agent: maint (\\xff)"),
        ):
            heed(self.pool, self.a, report, 1.0)
            self.assertEqual((self.a.state, self.a.why), (state, why))

    def test_maintenance(self) -> None:
        """It takes its server into maintenance, from draining too, and says the same again in vain."""
        told: list[str] = []
        self.pool.watch(lambda change: told.append(change.server.state.value))
        for admin in ("drain", "drain", "maint", "maint", "drain", "ready", "ready"):
            self.says(admin=admin)
        self.assertEqual(told, ["draining", "maintenance", "draining", "up"])

    def test_operator(self) -> None:
        """What an operator has taken out stays out, even if the agent had done it before."""
        for first in ("", "drain", "maint"):
            self.setUp()
            self.says(admin=first)
            self.pool.drain(self.a, "by root", 2.0)
            self.assertEqual((self.a.state, self.a.why), (State.DRAINING, "by root"))
            for admin in ("ready", "maint", "drain", "ready"):
                self.says(100, admin=admin)
                self.assertEqual((self.a.state, self.a.why), (State.DRAINING, "by root"))
            self.pool.enable(self.a, "by root", 3.0)
            self.assertIs(self.a.state, State.UP)

    def test_operator_weight(self) -> None:
        """A weight of 0 is an operator's drain as well."""
        self.pool.weigh(self.a, 0, "by root", 1.0)
        self.says(100, admin="ready")
        self.assertEqual(self.a.weight, 0)

    def test_connections(self) -> None:
        """It bounds the connections, and who is full by that gets no more."""
        self.a.open = 3
        self.says(most=3)
        self.assertEqual(self.a.max_connections, 3)
        self.assertIsNotNone(self.pool.queue)
        self.assertEqual({self.pool.pick(), self.pool.pick()}, {self.pool.servers[1]})
        self.says(most=4)
        self.assertIs(self.pool.pick(), self.a)
        self.says(most=0)
        self.assertEqual(self.a.max_connections, 0)
