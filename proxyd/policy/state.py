"""
Which states can a server have, and what leads from one to another?

A server has one state at a time, and `MOVES` has every move there is.  What its checks say is remembered
beside it (`proxyd.policy.server.Server.health`): a server that is draining is still checked, and when it is
enabled again that is what it is.
"""

from __future__ import annotations

import enum
from typing import Any, Callable

from attrs import frozen

from proxyd.errors import IllegalMove


class State(enum.Enum):
    """
    What a server is fit for.

    Those that are up get connections; while there are none, those that are still to be checked, and failing
    these those that are ejected.  A server that is draining keeps the connections that it has, and gets no
    others (HAProxy's drain); one in maintenance is not even checked (HAProxy's maint).
    """

    UP = "up"
    DOWN = "down"
    CHECKING = "checking"
    DRAINING = "draining"
    MAINTENANCE = "maintenance"
    EJECTED = "ejected"

    @property
    def phrase(self) -> str:
        """What follows "it is" in a sentence."""
        return "in maintenance" if self is State.MAINTENANCE else self.value


OUT = (State.DRAINING, State.MAINTENANCE)  # whom operators have taken out, whatever happens to the others


class Event(enum.Enum):
    """What happens to a server; the last four change no state."""

    PASSED = "passed"  # its checks say that it is up
    FAILED = "failed"  # its checks say that it is down
    DRAIN = "drain"
    DISABLE = "disable"
    ENABLE = "enable"
    EJECT = "eject"
    RETURN = "return"  # the time for which it was ejected is over
    MOVE = "move"  # it has another address now
    REVISE = "revise"  # so it has, but may still be where it was; or another weight or priority
    WEIGH = "weigh"
    ADD = "add"
    REMOVE = "remove"


_ADMIN = {Event.DRAIN: State.DRAINING, Event.DISABLE: State.MAINTENANCE}
_ANEW = {Event.MOVE: State.CHECKING}  # nothing is known of it there

MOVES: dict[State, dict[Event, State]] = {
    State.UP: {
        **_ADMIN,
        **_ANEW,
        Event.ENABLE: State.UP,
        Event.PASSED: State.UP,
        Event.FAILED: State.DOWN,
        Event.EJECT: State.EJECTED,
    },
    State.DOWN: {
        **_ADMIN,
        **_ANEW,
        Event.ENABLE: State.DOWN,
        Event.PASSED: State.UP,
        Event.FAILED: State.DOWN,
    },
    State.CHECKING: {
        **_ADMIN,
        **_ANEW,
        Event.ENABLE: State.CHECKING,
        Event.PASSED: State.UP,
        Event.FAILED: State.DOWN,
        Event.EJECT: State.EJECTED,
    },
    State.DRAINING: {
        **_ADMIN,
        Event.MOVE: State.DRAINING,
        Event.ENABLE: State.CHECKING,
        Event.PASSED: State.DRAINING,
        Event.FAILED: State.DRAINING,
    },
    State.MAINTENANCE: {  # the last check may have been under way
        **_ADMIN,
        Event.MOVE: State.MAINTENANCE,
        Event.ENABLE: State.CHECKING,
        Event.PASSED: State.MAINTENANCE,
        Event.FAILED: State.MAINTENANCE,
    },
    State.EJECTED: {  # a check that passes does not bring it back: checks have passed all along
        **_ADMIN,
        **_ANEW,
        Event.ENABLE: State.CHECKING,
        Event.PASSED: State.EJECTED,
        Event.FAILED: State.DOWN,
        Event.RETURN: State.CHECKING,
    },
}


def move(state: State, event: Event) -> State:
    """The state that the event leads to.  Raises `IllegalMove` if there is no such move."""
    after = MOVES[state].get(event)
    if after is None:
        raise IllegalMove(f"a server that is {state.phrase} has no move for {event.value!r}")
    return after


@frozen
class Change:
    """
    Something about a server has changed: it was ``before``, and is now what ``server`` (a
    `proxyd.policy.server.Server` of ``pool``) says.

    Before and after may be the same state: then the weight is another, a server came or went, or the checks
    of one that is draining have changed their mind.  ``at`` is when, ``why`` for people.
    """

    pool: Any
    server: Any
    event: Event
    before: State
    why: str
    at: float


Watcher = Callable[[Change], None]  # it must be quick, and must not raise
