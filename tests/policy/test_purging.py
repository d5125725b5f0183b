"""Is what was purged void from that moment on, and what came later not?"""

from __future__ import annotations

from proxyd.policy.purging import MOST_RULES, Voids
from tests.support.case import Case

NONE: frozenset[bytes] = frozenset()


class Purging(Case):
    def setUp(self) -> None:
        self.voids = Voids()

    def test_rules(self) -> None:
        """A prefix is for URLs that begin so, a tag for answers that have it, both for those before alone."""
        before = self.voids.turn
        prefix, tag = self.voids.add(b"http://a/x"), self.voids.add(tag=b"t")
        for turn, url, tags, void in (
            (before, b"http://a/xy", NONE, True),
            (before, b"http://a/y", NONE, False),
            (before, b"http://a/y", frozenset([b"t"]), True),
            (before, b"http://a/y", frozenset([b"tt"]), False),
            (prefix.turn, b"http://a/xy", NONE, False),
            (prefix.turn, b"http://a/y", frozenset([b"t"]), True),
            (tag.turn, b"http://a/xy", frozenset([b"t"]), False),
        ):
            self.assertEqual(self.voids.have(turn, url, tags), void, (turn, url, tags))

    def test_over(self) -> None:
        """A rule that is over is asked no more; the others are."""
        prefix, tag = self.voids.add(b"http://a/"), self.voids.add(tag=b"t")
        self.voids.over([prefix])
        self.assertFalse(self.voids.have(0, b"http://a/", NONE))
        self.assertTrue(self.voids.have(0, b"http://a/", frozenset([b"t"])))
        self.voids.over([tag])
        self.assertFalse(self.voids)

    def test_too_many(self) -> None:
        """There are never more rules than so many: then all is void that was there."""
        for number in range(MOST_RULES):
            self.voids.add(tag=b"%d" % number)
        self.assertFalse(self.voids.have(0, b"http://a/", NONE))
        rule = self.voids.add(tag=b"another")
        self.assertEqual(len(self.voids.rules), 1)
        self.assertTrue(self.voids.have(0, b"http://a/", NONE))
        self.assertFalse(self.voids.have(rule.turn, b"http://a/", NONE))
