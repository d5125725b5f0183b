"""
Which of the things that are kept has to go when there is no room for another?

S3-FIFO (Yang and others, SOSP 2023): most things are asked for once.  What is new stands in a small queue, a
tenth of all; what was asked for again while it stood there goes on to the main one, and all else is gone
soon, so that who asks for everything once drives out nothing that others come back for.  Of what is gone the
names are remembered for a while: what comes again then goes to the main queue at once.  Being asked for
moves nothing; it is a number that goes up.
"""

from __future__ import annotations

from typing import Generic, Hashable, TypeVar

SMALL = 10  # the share of the small queue is one of so many
OFTEN = 3  # being asked for more often makes no difference
MOST_REMEMBERED = 500_000  # names of what is gone


class Evictable:
    """
    Something that is kept: its ``size``, and its ``name`` by which it is remembered.

    Who asks for it says so by `touch`.
    """

    __slots__ = ("hits", "in_main", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.hits = 0
        self.in_main = False

    @property
    def name(self) -> Hashable:
        """What it will be called if it comes again."""
        raise NotImplementedError

    def touch(self) -> None:
        """It was asked for."""
        if self.hits < OFTEN:
            self.hits += 1


Kept = TypeVar("Kept", bound=Evictable)


class S3Fifo(Generic[Kept]):
    """Things whose sizes together are ``budget`` at most; ``used`` is what they are."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.used = 0
        self.evicted = 0
        self._small: dict[Kept, None] = {}
        self._small_used = 0
        self._main: dict[Kept, None] = {}
        self._gone: dict[int, int] = {}  # the hashes of names, and sizes
        self._gone_size = 0

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    def __contains__(self, thing: Kept) -> bool:
        return thing in (self._main if thing.in_main else self._small)

    def add(self, thing: Kept, proven: bool = False) -> list[Kept]:
        """
        Keep it; what had to go for it is returned.  That may be itself, if it is larger than all.

        It is ``proven`` if it stands for one that was asked for again.
        """
        size = self._gone.pop(hash(thing.name), None)
        thing.hits = 0
        self.used += thing.size
        self._gone_size -= size or 0
        if size is not None or proven:
            thing.in_main = True
            self._main[thing] = None
        else:
            thing.in_main = False
            self._small[thing] = None
            self._small_used += thing.size
        return self._make_room()

    def grow(self, thing: Kept, more: int) -> list[Kept]:
        """It has become so much larger; what had to go for that is returned, and may be itself."""
        thing.size += more
        self.used += more
        if not thing.in_main:
            self._small_used += more
        return self._make_room()

    def _make_room(self) -> list[Kept]:
        out: list[Kept] = []
        while self.used > self.budget and len(self):
            if self._small and (self._small_used * SMALL > self.budget or not self._main):
                self._step_small(out)
            else:
                self._step_main(out)
        self.evicted += len(out)
        return out

    def remove(self, thing: Kept) -> None:
        """It is not to be kept any more; nothing is remembered of it."""
        if thing.in_main:
            del self._main[thing]
        else:
            del self._small[thing]
            self._small_used -= thing.size
        self.used -= thing.size

    def _step_small(self, out: list[Kept]) -> None:
        thing = next(iter(self._small))
        del self._small[thing]
        self._small_used -= thing.size
        if thing.hits > 1:
            thing.hits = 0
            thing.in_main = True
            self._main[thing] = None
            return
        self.used -= thing.size
        out.append(thing)
        self._remember(thing)

    def _step_main(self, out: list[Kept]) -> None:
        thing = next(iter(self._main))
        del self._main[thing]
        if thing.hits:
            thing.hits -= 1
            self._main[thing] = None
            return
        self.used -= thing.size
        out.append(thing)

    def _remember(self, thing: Kept) -> None:
        """Its name, for as long as what is gone behind it would fill the main queue."""
        gone = self._gone
        key = hash(thing.name)
        self._gone_size += thing.size - gone.pop(key, 0)
        gone[key] = thing.size
        while gone and (self._gone_size > self.budget or len(gone) > MOST_REMEMBERED):
            oldest = next(iter(gone))
            self._gone_size -= gone.pop(oldest)
