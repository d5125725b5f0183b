"""
What does a parser get when bytes go wrong on their way?

Right inputs are broken in the ways that break parsers: a bit flips, the end or the middle is missing, bytes
come in between or twice, a length lies, two inputs run into each other.
"""

from __future__ import annotations

from random import Random
from typing import Callable, Iterator, Sequence

_MOST_STEPS = 3  # one fault alone finds most; some are seen only together
_LONGEST_PIECE = 64

_Way = Callable[[Random, bytes, Sequence[bytes]], bytes]


def mutations(random: Random, seeds: Sequence[bytes], count: int) -> Iterator[bytes]:
    """Yield this many broken inputs, the same ones for the same ``random`` and seeds; some may be whole."""
    for _ in range(count):
        data = random.choice(seeds)
        for _ in range(random.randint(1, _MOST_STEPS)):
            data = random.choice(_WAYS)(random, data, seeds)
        yield data


def _flip(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """One bit is turned."""
    if not data:
        return data
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def _cut(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """The end is missing."""
    return data[: random.randint(0, len(data))]


def _drop(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A piece is missing."""
    start, stop = _piece(random, data)
    return data[:start] + data[stop:]


def _insert(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Bytes come in between, often of the kinds that end or begin something."""
    place = random.randint(0, len(data))
    size = random.randint(1, 8)
    new = bytes(random.choice((0, 10, 13, 32, 255, random.randrange(256))) for _ in range(size))
    return data[:place] + new + data[place:]


def _repeat(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A piece comes twice."""
    start, stop = _piece(random, data)
    return data[:stop] + data[start:]


def _lie(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A number of one to three bytes, which may be a length, is a little off or at its end."""
    size = random.randint(1, 3)
    if len(data) < size:
        return data
    place = random.randint(0, len(data) - size)
    most = (1 << 8 * size) - 1
    number = int.from_bytes(data[place : place + size], "big")
    number = random.choice((0, 1, most, number - 1, number + 1, number + random.randint(-40, 40)))
    return data[:place] + (number & most).to_bytes(size, "big") + data[place + size :]


def _splice(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """It begins as one input and goes on as another."""
    other = random.choice(seeds)
    return data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]


def _piece(random: Random, data: bytes) -> tuple[int, int]:
    """Where a short piece of the data begins and ends."""
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.randint(1, _LONGEST_PIECE))


_WAYS: tuple[_Way, ...] = (_flip, _cut, _drop, _insert, _repeat, _lie, _splice)
