"""
What is on a disk, and how is it found, in little memory?

Nothing of an answer is kept here that its file has, too: URLs and what chose an answer are numbers made of
them (64 bits of Python's keyed hash), which say where it may be; who reads the file sees whether it is
that.  Each answer is a place in a few arrays, which the garbage collector does not walk over: a million take
some 70 MB, where objects took 860.  nginx has some 128 bytes for each (`keys_zone`).

What makes room is chosen by S3-FIFO, as in `proxyd.policy.eviction`, here by rings of places; of what is gone
a few bits of its name are remembered.
"""

from __future__ import annotations

from array import array
from typing import Iterable, Iterator, Optional, Sequence

from proxyd.policy.eviction import OFTEN
from proxyd.policy.eviction import SMALL as SHARE

BYTES = 70  # of memory that a place takes, with what falls to it of the tables beside its arrays

MOST_VARIANTS = 32  # of one URL
MOST_NAMES = (
    1000  # lists of fields by which answers are chosen; an answer that goes by yet others has no place
)

DEEPEST = 8  # folders of a URL that are told by its sign

# What an answer is one to: its URL, the way of its request, and the fields that it goes by, and their values.
Key = tuple[bytes, bytes, tuple[bytes, ...], tuple[bytes, ...]]

_MASK = (1 << 64) - 1
_SMALL, _MAIN = 0, 1  # the places that close the rings
_LIVE, _READY, _IN_MAIN = 4, 8, 16  # of a state, beside the hits


def sign_of(url: bytes, tags: Iterable[bytes]) -> int:
    """A number with the bits of the tags of an answer, and of the folders that its URL is in."""
    sign = 0
    for tag in tags:
        sign |= _bits(tag)
    parts = url.split(b"/", 3 + DEEPEST)
    folder = b"/".join(parts[:3]) + b"/"
    sign |= _bits(folder)
    for part in parts[3:-1][: DEEPEST - 1]:
        folder += part + b"/"
        sign |= _bits(folder)
    return sign


def bits_of(prefix: bytes, tag: Optional[bytes]) -> int:
    """The bits that the sign of an answer has if it has this tag, or its URL begins so; others may, too."""
    if tag is not None:
        return _bits(tag)
    parts = prefix.split(b"/", 2 + DEEPEST)
    return _bits(b"/".join(parts[: 3 + DEEPEST - 1][: len(parts) - 1]) + b"/") if len(parts) > 3 else 0


def _bits(text: bytes) -> int:
    number = hash(text)
    return 1 << (number & 63) | 1 << (number >> 6 & 63)


class DiskIndex:
    """
    Answers in files: their sizes together are ``budget`` bytes at most, in blocks of ``block``, and their
    places take no more than ``memory`` bytes.

    ``number`` of an answer is what its file is called by.
    """

    def __init__(self, budget: int, memory: int, block: int) -> None:
        self.budget = budget
        self.most = max(2, min(memory // BYTES, budget // block))
        self.evicted = 0
        self._block = block
        self._used = [0, 0]  # blocks, by the ring
        self._counts = [0, 0]
        size = 1 << (self.most.bit_length() - 1)
        self._buckets = array("I", bytes(4 * size))  # the first place with such a URL
        self._gone = array("I", bytes(4 * size))
        # Of each place; the first two close the rings.
        self._urls = array("Q", (0, 0))
        self._which = array("Q", (0, 0))
        self._signs = array("Q", (0, 0))
        self.numbers = array("Q", (0, 0))
        self._turns = array("I", (0, 0))
        self._blocks = array("I", (0, 0))
        self._names = array("H", (0, 0))
        self._states = bytearray(2)
        self._newer = array("I", (_SMALL, _MAIN))
        self._older = array("I", (_SMALL, _MAIN))
        self._next = array("I", (0, 0))  # in the bucket
        self._free = 0  # a place that is empty; ``_next`` has the next one
        self._lists: list[tuple[bytes, ...]] = []
        self._list_numbers: dict[tuple[bytes, ...], int] = {}

    def __len__(self) -> int:
        return self._counts[0] + self._counts[1]

    @property
    def used(self) -> int:
        """Bytes of the disk."""
        return (self._used[0] + self._used[1]) * self._block

    @property
    def memory(self) -> int:
        """Bytes of memory, about."""
        return len(self) * BYTES

    # What is there

    def places(self, url: bytes) -> Iterator[int]:
        """Those of what may be an answer for a URL, the newest first."""
        number = hash(url) & _MASK
        place = self._buckets[number % len(self._buckets)]
        while place:
            if self._urls[place] == number:
                yield place
            place = self._next[place]

    def place_of(self, key: Key) -> Optional[int]:
        """That of the answer to the same."""
        which = hash(key[1:]) & _MASK
        return next((place for place in self.places(key[0]) if self._which[place] == which), None)

    def names(self, place: int) -> tuple[bytes, ...]:
        """The fields of requests by which an answer was chosen."""
        return self._lists[self._names[place]]

    def is_for(self, place: int, key: Key) -> bool:
        """Whether the answer, of that URL, is one to the same, as far as that is known without its file."""
        return self._which[place] == hash(key[1:]) & _MASK

    def holds(self, place: int, number: int) -> bool:
        """Whether the file of this number still is at this place."""
        return self.numbers[place] == number and bool(self._states[place] & _LIVE)

    def is_ready(self, place: int) -> bool:
        """Whether its file is there."""
        return bool(self._states[place] & _READY)

    def set_ready(self, place: int) -> None:
        """Its file is there from now on."""
        self._states[place] |= _READY

    def turn(self, place: int) -> int:
        """In which turn it was stored (`proxyd.policy.purging`)."""
        return self._turns[place]

    def touch(self, place: int) -> None:
        """It was asked for."""
        if self._states[place] & 3 < OFTEN:
            self._states[place] += 1

    def suspects(self, begin: int, end: int, bits: Sequence[int], turn: int) -> list[tuple[int, int]]:
        """
        Of these places those whose answers came before a turn, are ready, and have all bits of one of these:
        each with its number.
        """
        signs, turns, states = self._signs, self._turns, self._states
        old = [
            place
            for place in range(max(begin, 2), min(end, len(states)))
            if states[place] & _READY and turns[place] < turn
        ]
        found: set[int] = set()
        for each in bits:
            found.update([place for place in old if signs[place] & each == each])
        return [(place, self.numbers[place]) for place in sorted(found)]

    @property
    def end(self) -> int:
        """The number of places that there ever were, and two."""
        return len(self._states)

    # What comes and goes

    def put(
        self, key: Key, sign: int, size: int, number: int, turn: int, ready: bool = False
    ) -> tuple[int, list[int]]:
        """
        Its place, and the numbers of what had to go for it.

        These may have its own, if it is larger than all, or its fields are too many; then its place is 0.
        """
        gone: list[int] = []
        listed = self._list_of(key[2])
        proven = False
        before = list(self.places(key[0]))
        url, which = hash(key[0]) & _MASK, hash(key[1:]) & _MASK
        for place in before:
            if self._which[place] == which:
                proven = bool(self._states[place] & _IN_MAIN) or self._states[place] & 3 > 1
                gone.append(self.numbers[place])
                self.drop(place)
        if len(before) >= MOST_VARIANTS and self._states[before[-1]] & _LIVE:
            gone.append(self.numbers[before[-1]])
            self.drop(before[-1])
        if listed is None:
            return 0, [*gone, number]
        ring = _MAIN if proven or self._was_here(url, which) else _SMALL
        blocks = size // self._block
        place = self._place()
        self._urls[place], self._which[place], self._signs[place] = url, which, sign
        self.numbers[place], self._turns[place], self._blocks[place] = number, turn, blocks
        self._names[place] = listed
        self._states[place] = _LIVE | (_READY if ready else 0)
        bucket = url % len(self._buckets)
        self._next[place], self._buckets[bucket] = self._buckets[bucket], place
        self._append(place, ring)
        while len(self) > self.most or self.used > self.budget:
            self._step(gone)
        return (place if self.holds(place, number) else 0), gone

    def resize(self, place: int, size: int) -> list[int]:
        """Its file is so long; the numbers of what had to go for it, which may have its own."""
        gone: list[int] = []
        blocks = size // self._block
        self._used[_MAIN if self._states[place] & _IN_MAIN else _SMALL] += blocks - self._blocks[place]
        self._blocks[place] = blocks
        while self.used > self.budget:
            self._step(gone)
        return gone

    def drop(self, place: int) -> None:
        """It is there no more; nothing is remembered of it."""
        self._unlink(place)
        bucket = self._urls[place] % len(self._buckets)
        before, each = 0, self._buckets[bucket]
        while each != place:
            before, each = each, self._next[each]
        if before:
            self._next[before] = self._next[place]
        else:
            self._buckets[bucket] = self._next[place]
        self._states[place] = 0
        self._next[place], self._free = self._free, place

    def _list_of(self, names: tuple[bytes, ...]) -> Optional[int]:
        found = self._list_numbers.get(names)
        if found is None and len(self._lists) < MOST_NAMES:
            found = self._list_numbers[names] = len(self._lists)
            self._lists.append(names)
        return found

    def _place(self) -> int:
        place = self._free
        if place:
            self._free = self._next[place]
            return place
        for each in (self._urls, self._which, self._signs, self.numbers, self._turns, self._blocks):
            each.append(0)
        for each in (self._names, self._newer, self._older, self._next):
            each.append(0)
        self._states.append(0)
        return len(self._states) - 1

    # Which has to go

    def _append(self, place: int, ring: int) -> None:
        """Be the newest of a ring."""
        last = self._older[ring]
        self._newer[last] = self._older[ring] = place
        self._older[place], self._newer[place] = last, ring
        if ring == _MAIN:
            self._states[place] |= _IN_MAIN
        self._used[ring] += self._blocks[place]
        self._counts[ring] += 1

    def _unlink(self, place: int) -> None:
        ring = _MAIN if self._states[place] & _IN_MAIN else _SMALL
        older, newer = self._older[place], self._newer[place]
        self._newer[older], self._older[newer] = newer, older
        self._used[ring] -= self._blocks[place]
        self._counts[ring] -= 1

    def _step(self, gone: list[int]) -> None:
        """Let one go, or give it another chance."""
        full = (
            self._used[_SMALL] * self._block * SHARE > self.budget
            or self._counts[_SMALL] * SHARE > self.most
            or not self._counts[_MAIN]
        )
        if self._counts[_SMALL] and full:
            place = self._newer[_SMALL]
            if self._states[place] & 3 > 1:
                self._unlink(place)
                self._states[place] &= ~3
                self._append(place, _MAIN)
                return
            name = self._urls[place] ^ self._which[place]
            self._gone[name % len(self._gone)] = name >> 32 | 1
        else:
            place = self._newer[_MAIN]
            if self._states[place] & 3:
                self._unlink(place)
                self._states[place] -= 1
                self._append(place, _MAIN)
                return
        self.evicted += 1
        gone.append(self.numbers[place])
        self.drop(place)

    def _was_here(self, url: int, which: int) -> bool:
        """Whether it has gone not long ago; that is forgotten by this."""
        name = url ^ which
        at = name % len(self._gone)
        was = self._gone[at] == name >> 32 | 1
        if was:
            self._gone[at] = 0
        return was
