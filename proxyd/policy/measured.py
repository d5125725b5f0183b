"""
Which server has been quicker, or has moved less, of late?

What is known of a server fades: by e (to some 37 %) in each ``decay`` seconds.  So one that was slow is tried
again, and a busy night does not count against the morning.

Both ways take the better of two servers that are drawn by weighted chance.  The best of all would be given
every new connection until the next measurement comes in.
"""

from __future__ import annotations

from math import exp
from typing import Any, Callable, Collection, Optional

from zope.interface import classImplements

from proxyd.interfaces import ICounting, ITiming
from proxyd.policy.lots import Chance, TwoDraws
from proxyd.policy.server import Server

USUAL_OF = 64  # so many connections make what is usual; of fewer, a single large one would decide

UNKNOWN = 1e6  # what one that is being tried for the first time counts as, in seconds

NO_TIME = 1e-6  # seconds; what takes no time at all has been measured, too


class Fading:
    """A measure of each server that fades as time goes by; it is kept in ``measured`` of the server."""

    def __init__(self, seconds: Callable[[], float], decay: float) -> None:
        self._seconds = seconds
        self._decay = decay

    def of(self, server: Server, now: float) -> float:
        """What is left of it."""
        if not server.measured:
            return 0.0
        return server.measured * exp((server.measured_at - now) / self._decay)

    def now(self) -> float:
        """The time."""
        return self._seconds()

    def set(self, server: Server, value: float, now: float) -> None:
        """What it is from now on, until it has faded."""
        server.measured, server.measured_at = value, now


class LeastTime(TwoDraws):
    """
    The one that takes less time, times its open connections and one more, for its weight.

    What a server takes is Finagle's peak EWMA: a higher time counts at once and fully, a lower one by and
    by.  Of a server that has not been measured one connection is made, and no second before it is; or before
    ``decay`` is over, since who got the first may be a client that says nothing.
    """

    def __init__(self, random: Chance, seconds: Callable[[], float], decay: float) -> None:
        super().__init__(random)
        self._fading = Fading(seconds, decay)
        self._decay = decay

    def choose(
        self, servers: list[Server], avoid: Collection[Server] = (), arrival: Any = None
    ) -> Optional[Server]:
        one, other = self.draw(servers, avoid)
        if one is None or other is None:
            return one
        now = self._fading.now()
        best = one if self._cost(one, now) * other.share <= self._cost(other, now) * one.share else other
        if not best.measured:
            best.measured_at = now
        return best

    def timed(self, server: Server, seconds: float) -> None:
        now = self._fading.now()
        if seconds < server.measured:
            left = self._fading.of(server, now)
            seconds = left + seconds * (1 - left / server.measured)
        self._fading.set(server, max(seconds, NO_TIME), now)

    def _cost(self, server: Server, now: float) -> float:
        seconds = self._fading.of(server, now)
        if not server.measured and server.open and now - server.measured_at < self._decay:
            seconds = UNKNOWN
        return seconds * (server.open + 1)


classImplements(LeastTime, ITiming)


class LeastBytes(TwoDraws):
    """
    The one that has moved fewer bytes lately and has fewer to move, for its weight.

    A connection is counted when it has ended.  Until then it stands for as many bytes as one has had on
    average, or a server would be given all connections that come while its first transfers last.
    """

    def __init__(self, random: Chance, seconds: Callable[[], float], decay: float) -> None:
        super().__init__(random)
        self._fading = Fading(seconds, decay)
        self._usual = 1.0  # bytes of a connection

    def choose(
        self, servers: list[Server], avoid: Collection[Server] = (), arrival: Any = None
    ) -> Optional[Server]:
        one, other = self.draw(servers, avoid)
        if one is None or other is None:
            return one
        now = self._fading.now()
        return one if self._load(one, now) * other.share <= self._load(other, now) * one.share else other

    def take(self, server: Server) -> bool:
        return True

    def released(self, server: Server, moved: int) -> None:
        now = self._fading.now()
        self._fading.set(server, self._fading.of(server, now) + moved, now)
        self._usual += (moved - self._usual) / USUAL_OF

    def _load(self, server: Server, now: float) -> float:
        return self._fading.of(server, now) + server.open * self._usual


classImplements(LeastBytes, ICounting)
