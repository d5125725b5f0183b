"""Does a line fall into the words that an operator sees in it?"""

from __future__ import annotations

from proxyd.config.words import Invalid, quoted, split
from tests.support.case import Case

ENVIRON = {"HOME_NET": "10.0.0.0/8", "TWO": "a b ; c", "EMPTY": "", "BAD": "a\nb", "HALF": "\udcff"}

WORDS = [
    ("", []),
    ("  \t ", []),
    ("one", ["one"]),
    (" one  two\tthree ", ["one", "two", "three"]),
    ("a;b #c", ["a;b"]),
    ("a ; b", ["a"]),
    ("a\t# b", ["a"]),
    (" ; all of it", []),
    (";no blank before it", [";no", "blank", "before", "it"]),
    ("a#b;c", ["a#b;c"]),
    ('"a ; b" c', ["a ; b", "c"]),
    ("'a # b'", ["a # b"]),
    ("a'b c'd\"e f\"", ["ab cde f"]),
    ("''", [""]),
    ('a "" b', ["a", "", "b"]),
    ("'it''s'", ["its"]),
    ('"it\'s"', ["it's"]),
    (r"a\ b", ["a b"]),
    (r"\;a \#b", [";a", "#b"]),
    (r"interface=\:\:1", [r"interface=\:\:1"]),
    (r"a\\b", [r"a\b"]),
    (r'"a\"b\\c\d"', [r'a"b\c\d']),
    (r"'a\b'", [r"a\b"]),
    (r"\'a\"", ["'a\""]),
    ("$$5 '$x' \"$$\"", ["$5", "$x", "$"]),
    ("${HOME_NET}", ["10.0.0.0/8"]),
    ("x${HOME_NET}y", ["x10.0.0.0/8y"]),
    ('"${HOME_NET}"', ["10.0.0.0/8"]),
    ("'${HOME_NET}'", ["${HOME_NET}"]),
    ("${TWO} d", ["a b ; c", "d"]),
    ("a ${EMPTY} b", ["a", "b"]),
    ('a "${EMPTY}" b', ["a", "", "b"]),
    ("a ; ${NOT_SET} 'open", ["a"]),
    ("a\u00a0b\u2028c", ["a\u00a0b\u2028c"]),
]

REFUSED = [
    ("'open", "a quote (') that is not closed"),
    ('a "open', 'a quote (") that is not closed'),
    ('"ends \\"', 'a quote (") that is not closed'),
    ("a \\", "ends with a backslash"),
    ("$", "a lone $"),
    ("a$b", "a lone $"),
    ("${open", "a lone $"),
    ("${}", "is not the name of a variable"),
    ("${A:-b}", '"A:-b" is not the name of a variable'),
    ("${NOT_SET}", "the variable NOT_SET is not set"),
    ("${BAD}", "the variable BAD holds a character"),
    ("${HALF}", "the variable HALF holds a character"),
]


class WordsTests(Case):
    def test_words(self) -> None:
        """Blanks separate, quotes keep, comments follow a blank, variables stay one word."""
        for line, words in WORDS:
            self.assertEqual(split(line, ENVIRON), words, line)

    def test_refused(self) -> None:
        """What cannot be meant is refused, with the reason."""
        for line, reason in REFUSED:
            error = self.assertRaises(Invalid, split, line, ENVIRON)
            self.assertIn(reason, str(error), line)

    def test_quoting_round_trip(self) -> None:
        """Any text comes back whole from between single quotes, as long as it has none itself."""
        for text in ("", "a b", "; #", "\\", "$x ${y}", '"', "a=b:c", "\t"):
            self.assertEqual(split(f"'{text}'", {}), [text])

    def test_shown_in_messages(self) -> None:
        """A message shows a value on one line, whatever is in it and however long it is."""
        self.assertEqual(quoted("web"), '"web"')
        self.assertEqual(quoted("a\u00a0b\x1b"), '"a\\xa0b\\x1b"')
        self.assertEqual(quoted("x" * 100), '"' + "x" * 60 + '..."')
