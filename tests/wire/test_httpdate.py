"""Which time does an HTTP date name?"""

from __future__ import annotations

from email.utils import formatdate
from random import Random

from proxyd.wire.httpdate import parse_date
from tests.support.case import Case

NOW = 1_700_000_000.0  # in 2023


class Dates(Case):
    def test_forms(self) -> None:
        """RFC 9110, 5.6.7: the form of today, and the two from before it."""
        for text in (
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
        ):
            self.assertEqual(parse_date(text, NOW), 784_111_777, text)

    def test_short_years(self) -> None:
        """A year of two digits that seems to be more than fifty years ahead is of the century before."""
        for text, year in ((b"73", 2073), (b"74", 1974), (b"23", 2023), (b"00", 2000)):
            full = formatdate(parse_date(b"Sunday, 06-Nov-%s 08:49:37 GMT" % text, NOW) or 0, usegmt=True)
            self.assertIn(str(year), full)

    def test_no_dates(self) -> None:
        """What is written otherwise is no date, and neither is a day that is none."""
        for text in (
            b"0",
            b"",
            b"-1",
            b"Sun, 06 Nov 1994 08:49:37",
            b"Sun, 06 Nov 1994 08:49:37 UTC",
            b"Sun, 06 Nov 1994 08:49:37 gmt",
            b"Sun, 6 Nov 1994 08:49:37 GMT",
            b"Sun, 31 Apr 1994 08:49:37 GMT",
            b"Sun, 06 Nov 1994 24:49:37 GMT",
            b"Sun, 06 Nov 1994 08:60:37 GMT",
            b"Sun, 06 Nov 1994 08:49:61 GMT",
            b"Sun, 00 Nov 1994 08:49:37 GMT",
            b"Sun, 06-Nov-1994 08:49:37 GMT",
            b"Sun, 06 Nov 1994  08:49:37 GMT",
        ):
            self.assertIsNone(parse_date(text, NOW), text)

    def test_any_time(self) -> None:
        """What is written by others is read as what it was."""
        random = Random(9110)
        for _ in range(2000):
            second = random.randrange(0, 2**33)
            self.assertEqual(parse_date(formatdate(second, usegmt=True).encode(), NOW), second)
