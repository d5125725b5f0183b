"""Are broken inputs as broken as a parser's tests need them, and the same in every run?"""

from __future__ import annotations

from random import Random

from tests.support.case import Case
from tests.support.mutations import mutations

SEEDS = (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", b"\x16\x03\x01\x00\x05hello", b"SSH-2.0-OpenSSH_9.2\r\n")


class Mutations(Case):
    """What the generator promises."""

    def test_same_seed(self) -> None:
        """A failure can be run again: the same seed gives the same inputs, and another seed others."""
        first, again, other = (list(mutations(Random(seed), SEEDS, 200)) for seed in (1, 1, 2))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_broken(self) -> None:
        """There are as many as asked for, nearly all differ from every right input, and none grows large."""
        broken = list(mutations(Random(3), SEEDS, 1000))
        self.assertEqual(len(broken), 1000)
        self.assertTrue(sum(data not in SEEDS for data in broken) > 750)
        self.assertTrue(len(set(broken)) > 700)
        self.assertTrue(max(map(len, broken)) < 500)

    def test_nothing_to_break(self) -> None:
        """An empty input alone does no harm."""
        self.assertEqual(len(list(mutations(Random(4), [b""], 200))), 200)
