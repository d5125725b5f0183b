"""Is an FTP server greeted, and left in peace?"""

from __future__ import annotations

from proxyd.config.probes import FtpAsk
from proxyd.upkeep.probes import ftp
from tests.upkeep.probes.stage import ProbeCase


class FtpTests(ProbeCase):
    probe = ftp.probe

    def test_dialogue(self) -> None:
        """Its greeting, of however many lines, is answered by QUIT."""
        self.begin(FtpAsk())
        self.answer(b"220-Welcome\r\n to this server\r\n220 Ready\r\n")
        self.assertEqual(self.said(), b"QUIT\r\n")
        self.answer(b"221 Bye\r\n")
        self.assertPassed()

    def test_unwilling(self) -> None:
        """A server that is not ready, or full, fails."""
        for line in (b"120 in 5 minutes", b"421 too many users"):
            self.begin(FtpAsk())
            self.answer(line + b"\r\n")
            self.assertFailed(f"answered {line.decode()}")
