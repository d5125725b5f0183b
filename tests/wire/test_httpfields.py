"""Is a field of HTTP read as it was meant, and everything doubtful refused?"""

from __future__ import annotations

from proxyd.wire.httpfields import (
    CONNECTION,
    END_TO_END,
    FORGED,
    FORWARDED,
    KEEP_ALIVE,
    LONGEST_REMEMBERED,
    REMEMBERED,
    Lines,
    Unacceptable,
    parse_field,
    show,
    tokens,
)
from tests.support.case import Case

GOOD = (
    # section of RFC 9110 or 9112, line, name, value, line as it is passed on, kind
    ("9112 5", b"Accept: */*", b"accept", b"*/*", b"Accept: */*\r\n", END_TO_END),
    ("9112 5.1", b"X:y", b"x", b"y", b"X: y\r\n", END_TO_END),
    ("9112 5.1", b"X: \t y z\t ", b"x", b"y z", b"X: y z\r\n", END_TO_END),
    ("9110 5.5", b"X:", b"x", b"", b"X: \r\n", END_TO_END),
    ("9110 5.5", b"X:  \t", b"x", b"", b"X: \r\n", END_TO_END),
    ("9110 5.5", b"X: \xe4", b"x", b"\xe4", b"X: \xe4\r\n", END_TO_END),
    (
        "9110 5.6.2",
        b"!#$%&'*+-.^_`|~09aZ: x",
        b"!#$%&'*+-.^_`|~09az",
        b"x",
        b"!#$%&'*+-.^_`|~09aZ: x\r\n",
        END_TO_END,
    ),
    ("9110 7.6.1", b"cOnNeCtIoN: close", b"connection", b"close", b"cOnNeCtIoN: close\r\n", CONNECTION),
    ("9110 7.6.1", b"Keep-Alive: 5", b"keep-alive", b"5", b"Keep-Alive: 5\r\n", KEEP_ALIVE),
    ("7239 4", b"Forwarded: for=x", b"forwarded", b"for=x", b"Forwarded: for=x\r\n", FORWARDED),
    ("3875 4.1.18", b"X_Forwarded-For: y", b"x_forwarded-for", b"y", b"X_Forwarded-For: y\r\n", FORGED),
    ("3875 4.1.18", b"my_name: y", b"my_name", b"y", b"my_name: y\r\n", END_TO_END),
)

BAD = (
    ("9112 5.2", b" X: y", "a folded line"),
    ("9112 5.2", b"\tX: y", "a folded line"),
    ("9112 5", b"X", "a line without a colon"),
    ("9112 5", b"", "a line without a colon"),
    ("9110 5.1", b": y", "a field without a name"),
    ("9112 5.1", b"X : y", "a blank before the colon"),
    ("9112 5.1", b"X\t: y", "a blank before the colon"),
    ("9110 5.1", b"X Y: z", "a field's name that is no token"),
    ("9110 5.1", b"X\x00: z", "a field's name that is no token"),
    ("9110 5.1", b"X(: z", "a field's name that is no token"),
    ("9110 5.5", b"X: \x00", "NUL in the value of X"),
    ("9110 5.5", b"X: a\rb", "a bare CR in the value of X"),
    ("9110 5.5", b"X: a\x0bb", "a control character in the value of X"),
    ("9110 5.5", b"X: \x7f", "a control character in the value of X"),
)


class Fields(Case):
    """A line becomes a field, or an error."""

    def test_good(self) -> None:
        """Names are compared in lower case, values have no blanks around them, and what leaves is rebuilt."""
        for section, line, name, value, rebuilt, kind in GOOD:
            self.assertEqual(parse_field(line), (name, value, rebuilt, kind), section)

    def test_bad(self) -> None:
        """What is wrong is told with the section that forbids it."""
        for section, line, text in BAD:
            wrong = self.assertRaises(Unacceptable, parse_field, line)
            self.assertEqual(
                (wrong.status, wrong.section, str(wrong)), (400, section, f"{text} (RFC {section})")
            )

    def test_remembered(self) -> None:
        """A line that was judged is known the next time; neither long ones nor secrets are kept."""
        lines = Lines()
        self.assertIs(lines.field(b"Accept: */*"), lines.field(b"Accept: */*"))
        for line in (
            b"X: " + bytes(LONGEST_REMEMBERED).replace(b"\0", b"x"),
            b"Cookie: a=b",
            b"Authorization: Basic eDp5",
        ):
            lines.field(line)
        self.assertEqual(list(lines.fields), [b"Accept: */*"])

    def test_lines_is_bounded(self) -> None:
        """Whoever sends ever new lines makes it begin anew, and no more."""
        lines = Lines()
        for number in range(REMEMBERED + 10):
            lines.field(b"X: %d" % number)
        self.assertEqual(len(lines.fields), 10)

    def test_nothing_wrong_is_remembered(self) -> None:
        """A line that was refused is refused again."""
        lines = Lines()
        for _ in range(2):
            self.assertRaises(Unacceptable, lines.field, b"X : y")
        self.assertEqual(lines.fields, {})

    def test_tokens(self) -> None:
        """A list of tokens, with empty elements passed over (RFC 9110, 5.6.1)."""
        for value, expected in (
            (b"close", [b"close"]),
            (b"Close, ,\tX-y ,", [b"close", b"x-y"]),
            (b"", []),
            (b"a b", None),
            (b"a;b", None),
            (b'"a"', None),
        ):
            self.assertEqual(tokens(value), expected, value)

    def test_shown(self) -> None:
        """What a peer has said is short and harmless in a message."""
        self.assertEqual(show(b"a\x00\xe4"), "a\x00\\xe4")
        self.assertEqual(show(b"x" * 41), "x" * 40 + "...")
