"""Are patterns found, and searches given up in time?"""

from __future__ import annotations

from proxyd.upkeep.probes.patterns import Search, TooLong
from tests.support.case import Case

FOREVER = b"(a|aa)+$"  # each further letter takes Python's re half as long again


class SearchTests(Case):
    def test_found(self) -> None:
        """What matches is found where it ends."""
        self.assertEqual(Search().end(rb"b+\d", b"abb1b2"), 4)
        self.assertIs(Search().end(b"^b", b"ab"), None)

    def test_beginning(self) -> None:
        """Nothing is looked for behind 64 KiB."""
        self.assertIs(Search().end(b"b", b"a" * 65536 + b"b"), None)

    def test_given_up(self) -> None:
        """A search that would last for ever is given up, and then there is no time for another."""
        search = Search()
        self.assertRaises(TooLong, search.end, FOREVER, b"a" * 60000 + b"b")
        self.assertRaises(TooLong, search.end, b"b", b"b")
