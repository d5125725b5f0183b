"""
Is a server fit for connections, going by its checks?

One failed check is no proof and neither is one that passes, so a server changes its state only after
several in a row that say otherwise: HAProxy's ``rise`` and ``fall``.  The first check decides alone, as
in HAProxy and Envoy, so that a pool is ready as soon as its servers have been looked at once.
"""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Optional

from attrs import define

from proxyd.config.combination import Combination, fold
from proxyd.config.health import CheckSpec
from proxyd.policy.state import State
from proxyd.snapshots import CheckSnapshot

CALM = 60  # checks; five minutes at the default interval

_MOST_QUICK = 16  # more than any bound has doublings

_RANKS = (State.DOWN, State.CHECKING, State.UP)


class RiseFall:
    """
    Turns the results of one check of one server into up and down, with patience in both directions.

    A server that keeps changing needs more and more: when it falls before `CALM` checks have passed it needs
    twice as many to rise as the time before, up to ``max_rise`` (Envoy holds ejected hosts back in this way).
    """

    def __init__(self, spec: CheckSpec) -> None:
        self.state = State.CHECKING
        self._rise = spec.rise
        self._most = max(spec.rise, spec.max_rise)
        self._fall = spec.fall
        self.against = 0  # results in a row that say otherwise than the state
        self._quick = 0  # falls in a row that came too soon
        self._calm = CALM  # checks that have passed since the last rise; the first one was none

    @property
    def needed(self) -> int:
        """How many results in a row would change the state."""
        if self.state is State.CHECKING:
            return 1
        return self._fall if self.state is State.UP else min(self._most, self._rise << self._quick)

    @property
    def damped(self) -> bool:
        """Whether it needs more to rise than others do."""
        return self.state is State.DOWN and self.needed > self._rise

    @property
    def changing(self) -> bool:
        """
        Whether the last result was another than the state says, but not yet the last that is needed.

        While a server is held back, nobody is in haste to know.
        """
        return self.against > 0 and not self.damped

    def forget(self) -> None:
        """Begin anew: the next check decides alone; how often the server has fallen is not forgotten."""
        self.state = State.CHECKING
        self.against = 0

    def note(self, passed: bool) -> Optional[State]:
        """Record one result; the new state is returned only when it changes."""
        says = State.UP if passed else State.DOWN
        if says is self.state:
            self.against = 0
            self._calm += passed
            return None
        self.against += 1
        if self.against < self.needed:
            return None
        if self.state is State.UP:
            self._quick = min(_MOST_QUICK, self._quick + 1) if self._calm < CALM else 0
        elif self.state is State.DOWN:
            self._calm = 0
        self.state = says
        self.against = 0
        return says


@define
class Looks:
    """
    What came of the looks of one check at one server, or of its agent.

    So many passed, failed, and were ``unable`` to learn anything; ``found`` is what came of the last, for
    people, ``at`` when it ended, and ``took`` its seconds.
    """

    passed: int = 0
    failed: int = 0
    unable: int = 0
    found: str = ""
    at: Optional[float] = None
    took: float = 0.0

    def note(self, found: str, began: float, now: float) -> None:
        """One look is over."""
        self.found, self.at, self.took = found, now, now - began

    def snapshot(self, now: float, **of: Any) -> CheckSnapshot:
        """These looks, beside what else there is to say of the check."""
        ago = None if self.at is None else now - self.at
        return CheckSnapshot(
            found=self.found,
            ago_seconds=ago,
            took_seconds=None if ago is None else self.took,
            passed=self.passed,
            failed=self.failed,
            unable=self.unable,
            **of,
        )


def combined(checks: Mapping[str, State], wanted: Optional[Combination]) -> State:
    """
    What several checks of one server say together: all must pass, or as it is wanted.

    It is CHECKING for as long as checks that have no result yet could decide.
    """
    return fold(wanted, checks, _least, _most)


def _least(states: Iterable[State]) -> State:
    return min(states, key=_RANKS.index)


def _most(states: Iterable[State]) -> State:
    return max(states, key=_RANKS.index)
