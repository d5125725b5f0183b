"""Is ``checks =`` taken for what an operator means by it?"""

from __future__ import annotations

from proxyd.config.combination import DEEPEST, MOST, AllOf, AnyOf
from tests.config.ini import MINIMAL, IniCase

THREE = f"{MINIMAL}check a = tcp\ncheck b = redis\ncheck c = ftp interval=1m\n"

COMBINED = [
    ("a and b and c", AllOf(("a", "b", "c"))),
    ("a or b or c", AnyOf(("a", "b", "c"))),
    ("(a and b) or c", AnyOf((AllOf(("a", "b")), "c"))),
    ("( a and(b or\n c) )", AllOf(("a", AnyOf(("b", "c"))))),
    ("(((a or b or c)))", AnyOf(("a", "b", "c"))),
]

REFUSED = [
    ("a and b or c", "mixes and with or; write parentheses, as in (a and b) or c"),
    ("a b c", '"b" stands where and, or or the end belongs'),
    ("a and (b or c", "has a parenthesis that is not closed"),
    ("a and b or)", "mixes and with or; write parentheses, as in (a and b) or c"),
    ("a and b)", '")" stands where and, or or the end belongs'),
    ("a and", "it ends where the name of a check belongs"),
    ("and a", '"and" stands where the name of a check belongs'),
    ("a and ()", '")" stands where the name of a check belongs'),
    ("a and b and c and d", '"d" is not known; known here: a, b, c; names are given by check NAME ='),
    ("(" * (DEEPEST + 1) + "a" + ")" * (DEEPEST + 1), f"has parentheses more than {DEEPEST} deep"),
    (" or ".join(["a"] * (MOST + 1)), f"has more than {MOST} names"),
]


class CombinationTests(IniCase):
    def test_names(self) -> None:
        """Several checks are told apart by their names; all must pass if nothing else is said."""
        (pool,) = self.load(THREE).pools
        self.assertEqual([check.name for check in pool.checks], ["a", "b", "c"])
        self.assertIs(pool.combination, None)

    def test_combined(self) -> None:
        """And, or and parentheses mean what they mean, on several lines too."""
        for text, combination in COMBINED:
            self.assertEqual(self.load(f"{THREE}checks = {text}\n").pools[0].combination, combination)

    def test_refused(self) -> None:
        """What could be read in two ways, or in none, is refused."""
        for text, why in REFUSED:
            problems = self.problems(f"{THREE}checks = {text}\n")
            self.assertEqual(problems[0], f"proxy.ini:9: [pool p] checks: {why}")

    def test_names_refused(self) -> None:
        """A check without a name beside others, a name that is a word, and a check that decides nothing."""
        self.assertEqual(
            self.problems(f"{MINIMAL}check = tcp\ncheck or = tcp\ncheck b = ftp\nchecks = b\n"),
            [
                "proxy.ini:6: [pool p] check: has no name, and there are others; write check NAME = for each",
                'proxy.ini:7: [pool p] check or: "or" cannot be its name; it has a meaning in checks =',
                "proxy.ini:7: [pool p] check or: is not named in checks =, so nothing would depend on it",
            ],
        )

    def test_no_false_alarm(self) -> None:
        """A check that is wrong is told as that, not as one that is missing."""
        self.assertEqual(
            self.problems(f"{MINIMAL}check a = tpc\nchecks = a\n"),
            ['proxy.ini:6: [pool p] check a: "tpc" is not known; did you mean "tcp"?'],
        )
