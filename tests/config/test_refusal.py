"""What do ``refuse`` and ``speaks`` of a listener mean?"""

from __future__ import annotations

from proxyd.config.refusal import SPOKEN, RefuseSpec
from proxyd.wire import refusal
from tests.config.ini import IniCase

POOL = "[pool p]\nserver a = h:1\n[listener l]\nbind = tcp:80\npool = p\n"


class RefusalTests(IniCase):
    def test_read(self) -> None:
        """A word says how clients are turned away, and only a tarpit has parameters."""
        for text, expected in (
            ("", RefuseSpec()),
            ("refuse = reset\n", RefuseSpec("reset")),
            ("refuse = tarpit\n", RefuseSpec("tarpit")),
            ("refuse = tarpit hold=1m most=9\n", RefuseSpec("tarpit", 60.0, 9)),
        ):
            self.assertEqual(self.load(POOL + text).listeners[0].refuse, expected)

    def test_refused(self) -> None:
        """What cannot be is refused with what would be right."""
        for text, problem in (
            ("refuse = tarpitt\n", 'refuse: "tarpitt" is not known; did you mean "tarpit"?'),
            ("refuse = drop hold=1s\n", "refuse: drop takes no parameters; they are for tarpit"),
            ("refuse = tarpit hold=0s\n", 'refuse: hold: "0s" is too short; it must be more than 0'),
            ("speaks = pgsq\n", 'speaks: "pgsq" is not known; did you mean "pgsql"?'),
        ):
            self.assertEqual(self.problems(POOL + text), [f"proxy.ini:6: [listener l] {problem}"])

    def test_every_protocol_has_words(self) -> None:
        """Whatever can be spoken, a refusal can be said in it."""
        for speaks in SPOKEN:
            self.assertTrue(refusal.refusal(speaks, refusal.TOO_MANY, 5))
