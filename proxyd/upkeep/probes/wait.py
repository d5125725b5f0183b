"""
How does a probe wait for what comes again and again?

To whoever drives the probe's coroutine (`asking`) a `Wait` is a Deferred, without the half a dozen objects
that one consists of: what a thousand checks hold while they wait is no longer in the processor's caches when
they go on.
"""

from __future__ import annotations

from typing import Any, Callable, Generator, Optional

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure


class Wait:
    """What one waits for at a time, as often as it likes."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: Optional[Callable[[Any], object]] = None

    def __await__(self) -> Generator[Wait, None, None]:
        yield self

    def addBoth(self, told: Callable[[Any], object]) -> None:
        """Call this when it is over, or ends by a Failure."""
        self._told = told

    def over(self, why: Optional[Failure] = None) -> None:
        """Tell who waits, if somebody does."""
        told, self._told = self._told, None
        if told is not None:
            told(why)

    def cancel(self) -> None:
        """Wait no more."""
        self.over(Failure(CancelledError()))
