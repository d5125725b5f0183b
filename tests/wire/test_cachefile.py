"""What does the file of a stored answer say, and is it whole?"""

from __future__ import annotations

from random import Random

from proxyd.errors import Malformed
from proxyd.wire.cachefile import (
    MAGIC,
    digest_of,
    head_length,
    pack,
    pack_head,
    packed_length,
    unpack,
    unpack_head,
)
from tests.support.case import Case

VALUES = {"url": "http://a/\xff", "names": ["x"], "terms": [1.5, True]}


class Files(Case):
    def test_whole(self) -> None:
        """What was packed is what is read."""
        for body in (b"", b"x", bytes(range(256)) * 300):
            data = pack(VALUES, body)
            values, found = unpack(data)
            self.assertEqual((found, len(data)), (body, packed_length(VALUES, len(body))))
            self.assertEqual({name: values[name] for name in VALUES}, VALUES)
            self.assertEqual(unpack_head(data[: head_length(data)])["url"], VALUES["url"])

    def test_head_behind(self) -> None:
        """A head that is made when its body is there already takes as much room as was left for it."""
        room = packed_length(VALUES, 10**9) - 10**9
        for body in (b"", b"x" * 5000):
            head = pack_head(VALUES, len(body), digest_of(body), room)
            self.assertEqual((len(head), head_length(head)), (room, room))
            self.assertEqual(unpack(head + body)[1], body)

    def test_torn(self) -> None:
        """A file that is cut anywhere, or in which any byte is another one, is never taken."""
        data = pack(VALUES, b"hello, world" * 9)
        random = Random(9)
        for end in range(len(data)):
            self.assertRaises(Malformed, unpack, data[:end])
            place, bit = random.randrange(len(data)), 1 << random.randrange(8)
            wrong = bytearray(data)
            wrong[place] ^= bit
            self.assertRaises(Malformed, unpack, bytes(wrong))
        self.assertRaises(Malformed, unpack, data + b"x")
        self.assertRaises(Malformed, unpack, bytes(len(data)))
        self.assertRaises(Malformed, head_length, MAGIC + b"\xff" * 40)
