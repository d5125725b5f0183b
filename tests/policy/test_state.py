"""Does each state lead where it should, and nowhere else?"""

from __future__ import annotations

from proxyd.errors import IllegalMove
from proxyd.policy.state import MOVES, Event, State, move
from tests.support.case import Case

LETTERS = dict(zip("udcDme", State))

# What each event leads to from each state, by these letters.
TABLE = """
         u d c D m e
passed   u u u D m e
failed   d d d D m d
drain    D D D D D D
disable  m m m m m m
enable   u d c c c c
eject    e - e - - -
return   - - - - - c
move     c c c D m c
revise   - - - - - -
weigh    - - - - - -
add      - - - - - -
remove   - - - - - -
"""


class Moves(Case):
    """The table."""

    def test_table(self) -> None:
        """Every state and every event: where it leads, or that it leads nowhere."""
        first, *lines = (line.split() for line in TABLE.strip().splitlines())
        self.assertEqual([name for name, *_ in lines], [event.value for event in Event])
        for name, *wanted in lines:
            for letter, after in zip(first, wanted):
                found = MOVES[LETTERS[letter]].get(Event(name))
                self.assertIs(found, LETTERS.get(after), (name, letter))

    def test_illegal(self) -> None:
        """What cannot be is refused, and the words say what was asked of which state."""
        with self.assertRaisesRegex(IllegalMove, "a server that is down has no move for 'eject'"):
            move(State.DOWN, Event.EJECT)

    def test_nobody_is_stuck(self) -> None:
        """From each state a server comes up again, by its checks or by an operator."""
        for state in State:
            reached = {state}
            for _ in State:
                reached |= {
                    MOVES[one][event]
                    for one in reached
                    for event in (Event.ENABLE, Event.PASSED, Event.RETURN)
                    if event in MOVES[one]
                }
            self.assertIn(State.UP, reached)
