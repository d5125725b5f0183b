"""May a stored answer be used for a request?"""

from __future__ import annotations

from random import Random
from typing import Optional

from proxyd.policy.cache import FRESH, REFRESH, STALE, VALIDATE, Wish, good_enough, judge, wish
from proxyd.policy.freshness import Rules, Terms, terms
from proxyd.wire.httpfields import Field, parse_field
from tests.support.case import Case

NOW = 1_700_000_000.0


def fields(*lines: bytes) -> list[Field]:
    return [parse_field(line) for line in lines]


class Wishes(Case):
    def test_directives(self) -> None:
        """RFC 9111, 5.2.1, and Pragma where there is no Cache-Control (5.4)."""
        for lines, wanted in (
            ([b"Accept: */*"], Wish()),
            ([b"Cache-Control: no-store"], Wish(no_store=True)),
            ([b"Cache-Control: no-cache"], Wish(no_cache=True)),
            ([b"Pragma: no-cache"], Wish(no_cache=True)),
            ([b"Pragma: no-cache", b"Cache-Control: max-stale"], Wish(max_stale=float("inf"))),
            ([b"Cache-Control: max-stale=7"], Wish(max_stale=7.0)),
            ([b"Cache-Control: max-stale=x"], Wish(max_stale=0.0)),
            ([b"Cache-Control: max-age=0, min-fresh=3"], Wish(max_age=0, min_fresh=3)),
            ([b"Cache-Control: only-if-cached"], Wish(only_if_cached=True)),
            ([b"Authorization: x"], Wish(authorized=True)),
            ([b"Range: bytes=0-"], Wish(conditional=True)),
            ([b"If-None-Match: *"], Wish(conditional=True)),
        ):
            self.assertEqual(wish(fields(*lines)), wanted, lines)

    def test_where_they_are_not_heeded(self) -> None:
        """Then a client decides what is kept of its own request, and nothing else."""
        lines = fields(b"Cache-Control: no-cache, no-store, max-age=0, only-if-cached", b"Authorization: x")
        self.assertEqual(wish(lines, heeded=False), Wish(no_store=True, authorized=True))
        self.assertEqual(wish(fields(b"Pragma: no-cache"), heeded=False), Wish())


class Judged(Case):
    def test_rows(self) -> None:
        """Each with the section that decides it; ``age`` is how old the answer is."""
        plain = Terms(10.0, NOW)
        rows: list[tuple[str, Terms, Wish, float, int]] = [
            ("9111 4.2 fresh", plain, Wish(), 9, FRESH),
            ("9111 4.2 as old as it may be is stale", plain, Wish(), 10, VALIDATE),
            ("9111 4.2.4 stale", plain, Wish(), 11, VALIDATE),
            ("9111 5.2.1.1 max-age", plain, Wish(max_age=5), 5, FRESH),
            ("9111 5.2.1.1 older than max-age", plain, Wish(max_age=5), 6, VALIDATE),
            ("9111 5.2.1.2 max-stale", plain, Wish(max_stale=5.0), 15, STALE),
            ("9111 5.2.1.2 staler than that", plain, Wish(max_stale=5.0), 16, VALIDATE),
            ("9111 5.2.1.2 as stale as may be", plain, Wish(max_stale=float("inf")), 9999, STALE),
            ("9111 5.2.1.3 min-fresh", plain, Wish(min_fresh=3), 7, FRESH),
            ("9111 5.2.1.3 not fresh for long enough", plain, Wish(min_fresh=3), 8, VALIDATE),
            ("9111 5.2.1.4 no-cache", plain, Wish(no_cache=True), 0, VALIDATE),
            ("9111 5.2.2.4 no-cache", Terms(10.0, NOW, always_validate=True), Wish(), 0, VALIDATE),
            (
                "9111 5.2.2.4 no-cache goes before max-stale",
                Terms(10.0, NOW, always_validate=True),
                Wish(max_stale=float("inf")),
                0,
                VALIDATE,
            ),
            (
                "9111 5.2.2.2 must-revalidate goes before max-stale",
                Terms(10.0, NOW, never_stale=True),
                Wish(max_stale=float("inf")),
                11,
                VALIDATE,
            ),
            ("5861 3", Terms(10.0, NOW, while_revalidate=5.0), Wish(), 14, REFRESH),
            ("5861 3, for so long", Terms(10.0, NOW, while_revalidate=5.0), Wish(), 15, VALIDATE),
            (
                "5861 3, and min-fresh",
                Terms(10.0, NOW, while_revalidate=5.0),
                Wish(min_fresh=1),
                12,
                VALIDATE,
            ),
        ]
        for section, of, wished, age, what in rows:
            self.assertEqual(judge(of, wished, NOW + age), what, section)

    def test_when_validation_fails(self) -> None:
        """RFC 5861, 4; must-revalidate forbids it, and so does who wants something certain."""
        rows: list[tuple[Terms, Wish, float, bool]] = [
            (Terms(10.0, NOW, if_error=5.0), Wish(), 14, True),
            (Terms(10.0, NOW, if_error=5.0), Wish(), 15, False),
            (Terms(10.0, NOW), Wish(), 10, False),
            (Terms(10.0, NOW, if_error=5.0), Wish(no_cache=True), 14, False),
            (Terms(10.0, NOW, if_error=5.0), Wish(max_age=1), 14, False),
            (Terms(10.0, NOW, if_error=5.0, never_stale=True), Wish(), 14, False),
            (Terms(10.0, NOW, if_error=5.0, always_validate=True), Wish(), 14, False),
        ]
        for of, wished, age, good in rows:
            self.assertEqual(good_enough(of, wished, NOW + age), good, (of, wished, age))


SAID = (
    b"no-store", b"no-cache", b"private", b"public", b"must-revalidate", b"proxy-revalidate", b"max-age=0",
    b"max-age=10", b"max-age=1000", b"s-maxage=0", b"s-maxage=20", b"stale-while-revalidate=30",
    b"stale-if-error=60", b'no-cache="x"', b'private="y"', b"max-age=x", b"immutable",
)  # fmt: skip

WISHED = (
    b"no-cache", b"no-store", b"max-age=0", b"max-age=5", b"min-fresh=5", b"max-stale", b"max-stale=7",
    b"only-if-cached",
)  # fmt: skip


class Never(Case):
    """A stored answer is never used where the rules forbid it, whatever is combined."""

    def some(self, random: Random, words: tuple[bytes, ...], name: bytes = b"Cache-Control") -> list[bytes]:
        chosen = random.sample(words, random.randrange(4))
        return [name + b": " + b", ".join(chosen)] if chosen else []

    def test_forbidden(self) -> None:
        """Random answers, requests and times: whatever is used, no rule was against it."""
        random = Random(9111)
        used = 0
        for _ in range(20_000):
            said = self.some(random, SAID)
            others = random.sample(
                [b'ETag: "a"', b"Vary: *", b"Set-Cookie: a=b", b"Age: 5"], random.randrange(3)
            )
            asked = self.some(random, WISHED) + random.choice([[], [b"Authorization: x"]])
            wished = wish(fields(*asked))
            authorized = b"Authorization: x" in asked
            of: Optional[Terms] = terms(
                Rules(), random.choice([200, 206, 404]), fields(*said, *others), NOW, NOW, NOW, authorized
            )
            text = b", ".join(said + others)
            bare = text.replace(b'no-cache="x"', b"").replace(b'private="y"', b"")
            if of is None:
                continue
            self.assertNotIn(b"no-store", bare)
            self.assertNotIn(b"private", bare)
            self.assertNotIn(b"Vary: *", bare)
            self.assertNotIn(b"Set-Cookie", bare)
            if authorized:
                self.assertTrue(
                    any(word in bare for word in (b"public", b"must-revalidate", b"s-maxage")), text
                )
            passed = random.choice([0.0, 1.0, 6.0, 12.0, 25.0, 45.0, 2000.0])
            now = NOW + passed
            what = judge(of, wished, now)
            age = passed + (5 if b"Age: 5" in others else 0)
            if what == VALIDATE:
                continue
            used += 1
            self.assertNotIn(b"no-cache", bare)
            self.assertFalse(wished.no_cache)
            self.assertTrue(wished.max_age is None or age <= wished.max_age)
            if what == FRESH:
                self.assertGreaterEqual(of.lifetime - age, wished.min_fresh)
                self.assertGreater(of.lifetime, age)
            else:
                for word in (b"must-revalidate", b"proxy-revalidate", b"s-maxage"):
                    self.assertNotIn(word, bare)
                self.assertTrue(b"max-stale" in b"".join(asked) or b"stale-while-revalidate" in bare)
        self.assertGreater(used, 300)
