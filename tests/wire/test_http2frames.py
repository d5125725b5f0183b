"""Are floods of frames noticed by the heads of these, however the bytes are cut?"""

from __future__ import annotations

from proxyd.wire.http2frames import (
    BUDGET,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    LONGEST,
    PER_SECOND,
    PREFACE,
    RESET_COSTS,
    SETTINGS_BYTES,
    Broken,
    Frames,
)
from tests.support.case import Case

MOST = 16 * 1024


def frame(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    """One frame of stream 1."""
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + b"\0\0\0\1" + body


DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9


class Floods(Case):
    """What `Frames` lets pass."""

    def setUp(self) -> None:
        self.frames = Frames(MOST, 0.0)
        self.frames.feed(PREFACE, 0.0)

    def until_flood(self, one: bytes, most: int = 20_000) -> int:
        """How many times it is taken."""
        for count in range(most):
            try:
                self.frames.feed(one, 0.0)
            except Broken as flood:
                self.assertEqual(flood.code, ENHANCE_YOUR_CALM)
                return count
        return most

    def test_floods(self) -> None:
        """Of what brings nothing a budget is taken; requests that are cancelled cost more."""
        for one, taken in (
            (frame(PING, bytes(8)), BUDGET),
            (frame(SETTINGS), BUDGET),
            (frame(SETTINGS, bytes(2400)), BUDGET * SETTINGS_BYTES / 2400),  # each may touch all streams
            (frame(PRIORITY, bytes(5)), BUDGET),
            (frame(DATA), BUDGET),
            (frame(0xEE, b"unknown"), BUDGET),
            (frame(HEADERS, b"x", 4) + frame(RST, bytes(4)), BUDGET / RESET_COSTS),
        ):
            self.setUp()
            self.assertEqual(self.until_flood(one), taken, one)

    def test_what_brings_something(self) -> None:
        """Bodies, their ends and requests cost nothing, and windows little."""
        for one in (frame(DATA, b"x"), frame(DATA, b"", 1), frame(HEADERS, b"x", 4)):
            self.assertEqual(self.until_flood(one), 20_000)
        self.assertGreater(self.until_flood(frame(UPDATE, bytes(4))), 9_000)

    def test_time(self) -> None:
        """The budget grows with time, up to where it began."""
        self.assertEqual(self.until_flood(frame(PING, bytes(8))), BUDGET)
        self.frames.feed(frame(PING, bytes(8)) * int(PER_SECOND), 1.02)
        with self.assertRaises(Broken):
            self.frames.feed(frame(PING, bytes(8)) * int(BUDGET + 1), 1000.0)

    def test_continuations(self) -> None:
        """A head in too many pieces, or too long, is refused before it is complete."""
        with self.assertRaises(Broken):
            self.frames.feed(frame(HEADERS) + frame(CONTINUATION) * 8, 0.0)
        self.setUp()
        with self.assertRaises(Broken):
            self.frames.feed(frame(HEADERS, bytes(MOST)) + frame(CONTINUATION, b"x", 4), 0.0)
        self.setUp()
        self.frames.feed((frame(HEADERS, b"x") + frame(CONTINUATION, b"x", 4)) * 1000, 0.0)

    def test_long_frame(self) -> None:
        """A frame that is too long is refused by its head, before its bytes are waited for."""
        with self.assertRaises(Broken) as caught:
            self.frames.feed((LONGEST + 1).to_bytes(3, "big") + bytes(6), 0.0)
        self.assertEqual(caught.exception.code, FRAME_SIZE_ERROR)

    def test_cuts(self) -> None:
        """It is the same however the bytes are cut, also within the preface."""
        whole = PREFACE + frame(DATA, b"x" * 20) + frame(HEADERS, b"y" * 3, 4) + frame(PING, bytes(8)) * 1000
        for size in (1, 2, 7, 11, 1000):
            frames = Frames(MOST, 0.0)
            for place in range(0, len(whole), size):
                frames.feed(whole[place : place + size], 0.0)
            with self.assertRaises(Broken, msg=str(size)):
                frames.feed(frame(PING, bytes(8)), 0.0)
