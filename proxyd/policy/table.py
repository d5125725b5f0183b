"""
Which server is remembered for a key, for how long, and who makes room when there are too many?

Nothing here grows beyond its bound, and nothing takes longer because there are many: the keys are in the
order of their last use, which is also that in which they run out.
"""

from __future__ import annotations

from array import array
from typing import Iterable, Iterator, Optional

Row = tuple[bytes, str, str, float, int]  # key, server, first server, seconds left, uses

SWEPT = 4  # entries that have run out and go when one comes: the table shrinks, and nobody waits for a broom

MOST_USES = 2**32 - 1  # that can be counted


class Table:
    """
    Keys, and the server of each by its name; as many as ``size``, and each for ``ttl`` seconds after its last
    use.

    The one that was used last is at the end of a ring, and therefore is also the one that runs out last; so
    nothing is ever searched for.  An entry costs some 200 bytes, none of which the garbage collector walks
    over: it is a place in a few arrays, and not an object.
    """

    def __init__(self, size: int, ttl: float) -> None:
        self.size = size
        self.ttl = ttl
        self.evicted = 0  # entries that had to make room
        self.expired = 0  # entries that ran out
        self.clear_all()

    def clear_all(self) -> None:
        """Forget all of them."""
        self._places: dict[bytes, int] = {}
        # Of each place.  Place 0 is no entry: it closes the ring, after the newest and before the oldest.
        self._keys = [b""]
        self._servers = [""]
        self._homes = [""]
        self._until = array("d", [0.0])
        self._uses = array("I", [0])
        self._newer = array("I", [0])
        self._older = array("I", [0])
        self._free = 0  # a place that is empty; ``_newer`` has the next one

    def __len__(self) -> int:
        return len(self._places)

    def find(self, key: bytes, now: float) -> Optional[tuple[str, str]]:
        """The server of a key, and the one that it had first; None if it is not there, or has run out."""
        place = self._places.get(key)
        if place is None:
            return None
        if self._until[place] <= now:
            self.expired += 1
            self._drop(place)
            return None
        return self._servers[place], self._homes[place]

    def use(self, key: bytes, server: str, now: float) -> bool:
        """This key has a connection to this server; whether it was there and had another."""
        place = self._places.get(key)
        if place is None:
            self._put(key, server, server, now + self.ttl, 1, now)
            return False
        before, self._servers[place] = self._servers[place], server
        self._until[place] = now + self.ttl
        self._uses[place] = min(self._uses[place] + 1, MOST_USES)
        self._unlink(place)
        self._link(place)
        return before != server

    def retry(self, key: bytes, server: str, now: float) -> bool:
        """The connection that was counted last goes to this server instead; the same answer."""
        place = self._places.get(key)
        if place is None:
            return self.use(key, server, now)
        before, self._servers[place] = self._servers[place], server
        if self._uses[place] == 1:
            self._homes[place] = server  # it has never been at the other
        return before != server

    def clear(self, key: bytes) -> bool:
        """Forget one; whether there was one."""
        place = self._places.get(key)
        if place is not None:
            self._drop(place)
        return place is not None

    def sweep(self, now: float, most: int) -> None:
        """Drop so many that have run out, the oldest first."""
        for _ in range(most):
            oldest = self._newer[0]
            if not oldest or self._until[oldest] > now:
                return
            self.expired += 1
            self._drop(oldest)

    def rows(self, now: float) -> Iterator[Row]:
        """Key, server, first server, seconds left and uses of each, the one that was used last first."""
        place = self._older[0]
        while place:
            row = self._row(place, now)
            if row is not None:
                yield row
            place = self._older[place]

    def row(self, key: bytes, now: float) -> Optional[Row]:
        """The same of one key, which is not used by that; None if it is not there, or has run out."""
        place = self._places.get(key)
        return None if place is None else self._row(place, now)

    def _row(self, place: int, now: float) -> Optional[Row]:
        left = self._until[place] - now
        if left <= 0:
            return None
        return self._keys[place], self._servers[place], self._homes[place], left, self._uses[place]

    def restore(self, rows: Iterable[Row], now: float) -> None:
        """Put back what `rows` gave, with the seconds that it has left; what is known better by now stays."""
        known = [*self.rows(now)]
        seen = set(self._places)
        names: dict[str, str] = {}  # so that a thousand entries have one string
        for key, server, home, left, uses in rows:
            if left > 0 and key not in seen:
                seen.add(key)
                server, home = names.setdefault(server, server), names.setdefault(home, home)
                known.append((key, server, home, min(left, self.ttl), uses))
        known.reverse()
        known.sort(key=lambda row: row[3])
        self.clear_all()
        for key, server, home, left, uses in known[-self.size :]:
            self._put(key, server, home, now + left, uses, now)

    def _put(self, key: bytes, server: str, home: str, until: float, uses: int, now: float) -> None:
        self.sweep(now, SWEPT)
        if len(self._places) >= self.size:
            self.evicted += 1
            self._drop(self._newer[0])
        place = self._free
        if place:
            self._free = self._newer[place]
            self._keys[place] = key
            self._servers[place] = server
            self._homes[place] = home
            self._until[place] = until
            self._uses[place] = uses
        else:
            place = len(self._keys)
            self._keys.append(key)
            self._servers.append(server)
            self._homes.append(home)
            self._until.append(until)
            self._uses.append(uses)
            self._newer.append(0)
            self._older.append(0)
        self._places[key] = place
        self._link(place)

    def _drop(self, place: int) -> None:
        del self._places[self._keys[place]]
        self._unlink(place)
        self._keys[place] = b""
        self._servers[place] = self._homes[place] = ""
        self._newer[place], self._free = self._free, place

    def _link(self, place: int) -> None:
        newest = self._older[0]
        self._newer[newest] = self._older[0] = place
        self._older[place], self._newer[place] = newest, 0

    def _unlink(self, place: int) -> None:
        older, newer = self._older[place], self._newer[place]
        self._newer[older], self._older[newer] = newer, older
