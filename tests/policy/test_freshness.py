"""May an answer be stored, and for how long may it be used?"""

from __future__ import annotations

from email.utils import formatdate
from typing import Optional, Sequence

from proxyd.policy.freshness import Rules, Terms, terms, vary
from proxyd.wire.httpfields import Field, parse_field
from tests.support.case import Case

NOW = 1_700_000_000.0

SILENT = Rules()

COOKIES = Rules(ignore_set_cookie=True)


def date(second: float) -> bytes:
    return formatdate(second, usegmt=True).encode()


DATE = b"Date: " + date(NOW)
ETAG = b'ETag: "a"'


def fields(*lines: bytes) -> list[Field]:
    return [parse_field(line) for line in lines]


def found(
    *lines: bytes, status: int = 200, authorized: bool = False, rules: Rules = SILENT, asked: float = NOW
) -> Optional[Terms]:
    """The terms of an answer that comes now, with these lines and a Date of now."""
    return terms(rules, status, fields(DATE, *lines), asked, NOW, NOW, authorized)


class Stored(Case):
    """What may be stored at all (RFC 9111, 3)."""

    def judge(self, rows: Sequence[tuple[str, bool, Optional[Terms]]]) -> None:
        for section, stored, of in rows:
            self.assertEqual(of is not None, stored, section)

    def test_directives(self) -> None:
        """What its fields say; each row begins with its section."""
        self.judge(
            [
                ("3: nothing says for how long", False, found()),
                ("3: a validator alone does not", False, found(ETAG)),
                ("5.2.2.1 max-age", True, found(b"Cache-Control: max-age=5")),
                ("5.2.2.10 s-maxage", True, found(b"Cache-Control: s-maxage=5")),
                ("5.3 Expires", True, found(b"Expires: " + date(NOW + 5))),
                ("5.2.2.5 no-store", False, found(b"Cache-Control: no-store, max-age=5")),
                (
                    "5.2.2.5 no-store on another line",
                    False,
                    found(b"Cache-Control: max-age=5", b"Cache-Control: No-Store"),
                ),
                ("5.2.2.7 private", False, found(b"Cache-Control: private, max-age=5")),
                ("5.2.2.7 private for a field", True, found(b'Cache-Control: private="x", max-age=5')),
                (
                    "5.2.2.7 private for nothing that is a name",
                    False,
                    found(b'Cache-Control: private="@@", max-age=5'),
                ),
                ("5.2.2.4 no-cache, to be validated", True, found(b"Cache-Control: no-cache", ETAG)),
                (
                    "5.2.2.4 no-cache, and no way to do so",
                    False,
                    found(b"Cache-Control: no-cache, max-age=5"),
                ),
                ("4.2.1 max-age=0 without a validator", False, found(b"Cache-Control: max-age=0")),
                ("4.2.1 max-age=0 with one", True, found(b"Cache-Control: max-age=0", ETAG)),
                ("4.2.1 an invalid max-age is stale", False, found(b"Cache-Control: max-age=1.5")),
                ("5.3 an invalid Expires is past", False, found(b"Expires: 0")),
                ("4.2.1 s-maxage before max-age", False, found(b"Cache-Control: s-maxage=0, max-age=5")),
                (
                    "4.2.1 max-age before Expires",
                    False,
                    found(b"Cache-Control: max-age=0", b"Expires: " + date(NOW + 5)),
                ),
                ("4.1 Vary: *", False, found(b"Cache-Control: max-age=5", b"Vary: *")),
                ("4.1 Vary: * among others", False, found(b"Cache-Control: max-age=5", b"Vary: a, *")),
                ("4.1 a Vary that is no list", False, found(b"Cache-Control: max-age=5", b"Vary: a b")),
                ("7.3 Set-Cookie", False, found(b"Cache-Control: max-age=5", b"Set-Cookie: a=b")),
                (
                    "5.2.2.7 of which is said that it is for one",
                    True,
                    found(b'Cache-Control: max-age=5, private="Set-Cookie"', b"Set-Cookie: a=b"),
                ),
                (
                    "7.3 Set-Cookie, which is ignored",
                    True,
                    found(b"Cache-Control: max-age=5", b"Set-Cookie: a=b", rules=COOKIES),
                ),
                (
                    "5.2.2.7 and the whole is private",
                    False,
                    found(
                        b"Cache-Control: max-age=5, private",
                        b"Set-Cookie: a=b",
                        rules=COOKIES,
                    ),
                ),
                ("5.2 what is quoted says nothing", False, found(b'Cache-Control: x="max-age=5"')),
            ]
        )

    def test_statuses(self) -> None:
        """What its status says."""
        fresh = b"Cache-Control: max-age=5"
        understood = b"Cache-Control: max-age=5, no-store, must-understand"
        self.judge(
            [
                ("3: any final status, if it says for how long", True, found(fresh, status=500)),
                ("3: one that nobody knows, too", True, found(fresh, status=599)),
                ("3.3 a part is not stored", False, found(fresh, status=206)),
                ("4.3.3 and neither is 304", False, found(fresh, status=304)),
                ("3: an interim answer is not", False, found(fresh, status=103)),
                ("5.2.2.3 must-understand, understood", True, found(understood)),
                ("5.2.2.3 must-understand, not understood", False, found(understood, status=599)),
            ]
        )

    def test_authorization(self) -> None:
        """RFC 9111, 3.5: what somebody gets is for others only if its server says so."""
        for said, stored in (
            (b"max-age=5", False),
            (b"max-age=5, public", True),
            (b"max-age=5, must-revalidate", True),
            (b"s-maxage=5", True),
            (b"max-age=5, proxy-revalidate", False),
            (b"max-age=5, private, public", False),
        ):
            of = found(b"Cache-Control: " + said, authorized=True)
            self.assertEqual(of is not None, stored, said)

    def test_negative(self) -> None:
        """What the operator says of a status holds for answers that say nothing."""
        rules = Rules(negative={404: 9.0})
        of = found(status=404, rules=rules)
        assert of is not None
        self.assertEqual(of.lifetime, 9.0)
        self.assertIsNone(found(status=410, rules=rules))
        self.assertIsNone(found(b"Cache-Control: no-store", status=404, rules=rules))
        of = found(b"Cache-Control: max-age=3", status=404, rules=rules)
        assert of is not None
        self.assertEqual(of.lifetime, 3.0)


class Fresh(Case):
    """For how long it is fresh, and how old it is (RFC 9111, 4.2)."""

    def lifetime(self, *lines: bytes, rules: Rules = SILENT, status: int = 200) -> float:
        of = found(*lines, ETAG, rules=rules, status=status)
        assert of is not None
        return of.lifetime

    def test_lifetime(self) -> None:
        """RFC 9111, 4.2.1: the first of these that is there, and the shortest of several."""
        for lines, lifetime in (
            ([b"Cache-Control: max-age=5"], 5),
            ([b"Cache-Control: max-age=5, max-age=3"], 3),
            ([b"Cache-Control: max-age=5, s-maxage=9"], 9),
            ([b"Cache-Control: max-age=5", b"Expires: " + date(NOW + 99)], 5),
            ([b"Expires: " + date(NOW + 99)], 99),
            ([b"Expires: " + date(NOW + 99), b"Expires: 0"], 0),
            ([b"Expires: " + date(NOW - 99)], 0),
            ([b"Cache-Control: max-age=99999999999"], 2**31),
            ([b"Cache-Control: public"], 0),
        ):
            self.assertEqual(self.lifetime(*lines), lifetime, lines)

    def test_expires_is_from_the_date(self) -> None:
        """RFC 9111, 4.2.1: a server whose clock is wrong says how long all the same."""
        wrong = fields(b"Date: " + date(NOW - 50), b"Expires: " + date(NOW - 40))
        of = terms(Rules(if_error=100.0), 200, wrong, NOW, NOW, NOW)
        assert of is not None
        self.assertEqual(of.lifetime, 10.0)

    def test_age(self) -> None:
        """RFC 9111, 4.2.3: the larger of what is said and seen, and the time that it was under way."""
        fresh = b"Cache-Control: max-age=5000"
        for lines, asked, age in (
            ([DATE], NOW, 0),
            ([DATE, b"Age: 7"], NOW, 7),
            ([DATE, b"Age: 7"], NOW - 2, 9),
            ([DATE], NOW - 2, 2),
            ([b"Date: " + date(NOW - 30)], NOW, 30),
            ([b"Date: " + date(NOW - 30), b"Age: 7"], NOW, 30),
            ([b"Date: " + date(NOW + 30)], NOW, 0),
            ([], NOW, 0),
            ([b"Age: 7, 9"], NOW, 7),
            ([b"Age: 7", b"Age: 9"], NOW, 7),
            ([b"Age: x"], NOW, 0),
            ([b"Age: -3"], NOW, 0),
        ):
            of = terms(Rules(), 200, fields(fresh, *lines), asked, NOW, NOW)
            assert of is not None
            self.assertEqual(of.age(NOW), age, lines)
            self.assertEqual(of.age(NOW + 3), age + 3, lines)

    def test_two_clocks(self) -> None:
        """Dates are compared with the clock on the wall, and the age grows by one that nobody sets."""
        for lines, lifetime, age in (
            ([DATE, b"Cache-Control: max-age=5000"], 5000.0, 2),
            ([b"Date: " + date(NOW - 30), b"Cache-Control: max-age=5000"], 5000.0, 30),
            ([DATE, b"Age: 7", b"Expires: " + date(NOW + 50)], 50.0, 9),
            ([b"Expires: " + date(NOW + 50)], 50.0, 2),
        ):
            of = terms(Rules(), 200, fields(*lines), 98.0, 100.0, NOW)
            assert of is not None
            self.assertEqual((of.lifetime, of.age(100.0), of.age(103.0)), (lifetime, age, age + 3), lines)

    def test_what_comes_stale_and_cannot_be_validated(self) -> None:
        """An answer that is older than it may be is not worth its room."""
        self.assertIsNone(found(b"Cache-Control: max-age=5", b"Age: 6"))
        self.assertIsNotNone(found(b"Cache-Control: max-age=5, stale-while-revalidate=9", b"Age: 6"))

    def test_heuristic(self) -> None:
        """RFC 9111, 4.2.2: only if it is asked for, of statuses that allow it, and for a day at most."""
        modified = b"Last-Modified: " + date(NOW - 1000)
        rules = Rules(heuristic=0.1)
        self.assertIsNone(found(modified))
        self.assertEqual(self.lifetime(modified, rules=rules), 100)
        self.assertEqual(self.lifetime(b"Last-Modified: " + date(0), rules=rules), 86_400)
        self.assertIsNone(found(modified, status=500, rules=rules))
        self.assertEqual(self.lifetime(modified, b"Cache-Control: public", rules=rules, status=500), 100)
        self.assertEqual(self.lifetime(modified, b"Cache-Control: max-age=7", rules=rules), 7)
        self.assertIsNone(found(b"Last-Modified: " + date(NOW + 9), rules=rules))

    def test_stale_answers(self) -> None:
        """RFC 5861, and what forbids it (RFC 9111, 4.2.4)."""
        rules = Rules(while_revalidate=1.0, if_error=2.0)
        for said, never, while_revalidate, if_error in (
            (b"max-age=5", False, 1, 2),
            (b"max-age=5, stale-while-revalidate=7", False, 7, 2),
            (b"max-age=5, stale-if-error=7", False, 1, 7),
            (b"max-age=5, stale-if-error=7, must-revalidate", True, 0, 0),
            (b"max-age=5, stale-if-error=7, proxy-revalidate", True, 0, 0),
            (b"s-maxage=5, stale-while-revalidate=7", True, 0, 0),
        ):
            of = found(b"Cache-Control: " + said, rules=rules)
            assert of is not None
            self.assertEqual(
                (of.never_stale, of.while_revalidate, of.if_error), (never, while_revalidate, if_error)
            )

    def test_fields_that_are_not_stored(self) -> None:
        """RFC 9111, 5.2.2.4 and 5.2.2.7: those that no-cache and private name."""
        of = found(b'Cache-Control: max-age=5, no-cache="A, b", private="C"')
        assert of is not None
        self.assertEqual(of.without, {b"a", b"b", b"c"})
        self.assertFalse(of.always_validate)
        of = found(b'Cache-Control: max-age=5, private="C"', b"Set-Cookie: a=b", rules=COOKIES)
        assert of is not None
        self.assertEqual(of.without, {b"c", b"set-cookie"})

    def test_targeted(self) -> None:
        """RFC 9213: the first of the list that can be read counts alone, and no Expires beside it."""
        rules = Rules(targeted=(b"proxyd-cache-control", b"cdn-cache-control"))
        for lines, lifetime in (
            ([b"Cache-Control: max-age=5"], 5),
            ([b"Cache-Control: no-store", b"CDN-Cache-Control: max-age=9"], 9),
            ([b"CDN-Cache-Control: max-age=9", b"proxyd-Cache-Control: max-age=3"], 3),
            ([b"Cache-Control: max-age=5", b"CDN-Cache-Control: max-age=9,"], 5),
            ([b"Cache-Control: max-age=5", b"CDN-Cache-Control: no-store"], None),
            ([b"Expires: " + date(NOW + 9), b"CDN-Cache-Control: must-revalidate"], None),
        ):
            of = found(*lines, rules=rules)
            self.assertEqual(None if of is None else of.lifetime, lifetime, lines)
        of = found(b"Cache-Control: max-age=5", b"CDN-Cache-Control: max-age=9")
        assert of is not None
        self.assertEqual(of.lifetime, 5.0)

    def test_vary(self) -> None:
        """RFC 9110, 12.5.5: names in any case and order are the same."""
        self.assertEqual(vary(fields(b"Vary: B, a", b"Vary: b")), (b"a", b"b"))
        self.assertEqual(vary([]), ())
