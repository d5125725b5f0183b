"""
How many connections can the process carry?

Each relayed connection takes two descriptors.  `raise_limit` makes the most of what the host grants, and
`Capacity` sees to it that a full process stops accepting, says so once, and goes on by itself: clients
wait in the kernel's backlog.  That the descriptors have run out is only learned by failing, and costs one
client its connection, which is told and counted; from then on, and until a minute has passed without
shortage, nobody is accepted before there is room for a whole connection.
"""

from __future__ import annotations

import os
import resource
from typing import Callable, Optional, Protocol, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

SHARE_FOR_CONNECTIONS = 0.8  # of the descriptors; the rest is for logs, checks, metrics and listeners

UNLIMITED = 1024 * 1024  # descriptors, where the limit is infinite: what Linux has for fs.nr_open

CONNECTION = 2  # descriptors: the client's and the server's

RETRY_SECONDS = 1.0  # others may have freed descriptors that we are not told of

QUIET_SECONDS = 60.0  # at the limit the doors open and close with every client: once a minute is told

log = Logger(__name__)


class Accepting(Protocol):
    """A listener, as far as capacity is concerned."""

    def pause(self) -> None:
        """Accept nothing for now."""

    def resume(self) -> None:
        """Accept again."""


def raise_limit() -> int:
    """Raise the soft limit of descriptors to the hard one, and return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return UNLIMITED
    most = UNLIMITED if hard == resource.RLIM_INFINITY else hard
    if soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (OSError, ValueError):  # some systems call a limit infinite that they do not grant
            return soft
    return max(soft, most)


def connections_for(descriptors: int) -> int:
    """How many relayed connections fit into so many descriptors."""
    return max(1, int(descriptors * SHARE_FOR_CONNECTIONS) // 2)


class Capacity:
    """The connections that are open now, and the most that may be; listeners pause while it is full."""

    def __init__(self, clock: IReactorTime, most: int) -> None:
        self.most = most
        self.open = 0
        self.full = False
        self._told = -QUIET_SECONDS  # when it was last said that we are full
        self._scarce = False  # descriptors are: look before each client whether there are enough
        self._short = 0.0  # when the doors last closed or opened because of descriptors
        self._clock = clock
        self._listeners: list[Accepting] = []
        self._held: list[Accepting] = []  # those that accept nobody even if there is room
        self._look: Optional[IDelayedCall] = None
        self._empty: Optional[Deferred[None]] = None
        self._reserve: Optional[int] = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def __repr__(self) -> str:
        return f"<Capacity {self.open} of {self.most}{' full' if self.full else ''}>"

    def add(self, listener: Accepting) -> None:
        """Have this listener pause whenever there is no room."""
        self._listeners.append(listener)

    def admits(self, listener: Accepting) -> bool:
        """Whether this listener may accept now."""
        return not self.full and listener not in self._held

    def hold(self, listeners: Sequence[Accepting]) -> None:
        """Have these listeners accept nobody until they are let go, whether or not there is room."""
        self._held.extend(listeners)
        for listener in listeners:
            listener.pause()

    def let_go(self, listeners: Sequence[Accepting]) -> None:
        """Have them accept again whenever there is room."""
        for listener in listeners:
            self._held.remove(listener)
            if not self.full:
                listener.resume()

    def enter(self) -> None:
        """A connection was accepted; its server is still to be dialed."""
        self.open += 1
        if self.full:
            return
        if self.open >= self.most:
            self._close_doors(f"max_connections: all {self.most} are in use; new clients wait until one ends")
        elif self._scarce:
            self._see_to_the_next()

    def leave(self) -> None:
        """A connection has ended."""
        self.open -= 1
        if self.full and self.open < self.most:
            if self._scarce:
                self._look_in(0)  # by then the sockets are closed; a datapath may put that off for a moment
            else:
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

    def exhausted(self, shed: Optional[Callable[[], None]] = None) -> None:
        """
        The process has no descriptor left: accept no more until there are two for a connection.

        Who could not accept passes ``shed``.  It is called while a reserved descriptor is free for it, so
        that the client at the head of the line is told and counted; but not if one was already turned
        away in this shortage.  Who has accepted, and has no descriptor to go on, passes nothing.
        """
        news = not self._scarce
        self._scarce = True
        if not self.full:
            self._run_short()
        if news and shed is not None and self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
            shed()
            self._fits(0)

    def stop(self) -> None:
        """Give up the reserve and the timer."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def _see_to_the_next(self) -> None:
        if self._clock.seconds() - self._short >= QUIET_SECONDS:
            self._scarce = False
        elif not self._fits(1 + CONNECTION):  # for this one's server, and for the whole next one
            self._run_short()

    def _run_short(self) -> None:
        self._short = self._clock.seconds()
        self._close_doors(
            f"no file descriptor left (connections open: {self.open}); new clients wait until one ends "
            "(raise the limit, LimitNOFILE= or ulimit -n, or lower max_connections)"
        )
        if self._look is None:
            self._look_in(RETRY_SECONDS)

    def _look_in(self, seconds: float) -> None:
        if self._look is None:
            self._look = self._clock.callLater(seconds, self._look_again)
        else:
            self._look.reset(seconds)

    def _look_again(self) -> None:
        self._look = None
        if not self.full or self.open >= self.most:
            return  # and when it is no longer so, whoever leaves looks
        if self._fits(CONNECTION):
            self._short = self._clock.seconds()
            self._open_doors()
        else:
            self._look_in(RETRY_SECONDS)

    def _fits(self, descriptors: int) -> bool:
        """Whether there are so many descriptors beside the reserve, which is refilled if need be."""
        taken: list[int] = []
        try:
            if self._reserve is None:
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            for _ in range(descriptors):
                taken.append(os.dup(self._reserve))
        except OSError:
            return False
        finally:
            for fd in taken:
                os.close(fd)
        return True

    def _close_doors(self, why: str) -> None:
        self.full = True
        now = self._clock.seconds()
        if now - self._told >= QUIET_SECONDS:
            self._told = now
            log.warn("{why}", why=why)
        for listener in self._listeners:
            listener.pause()

    def _open_doors(self) -> None:
        self.full = False
        for listener in self._listeners:
            if listener not in self._held:
                listener.resume()
