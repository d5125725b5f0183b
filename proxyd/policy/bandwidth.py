"""
How long must one wait who has sent more than its allowance?

A bucket of tokens that may be overdrawn: what has come cannot be sent back, so it is paid for afterwards.
In any stretch of time no more passes than the burst, what the rate gives for that time, and the one read
by which it was overdrawn.  All connections of a client may share a bucket (`Clients`).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Callable, Generic, TypeVar

from proxyd.config.bandwidth import Allowance

# Clients that are remembered although they have nothing open, until what they have overdrawn is paid for.
MOST_CLIENTS = 100_000


class Bucket:
    """An allowance of bytes, full at first."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, allowance: Allowance, now: float) -> None:
        self._rate = float(allowance.rate)
        self._burst = float(allowance.burst)
        self._level = self._burst
        self._at = now

    def take(self, count: int, now: float) -> None:
        """So many bytes have come."""
        self._fill(now)
        self._level -= count

    def give_back(self, count: int) -> None:
        """So many bytes were taken in advance, and have not come."""
        self._level = min(self._burst, self._level + count)

    def wait(self, now: float) -> float:
        """In how many seconds it is not overdrawn any more; 0.0 if it is not."""
        self._fill(now)
        return max(0.0, -self._level / self._rate)

    def full(self, now: float) -> bool:
        """Whether it is as if nothing had ever been taken."""
        self._fill(now)
        return self._level >= self._burst

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now


Kept = TypeVar("Kept")


class Clients(Generic[Kept]):
    """
    Something for each client that has connections, and for some while longer.

    ``make`` makes it of the time.  When a client has no connection any more it is kept for as long as
    ``settled`` says no of it and the time, so that who comes anew is not forgiven; of such there are at
    most ``most``.
    """

    def __init__(
        self,
        make: Callable[[float], Kept],
        settled: Callable[[Kept, float], bool],
        most: int = MOST_CLIENTS,
    ) -> None:
        self._make = make
        self._settled = settled
        self._most = most
        self._here: dict[bytes, Kept] = {}
        self._connections: dict[bytes, int] = {}
        self._gone: OrderedDict[bytes, Kept] = OrderedDict()  # who left last at the end

    def __len__(self) -> int:
        return len(self._here) + len(self._gone)

    def enter(self, key: bytes, now: float) -> Kept:
        """A connection of the client begins; it shares what is returned with the client's others."""
        self._connections[key] = self._connections.get(key, 0) + 1
        kept = self._here.get(key)
        if kept is None:
            kept = self._gone.pop(key, None) or self._make(now)
            self._here[key] = kept
        return kept

    def leave(self, key: bytes, now: float) -> None:
        """One of its connections has ended."""
        left = self._connections[key] - 1
        if left:
            self._connections[key] = left
            return
        del self._connections[key]
        self._gone[key] = self._here.pop(key)
        # Two are looked at for each that goes, so those that are settled do not pile up.
        for _ in range(2):
            first = next(iter(self._gone))
            if len(self._gone) <= self._most and not self._settled(self._gone[first], now):
                break
            del self._gone[first]
            if not self._gone:
                break
