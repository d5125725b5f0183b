"""Does a server change its state when, and only when, it should?"""

from __future__ import annotations

from itertools import product
from typing import Optional, Sequence

from proxyd.config.health import CheckSpec
from proxyd.policy.health import RiseFall
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
                rise_fall = RiseFall(CheckSpec(rise=rise, fall=fall))
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
