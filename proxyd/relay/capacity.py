"""
How many connections can the process carry?

Each relayed connection takes two descriptors.  `raise_limit` makes the most of what the host grants, and
`Capacity` sees to it that a full process stops accepting, says so once, and goes on by itself: clients
wait in the kernel's backlog.  Only when accepting itself fails for want of a descriptor is one client
turned away at each try, so that it is told and counted.
"""

from __future__ import annotations

import os
import resource
from typing import Callable, Optional, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

SHARE_FOR_CONNECTIONS = 0.8  # of the descriptors; the rest is for logs, checks, metrics and listeners

RETRY_SECONDS = 1.0  # others may have freed descriptors that we are not told of

QUIET_SECONDS = 60.0  # at the limit the doors open and close with every client: once a minute is told


class Accepting(Protocol):
    """A listener, as far as capacity is concerned."""

    def pause(self) -> None:
        """Accept nothing for now."""

    def resume(self) -> None:
        """Accept again."""


def raise_limit() -> int:
    """Raise the soft limit of descriptors to the hard one, and return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # some systems call a limit infinite that they do not grant
            return soft
    return hard


def connections_for(descriptors: int) -> int:
    """How many relayed connections fit into so many descriptors."""
    return max(1, int(descriptors * SHARE_FOR_CONNECTIONS) // 2)


class Capacity:
    """The connections that are open now, and the most that may be; listeners pause while it is full."""

    log = Logger()

    def __init__(self, clock: IReactorTime, most: int) -> None:
        self.most = most
        self.open = 0
        self.full = False
        self._told = -QUIET_SECONDS  # when it was last said that we are full
        self._clock = clock
        self._listeners: list[Accepting] = []
        self._retry: Optional[IDelayedCall] = None
        self._empty: Optional[Deferred[None]] = None
        self._reserve: Optional[int] = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def __repr__(self) -> str:
        return f"<Capacity {self.open} of {self.most}{' full' if self.full else ''}>"

    def add(self, listener: Accepting) -> None:
        """Have this listener pause whenever there is no room."""
        self._listeners.append(listener)

    def enter(self) -> None:
        """A connection was accepted."""
        self.open += 1
        if self.open >= self.most and not self.full:
            self._close_doors(f"max_connections: all {self.most} are in use; new clients wait until one ends")

    def leave(self) -> None:
        """A connection has ended."""
        self.open -= 1
        if self.full and self.open < self.most:
            self._open_doors()
        if not self.open and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def when_empty(self) -> Deferred[None]:
        """Fires when no connection is open; the one who asks last is told."""
        if not self.open:
            return succeed(None)
        empty: Deferred[None] = Deferred(self._no_one_waits)
        self._empty = empty
        return empty

    def _no_one_waits(self, empty: Deferred[None]) -> None:
        self._empty = None

    def exhausted(self, shed: Callable[[], None]) -> None:
        """
        The process has no descriptor left: accept no more until one is free.

        ``shed`` is called once while a reserved descriptor is free for it, so that the client at the
        head of the line is told and counted.
        """
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
            shed()
        if not self.full:
            self._close_doors(
                f"no file descriptor left with {self.open} connections open; new clients wait until "
                "one is free (raise the limit, LimitNOFILE= or ulimit -n, or lower max_connections)"
            )
        if self._retry is None:
            self._retry = self._clock.callLater(RETRY_SECONDS, self._try_again)

    def stop(self) -> None:
        """Give up the reserve and the timer."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def _try_again(self) -> None:
        self._retry = None
        if self.full and self.open < self.most:
            self._open_doors()

    def _close_doors(self, why: str) -> None:
        self.full = True
        now = self._clock.seconds()
        if now - self._told >= QUIET_SECONDS:
            self._told = now
            self.log.warn("{why}", why=why)
        for listener in self._listeners:
            listener.pause()

    def _open_doors(self) -> None:
        if self._reserve is None:
            try:
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                if self._retry is None:
                    self._retry = self._clock.callLater(RETRY_SECONDS, self._try_again)
                return
        self.full = False
        for listener in self._listeners:
            listener.resume()
