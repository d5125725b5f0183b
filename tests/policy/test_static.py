"""Which file does a path mean, and is said of it what is so?"""

from __future__ import annotations

import time
from random import Random
from typing import Optional

from proxyd.policy.static import DEEPEST, LONGEST, fields_of, http_date, media_type, names_of
from proxyd.wire.httpdate import parse_date
from proxyd.wire.httpfields import Unacceptable
from proxyd.wire.target import parse_target
from tests.support.case import Case


class Paths(Case):
    def test_names(self) -> None:
        """Each segment is a name; what begins with a dot is there for nobody, unless that is wanted."""
        rows: tuple[tuple[bytes, Optional[list[bytes]]], ...] = (
            (b"/", [b""]),
            (b"/a", [b"a"]),
            (b"/a/", [b"a", b""]),
            (b"/a/b.html", [b"a", b"b.html"]),
            (b"/a%20b", [b"a b"]),
            (b"/%E2%82%AC", ["€".encode()]),
            (b"/a;b", [b"a;b"]),
            (b"/.git/config", None),
            (b"/a/.htaccess", None),
            (b"/.well-known/security.txt", [b".well-known", b"security.txt"]),
            (b"/.well-known/.secret", None),
            (b"/a/.well-known/b", None),
            (b"*", None),
            (b"/a%2Fb", None),
            (b"/a%00", None),
            (b"/" + b"a" * (LONGEST + 1), None),
            (b"/a" * (DEEPEST + 1), None),
        )
        for path, expected in rows:
            self.assertEqual(names_of(path, False), expected, path)
        self.assertEqual(names_of(b"/.git/config", True), [b".git", b"config"])
        self.assertIsNone(names_of(b"/../a", True))

    def test_any(self) -> None:
        """Whatever is asked for, no name leads elsewhere."""
        random = Random(2)
        pieces = [
            b"..",
            b".",
            b"/",
            b"%2e",
            b"%2E%2e",
            b"%2f",
            b"%5c",
            b"\\",
            b"a",
            b"%00",
            b";",
            b"%",
            b"%25",
        ]
        for _ in range(5000):
            target = b"/" + b"".join(random.choices(pieces, k=random.randrange(8)))
            try:
                names = names_of(parse_target(target).path, True)
            except Unacceptable:
                continue
            for name in names or ():
                self.assertNotIn(name, (b".", b".."), target)
                self.assertNotIn(b"/", name, target)
                self.assertNotIn(b"\0", name, target)

    def test_types(self) -> None:
        """What is in a file is told by its end."""
        for name, expected in (
            (b"a.html", "text/html; charset=utf-8"),
            (b"A.HTML", "text/html; charset=utf-8"),
            (b"a.js", "text/javascript; charset=utf-8"),
            (b"a.json", "application/json"),
            (b"a.svg", "image/svg+xml"),
            (b"a.woff2", "font/woff2"),
            (b"a.tar.gz", "application/octet-stream"),
            (b"html", "application/octet-stream"),
            (b"a.\xff", "application/octet-stream"),
        ):
            self.assertEqual(media_type(name), expected, name)

    def test_dates(self) -> None:
        """The date is the one that everybody reads."""
        random = Random(3)
        for _ in range(1000):
            second = random.randrange(4_000_000_000)
            text = http_date(second)
            self.assertEqual(parse_date(text, 0.0), second)
            at = time.gmtime(second)
            self.assertTrue(
                text.startswith(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[at.tm_wday].encode())
            )

    def test_fields(self) -> None:
        """Another file, and another coding of it, has another entity tag."""
        told = [field[2].decode().strip() for field in fields_of(b"a.html", 5, 10**18, "br", True)]
        self.assertEqual(
            told,
            [
                "Content-Type: text/html; charset=utf-8",
                "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT",
                'ETag: "de0b6b3a7640000-5-br"',
                "Accept-Ranges: bytes",
                "Content-Encoding: br",
                "Vary: Accept-Encoding",
            ],
        )
        tags = {
            fields_of(b"a", size, at, coding, False)[2][1]
            for size in (5, 6)
            for at in (1, 2)
            for coding in ("", "gzip", "br", "zstd")
        }
        self.assertEqual(len(tags), 16)
