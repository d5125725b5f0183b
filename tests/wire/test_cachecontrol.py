"""What does Cache-Control say?"""

from __future__ import annotations

from random import Random

from proxyd.wire.cachecontrol import (
    MOST_SECONDS,
    UNREADABLE,
    parse_directives,
    parse_targeted,
    seconds,
    shortest,
)
from tests.support.case import Case


class CacheControl(Case):
    def test_lists(self) -> None:
        """RFC 9111, 5.2: names in any case, arguments as tokens or in quotes, empty elements."""
        for lines, found in (
            ([b"max-age=5"], {b"max-age": [b"5"]}),
            ([b"Max-Age=5,NO-STORE"], {b"max-age": [b"5"], b"no-store": [b""]}),
            ([b'max-age="5"'], {b"max-age": [b"5"]}),
            ([b" , public ,, max-age=1 , "], {b"public": [b""], b"max-age": [b"1"]}),
            ([b"max-age=1", b"max-age=2"], {b"max-age": [b"1", b"2"]}),
            ([b'private="a, b", x'], {b"private": [b"a, b"], b"x": [b""]}),
            ([rb'a="\"b\\"'], {b"a": [rb'"b' + b"\\"]}),
            ([b""], {}),
            ([], {}),
        ):
            self.assertEqual(parse_directives(lines), found, lines)

    def test_what_is_quoted_says_nothing(self) -> None:
        """What is within a quoted string is no directive."""
        self.assertNotIn(b"max-age", parse_directives([b'a="b, max-age=3600"']))
        self.assertNotIn(b"no-store", parse_directives([b'a="x\\", no-store", b']))

    def test_careless_writing(self) -> None:
        """What is not written as it should be is there, with an argument that is no number."""
        for line in (b"max-age =5", b"max-age= 5", b"max-age=", b'max-age="5', b"max-age=5 6", b"max-age: 5"):
            found = parse_directives([line])
            self.assertEqual(found[b"max-age"], [UNREADABLE], line)
            self.assertEqual(shortest(found, b"max-age"), 0, line)
        self.assertEqual(parse_directives([b"no-store;x, public"])[b"no-store"], [UNREADABLE])

    def test_any_bytes(self) -> None:
        """It ends whatever is said, and a directive in front is always found."""
        random = Random(5)
        letters = b'ab=",;\\ \t\x80-'
        for _ in range(2000):
            text = bytes(random.choice(letters) for _ in range(random.randrange(30)))
            self.assertIn(b"no-store", parse_directives([b"no-store, " + text]))

    def test_long_lines_take_no_longer(self) -> None:
        """A line that matches nothing is read once, not again from each of its letters."""
        self.assertEqual(len(parse_directives([b"a=" + b'"' * 16_000])), 1)

    def test_seconds(self) -> None:
        """RFC 9111, 1.2.2: digits alone, and what is very long counts as 2^31."""
        for text, number in (
            (b"0", 0),
            (b"007", 7),
            (b"2147483648", MOST_SECONDS),
            (b"9" * 400, MOST_SECONDS),
            (b"-1", None),
            (b"1.5", None),
            (b"+1", None),
            (b"", None),
            (b"1s", None),
            (b"\xb2", None),
        ):
            self.assertEqual(seconds(text), number, text)

    def test_the_shortest_counts(self) -> None:
        """RFC 9111, 4.2.1: where a directive is given twice, who is careful takes the shorter time."""
        self.assertEqual(shortest(parse_directives([b"max-age=9, max-age=3"]), b"max-age"), 3)
        self.assertEqual(shortest(parse_directives([b"max-age=9, max-age=x"]), b"max-age"), 0)
        self.assertIsNone(shortest({}, b"max-age"))


class Targeted(Case):
    def test_dictionaries(self) -> None:
        """RFC 9213, 2.1, and RFC 9651, 3.2: stricter than Cache-Control, and the last of a name counts."""
        for lines, found in (
            ([b"max-age=60"], {b"max-age": [b"60"]}),
            ([b"max-age=60, no-store"], {b"max-age": [b"60"], b"no-store": [b""]}),
            ([b"max-age=60", b"max-age=30"], {b"max-age": [b"30"]}),
            ([b"max-age=60;x=y;z, private=?0"], {b"max-age": [b"60"]}),
            ([b'a="b\\"c", d=?1'], {b"a": [b'b"c'], b"d": [b""]}),
            ([b"max-age=1.5"], {b"max-age": [b"1.5"]}),
        ):
            self.assertEqual(parse_targeted(lines), found, lines)

    def test_what_is_not_heeded(self) -> None:
        """RFC 9213, 2.2: a field that is no dictionary is as if it were not there."""
        for line in (
            b"max-age=60,",
            b"Max-Age=60",
            b"max-age = 60",
            b"max-age=60 no-store",
            b"",
            b"=1",
            b"a,,b",
        ):
            self.assertIsNone(parse_targeted([line]), line)
