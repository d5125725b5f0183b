"""Is a mail server asked politely, and left so?"""

from __future__ import annotations

from proxyd.config.probes import SmtpAsk
from proxyd.upkeep.probes import smtp
from tests.upkeep.probes.stage import ProbeCase

BANNER = b"220-mail.example\r\n220 ESMTP\r\n"
EXTENSIONS = b"250-mail.example\r\n250 8BITMIME\r\n"


class SmtpTests(ProbeCase):
    probe = smtp.probe

    def test_dialogue(self) -> None:
        """Greeting, EHLO, QUIT, and its answer; nothing is said before the greeting."""
        self.begin(SmtpAsk("proxy.example"))
        self.assertEqual(self.said(), b"")
        self.answer(BANNER)
        self.assertEqual(self.said(), b"EHLO proxy.example\r\n")
        self.answer(EXTENSIONS)
        self.assertEqual(self.said(), b"QUIT\r\n")
        self.assertNoResult(self.outcome)
        self.answer(b"221 Bye\r\n")
        self.assertPassed()

    def test_any_goodbye(self) -> None:
        """How the server takes its leave is its own matter."""
        for leave in (self.close, lambda: self.answer(b"oh\r\n"), lambda: self.answer(b"500 what?\r\n")):
            self.begin(SmtpAsk())
            self.answer(BANNER + EXTENSIONS)
            self.said()
            leave()
            self.assertPassed()

    def test_unwilling(self) -> None:
        """A server that takes no mail now fails; it hears QUIT if it has greeted us."""
        self.begin(SmtpAsk())
        self.answer(b"421 too busy\r\n")
        self.assertFailed("answered 421 too busy")
        self.begin(SmtpAsk())
        self.answer(BANNER)
        self.said()
        self.answer(b"550 go away\r\n")
        self.assertFailed("answered 550 go away", farewell=b"QUIT\r\n")

    def test_other_protocols(self) -> None:
        """What is no mail server fails."""
        self.begin(SmtpAsk())
        self.answer(b"SSH-2.0-OpenSSH\r\n")
        self.assertFailed("b'SSH-2.0-OpenSSH', which does not begin with three digits")
