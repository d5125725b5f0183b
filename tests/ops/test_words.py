"""Is a value of the access log readable, and bounded?"""

from __future__ import annotations

import json

from proxyd.ops.words import LONGEST_VALUE, rounded, word
from tests.support.case import Case


class Words(Case):
    """How values are written; what awkward ones become is in `tests.ops.test_accesslog`."""

    def test_word(self) -> None:
        """Bare if it is plain, else a JSON string, and a dash for nothing."""
        for text, expected in (("a:1", "a:1"), ("", "-"), ("-", '"-"'), ("a b", '"a b"'), ("a=b", '"a=b"')):
            self.assertEqual(word(text), expected)
        self.assertEqual(len(json.loads(word("x y" * 1000))), LONGEST_VALUE)

    def test_rounded(self) -> None:
        """Microseconds, and nothing that JSON does not know."""
        self.assertEqual((rounded(0.12345678), rounded(None), rounded(float("nan"))), (0.123457, None, None))
