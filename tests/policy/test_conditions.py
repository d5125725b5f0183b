"""Does a request with conditions get the stored answer, a part of it, or nothing but its status?"""

from __future__ import annotations

from typing import Any

from proxyd.policy.conditions import (
    FAILED,
    NOT_MODIFIED,
    UNSATISFIABLE,
    WHOLE,
    along,
    answer_to,
    asked_about,
    confirms,
    freshened,
    part_of,
)
from proxyd.wire.httpfields import Field, parse_field
from tests.support.case import Case

NOW = 1_700_000_000.0

EARLY = b"Sun, 06 Nov 1994 08:49:37 GMT"
LATE = b"Mon, 07 Nov 1994 08:49:37 GMT"
TODAY = b"Tue, 14 Nov 2023 22:13:20 GMT"


def fields(*lines: bytes) -> list[Field]:
    return [parse_field(line) for line in lines]


STRONG = fields(b'ETag: "a"', b"Last-Modified: " + EARLY, b"Date: " + TODAY)
WEAK = fields(b'ETag: W/"a"', b"Last-Modified: " + EARLY, b"Date: " + TODAY)
DATED = fields(b"Last-Modified: " + EARLY, b"Date: " + TODAY)
BARE = fields(b"Date: " + TODAY)


class Conditions(Case):
    def test_rows(self) -> None:
        """RFC 9110, 13.1 and 13.2.2; ten bytes are stored."""
        rows: list[tuple[str, list[bytes], list[Field], Any]] = [
            ("none", [], STRONG, WHOLE),
            ("13.1.2", [b'If-None-Match: "a"'], STRONG, NOT_MODIFIED),
            ("13.1.2 another", [b'If-None-Match: "b"'], STRONG, WHOLE),
            ("13.1.2 one of a list", [b'If-None-Match: "b", W/"c","a"'], STRONG, NOT_MODIFIED),
            ("13.1.2 on two lines", [b'If-None-Match: "b"', b'If-None-Match: "a"'], STRONG, NOT_MODIFIED),
            ("13.1.2 weakly compared", [b'If-None-Match: W/"a"'], STRONG, NOT_MODIFIED),
            ("13.1.2 weakly, too", [b'If-None-Match: "a"'], WEAK, NOT_MODIFIED),
            ("13.1.2 any", [b"If-None-Match: *"], BARE, NOT_MODIFIED),
            ("13.1.2 a comma within", [b'If-None-Match: "a,b"'], STRONG, WHOLE),
            ("13.1.2 no tag", [b"If-None-Match: a"], STRONG, WHOLE),
            ("13.1.2 nothing to compare", [b'If-None-Match: "a"'], BARE, WHOLE),
            ("13.1.3", [b"If-Modified-Since: " + EARLY], DATED, NOT_MODIFIED),
            ("13.1.3 later", [b"If-Modified-Since: " + LATE], DATED, NOT_MODIFIED),
            ("13.1.3 no date", [b"If-Modified-Since: yesterday"], DATED, WHOLE),
            ("13.1.3 beside a tag", [b'If-None-Match: "b"', b"If-Modified-Since: " + LATE], STRONG, WHOLE),
            ("13.1.3 older than that", [b"If-Modified-Since: " + LATE], BARE, WHOLE),
            ("9111 4.3.2 the date in its place", [b"If-Modified-Since: " + TODAY], BARE, NOT_MODIFIED),
            ("13.1.1", [b'If-Match: "a"'], STRONG, WHOLE),
            ("13.1.1 another", [b'If-Match: "b"'], STRONG, FAILED),
            ("13.1.1 strongly compared", [b'If-Match: "a"'], WEAK, FAILED),
            ("13.1.1 strongly, too", [b'If-Match: W/"a"'], WEAK, FAILED),
            ("13.1.1 any", [b"If-Match: *"], STRONG, WHOLE),
            ("13.1.4", [b"If-Unmodified-Since: " + EARLY], DATED, WHOLE),
            ("13.1.4 beside a tag", [b'If-Match: "a"', b"If-Unmodified-Since: " + EARLY], STRONG, WHOLE),
            ("13.2.2 in order", [b'If-Match: "b"', b'If-None-Match: "a"'], STRONG, FAILED),
            ("14.2", [b"Range: bytes=2-4"], STRONG, (2, 4)),
            ("13.2.2 before a range", [b'If-None-Match: "a"', b"Range: bytes=2-4"], STRONG, NOT_MODIFIED),
            ("14.2 twice", [b"Range: bytes=2-4", b"Range: bytes=0-1"], STRONG, WHOLE),
            ("13.1.5", [b'If-Range: "a"', b"Range: bytes=2-4"], STRONG, (2, 4)),
            ("13.1.5 another", [b'If-Range: "b"', b"Range: bytes=2-4"], STRONG, WHOLE),
            ("13.1.5 strongly compared", [b'If-Range: W/"a"', b"Range: bytes=2-4"], WEAK, WHOLE),
            ("13.1.5 a date", [b"If-Range: " + EARLY, b"Range: bytes=2-4"], DATED, (2, 4)),
            ("13.1.5 another date", [b"If-Range: " + LATE, b"Range: bytes=2-4"], DATED, WHOLE),
            (
                "8.8.2.2 a date that is weak",
                [b"If-Range: " + TODAY, b"Range: bytes=2-4"],
                fields(b"Last-Modified: " + TODAY, b"Date: " + TODAY),
                WHOLE,
            ),
        ]
        for section, asked, stored, found in rows:
            self.assertEqual(answer_to(fields(*asked), stored, 10, NOW), found, section)

    def test_later_than_asked(self) -> None:
        """RFC 9110, 13.1.3 and 13.1.4: what was changed since is sent, or refused."""
        stored = fields(b"Last-Modified: " + LATE)
        self.assertEqual(answer_to(fields(b"If-Modified-Since: " + EARLY), stored, 10, NOW), WHOLE)
        self.assertEqual(answer_to(fields(b"If-Unmodified-Since: " + EARLY), stored, 10, NOW), FAILED)

    def test_other_statuses(self) -> None:
        """RFC 9110, 13.2.1: conditions are for what would be 200."""
        self.assertEqual(
            answer_to(fields(b"If-None-Match: *", b"Range: bytes=0-0"), STRONG, 10, NOW, 404), 404
        )

    def test_ranges(self) -> None:
        """RFC 9110, 14.1.1 and 14.1.2, of ten bytes."""
        for wanted, found in (
            (b"bytes=0-0", (0, 0)),
            (b"bytes=0-", (0, 9)),
            (b"bytes=9-", (9, 9)),
            (b"bytes=5-99", (5, 9)),
            (b"bytes=-3", (7, 9)),
            (b"bytes=-99", (0, 9)),
            (b"Bytes = 1-2", (1, 2)),
            (b"bytes=10-", UNSATISFIABLE),
            (b"bytes=10-12", UNSATISFIABLE),
            (b"bytes=-0", UNSATISFIABLE),
            (b"bytes=4-2", WHOLE),
            (b"bytes=-", WHOLE),
            (b"bytes=", WHOLE),
            (b"bytes=0-1,4-5", WHOLE),
            (b"bytes=a-b", WHOLE),
            (b"lines=0-1", WHOLE),
            (b"bytes", WHOLE),
            (b"bytes=" + b"9" * 18 + b"-", UNSATISFIABLE),
            (b"bytes=" + b"9" * 19 + b"-", WHOLE),
        ):
            self.assertEqual(part_of(wanted, 10), found, wanted)
        self.assertEqual(part_of(b"bytes=0-", 0), UNSATISFIABLE)
        self.assertEqual(part_of(b"bytes=-5", 0), UNSATISFIABLE)

    def test_a_part_is_within(self) -> None:
        """Whatever is asked for, a part begins and ends within what is stored."""
        for length in range(5):
            for first in ["", *map(str, range(6))]:
                for last in ["", *map(str, range(6))]:
                    found = part_of(f"bytes={first}-{last}".encode(), length)
                    if isinstance(found, tuple):
                        self.assertTrue(0 <= found[0] <= found[1] < length, (first, last, length))


class Validation(Case):
    HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n%sAccept: */*\r\n\r\n"

    def test_what_a_server_is_asked(self) -> None:
        """RFC 9111, 4.3.1: our conditions in the place of the client's, which are about what it has."""
        asked = self.HEAD % (
            b'If-None-Match: "z"\r\nRange: bytes=0-1\r\nif-range: "z"\r\nIf-Modified-Since: x\r\n'
        )
        self.assertEqual(asked_about(asked), self.HEAD % b"")
        self.assertEqual(
            asked_about(asked, STRONG),
            (self.HEAD % b"")[:-2] + b'If-None-Match: "a"\r\nIf-Modified-Since: ' + EARLY + b"\r\n\r\n",
        )
        self.assertEqual(asked_about(asked, BARE), self.HEAD % b"")

    def test_whether_a_304_is_about_it(self) -> None:
        """RFC 9111, 4.3.4."""
        for lines, stored, is_it in (
            ([b'ETag: "a"'], STRONG, True),
            ([b'ETag: W/"a"'], STRONG, True),
            ([b'ETag: "b"'], STRONG, False),
            ([b'ETag: "a"'], BARE, False),
            ([b"Last-Modified: " + EARLY], DATED, True),
            ([b"Last-Modified: " + LATE], DATED, False),
            ([], STRONG, True),
        ):
            self.assertEqual(confirms(fields(*lines), stored), is_it, lines)

    def test_freshened(self) -> None:
        """RFC 9111, 3.2: all that it says is taken, but for what the stored body was made by."""
        stored = fields(b'ETag: "a"', b"X: 1", b"X: 2", b"Y: 1", b"Content-Encoding: gzip", b"Age: 5")
        new = fields(
            b'ETag: W/"a"', b"X: 3", b"Z: 1", b"Content-Encoding: br", b"Content-Length: 7", b"Age: 2"
        )
        lines = [field[2] for field in freshened(stored, new)]
        self.assertEqual(
            lines, [b'ETag: "a"\r\n', b"Y: 1\r\n", b"Content-Encoding: gzip\r\n", b"X: 3\r\n", b"Z: 1\r\n"]
        )

    def test_what_goes_along_with_a_304(self) -> None:
        """RFC 9110, 15.4.5: nothing that is of the body."""
        stored = fields(b"ETag: x", b"Content-Type: a/b", b"Content-Location: /x", b"Expires: 0", b"X: 1")
        self.assertEqual(
            [field[0] for field in along(stored)], [b"etag", b"content-location", b"expires", b"x"]
        )
