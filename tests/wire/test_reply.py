"""Are the replies of SMTP and FTP read to their end?"""

from __future__ import annotations

from random import Random

from proxyd.wire.reply import LONGEST_LINE, Reply, reply
from tests.support.case import Case
from tests.support.mutations import mutations
from tests.support.parsing import both_ways

REPLIES = [
    (b"220 mail.example ESMTP\r\n", Reply(220, b"mail.example ESMTP")),
    (b"250\r\n", Reply(250, b"")),
    (b"220 \n", Reply(220, b"")),
    (b"250-mail.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n", Reply(250, b"8BITMIME")),
    (b"220-Welcome\r\n 220 not yet\r\n221 nor this\r\n\r\n220-\r\n220 now\r\n", Reply(220, b"now")),
]

MALFORMED = [
    (b"SSH-2.0-OpenSSH\r\n", "b'SSH-2.0-OpenSSH', which does not begin with three digits"),
    (b"\r\n", "b'', which does not begin with three digits"),
    (b"2200 four\r\n", "b'2200 four', which does not begin with three digits"),
    (b"620 six\r\n", "b'620 six', which does not begin with three digits"),
    (b"220 " + b"x" * LONGEST_LINE + b"\r\n", "a line of more than 2048 bytes"),
    (b"220-\r\n" * 3000, "a reply of more than 16384 bytes"),
]


outcome, piecemeal = both_ways(reply)


class ReplyTests(Case):
    def test_replies(self) -> None:
        """A reply ends where it says, whatever its lines are."""
        for data, found in REPLIES:
            self.assertEqual(outcome(data + b"220 next\r\n"), (found, len(data)))
            self.assertEqual(piecemeal(data), (found, len(data)))

    def test_malformed(self) -> None:
        """What is no reply, or never ends, is refused in words."""
        for data, why in MALFORMED:
            self.assertEqual(outcome(data), why)
        for data, why in MALFORMED[:-1]:
            self.assertEqual(piecemeal(data), why)

    def test_broken(self) -> None:
        """Broken replies end the same way however they are cut."""
        for data in mutations(Random(1), [data for data, _ in REPLIES], 1000):
            self.assertEqual(outcome(data), piecemeal(data), data)
