"""Are the parts of a dialogue read as they are written?"""

from __future__ import annotations

from typing import Any

from proxyd.config.forms import (
    Expect,
    HeaderField,
    Helo,
    HexStep,
    Method,
    Path,
    Pattern,
    PatternStep,
    Send,
    Statuses,
    Step,
)
from proxyd.config.options import OneWord
from proxyd.config.reader import Word
from proxyd.config.words import Invalid
from tests.support.case import Case

READ: list[tuple[OneWord, str, Any]] = [
    (Method(), "HEAD", "HEAD"),
    (Path(), "/", "/"),
    (Path(), "/a/b?c=%20&d", "/a/b?c=%20&d"),
    (Statuses(), "200", ((200, 200),)),
    (Statuses(), "200-299,404", ((200, 299), (404, 404))),
    (Pattern(), "^o(k|K)$", "^o(k|K)$"),
    (HeaderField(), "X-Token: a: b ", ("X-Token", "a: b")),
    (HeaderField(), "X-Empty:", ("X-Empty", "")),
    (Helo(), "a-b.example", "a-b.example"),
    (Helo(), "[127.0.0.1]", "[127.0.0.1]"),
    (Step(), "a\\r\\n\\t\\0\\\\n\\x0f\u00e4", Send(b"a\r\n\t\0\\n\x0f\xc3\xa4")),
    (Step(expected=True), "+OK.", Expect(b"\\+OK\\.")),
    (HexStep(), "00 fF", Send(b"\0\xff")),
    (HexStep(expected=True), "2b", Expect(b"\\+")),
    (PatternStep(), "^a+", Expect(b"^a+")),
]

REFUSED: list[tuple[OneWord, str, str]] = [
    (Method(), "GET /", '"GET /" is not a method'),
    (Method(), "CONNECT", '"CONNECT" is for proxies'),
    (Path(), "a", '"a" is not a path; it begins with / and is ASCII without blanks'),
    (Path(), "/a b", '"/a b" is not a path; it begins with / and is ASCII without blanks'),
    (Path(), "/\u00e4", '"/\u00e4" is not a path; it begins with / and is ASCII without blanks'),
    (Path(), "/#x", '"/#x" is not a path; it begins with / and is ASCII without blanks'),
    (Statuses(), "200,", '"" is neither a status nor a range, such as 200-299'),
    (Statuses(), "600", '"600" is neither a status nor a range, such as 200-299'),
    (Statuses(), "300-200", '"300-200" is neither a status nor a range, such as 200-299'),
    (Pattern(), "(", '"(" is not a regular expression: missing ) at position 1'),
    (Pattern(), "x" * 1001, "is longer than 1000 letters"),
    (HeaderField(), "secret", "is not a header; write Name: value, in quotes"),
    (HeaderField(), "My secret: x", "is not a header; write Name: value, in quotes"),
    (HeaderField(), "host: x", "host is made by the check itself; the host is given by host="),
    (Helo(), "a b", '"a b" is neither a domain nor an address in brackets'),
    (Step(), "secret\\q", "has a backslash that begins none of \\r \\n \\t \\0 \\\\ \\x0f"),
    (Step(expected=True), "secret\\x0", "has a backslash that begins none of \\r \\n \\t \\0 \\\\ \\x0f"),
    (Step(expected=True), "secret" * 200, "is longer than 1000 letters"),
    (HexStep(), "secret", "is not hexadecimal; write two digits for each byte"),
    (PatternStep(), "secret(", "is not a regular expression"),
    (HeaderField(), "X: a\tsecret", "X has a value with control characters"),
]


class FormsTests(Case):
    def read(self, form: OneWord, text: str) -> Any:
        return form.read(Word(text, "/etc/proxyd/proxy.ini", 1))

    def test_read(self) -> None:
        """Each is taken for what it says."""
        for form, text, value in READ:
            self.assertEqual(self.read(form, text), value)

    def test_refused(self) -> None:
        """What could not be sent, or could never come, is refused in words; a header's value is in none."""
        for form, text, why in REFUSED:
            self.assertEqual(str(self.assertRaises(Invalid, self.read, form, text)), why)
