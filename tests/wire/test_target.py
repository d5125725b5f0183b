"""Is a path the same to us however it is written, and is what could be two paths none?"""

from __future__ import annotations

import random

from proxyd.wire.httpfields import Unacceptable
from proxyd.wire.target import parse_target
from tests.support.case import Case


class TargetTests(Case):
    def test_plain(self) -> None:
        """What nothing is wrong with leaves as it came."""
        for target in (b"/", b"/a", b"/a/", b"/a/b.html", b"/a.b/..c/.d..", b"/a!$&'()*+,=:@~-_", b"*"):
            found = parse_target(target)
            self.assertEqual((found.path, found.plain, found.query), (target, target, None))

    def test_query(self) -> None:
        """What is behind the first question mark is no path, and stays as it is."""
        for target, path, query in [
            (b"/a?", b"/a", b""),
            (b"/a?b=%2e%2F//&c", b"/a", b"b=%2e%2F//&c"),
            (b"/a/../b?/../x?y", b"/b", b"/../x?y"),
        ]:
            found = parse_target(target)
            self.assertEqual((found.path, found.query), (path, query))
            self.assertEqual(found.whole, path + b"?" + query)
        self.assertEqual(parse_target(b"/a").whole, b"/a")

    def test_normal_form(self) -> None:
        """RFC 3986 6.2.2: as it leaves, and as it is compared."""
        for target, path, plain in [
            # 6.2.2.2: escapes of unreserved letters are undone, and once only
            (b"/%61dmin", b"/admin", b"/admin"),
            (b"/%7Euser/%2D%5f", b"/~user/-_", b"/~user/-_"),
            (b"/%2561dmin", b"/%2561dmin", b"/%61dmin"),
            # 6.2.2.1: the others are written in capitals
            (b"/a%c3%a9%3b", b"/a%C3%A9%3B", "/aé;".encode()),
            (b"/a%20b%21%25", b"/a%20b%21%25", b"/a b!%"),
            (b"/a%3Fb", b"/a%3Fb", b"/a?b"),
            # 6.2.2.3: dots
            (b"/a/./b", b"/a/b", b"/a/b"),
            (b"/a/../b", b"/b", b"/b"),
            (b"/a/..", b"/", b"/"),
            (b"/a/.", b"/a/", b"/a/"),
            (b"/a/b/..", b"/a/", b"/a/"),
            (b"/a/b/../", b"/a/", b"/a/"),
            (b"/.", b"/", b"/"),
            (b"/.well-known/x", b"/.well-known/x", b"/.well-known/x"),
            (b"/.../..a/a..", b"/.../..a/a..", b"/.../..a/a.."),
            (b"/a/%2e%2E/b", b"/b", b"/b"),
            (b"/a/.%2e/b", b"/b", b"/b"),
            (b"/%2e/b", b"/b", b"/b"),
            # slashes
            (b"//a", b"/a", b"/a"),
            (b"/a//b///", b"/a/b/", b"/a/b/"),
            (b"//", b"/", b"/"),
            (b"/a//../b", b"/b", b"/b"),
            # 3.3: parameters leave, and are not compared
            (b"/a;x=y/b", b"/a;x=y/b", b"/a/b"),
            (b"/a;", b"/a;", b"/a"),
            (b"/a;x=%2e./b", b"/a;x=../b", b"/a/b"),
            (b"/a/b;v=1/../c", b"/a/c", b"/a/c"),
        ]:
            found = parse_target(target)
            self.assertEqual((found.path, found.plain), (path, plain), target)

    def test_refused(self) -> None:
        """What some servers read in one way, and some in another, is 400, with the section that says so."""
        for target, section in [
            (b"/%", "3986 2.1"),
            (b"/a%2", "3986 2.1"),
            (b"/a%zz", "3986 2.1"),
            (b"/a%u002e", "3986 2.1"),
            (b"/a%00.html", "3986 2.2"),
            (b"/a%0A", "3986 2.2"),
            (b"/a%0d%0ab", "3986 2.2"),
            (b"/a%7f", "3986 2.2"),
            (b"/a%2Fb", "3986 2.2"),
            (b"/a%2fb", "3986 2.2"),
            (b"/a%5cb", "3986 2.2"),
            (b"/a\\b", "3986 2.2"),
            (b"/..", "3986 6.2.2.3"),
            (b"/a/../../b", "3986 6.2.2.3"),
            (b"/%2e%2e/b", "3986 6.2.2.3"),
            (b"/a/..;/b", "3986 3.3"),
            (b"/a/..;x=y/b", "3986 3.3"),
            (b"/a/.;/b", "3986 3.3"),
            (b"/a/%2e%2e;x/b", "3986 3.3"),
            (b"/;x/b", "3986 3.3"),
            (b"/a/;x/..", "3986 3.3"),
        ]:
            wrong = self.assertRaises(Unacceptable, parse_target, target)
            self.assertEqual((wrong.status, wrong.section), (400, section), target)

    def test_kept_slashes(self) -> None:
        """Where escaped slashes are kept they part nothing; beside dots they are refused all the same."""
        for target, plain in [
            (b"/a%2fb", b"/a%2Fb"),
            (b"/a%5Cb", b"/a\\b"),
            (b"/@scope%2fname/-/x", b"/@scope%2Fname/-/x"),
        ]:
            found = parse_target(target, slashes=True)
            self.assertEqual((found.path.lower(), found.plain), (target.lower(), plain))
        for target in (b"/a/..%2fb", b"/a%2f..%2fb", b"/a%2f..", b"/a\\..\\b", b"/a/.%5c", b"/a%2f..;x/b"):
            wrong = self.assertRaises(Unacceptable, parse_target, target, True)
            self.assertEqual((wrong.status, wrong.section), (400, "3986 3.3"), target)

    def test_what_leaves_is_normal(self) -> None:
        """Whatever came: what leaves has no dots, no second slash, and names the same when it comes again."""
        pieces = [
            b"/", b"/", b"//", b".", b"..", b"%2e", b"%2E%2e", b"a", b"b", b";", b";x", b"%41", b"%25",
            b"%c3%a9", b"%20",
        ]  # fmt: skip
        dice = random.Random(1)
        kept = 0
        for _ in range(20_000):
            target = b"/" + b"".join(dice.choice(pieces) for _ in range(dice.randint(0, 8)))
            try:
                found = parse_target(target)
            except Unacceptable:
                continue
            kept += 1
            again = parse_target(found.path)
            self.assertEqual((again.path, again.plain), (found.path, found.plain), target)
            self.assertNotIn(b"//", found.path)
            for segment in found.path.split(b"/"):
                self.assertNotIn(segment.partition(b";")[0], (b".", b".."), target)
        self.assertGreater(kept, 5000)
