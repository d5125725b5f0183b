"""
Is there time to compress?

Answers that begin stay as they are while the event loop runs late, or while compression has lately had
more of the processor than it may: everybody else is served by the same core.
"""

from __future__ import annotations

from attrs import frozen

LATE = 0.1  # seconds that the event loop was late, in the last second

WINDOW = 1.0  # seconds over which the share of the processor holds

MOST = 1000  # bodies at once: each takes a quarter of a megabyte and more


class CpuGuard:
    """Lets compression begin as long as it has had no more than ``share`` (0 to 1) of a core; 1 is always."""

    __slots__ = ("_owed", "_share", "_since", "under_way")

    def __init__(self, share: float) -> None:
        self._share = share
        self._owed = 0.0  # seconds of the processor that it has had, less what it was allowed since
        self._since = 0.0
        self.under_way = 0  # bodies

    def spent(self, seconds: float) -> None:
        """It has had so many seconds of the processor."""
        self._owed += seconds

    def allows(self, now: float, lag: float) -> bool:
        """Whether another body may begin, where the event loop is as late as that."""
        if self.under_way >= MOST:
            return False
        if self._share >= 1.0:
            return True
        passed, self._since = now - self._since, now
        self._owed = max(0.0, self._owed - passed * self._share)
        return self._owed < self._share * WINDOW and lag < LATE


@frozen
class CompressionSnapshot:
    """What was put into one coding (``identity``: taken out of any), and for what there was no time."""

    listener: str
    route: str
    encoding: str
    answers: int
    bytes_in: int
    bytes_out: int
    cpu_seconds: float
    passed_over: int
