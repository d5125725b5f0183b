"""When is load shed, in which steps, and whose connections go?"""

from __future__ import annotations

from random import Random

from proxyd.config.shedding import ShedSpec
from proxyd.policy.shedding import FALL, RISE, Load, Shedding, Step, least_important, worst_offenders
from tests.support.case import Case

SPEC = ShedSpec(descriptors=90, memory=1000 * 1024**2, lag=0.2)
ABOVE = Load(descriptors=90.0)
BETWEEN = Load(descriptors=85.0)
BELOW = Load(descriptors=80.0)


class SheddingTests(Case):
    def setUp(self) -> None:
        self.shedding = Shedding(SPEC)

    def looks(self, load: Load, count: int) -> list[int]:
        return [int(self.shedding.look(load)) for _ in range(count)]

    def test_steps(self) -> None:
        """One step after another is taken for as long as it is too much, and none after the last."""
        self.assertEqual(RISE, 3)
        self.assertEqual(self.looks(ABOVE, 12), [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3])

    def test_back(self) -> None:
        """When all is well below the marks for ten looks, one step is taken back, and so on."""
        self.looks(ABOVE, 9)
        self.assertEqual(FALL, 10)
        self.assertEqual(self.looks(BELOW, 9), [3] * 9)
        self.assertEqual(self.looks(BELOW, 21), [2] * 10 + [1] * 10 + [0])
        self.assertEqual(self.looks(BELOW, 50), [0] * 50)

    def test_once(self) -> None:
        """One or two long turns of the event loop shed nothing."""
        for _ in range(50):
            self.assertEqual(self.looks(Load(lag=5.0), 2) + self.looks(Load(), 1), [0, 0, 0])

    def test_between(self) -> None:
        """Between nine tenths of a mark and the mark everything stays as it is."""
        self.looks(ABOVE, 3)
        self.assertEqual(self.looks(BETWEEN, 50), [1] * 50)
        for _ in range(50):  # and what comes before it counts for nothing
            self.assertEqual(self.looks(BELOW, 9) + self.looks(BETWEEN, 1), [1] * 10)
        for _ in range(50):
            self.assertEqual(self.looks(ABOVE, 2) + self.looks(BETWEEN, 1), [1] * 3)

    def test_any_mark(self) -> None:
        """Any mark will do, and it is said which."""
        for load, why in (
            (ABOVE, "descriptors: 90% of 90%"),
            (Load(memory=1500 * 1024**2), "memory: 1500M of 1000M"),
            (Load(lag=0.35, descriptors=91.0), "lag: 350ms of 200ms"),
        ):
            shedding = Shedding(SPEC)
            self.assertEqual([shedding.look(load) for _ in range(3)][-1], Step.IDLE)
            self.assertEqual(shedding.why, why)

    def test_no_mark(self) -> None:
        """What has no mark is no reason."""
        shedding = Shedding(ShedSpec(lag=0.2))
        for _ in range(50):
            self.assertEqual(shedding.look(Load(descriptors=100.0, memory=10**12)), Step.NONE)


class LeastImportantTests(Case):
    def test_which(self) -> None:
        """Those of the highest number; nobody where all are alike, or nobody would be let in."""
        cases: tuple[tuple[list[tuple[str, int]], list[str]], ...] = (
            ([("a", 0), ("b", 5), ("c", 5), ("d", 1)], ["b", "c"]),
            ([("a", 0), ("b", 1)], ["b"]),
            ([("a", 3), ("b", 3)], []),
            ([("a", 0)], []),
            ([], []),
        )
        for priorities, expected in cases:
            self.assertEqual(least_important(priorities), expected)


class WorstOffendersTests(Case):
    def test_most_connections(self) -> None:
        """The client that has most loses one, until others have as many; the longest silent goes first."""
        connections = [(f"a{moved}", b"a", float(moved)) for moved in (5, 3, 4, 9)]
        connections += [("b", b"b", 1.0), ("c1", b"c", 6.0), ("c2", b"c", 2.0)]
        self.assertEqual(worst_offenders(connections, 2), ["a3", "a4"])
        self.assertEqual(worst_offenders(connections, 4), ["a3", "a4", "c2", "a5"])
        self.assertEqual(worst_offenders(connections, 5), ["a3", "a4", "c2", "a5", "b"])

    def test_all_alike(self) -> None:
        """Where all have one, those go that have been silent longest."""
        connections = [(number, bytes((number,)), float(-number)) for number in range(200)]
        self.assertEqual(worst_offenders(connections, 3), [199, 198, 197])

    def test_how_many(self) -> None:
        """A fiftieth, one at least, and 64 at most; and not more than there are."""
        for count, expected in ((0, 0), (1, 1), (99, 1), (100, 2), (3200, 64), (50_000, 64)):
            connections = [(number, b"%d" % (number % 7), 0.0) for number in range(count)]
            self.assertEqual(len(worst_offenders(connections)), expected, count)

    def test_as_told(self) -> None:
        """It is what one gets by looking through all for each that goes."""
        for seed in range(100):
            chance = Random(seed)
            connections = [
                (number, bytes((chance.randrange(chance.randrange(1, 30)),)), chance.random())
                for number in range(chance.randrange(1, 120))
            ]
            most = chance.randrange(1, 40)
            left = list(connections)
            expected: list[int] = []
            while left and len(expected) < most:
                counts = {client: sum(one[1] == client for one in left) for _, client, _ in left}
                gone = min(left, key=lambda one: (-counts[one[1]], one[2]))
                left.remove(gone)
                expected.append(gone[0])
            self.assertEqual(worst_offenders(connections, most), expected, seed)
