"""Is a request taken for what it says, and refused if it says what no command has?"""

from __future__ import annotations

from typing import Any

from proxyd.ops.command import Command, Declined, Parameter
from tests.support.case import Case

COMMAND = Command(
    "move",
    "move something",
    lambda steered, given, caller: dict(given),
    (
        Parameter("what", "a thing", required=True),
        Parameter("far", "how far", int),
        Parameter("back", "or back", bool),
    ),
)


class CommandTests(Case):
    def test_given(self) -> None:
        """Texts, whole numbers, and true or false are taken where they are wanted."""
        given: dict[str, Any] = {"what": "it", "far": 7, "back": True}
        self.assertEqual(COMMAND.given(given), given)
        self.assertEqual(COMMAND.given({"what": "it"}), {"what": "it"})

    def test_declined(self) -> None:
        """What is unknown, missing or of another kind is told with what would be right."""
        for given, code, text in [
            ({}, "missing_parameter", "move: what is missing: a thing"),
            ({"what": "it", "fra": 7}, "unknown_parameter", 'move: "fra" is not known; did you mean "far"?'),
            ({"what": 7}, "bad_parameter", "move: what is a text: a thing"),
            ({"what": "it", "far": True}, "bad_parameter", "move: far is a whole number: how far"),
            ({"what": "it", "back": 1}, "bad_parameter", "move: back is true or false: or back"),
        ]:  # fmt: skip
            declined = self.assertRaises(Declined, COMMAND.given, given)
            self.assertEqual((declined.code, str(declined)), (code, text))
