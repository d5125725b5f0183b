"""Are the steps of a script taken in order, and is it told which one failed?"""

from __future__ import annotations

from proxyd.config.forms import Expect, Send
from proxyd.config.probes import ScriptAsk
from proxyd.upkeep.probes import script
from tests.upkeep.probes.stage import ProbeCase


class ScriptTests(ProbeCase):
    probe = script.probe

    def test_dialogue(self) -> None:
        """What is expected is waited for, each time behind what was found before."""
        self.begin(ScriptAsk((Expect(b"^220 "), Send(b"NOOP\r\n"), Expect(b"2.0 "), Send(b"a"), Send(b"b"))))
        self.answer(b"220")
        self.assertEqual(self.said(), b"")
        self.answer(b" ready 200")
        self.assertEqual(self.said(), b"NOOP\r\n")
        self.answer(b" fine")
        self.assertPassed(farewell=b"ab")

    def test_each_byte_once(self) -> None:
        """What one step has found is not found by the next."""
        self.begin(ScriptAsk((Expect(b"x"), Expect(b"x"))))
        self.answer(b"x")
        self.assertNoResult(self.outcome)
        self.answer(b"-x")
        self.assertPassed()

    def test_mismatch(self) -> None:
        """The step is told, and what was said instead; what was sent is not."""
        ask = ScriptAsk((Send(b"AUTH secret\r\n"), Expect(b"OK"), Expect(b"now")))
        for answer, why in (
            (b"", "said nothing, which does not match step 2"),
            (b"-ERR\r\n", "said -ERR\\r\\n, which does not match step 2"),
            (b"OK later", "said  later, which does not match step 3"),
        ):
            self.begin(ask)
            self.assertEqual(self.said(), b"AUTH secret\r\n")
            self.answer(answer)
            self.close()
            self.assertFailed(why)
        self.assertNotIn("secret", repr(ask))

    def test_too_much(self) -> None:
        """A server that talks without end is not listened to without end."""
        self.begin(ScriptAsk((Expect(b"OK"),)))
        self.transport.protocol.dataReceived(b"x" * 65536)
        self.assertFailed("said " + "x" * 120 + "..., which does not match step 1")

    def test_awaited(self) -> None:
        """Who gives up can tell which step is missing."""
        self.begin(ScriptAsk((Send(b"PING"), Expect(b"PONG"))))
        self.assertEqual(self.call.awaited, "match of step 2")
        self.said()
        self.answer(b"PONG")
        self.assertPassed()

    def test_takes_too_long(self) -> None:
        """A pattern that is looked for without end is given up, and named."""
        self.begin(ScriptAsk((Expect(b"(a|aa)+$"),)))
        self.transport.protocol.dataReceived(b"a" * 60000 + b"b")
        self.assertFailed("answered what takes too long to be searched for the pattern of step 1")
