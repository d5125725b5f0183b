"""Which coding does an answer get?  RFC 9110, a row for each rule."""

from __future__ import annotations

from random import Random
from typing import Optional

from proxyd.config.compression import TYPES, CompressionSpec
from proxyd.policy.encoding import (
    Decision,
    accepts,
    choose,
    decide,
    fits,
    for_origin,
    qualities,
)
from proxyd.wire.http1 import Answer, Memory, Request, parse_answer, parse_request
from proxyd.wire.httpfields import Field, Lines, parse_field
from tests.support.case import Case

ALL = ("zstd", "br", "gzip")
SPEC = CompressionSpec(ALL, min_size=100)
HTML = "Content-Type: text/html"


def request(*lines: str, method: str = "GET", version: str = "1.1") -> Request:
    """A request with these fields."""
    text = "\r\n".join([f"{method} / HTTP/{version}", "Host: a", *lines, "", ""])
    found = parse_request(text.encode(), Memory(Lines()))
    assert found is not None
    return found


def answer(*lines: str, status: int = 200, method: bytes = b"GET") -> Answer:
    """An answer with these fields."""
    text = "\r\n".join([f"HTTP/1.1 {status} OK", *lines, "", ""])
    found = parse_answer(text.encode(), Memory(Lines()), method)
    assert found is not None
    return found


class Negotiation(Case):
    """RFC 9110, 12.5.3."""

    def test_choice(self) -> None:
        """What a client likes best is chosen, and of what it likes as well, what we do."""
        rows: tuple[tuple[Optional[str], str], ...] = (
            (None, ""),  # it takes anything, but who says nothing may not expect it
            ("", ""),  # it takes none
            ("gzip", "gzip"),
            ("x-gzip", "gzip"),  # 8.4.1.3
            ("GZIP;Q=1.000", "gzip"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, br", "br"),
            ("gzip;q=0.9, br;q=0.8", "gzip"),
            ("gzip;q=0", ""),
            ("gzip;q=0.000", ""),
            ("*", "zstd"),
            ("*;q=0.1", "zstd"),
            ("zstd;q=0, *", "br"),
            ("gzip;q=0.5, *;q=0", "gzip"),
            ("identity", ""),
            ("identity;q=1, gzip;q=0.5", ""),
            ("identity;q=0.5, gzip", "gzip"),
            ("identity;q=0.5, gzip;q=0.5", "gzip"),
            ("identity;q=0", ""),  # and there is none that it takes: it gets what there is
            ("identity;q=0, gzip", "gzip"),
            ("gzip;q=2", ""),  # no such quality
            ("gzip;q=0.1234", ""),
            ("gzip;level=9", ""),
            (";;,, gzip ;q=1 ,", "gzip"),
            ("compress", ""),
            ("gzip;q=1, gzip;q=0", "gzip"),
        )
        for accept, expected in rows:
            self.assertEqual(choose(None if accept is None else accept.encode(), ALL), expected, accept)
        self.assertEqual(choose(b"zstd, gzip", ("gzip",)), "gzip")
        self.assertEqual(choose(b"zstd", ()), "")

    def test_accepts(self) -> None:
        """Whether it takes what the server has chosen."""
        rows = (
            (None, False),
            ("", False),
            ("gzip", True),
            ("br", False),
            ("*", True),
            ("*;q=0", False),
            ("gzip;q=0, *", False),
        )
        for accept, expected in rows:
            self.assertIs(accepts(None if accept is None else accept.encode(), "gzip"), expected, accept)

    def test_bounded(self) -> None:
        """However much a client says, so much is looked at."""
        self.assertEqual(len(qualities(b",".join(b"a%d" % number for number in range(3000)))), 50)

    def test_any(self) -> None:
        """What is chosen is always something that was offered, and is never refused."""
        random = Random(12_5_3)
        names = ["gzip", "br", "zstd", "identity", "*", "x-gzip", "", "deflate", "\xff"]
        for _ in range(3000):
            items = [
                random.choice(names) + random.choice(("", ";q=0", "; q=0.3", ";q=1", ";q=x"))
                for _ in range(random.randrange(5))
            ]
            accept = ",".join(items).encode("latin-1")
            offered = tuple(random.sample(ALL, random.randrange(4)))
            chosen = choose(accept, offered)
            self.assertIn(chosen, ("", *offered))
            if chosen:
                self.assertTrue(accepts(accept, chosen), accept)


class Decisions(Case):
    """What becomes of an answer."""

    def test_rows(self) -> None:
        """Each reason to encode, and not to."""
        gzip = ("Accept-Encoding: gzip",)
        encoded, could, never = Decision("gzip"), Decision(), None
        long = "Content-Length: 100"
        rows: tuple[tuple[str, Optional[Decision], Answer, Request], ...] = (
            ("as asked", encoded, answer(HTML, long), request(*gzip)),
            ("of unknown length", encoded, answer(HTML), request(*gzip)),
            ("an error, too", encoded, answer(HTML, status=404), request(*gzip)),
            ("to a HEAD", encoded, answer(HTML, long, method=b"HEAD"), request(*gzip, method="HEAD")),
            ("not asked", could, answer(HTML, long), request()),
            ("asked in two fields", encoded, answer(HTML), request("Accept-Encoding: br;q=0", *gzip)),
            ("by HTTP/1.0", could, answer(HTML, long), request(*gzip, version="1.0")),
            ("too short", never, answer(HTML, "Content-Length: 99"), request(*gzip)),
            ("nothing", never, answer(HTML, "Content-Length: 0"), request(*gzip)),
            ("of another type", never, answer("Content-Type: image/png", long), request(*gzip)),
            ("of no type", never, answer(long), request(*gzip)),
            ("encoded already", never, answer(HTML, "Content-Encoding: br"), request(*gzip)),
            ("as it is", encoded, answer(HTML, "Content-Encoding: identity"), request(*gzip)),
            ("no-transform", never, answer(HTML, "Cache-Control: a, no-Transform"), request(*gzip)),
            ("nor asked", never, answer(HTML), request(*gzip, "Cache-Control: no-transform")),
            ("other control", encoded, answer(HTML, "Cache-Control: public"), request(*gzip)),
            ("digested", never, answer(HTML, "Repr-Digest: sha-256=:x:"), request(*gzip)),
            ("digested of old", never, answer(HTML, "Content-MD5: x"), request(*gzip)),
            ("signed", never, answer(HTML, "Signature: x"), request(*gzip)),
            ("a part", never, answer(HTML, "Content-Range: bytes 0-1/3", status=206), request(*gzip)),
            ("no such part", never, answer(HTML, "Content-Range: bytes */3", status=416), request(*gzip)),
            ("nothing new", never, answer(HTML, status=304), request(*gzip)),
            ("no content", never, answer(status=204), request(*gzip)),
        )
        for why, expected, said, asked in rows:
            self.assertEqual(decide(SPEC, said, asked), expected, why)
        self.assertIsNone(decide(CompressionSpec(), answer(HTML), request(*gzip)))

    def test_decoding(self) -> None:
        """What a server has encoded is decoded for those alone who cannot take it, if that is wanted."""
        spec = CompressionSpec(("gzip",), decompress=True)
        coded = answer(HTML, "Content-Encoding: gzip", "Content-Length: 9")
        plain = Decision(decodes="gzip")
        rows: tuple[tuple[Optional[Decision], Answer, Request], ...] = (
            (plain, coded, request("Accept-Encoding: br")),
            (plain, coded, request("Accept-Encoding: br", version="1.0")),
            (Decision(), coded, request("Accept-Encoding: gzip")),
            (plain, coded, request()),
            (None, answer(HTML, "Content-Encoding: gzip", status=206), request("Accept-Encoding: br")),
            (None, answer("Content-Encoding: gzip", "Content-Encoding: br"), request("Accept-Encoding:")),
            (None, answer("Content-Encoding: compress"), request("Accept-Encoding:")),
            (
                None,
                answer("Content-Encoding: gzip", "Cache-Control: no-transform"),
                request("Accept-Encoding:"),
            ),
        )
        for expected, said, asked in rows:
            self.assertEqual(decide(spec, said, asked), expected, asked.said.fields)
        self.assertIsNone(decide(SPEC, coded, request("Accept-Encoding: br")))

    def test_types(self) -> None:
        """Types are compared without their parameters, and whatever their case."""
        rows = (
            ("text/html; charset=utf-8", True),
            ("TEXT/Plain", True),
            ("application/json", True),
            ("application/ld+json;x=y", True),
            ("image/svg+xml", True),
            ("image/png", False),
            ("application/octet-stream", False),
            ("text", False),
            ("text/", False),
            ("", False),
            ("json", False),
        )
        for media, expected in rows:
            self.assertIs(fits(media.encode(), TYPES), expected, media)


class Fields(Case):
    """What the fields of an answer, and of the next request, say of it."""

    def told(self, decision: Optional[Decision], *lines: str) -> list[str]:
        assert decision is not None
        return [field[2].decode().strip() for field in decision.fields(fields(*lines))]

    def test_encoded(self) -> None:
        """The validator is weak, parts cannot be asked for, and it is said on what it depends."""
        self.assertEqual(
            self.told(Decision("br"), 'ETag: "a"', "Accept-Ranges: bytes", "X-A: b"),
            ['ETag: W/"a"', "X-A: b", "Vary: Accept-Encoding", "Content-Encoding: br"],
        )
        self.assertEqual(
            self.told(Decision("gzip"), 'ETag: W/"a"', "Vary: Origin, accept-encoding"),
            ['ETag: W/"a"', "Vary: Origin, accept-encoding", "Content-Encoding: gzip"],
        )
        self.assertEqual(
            self.told(Decision("gzip"), "ETag: bad", "Content-Encoding: identity", "Vary: Cookie"),
            ["ETag: bad", "Vary: Cookie", "Vary: Accept-Encoding", "Content-Encoding: gzip"],
        )

    def test_decoded(self) -> None:
        """What was decoded says no more that it was encoded."""
        self.assertEqual(
            self.told(Decision(decodes="gzip"), "Content-Encoding: gzip", 'ETag: "a"'),
            ['ETag: W/"a"', "Vary: Accept-Encoding"],
        )

    def test_left(self) -> None:
        """What could have been encoded is only told to depend on what was asked."""
        self.assertEqual(
            self.told(Decision(), 'ETag: "a"', "Accept-Ranges: bytes"),
            ['ETag: "a"', "Accept-Ranges: bytes", "Vary: Accept-Encoding"],
        )
        self.assertEqual(self.told(Decision(), "Vary: *"), ["Vary: *"])

    def test_revalidated(self) -> None:
        """A 304 has the validator that the client has: weak if that is the one that it was given."""
        same = answer('ETag: "a"', status=304)
        weak = decide(SPEC, same, request('If-None-Match: "b", W/"a"'))
        self.assertEqual(self.told(weak, 'ETag: "a"'), ['ETag: W/"a"', "Vary: Accept-Encoding"])
        self.assertIsNone(decide(SPEC, same, request('If-None-Match: "a"')))
        self.assertIsNone(decide(SPEC, answer('ETag: W/"a"', status=304), request('If-None-Match: W/"a"')))

    def test_for_the_origin(self) -> None:
        """Where a client has named weak validators, its server is told the strong ones, too."""
        rows: tuple[tuple[str, Optional[str]], ...] = (
            ('W/"a"', 'W/"a", "a"'),
            ('"b", W/"a,W/", W/"c"', '"b", W/"a,W/", W/"c", "a,W/", "c"'),
            ('"a"', None),
            ("*", None),
            ("W/a", None),
        )
        for value, expected in rows:
            found = for_origin(fields("X-A: b", f"If-None-Match: {value}"))
            if expected is None:
                self.assertIsNone(found, value)
            else:
                assert found is not None
                self.assertEqual([each[1].decode() for each in found], ["b", expected])


def fields(*lines: str) -> list[Field]:
    """These lines as fields."""
    return [parse_field(line.encode()) for line in lines]
