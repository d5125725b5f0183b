"""Which lines are lines, and what may follow a wish for TLS?"""

from __future__ import annotations

from proxyd.errors import DialFailed, Malformed, Refused
from proxyd.wire.starttls.step import alone, answer_alone, line
from tests.support.case import Case


class Lines(Case):
    def test_lines(self) -> None:
        """A line ends with its first line feed, and has to end in time."""
        for data, expected in (
            (b"", None),
            (b"NOOP\r", None),
            (b"NOOP\r\n", b"NOOP\r\n"),
            (b"NOOP\nRSET\r\n", b"NOOP\n"),
            (b"\r\n", b"\r\n"),
            (b"\n", b"\n"),
        ):
            self.assertEqual(line(data, 10), expected, data)
        self.assertRaises(Malformed, line, b"0123456789", 10)
        self.assertRaises(Malformed, line, b"0123456789\n", 10)

    def test_two_in_one(self) -> None:
        """What some read as two lines, or as an end, is none."""
        for data in (b"NOOP\rMAIL\r\n", b"NOOP\r\r\n", b"NO\0OP\r\n", b"\rNOOP\n", b"NOOP\0\n"):
            self.assertRaises(Malformed, line, data, 100)


class Injections(Case):
    def test_alone(self) -> None:
        """Behind a wish for TLS, and behind its answer, there is nothing."""
        alone(b"STARTTLS\r\n", 10)
        answer_alone(b"S", 1)
        self.assertRaises(Refused, alone, b"STARTTLS\r\nRSET\r\n", 10)
        self.assertRaises(DialFailed, answer_alone, b"SE", 1)
