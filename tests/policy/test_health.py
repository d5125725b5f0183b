"""Does a server change its state when, and only when, it should?"""

from __future__ import annotations

from itertools import combinations, product
from typing import Optional, Sequence

from proxyd.config.combination import AllOf, AnyOf, Combination
from proxyd.config.health import CheckSpec
from proxyd.policy.health import CALM, RiseFall, combined
from proxyd.policy.state import State
from tests.support.case import Case


def expected(results: Sequence[bool], rise: int, fall: int) -> list[Optional[State]]:
    """The rule once more, read off the whole history instead of counted."""
    state = State.CHECKING
    turns: list[Optional[State]] = []
    for end in range(1, len(results) + 1):
        history = results[:end]
        before = state
        if end == 1:
            state = State.UP if history[0] else State.DOWN
        elif state is State.DOWN and len(history) >= rise and all(history[-rise:]):
            state = State.UP
        elif state is State.UP and len(history) >= fall and not any(history[-fall:]):
            state = State.DOWN
        turns.append(state if state is not before else None)
    return turns


class Patience(Case):
    """`RiseFall`."""

    def test_every_history(self) -> None:
        """Whatever a server's checks say, its state follows the rule: all histories of nine checks."""
        for rise, fall in product((1, 2, 3), repeat=2):
            for results in product((True, False), repeat=9):
                rise_fall = RiseFall(CheckSpec(rise=rise, fall=fall, max_rise=1))
                self.assertEqual(
                    [rise_fall.note(passed) for passed in results],
                    expected(results, rise, fall),
                    f"rise={rise} fall={fall} {results}",
                )

    def test_default(self) -> None:
        """By default a server goes down with its third failure, and comes back with its second pass."""
        rise_fall = RiseFall(CheckSpec())
        self.assertIs(rise_fall.state, State.CHECKING)
        self.assertIs(rise_fall.note(True), State.UP)
        self.assertEqual([rise_fall.note(False) for _ in range(4)], [None, None, State.DOWN, None])
        self.assertIs(rise_fall.state, State.DOWN)
        self.assertEqual([rise_fall.note(True) for _ in range(3)], [None, State.UP, None])

    def test_first_check_decides_alone(self) -> None:
        """One failed check is enough to keep connections from a server that never answered."""
        self.assertIs(RiseFall(CheckSpec(fall=10)).note(False), State.DOWN)

    def test_flapping(self) -> None:
        """A server that fails every other check stays as it is."""
        rise_fall = RiseFall(CheckSpec())
        rise_fall.note(True)
        self.assertEqual([rise_fall.note(bool(n % 2)) for n in range(50)], [None] * 50)


class Damping(Case):
    """What becomes of a server that keeps changing; fall is 1, so that a failure is a fall."""

    def setUp(self) -> None:
        self.rise_fall = RiseFall(CheckSpec(rise=2, fall=1, max_rise=12))
        self.rise_fall.note(True)

    def falls(self) -> int:
        """The server falls, and then passes; how many checks it takes to come up."""
        self.assertIs(self.rise_fall.note(False), State.DOWN)
        count = 1
        while self.rise_fall.note(True) is None:
            count += 1
        return count

    def stays_up(self, checks: int) -> None:
        self.assertEqual({self.rise_fall.note(True) for _ in range(checks)}, {None})

    def test_doubled(self) -> None:
        """Each fall soon after the last doubles what it takes to rise, up to the bound."""
        self.assertEqual([self.falls() for _ in range(5)], [2, 4, 8, 12, 12])

    def test_forgotten(self) -> None:
        """One that has stayed up for long enough is as good as any; one check less is not enough."""
        for checks, needed in ((CALM - 1, 4), (CALM, 2)):
            self.setUp()
            self.falls()
            self.stays_up(checks)
            self.assertEqual(self.falls(), needed)

    def test_begins_anew(self) -> None:
        """A failure among the checks that pass makes it begin anew, as ever."""
        self.falls()
        self.assertIs(self.rise_fall.note(False), State.DOWN)
        self.assertEqual([self.rise_fall.note(passed) for passed in (True, True, True, False)], [None] * 4)
        self.assertEqual([self.rise_fall.note(True) for _ in range(4)], [None] * 3 + [State.UP])

    def test_no_haste(self) -> None:
        """A server that is held back is not looked at more often than others."""
        self.rise_fall.note(False)
        self.rise_fall.note(True)
        self.assertEqual((self.rise_fall.changing, self.rise_fall.damped), (True, False))
        self.rise_fall.note(True)
        self.rise_fall.note(False)
        self.rise_fall.note(True)
        self.assertEqual((self.rise_fall.changing, self.rise_fall.damped), (False, True))

    def test_turned_off(self) -> None:
        """With max_rise no larger than rise it takes what it always takes."""
        self.rise_fall = RiseFall(CheckSpec(rise=3, fall=1, max_rise=1))
        self.rise_fall.note(True)
        self.assertEqual([self.falls() for _ in range(3)], [3, 3, 3])


def holds(combination: Combination, passing: frozenset[str]) -> bool:
    """The same once more, of checks that have all decided."""
    if isinstance(combination, str):
        return combination in passing
    parts = [holds(part, passing) for part in combination.parts]
    return all(parts) if isinstance(combination, AllOf) else any(parts)


class Together(Case):
    """`combined`."""

    def test_all(self) -> None:
        """Without a combination all must pass, and one that fails decides at once."""
        up, down, checking = State.UP, State.DOWN, State.CHECKING
        for states, state in (
            ((up, up), up),
            ((up, checking), checking),
            ((checking, down), down),
            ((up, down), down),
        ):
            self.assertIs(combined(dict(zip("ab", states)), None), state)

    def test_every_case(self) -> None:
        """Whatever the checks say, it is decided if, and only if, those without a result cannot matter."""
        for wanted in (
            AnyOf((AllOf(("a", "b")), "c")),
            AllOf((AnyOf(("a", "b")), "c")),
            AllOf(("a", AnyOf(("b", AllOf(("c", "a")))))),
            "b",
        ):
            for states in product((State.UP, State.DOWN, State.CHECKING), repeat=3):
                checks = dict(zip("abc", states))
                passing = {name for name, state in checks.items() if state is State.UP}
                unknown = [name for name, state in checks.items() if state is State.CHECKING]
                outcomes = {
                    holds(wanted, frozenset({*passing, *chosen}))
                    for count in range(len(unknown) + 1)
                    for chosen in combinations(unknown, count)
                }
                found = combined(checks, wanted)
                expected = {True: State.UP, False: State.DOWN}
                decided = expected[outcomes.pop()] if len(outcomes) == 1 else State.CHECKING
                self.assertIs(found, decided, (wanted, checks))
