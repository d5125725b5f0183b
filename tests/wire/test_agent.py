"""Is the line of an agent read as it is meant, and nothing else?"""

from __future__ import annotations

from random import Random

from proxyd.wire.agent import LONGEST, Report, report
from tests.support.case import Case
from tests.support.mutations import mutations
from tests.support.parsing import both_ways

REPORTS = [
    (b"up 50%\n", Report(50, health="up")),
    (b"75%\r", Report(75)),
    (b"ready,up\t100%, maxconn:30\n", Report(100, 30, "up", "ready")),
    (b"down #why it is, 50% so\n", Report(health="down", text=b"why it is, 50% so")),
    (b"FAIL# no disk \r", Report(health="fail", text=b"no disk")),
    (b"stopped\n", Report(health="stopped")),
    (b"drain maint\n", Report(admin="maint")),
    (b"drain 0%\n", Report(0, admin="drain")),
    (b"\n", Report()),
    (b"#only words\n", Report(text=b"only words")),
]

MALFORMED = [
    (b"upp\n", "b'upp', which is no word of an agent"),
    (b"-5%\n", "b'-5%', which is no word of an agent"),
    (b"maxconn:\n", "b'maxconn:', which is no word of an agent"),
    (b"1000000%\n", "b'1000000%', which is no word of an agent"),
    (b"x" * (LONGEST + 1), "a line of more than 1024 bytes"),
]


outcome, piecemeal = both_ways(report)


class AgentTests(Case):
    def test_reports(self) -> None:
        """Words are understood in any order and case; the first end of a line ends the report."""
        for data, value in REPORTS:
            self.assertEqual(report(data + b"down\n"), (value, len(data)))
            self.assertEqual(piecemeal(data), (value, len(data)))

    def test_malformed(self) -> None:
        """A word that nobody knows, and a line without end, are refused."""
        for data, why in MALFORMED:
            self.assertEqual((outcome(data), piecemeal(data)), (why, why))

    def test_broken(self) -> None:
        """Broken lines end the same way however they are cut, and only in the ways that are said."""
        for data in mutations(Random(1), [data for data, _ in REPORTS], 2000):
            self.assertEqual(outcome(data), piecemeal(data), data)

    def test_up(self) -> None:
        """Whether it is up is known only if it was said."""
        for health, up in (("", None), ("up", True), ("down", False), ("fail", False), ("stopped", False)):
            self.assertEqual(Report(health=health).up, up)
