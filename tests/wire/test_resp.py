"""Is every answer of Redis read as it is meant, and nothing else?"""

from __future__ import annotations

from random import Random
from typing import Any

from proxyd.wire.resp import LONGEST_LINE, Error, Status, command, reply
from tests.support.case import Case
from tests.support.mutations import mutations
from tests.support.parsing import both_ways

REPLIES: list[tuple[bytes, Any]] = [
    (b"+PONG\r\n", Status(b"PONG")),
    (b"+\r\n", Status(b"")),
    (b"-ERR no\r\n", Error(b"ERR no")),
    (b":-12\r\n", -12),
    (b"$5\r\nab\r\nc\r\n", b"ab\r\nc"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", ()),
    (b"*3\r\n$6\r\nmaster\r\n:0\r\n*1\r\n*1\r\n+a\r\n", (b"master", 0, ((Status(b"a"),),))),
]

MALFORMED = [
    (b"HTTP/1.1 200 OK\r\n", "b'HTTP/1.1 200 OK', which is no reply of Redis"),
    (b"\r\n", "b'', which is no reply of Redis"),
    (b"x" * 50, f"{b'x' * 40!r}, which is no reply of Redis"),
    (b"+" + b"x" * (LONGEST_LINE + 1) + b"\r\n", "a line of more than 4096 bytes"),
    (b":one\r\n", "b':one', which has no number"),
    (b":\r\n", "b':', which has no number"),
    (b"$-2\r\n", "a string of -2 bytes; 32768 are the most"),
    (b"$32769\r\n", "a string of 32769 bytes; 32768 are the most"),
    (b"$1\r\nab\r\n", "a string that is longer than it says"),
    (b"*1025\r\n", "an array of 1025 elements, 1 deep; 1024 and 4 are the most"),
    (b"*1\r\n" * 5, "an array of 1 elements, 5 deep; 1024 and 4 are the most"),
]


outcome, piecemeal = both_ways(reply)


class RespTests(Case):
    def test_replies(self) -> None:
        """Each kind of reply is read, and no byte behind it."""
        for data, value in REPLIES:
            self.assertEqual(reply(data), (value, len(data)))
            self.assertEqual(reply(data + b"+next"), (value, len(data)))
            self.assertEqual(piecemeal(data), (value, len(data)))

    def test_malformed(self) -> None:
        """What is no reply, or one without bounds, is refused in words."""
        for data, why in MALFORMED:
            self.assertEqual((outcome(data), piecemeal(data)), (why, why))

    def test_broken(self) -> None:
        """Broken replies end the same way however they are cut, and only in the ways that are said."""
        seeds = [data for data, _ in REPLIES]
        for data in mutations(Random(1), seeds, 2000):
            self.assertEqual(outcome(data), piecemeal(data), data)

    def test_command(self) -> None:
        """Words of a command may hold anything."""
        self.assertEqual(command("AUTH", "pä ss\r\n"), b"*2\r\n$4\r\nAUTH\r\n$8\r\np\xc3\xa4 ss\r\n\r\n")
