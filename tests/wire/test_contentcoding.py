"""Is a body the same behind a content coding and its opposite, however it is cut, and are bombs refused?"""

from __future__ import annotations

import gzip
import sys
import zlib
from random import Random
from typing import Any
from unittest.mock import patch

from proxyd.wire.contentcoding import DECODERS, FEW, STEP, Decoder, decoder, encoder, gzip_library
from proxyd.wire.httpfields import Unacceptable
from tests.support.case import Case

# What there is without and with the libraries of the extra.
HARDEST = {"gzip": 9, "br": 6, "zstd": 9}


def encoded(coding: str, level: int, pieces: list[bytes], flushed: bool = False) -> bytes:
    """These pieces behind a coding."""
    made = encoder(coding, level)
    out = [made.step(piece) + (made.flush() if flushed else b"") for piece in pieces]
    return b"".join(out) + made.end()


def decoded(taken_off: Decoder, pieces: list[bytes]) -> bytes:
    """What is in these pieces."""
    found = []
    for piece in pieces:
        found.append(taken_off.step(piece))
        while taken_off.pending:
            found.append(taken_off.step(taken_off.rest))
    taken_off.end()
    return b"".join(found)


def cut(random: Random, data: bytes) -> list[bytes]:
    """The data in pieces."""
    pieces = []
    while data:
        size = random.choice((1, 7, 100, 5000, 40_000))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def text(random: Random, size: int) -> bytes:
    """Something that can be compressed."""
    words = [random.randbytes(random.randrange(1, 9)).hex().encode() for _ in range(200)]
    out = b""
    while len(out) < size:
        out += b" ".join(random.choices(words, k=100))
    return out[:size]


class Codings(Case):
    """All codings, in both directions."""

    def test_there_and_back(self) -> None:
        """Whatever the level, and however it is cut on either side, it is the same."""
        random = Random(9110)
        for coding in DECODERS:
            for level in range(1, HARDEST[coding] + 1):
                data = text(random, random.choice((0, 1, 1000, 200_000)))
                made = encoded(coding, level, cut(random, data), random.random() < 0.5)
                self.assertEqual(decoded(decoder(coding), cut(random, made)), data, (coding, level))

    def test_flushed(self) -> None:
        """What was flushed can be read, before there is more."""
        for coding in DECODERS:
            made, taken_off = encoder(coding, 1), decoder(coding)
            for word in (b"a", b"slow", b"trickle"):
                self.assertEqual(taken_off.step(made.step(word) + made.flush()), word, coding)

    def test_gzip_of_others(self) -> None:
        """Gzip is what others take for it, in several members, too."""
        self.assertEqual(gzip.decompress(encoded("gzip", 1, [b"abc"])), b"abc")
        two = gzip.compress(b"abc") + gzip.compress(b"def")
        self.assertEqual(decoded(decoder("gzip"), [two]), b"abcdef")
        self.assertEqual(decoded(decoder("gzip"), [bytes([each]) for each in two]), b"abcdef")

    def test_zstd_in_two_frames(self) -> None:
        """So is zstd, in several frames."""
        two = encoded("zstd", 1, [b"abc"]) + encoded("zstd", 1, [b"def"])
        self.assertEqual(decoded(decoder("zstd"), [two]), b"abcdef")

    def test_libraries(self) -> None:
        """Faster libraries serve where they are installed, each at its levels, and else Python's own."""
        self.assertEqual(
            [gzip_library(level).__name__.rpartition(".")[2] for level in (1, 3, 4, 9)],
            ["isal_zlib", "isal_zlib", "zlib_ng", "zlib_ng"],
        )
        gzip_library.cache_clear()
        self.addCleanup(gzip_library.cache_clear)
        with patch.dict(sys.modules, {"isal": None, "zlib_ng": None}):
            self.assertEqual([gzip_library(level) for level in (1, 9)], [zlib, zlib])
            self.assertEqual(gzip.decompress(encoded("gzip", 1, [b"abc", b"def"], True)), b"abcdef")
        self.assertIs(gzip_library(1), zlib)  # which is not looked for again


class Wrong(Case):
    """What is no such coding, or more than anybody wants."""

    def refused(self, coding: str, *pieces: bytes) -> str:
        """What is wrong with these."""
        error: Any = self.assertRaises(Unacceptable, decoded, decoder(coding), list(pieces))
        self.assertEqual(error.status, 502)
        return str(error)

    def test_none(self) -> None:
        """What is not coded as it says, lacks its end, or goes on behind it."""
        for coding in DECODERS:
            whole = encoded(coding, 1, [text(Random(1), 1000)])
            self.assertIn("without its end", self.refused(coding, whole[:-1]))
            self.assertIn("that is none", self.refused(coding, b"\xff" * 100))
            self.assertNotEqual(self.refused(coding, whole, b"behind"), "")
        self.assertIn("behind the end of gzip", self.refused("gzip", gzip.compress(b"abc") + b"x"))
        self.assertEqual(decoded(decoder("gzip"), []), b"")

    def test_bombs(self) -> None:
        """
        A few bytes that stand for very many are refused, and never were many of them there at once.

        A block of zstd is 128 KiB, and a slice of it has 16 of them at most.
        """
        most = {"gzip": STEP, "br": 2 * STEP, "zstd": 17 * 128 * 1024}
        for coding in DECODERS:
            bomb = encoded(coding, 1, [bytes(FEW)] * 64)
            taken_off = decoder(coding)
            largest = 0
            data, wrong = bomb, ""
            while not wrong:
                try:
                    largest = max(largest, len(taken_off.step(data)))
                except Unacceptable as why:
                    wrong = str(why)
                data = taken_off.rest
            self.assertIn("more than 200 times", wrong)
            self.assertLessEqual(largest, most[coding], coding)

    def test_much(self) -> None:
        """So is what becomes too long, however well it is coded."""
        with patch("proxyd.wire.contentcoding.MOST", 1000):
            self.assertIn("longer than 1000", self.refused("gzip", gzip.compress(text(Random(2), 1001))))
