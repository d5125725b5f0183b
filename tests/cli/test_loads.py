"""Are loads said in words and numbers that fit?"""

from __future__ import annotations

from random import Random

from attrs import evolve

from proxyd.cli.loads import as_json, as_text
from proxyd.policy.simulate import Loss, Outcome, Simulation
from tests.policy.test_simulate import came, pool
from tests.support.case import Case


def found(*weights: int, loss: tuple[Loss, ...] = (), gap: float = 1.0) -> Outcome:
    """What becomes of twelve clients."""
    simulation = Simulation(pool(*weights), Random(1).random, loss)
    for number in range(12):
        simulation.arrive(came(number * gap, bytes_out=10 ** (number + 3)))
    return simulation.outcome()


class LoadsTests(Case):
    def test_times(self) -> None:
        """A time has the units that fit it."""
        for gap, expected in ((0.1, "1.1 s"), (10, "1 min 50 s"), (1000, "3 h 3 min"), (0, "0.0 s")):
            self.assertIn(f"12 clients in {expected}, to pool web", as_text("web", {"x": found(1, gap=gap)}))

    def test_bytes(self) -> None:
        """So has what was moved."""
        text = as_text("web", {"x": found(*[1] * 12)})
        rows = text.splitlines()[4:16]
        self.assertEqual(
            [" ".join(row.split()[-2:]) for row in rows],
            [f"{number}.0 {unit}" for unit in ("kB", "MB", "GB", "TB") for number in (1, 10, 100)],
        )

    def test_failures(self) -> None:
        """What failed is told only where something did."""
        self.assertNotIn("FAILED", as_text("web", {"x": found(1, 1)}))
        text = as_text("web", {"x": found(1, 1, loss=(Loss("a", 3), Loss("b", 6)))})
        self.assertIn("  FAILED  CUT\n", text)
        self.assertIn(
            "clients that got no server: 0 none was up, 6 none could be reached, 0 the queue was", text
        )

    def test_queue(self) -> None:
        """How long clients have waited is told where some have."""
        spec = pool(1, balance="roundrobin")
        spec = evolve(spec, servers=(evolve(spec.servers[0], max_connections=1),))
        simulation = Simulation(spec, Random(1).random)
        for number in range(4):
            simulation.arrive(came(number / 2))
        simulation.arrive(came(9))
        outcome = simulation.outcome()
        text = as_text("web", {"x": outcome})
        self.assertIn("queue: 3 clients (60.0%), for 1.000 s on average and 1.500 s at most", text)
        self.assertNotIn("got no server", text)
        self.assertIn("3    1.000 s", as_text("web", {"x": outcome, "y": outcome}))
        self.assertEqual(as_json("web", {"x": outcome})["simulations"][0]["queue"]["seconds"], 3.0)

    def test_many_servers(self) -> None:
        """Of many servers no table is printed that is wider than any terminal."""
        text = as_text("web", {"x": found(*[1] * 26), "y": found(*[1] * 26)})
        self.assertLess(max(map(len, text.splitlines())), 100)
        self.assertNotIn("of each server", text)

    def test_nothing(self) -> None:
        """Nothing at all is a share of nothing."""
        nothing = evolve(found(1, 1), loads=found(0, 0).loads)
        [simulation] = as_json("web", {"x": nothing})["simulations"]
        self.assertEqual([server["share"] for server in simulation["servers"]], [0.0, 0.0])
