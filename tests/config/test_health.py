"""Is ``check =`` taken for what an operator means by it?"""

from __future__ import annotations

from proxyd.config.health import CheckSpec
from tests.config.ini import MINIMAL, IniCase

REFUSED = [
    ("http", '"http" is not known; known here: tcp'),
    ("interval=5s", "begins with the kind of check; write tcp before the parameters"),
    ("tcp interval=5", 'interval: "5" has no unit; for seconds write "5s"'),
    ("tcp timeout=5s", "timeout=5s must be shorter than the interval, 5s if not given"),
    ("tcp interval=1s timeout=1500ms", "timeout=1500ms must be shorter than interval=1s"),
    ("tcp rise=0", 'rise: "0" is not a whole number, 1 to 1000'),
    ("tcp raise=2", '"raise" is not known; did you mean "rise"?'),
    ("tcp fall=2 fall=3", "fall is given twice"),
]


class CheckTests(IniCase):
    def test_defaults(self) -> None:
        """With the kind alone, checks have the defaults that the reference names."""
        self.assertEqual(self.load(f"{MINIMAL}check = tcp\n").pools[0].check, CheckSpec("tcp", 5, 2, 2, 3))

    def test_not_asked_for(self) -> None:
        """Without the option there are no checks."""
        self.assertIs(self.load(MINIMAL).pools[0].check, None)

    def test_all_given(self) -> None:
        """Each parameter is taken as it is written, in any order and on several lines."""
        text = f"{MINIMAL}check = tcp fall=5 interval=10s\n  timeout=500ms rise=1\n"
        self.assertEqual(self.load(text).pools[0].check, CheckSpec("tcp", 10, 0.5, 1, 5))

    def test_interval_alone(self) -> None:
        """A timeout that is not given is never in the way of the interval: it is at most half of it."""
        for interval, timeout in [("1s", 0.5), ("3s", 1.5), ("4s", 2), ("1m", 2)]:
            check = self.load(f"{MINIMAL}check = tcp interval={interval}\n").pools[0].check
            assert check is not None
            self.assertEqual(check.timeout, timeout)

    def test_refused(self) -> None:
        """A check that cannot be made is refused, and a timeout that reaches into the next check."""
        for value, reason in REFUSED:
            self.assertEqual(
                self.problems(f"{MINIMAL}check = {value}\n"), [f"proxy.ini:6: [pool p] check: {reason}"]
            )

    def test_every_fault(self) -> None:
        """Two faults are both named, without false ones that follow from them."""
        self.assertEqual(
            self.problems(f"{MINIMAL}check = tpc interval=x\n  timeout=9s\n"),
            [
                'proxy.ini:6: [pool p] check: "tpc" is not known; did you mean "tcp"?',
                'proxy.ini:6: [pool p] check: interval: "x" is not a duration; '
                "write a whole number and ms, s, m, h or d",
            ],
        )
