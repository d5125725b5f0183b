"""Is it told what each check has found, and when it looks again?"""

from __future__ import annotations

from attrs import evolve

from proxyd.ops.checks import families
from proxyd.snapshots import CheckSnapshot, Snapshot
from tests.ops.test_commands import CommandCase

ROLE = CheckSnapshot(
    "db", "a", "role", "pgsql", "10.0.0.1:5432", "up",
    found="in recovery", ago_seconds=1.23456, took_seconds=0.00123456, against=2, needed=3,
    next_seconds=0.76543, passed=10, failed=2, unable=1,
)  # fmt: skip
AGENT = CheckSnapshot("web", "a", "", "agent", "10.0.0.3:99", "up", rests="its name has not resolved yet")


class Checks(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.steered = evolve(self.steered, checks=lambda: iter((ROLE, AGENT)))

    def test_all(self) -> None:
        """Each check, and each agent; what has not been looked at yet is null."""
        role, agent = self.do("show checks")["checks"]
        self.assertEqual(
            role,
            {
                "pool": "db",
                "server": "a",
                "check": "role",
                "kind": "pgsql",
                "address": "10.0.0.1:5432",
                "state": "up",
                "found": "in recovery",
                "ago_seconds": 1.235,
                "took_seconds": 0.001235,
                "against": 2,
                "needed": 3,
                "next_in_seconds": 0.765,
                "rests": None,
                "passed": 10,
                "failed": 2,
                "unable": 1,
            },
        )
        self.assertEqual(
            {name: agent[name] for name in ("ago_seconds", "took_seconds", "next_in_seconds", "rests")},
            {
                "ago_seconds": None,
                "took_seconds": None,
                "next_in_seconds": None,
                "rests": "its name has not resolved yet",
            },
        )

    def test_of_one_pool(self) -> None:
        """Those of a pool alone, if it is there."""
        found = self.do("show checks", pool="web")["checks"]
        self.assertEqual([row["server"] for row in found if row["pool"] == "web"], ["a"])
        self.assertEqual(len(found), 1)
        self.assertEqual(
            self.declines("show checks", pool="wob"),
            'unknown_pool: pool: "wob" is not known; did you mean "web"?',
        )

    def test_metrics(self) -> None:
        """Prometheus has what each check says, how many there were, and how long the last took."""
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in families(Snapshot((), (), checks=(ROLE, AGENT)))
            for sample in family.samples
        }
        self.assertEqual(
            found,
            {
                ("proxyd_check_up", "db", "a", "role"): 1,
                ("proxyd_check_up", "web", "a", "agent"): 1,
                ("proxyd_check_seconds", "db", "a", "role"): 0.00123456,
                ("proxyd_checks_total", "db", "a", "role", "passed"): 10,
                ("proxyd_checks_total", "db", "a", "role", "failed"): 2,
                ("proxyd_checks_total", "db", "a", "role", "unable"): 1,
                ("proxyd_checks_total", "web", "a", "agent", "passed"): 0,
                ("proxyd_checks_total", "web", "a", "agent", "failed"): 0,
            },
        )
